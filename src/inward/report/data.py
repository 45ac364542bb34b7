"""What the page is made of: the numbers of a run, and some of the records behind them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from inward.report.derived import TrainingFacts
from inward.report.explorer import Explored
from inward.report.progress import Progress
from inward.types import Estimate, EvalItem, EvalReport, Manifest, ScoredGroup


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One checkpoint judged: its report, its verdicts, and some of the traces they are about."""

    report: EvalReport
    items: Collection[EvalItem]
    groups: Mapping[str, ScoredGroup]
    """The problems to show, by prompt id."""


@dataclass(frozen=True, kw_only=True)
class RunData:
    """Everything the page shows."""

    manifest: Manifest
    task: str | None = None
    before: Mapping[str, Estimate] | None = None
    """Metrics of the start model; None where it was not judged."""
    after: Mapping[str, Estimate] | None = None
    difference: Mapping[str, Estimate] | None = None
    """Paired differences, after minus before."""
    counts: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds per stage."""
    checkpoint: str | None = None
    warnings: tuple[str, ...] = ()
    judged_before: Judged | None = None
    judged_after: Judged | None = None
    explored: Explored | None = None
    """The judged traces that can be looked through; None where nothing was judged."""
    curve: Sequence[tuple[float, Mapping[str, Estimate]]] = ()
    """Optimizer step and metrics of the checkpoints judged along the way, first and last included."""
    progress: Progress = field(default_factory=Progress)
    """What training showed of itself."""
    judged_along: Sequence[tuple[int, Judged]] = ()
    """Some of the checkpoints of `curve`, by step, to show the same problems at each."""
    training: TrainingFacts | None = None
    """None where a method keeps no scored groups."""
    training_examples: Sequence[ScoredGroup] = ()
