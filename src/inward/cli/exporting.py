"""`inward export`: the metrics of a run folder or its judged traces as one table. No torch."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any

import typer

from inward.errors import RunFolderError, SettingsError
from inward.evaluate import FURTHER
from inward.report.reading import summary_of
from inward.runs import RunFolder, to_json
from inward.runs.files import explained
from inward.types import EvalItem, JudgedTrace

Row = Mapping[str, object]

METRIC_COLUMNS = ("part", "metric", "value", "low", "high", "n")
ITEM_COLUMNS = (
    *("part", "id", "gold", "trace", "index", "answer", "canonical", "outcome", "lenient"),
    *("probability", "disparity", *FURTHER, "has_span", "entropy", "logprob", "length", "truncated"),
    *("majority", "majority_outcome"),
)
_ALIKE = ("index", "answer", "canonical", "outcome", "lenient", "probability", "disparity", "has_span", "entropy")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*([eE][+-]?\d+)?%?")


def export(path: Path, form: str, out: Path | None, *, items: bool) -> None:
    """Write a table of a run folder to a file, or to standard output, row by row.

    Raises:
        SettingsError: The format is unknown.
        RunFolderError: The folder is none, is not finished or holds nothing judged; or the file cannot be written.
    """
    if form not in WRITERS:
        raise SettingsError(f"format {form!r} is unknown; choose one of {', '.join(WRITERS)}")
    folder = RunFolder.read(path)
    columns, rows = (ITEM_COLUMNS, _items(folder)) if items else (METRIC_COLUMNS, _metrics(folder))
    lines = WRITERS[form](columns, rows)
    if out is None:
        for line in lines:
            typer.echo(line)
        return
    temporary = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{line}\n" for line in lines)
            os.replace(temporary, out)
        finally:
            temporary.unlink(missing_ok=True)


def _metrics(folder: RunFolder) -> list[Row]:
    """Every estimate of summary.json, under the part of it that it stands in."""
    summary = summary_of(folder)
    parts: list[tuple[str, Mapping[str, Any]]] = [
        (name, summary[name]) for name in ("before", "after", "difference") if summary.get(name)
    ]
    for point in summary.get("curve") or ():
        axis = "step" if "step" in point else "ratio"
        parts.append((f"{axis} {point[axis]:g}", point))
    rows: list[Row] = [
        {"part": part, "metric": key, **{name: one.get(name) for name in METRIC_COLUMNS[2:]}}
        for part, metrics in parts
        for key, one in metrics.items()
        if isinstance(one, Mapping) and "value" in one
    ]
    if not rows:
        raise RunFolderError(f"{folder.path} holds no metrics; judge with --eval-task, or by inward evaluate")
    return rows


def _items(folder: RunFolder) -> Iterator[Row]:
    """Every judged trace, the answer of a problem before its samples, those of the start model first."""
    stages = [str(file.parent.relative_to(folder.path)) for file in folder.path.rglob("items/complete.json")]
    if not stages:
        raise RunFolderError(f"{folder.path} holds nothing judged; judge with --eval-task, or by inward evaluate")
    ordered = sorted(stages, key=lambda name: (name != "before/items", name))
    # Opened here, since a generator would be asked only after the header of the table is out.
    return _rows([(stage.removesuffix("/items"), folder.records(stage, EvalItem)) for stage in ordered])


def _rows(parts: Sequence[tuple[str, Sequence[EvalItem]]]) -> Iterator[Row]:
    for part, items in parts:
        for item in items:
            yield _item(part, item, item.greedy, "greedy")
            yield from (_item(part, item, sample, "sample") for sample in item.samples)


def _item(part: str, item: EvalItem, trace: JudgedTrace, role: str) -> Row:
    return {
        "part": part,
        "id": item.prompt_id,
        "gold": item.gold,
        "trace": role,
        **{name: getattr(trace, name) for name in _ALIKE},
        **{name: trace.confidences.get(name) for name in FURTHER},
        "logprob": trace.logprob,
        "length": trace.length,
        # Whether a completion was cut is known where its tokens are.
        "truncated": None if trace.length is None else trace.truncated,
        "majority": item.majority,
        "majority_outcome": item.majority_outcome if item.samples else None,
    }


def _json(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    yield "["
    before = None
    for row in rows:
        if before is not None:
            yield f"{before},"
        before = to_json({name: row[name] for name in columns})
    if before is not None:
        yield before
    yield "]"


def _csv(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    for cells in chain([[*columns]], ([_harmless(row[name]) for name in columns] for row in rows)):
        line = StringIO()
        csv.writer(line, lineterminator="").writerow(cells)
        yield line.getvalue()


def _harmless(value: object) -> str:
    """Return the text of a cell, which no spreadsheet takes for a formula."""
    text = _plain(value)
    risky = isinstance(value, str) and text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if risky else text


def _markdown(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_cell(row[name]) for name in columns)} |"


def _cell(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return " ".join(_plain(value).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _plain(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else json.dumps(value)


WRITERS: Mapping[str, Callable[[Sequence[str], Iterable[Row]], Iterator[str]]] = {
    "json": _json,
    "csv": _csv,
    "markdown": _markdown,
}
