"""What an online training showed of itself: monitors and probes from the log, the verdict from summary.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inward.report.derived import mean
from inward.runs import RunFolder, from_json
from inward.types import Estimate, Finding

Points = Sequence[tuple[float, float]]
"""(step, value), by step."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A training seen from inside, by optimizer step; empty for methods that log nothing of the kind."""

    monitors: Mapping[str, Points] = field(default_factory=dict)
    """By name; steps where a monitor is not defined are left out."""
    words: Sequence[Mapping[str, int]] = ()
    """Per step, occurrences of transitional words, and of all words under `words`."""
    support: Sequence[tuple[float, Estimate]] = ()
    """Mean share of the start model's votes for a checkpoint's answers; without its interval where none is known."""
    kept_step: int | None = None
    stop_step: int | None = None
    """None where the rule did not fire, or where there was none."""
    stop_reason: str | None = None
    last_step: int | None = None
    """The last step known of; None where none is."""
    findings: Sequence[Finding] = ()


def progress(folder: RunFolder, summary: Mapping[str, Any]) -> Progress:
    """Read what a run folder knows of its training; older folders know less."""
    seen: dict[str, dict[float, dict[str, Any]]] = {"monitor": {}, "probe": {}, "train": {}}
    for event in folder.events():
        if event["event"] in seen and "step" in event:
            seen[event["event"]][float(event["step"])] = event  # a resumed training may log a step twice
    points = [(float(point["step"]), point) for point in summary.get("curve") or ()]
    steps = [*seen["monitor"], *seen["probe"], *seen["train"], *(step for step, _ in points)]
    monitors = _monitors(seen["monitor"], seen["train"]) | _weights(folder, seen["train"])
    if "reward" not in monitors:
        monitors["reward"] = _known(points, "reward")
    return Progress(
        monitors={name: values for name, values in monitors.items() if values},
        words=[event["transitional_words"] for _, event in sorted(seen["monitor"].items())
               if "transitional_words" in event],
        support=_support(seen["probe"], points),
        kept_step=summary.get("kept_step"),
        stop_step=summary.get("stop_step"),
        stop_reason=summary.get("stop_reason"),
        last_step=int(max(steps)) if steps else None,
        findings=[from_json(Finding, one) for one in summary.get("findings") or ()],
    )  # fmt: skip


def _monitors(
    events: Mapping[float, Mapping[str, Any]], trained: Mapping[float, Mapping[str, Any]]
) -> dict[str, Points]:
    rows: list[tuple[float, Mapping[str, Any]]] = []
    for step, event in sorted(events.items()):
        # The loss's divergence, and what vLLM is off by, stand in the event of the update that these traces led to.
        update = trained.get(step + 1, {})
        kl = event.get("kl") if event.get("kl") is not None else update.get("kl")
        engine = {name: update[name] for name in ("engine_mismatch", "engine_weight") if name in update}
        rows.append((step, {**event, "kl": kl, **engine}))
    names = {name for _, row in rows for name, value in row.items() if isinstance(value, int | float)} - {"step"}
    return {name: _known(rows, name) for name in sorted(names)}


def _weights(folder: RunFolder, trained: Mapping[float, Mapping[str, Any]]) -> dict[str, Points]:
    """What RLSC logs of its weights, by the step after which their samples were drawn, as monitors are."""
    optim = folder.manifest.settings.get("optim")
    if folder.manifest.method != "rlsc" or not isinstance(optim, Mapping):
        return {}
    # Its controls log weights, too, that their losses do not hold.
    names = ("alpha_share", "weight_mean", "logprob_sum") if optim.get("loss") == "rlsc" else ("logprob_sum",)
    rows = [(step - 1, event) for step, event in sorted(trained.items())]
    return {name: _known(rows, name) for name in names}


def _known(rows: Sequence[tuple[float, Mapping[str, Any]]], name: str) -> Points:
    return [(step, float(row[name])) for step, row in rows if isinstance(row.get(name), int | float)]


def _support(
    probes: Mapping[float, Mapping[str, Any]], points: Sequence[tuple[float, Mapping[str, Any]]]
) -> list[tuple[float, Estimate]]:
    if probes:
        return [(step, mean(probe["support"])) for step, probe in sorted(probes.items()) if probe["support"]]
    nan = math.nan
    return [(step, Estimate(value=value, low=nan, high=nan, n=0)) for step, value in _known(points, "support")]
