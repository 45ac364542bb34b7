"""From the files of a run folder to `RunData`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from inward.errors import RunFolderError
from inward.report.data import Judged, RunData
from inward.report.derived import GroupOutline, PairOutline, problems_to_show, training_facts
from inward.runs import RunFolder, from_json
from inward.runs.shards import damaged
from inward.types import Estimate, EvalItem, EvalReport, ScoredGroup

_ELEMENT = "traces.list.element"
_GROUP_COLUMNS = (
    "prompt.id",
    "confidence",
    f"{_ELEMENT}.trace.index",
    f"{_ELEMENT}.answer_tokens",
    f"{_ELEMENT}.measures",
)
_PAIR_COLUMNS = ("prompt.id", "chosen.index", "rejected.index", "chosen_answer", "rejected_answer")


def read(path: Path) -> RunData:
    """Read what the page shows.

    Raises:
        RunFolderError: The run has not come to its end, or a file is damaged.
    """
    folder = RunFolder.read(path)
    summary = summary_of(folder)
    before, after = _items(folder, "before"), _items(folder, "after")
    shown = problems_to_show(before, after)
    training = training_facts([*_group_outlines(folder)], _pair_outlines(folder))
    return RunData(
        manifest=folder.manifest,
        task=summary.get("task"),
        before=estimates(summary.get("before")),
        after=estimates(summary.get("after")),
        difference=estimates(summary.get("difference")),
        counts=summary.get("counts") or {},
        seconds={stage: float(value) for stage, value in (summary.get("seconds") or folder.seconds()).items()},
        checkpoint=summary.get("checkpoint"),
        warnings=tuple(summary.get("warnings") or ()),
        curve=[(float(point["step"]), estimates(_metrics_of(point)) or {}) for point in summary.get("curve") or ()],
        judged_before=_judged(folder, "before", before, shown),
        judged_after=_judged(folder, "after", after, shown),
        training=training,
        training_examples=_groups(folder, "scored", training.examples) if training else (),
    )


def summary_of(folder: RunFolder) -> dict[str, Any]:
    """Return what summary.json holds.

    Raises:
        RunFolderError: The run has not come to its end, or the file is damaged.
    """
    if not (folder.path / "summary.json").exists():
        raise RunFolderError(
            f"{folder.path} has no summary.json, so its run is not finished; run the same command again to continue it"
        )
    return folder.read_json("summary.json")


def estimates(metrics: Mapping[str, Any] | None) -> dict[str, Estimate] | None:
    """Return the metrics of a part of summary.json; None where there is no such part."""
    if metrics is None:
        return None
    return {key: from_json(Estimate, value) for key, value in metrics.items() if value is not None}


def _metrics_of(point: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in point.items() if key not in ("step", "reward")}


def _items(folder: RunFolder, name: str) -> Collection[EvalItem]:
    return list(folder.records(f"{name}/items", EvalItem)) if (folder.path / name / "report.json").exists() else ()


def _judged(folder: RunFolder, name: str, items: Collection[EvalItem], shown: Collection[str]) -> Judged | None:
    if not (folder.path / name / "report.json").exists():
        return None
    stage = f"{name}/scored"
    ids = [row["prompt"]["id"] for row in _rows(folder, stage, ("prompt.id",))]
    groups = _groups(folder, stage, [position for position, prompt_id in enumerate(ids) if prompt_id in shown])
    return Judged(
        report=from_json(EvalReport, folder.read_json(f"{name}/report.json")),
        items=items,
        groups={group.prompt.id: group for group in groups},
    )


def _groups(folder: RunFolder, stage: str, positions: Collection[int]) -> list[ScoredGroup]:
    records = folder.records(stage, ScoredGroup)
    return [records[position] for position in positions]


def _group_outlines(folder: RunFolder) -> Iterator[GroupOutline]:
    for row in _rows(folder, "scored", _GROUP_COLUMNS):
        measure, traces = row["confidence"], row["traces"]
        yield GroupOutline(
            prompt_id=row["prompt"]["id"],
            measure=measure,
            confidences={one["trace"]["index"]: dict(one["measures"]).get(measure, math.nan) for one in traces},
            without_span=sum(one["answer_tokens"] is None for one in traces),
        )


def _pair_outlines(folder: RunFolder) -> Iterator[PairOutline]:
    for row in _rows(folder, "pairs", _PAIR_COLUMNS):
        yield PairOutline(
            prompt_id=row["prompt"]["id"],
            chosen=row["chosen"]["index"],
            rejected=row["rejected"]["index"],
            same_answer=row["chosen_answer"] is not None and row["chosen_answer"] == row["rejected_answer"],
        )


def _rows(folder: RunFolder, stage: str, columns: Collection[str]) -> Iterator[dict[str, Any]]:
    """Read some columns of a stage's shards; nothing where the method has no such stage."""
    import pyarrow.parquet as pq

    for path in sorted((folder.path / stage).glob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                rows = file.read(columns=[*columns], use_threads=False).to_pylist()
        except (OSError, ValueError) as error:
            raise damaged(path, error) from error
        yield from rows
