"""The same questions under several runs: what the page of a comparison holds for its script to set side by side."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from inward.report.explorer import MAX_BYTES, MAX_TRACES, Explored, Side, choose, explored
from inward.report.reading import texts_of
from inward.runs import RunFolder
from inward.types import EvalItem


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One judged checkpoint and the questions it was asked; an id stands for the same question in every run."""

    name: str
    folder: RunFolder
    stage: str
    """`before` or `after`."""
    items: Collection[EvalItem]
    decoding: str
    """Of `EvalReport`."""


def together(runs: Sequence[Answered], most: int = MAX_TRACES, most_bytes: int = MAX_BYTES) -> Explored | None:
    """Gather the questions that at least two of the runs were asked; None for a single run.

    Where these are too many traces or bytes, questions drawn at random keep their samples and the others only the
    answer that counts, so that no change is missing as long as these fit.

    Raises:
        RunFolderError: The text of a judged trace is missing.
    """
    if len(runs) < 2:
        return None
    times = Counter(item.prompt_id for run in runs for item in run.items)
    shared = [[item for item in run.items if times[item.prompt_id] > 1] for run in runs]
    texts = [dict(texts_of(run.folder, f"{run.stage}/scored", times)) for run in runs]
    num_questions = len({item.prompt_id for of in shared for item in of})
    whole = _whole(shared, most)
    while True:
        bare = {item.prompt_id for of in shared for item in of if item.samples} - {*whole}
        kept = [[_stripped(item, bare) for item in of] for of in shared]
        sides = [
            Side(items={item.prompt_id: item for item in items}, texts=of, decoding=run.decoding, bare=bare)
            for run, items, of in zip(runs, shared, texts, strict=True)
        ]
        found = explored(sides, choose(kept, most), most_bytes)
        if found is None or len(found.problems) == num_questions or not whole:
            return found and dataclasses.replace(
                found, names=[run.name for run in runs], asked=[len(run.items) for run in runs]
            )
        whole = whole[: len(whole) // 2]


def _whole(shared: Sequence[Collection[EvalItem]], most: int) -> list[str]:
    """Draw the questions that keep their samples."""
    answers = sum(len(of) for of in shared)
    traces = answers + sum(len(item.samples) for of in shared for item in of)
    return choose(shared, most if traces <= most else max(0, most - answers))


def _stripped(item: EvalItem, bare: Collection[str]) -> EvalItem:
    return dataclasses.replace(item, samples=()) if item.prompt_id in bare else item
