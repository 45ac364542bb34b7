"""From the files of a run folder to `RunData`."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inward.errors import RunFolderError
from inward.report import examples, explorer
from inward.report.data import Judged, RunData
from inward.report.derived import (
    GroupOutline,
    PairOutline,
    confidence_range,
    problems_along,
    problems_to_show,
    steps_to_show,
    training_facts,
)
from inward.report.progress import Progress, progress
from inward.runs import RunFolder, from_json
from inward.runs.shards import read_columns
from inward.types import Estimate, EvalItem, EvalReport, Outcome, Prompt, ScoredGroup

if TYPE_CHECKING:
    import pyarrow

_ELEMENT = "traces.list.element"
_GROUP_COLUMNS = (
    "prompt.id",
    "confidence",
    f"{_ELEMENT}.trace.index",
    f"{_ELEMENT}.answer_tokens",
    f"{_ELEMENT}.measures",
)
_TEXT_COLUMNS = (
    "prompt",
    f"{_ELEMENT}.trace.index",
    f"{_ELEMENT}.trace.completion",
)
_VERDICT = ("prompt_id", "greedy.outcome")
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
    curve, seen = curve_of(summary), progress(folder, summary)
    scale = confidence_range(_group_outlines(folder))
    training = training_facts(_group_outlines(folder), _pair_outlines(folder), scale)
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
        curve=curve,
        progress=seen,
        judged_along=_along(folder, [int(step) for step, _ in curve], seen),
        judged_before=_judged(folder, "before", before, shown),
        judged_after=_judged(folder, "after", after, shown),
        explored=_explored(folder, {"before": before, "after": after}),
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


def curve_of(summary: Mapping[str, Any]) -> list[tuple[float, dict[str, Estimate]]]:
    """Return step and metrics of the checkpoints judged along the way, by step; nothing where there are none."""
    return sorted(
        ((float(point["step"]), estimates(_metrics_of(point)) or {}) for point in summary.get("curve") or ()),
        key=lambda point: point[0],
    )


def _metrics_of(point: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in point.items() if isinstance(value, Mapping)}


def _along(folder: RunFolder, steps: Sequence[int], seen: Progress) -> list[tuple[int, Judged]]:
    """Read the same few problems at some of the judged steps."""
    if not steps:
        return []
    after = steps[-1] if seen.kept_step is None else seen.kept_step
    names = {step: f"curve/{step:05d}" for step in steps} | {after: "after", steps[0]: "before"}
    stages = {step: name for step, name in names.items() if (folder.path / name / "report.json").exists()}
    if not stages:
        return []
    verdicts = [
        {row["prompt_id"]: Outcome(row["greedy"]["outcome"]) for row in _rows(folder, f"{stage}/items", _VERDICT)}
        for _, stage in sorted(stages.items())
    ]
    ids = problems_along(verdicts)
    found: list[tuple[int, Judged]] = []
    for step in steps_to_show(sorted(stages), seen.kept_step):
        judged = _judged(folder, stages[step], _items(folder, stages[step]), ids)
        if judged is not None:
            found.append((step, judged))
    return found


def _items(folder: RunFolder, name: str) -> Collection[EvalItem]:
    """Verdicts to go through as often as need be: they are read each time, so that none are held."""
    return folder.records(f"{name}/items", EvalItem) if (folder.path / name / "report.json").exists() else ()


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


def _explored(folder: RunFolder, judged: Mapping[str, Collection[EvalItem]]) -> explorer.Explored | None:
    found = {name: items for name, items in judged.items() if items}
    drawn = explorer.choose([*found.values()])
    wanted = {*drawn}
    sides = [
        explorer.Side(
            items={item.prompt_id: item for item in items if item.prompt_id in wanted},
            texts=dict(texts_of(folder, f"{name}/scored", wanted)),
            decoding=folder.read_json(f"{name}/report.json")["decoding"],
        )
        for name, items in found.items()
    ]
    shown = explorer.explored(sides, drawn)
    if shown is None:
        return None
    traces: Counter[str] = Counter()
    for item in (item for items in found.values() for item in items):
        traces[item.prompt_id] += 1 + len(item.samples)
    return dataclasses.replace(shown, of_traces=traces.total(), of_problems=len(traces))


def texts_of(folder: RunFolder, stage: str, ids: Collection[str]) -> Iterator[tuple[str, explorer.Texts]]:
    """Read prompts and completions by prompt id, without the signals, which are most of a shard.

    Raises:
        RunFolderError: A file is damaged.
    """
    for row in _rows(folder, stage, _TEXT_COLUMNS):
        prompt = row["prompt"]
        if prompt["id"] in ids:
            yield (
                prompt["id"],
                explorer.Texts(
                    prompt=examples.asked(from_json(Prompt, prompt)),
                    completions={one["trace"]["index"]: one["trace"]["completion"] for one in row["traces"]},
                ),
            )


def _groups(folder: RunFolder, stage: str, positions: Collection[int]) -> list[ScoredGroup]:
    records = folder.records(stage, ScoredGroup)
    return [records[position] for position in positions]


def _group_outlines(folder: RunFolder) -> Iterator[GroupOutline]:
    for table in _tables(folder, "scored", _GROUP_COLUMNS):
        ids = _leaf(table, "prompt", "id").to_pylist()
        measures = _leaf(table, "confidence").to_pylist()
        groups = _leaf(table, "traces")
        traces = groups.values
        indices = traces.field("trace").field("index").to_numpy().tolist()
        without = traces.field("answer_tokens").is_null().to_pylist()
        measured = _leaf_dicts(traces.field("measures"))
        for i, (start, end) in enumerate(pairwise(groups.offsets.to_numpy().tolist())):
            measure = measures[i]
            yield GroupOutline(
                prompt_id=ids[i],
                measure=measure,
                confidences={indices[n]: measured[n].get(measure, math.nan) for n in range(start, end)},
                without_span=sum(without[start:end]),
            )


def _pair_outlines(folder: RunFolder) -> Iterator[PairOutline]:
    for table in _tables(folder, "pairs", _PAIR_COLUMNS):
        columns = (_leaf(table, *name.split(".")).to_pylist() for name in _PAIR_COLUMNS)
        for prompt_id, chosen, rejected, chosen_answer, rejected_answer in zip(*columns, strict=True):
            yield PairOutline(
                prompt_id=prompt_id,
                chosen=chosen,
                rejected=rejected,
                same_answer=chosen_answer is not None and chosen_answer == rejected_answer,
            )


def _leaf(table: pyarrow.Table, name: str, *below: str) -> pyarrow.Array:
    """Return a column, or what lies below it, as one array."""
    return reduce(lambda inner, field: inner.field(field), below, table[name].combine_chunks())


def _leaf_dicts(maps: pyarrow.MapArray) -> list[dict[str, float]]:
    entries = list(zip(maps.keys.to_pylist(), maps.items.to_numpy().tolist(), strict=True))
    return [dict(entries[start:end]) for start, end in pairwise(maps.offsets.to_numpy().tolist())]


def _rows(folder: RunFolder, stage: str, columns: Collection[str]) -> Iterator[dict[str, Any]]:
    """Read some columns of a stage's shards; nothing where the method has no such stage."""
    for table in _tables(folder, stage, columns):
        yield from table.to_pylist()


def _tables(folder: RunFolder, stage: str, columns: Collection[str]) -> Iterator[pyarrow.Table]:
    for path in sorted((folder.path / stage).glob("*.parquet")):
        for table in read_columns(path, columns):
            if table.num_rows:
                yield table
