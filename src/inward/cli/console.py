"""What the terminal shows: progress while it works, a table and the places of the results at the end."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from inward.runs import Progress as Report

STAGES = {
    "before/scored": "sample the start model",
    "before/items": "grade the start model",
    "mixes": "mix the weights",
    "answers": "sample answers and votes",
    "after/answers": "sample the new checkpoint",
    "traces": "sample traces",
    "scored": "score traces",
    "pairs": "rank into pairs",
    "surest": "rank the surest traces",
    "train_reward": "train the reward model",
    "train": "train",
    "after/scored": "sample the trained model",
    "after/items": "grade the trained model",
    "grade": "grade",
}
SHOWN = (
    ("greedy_accuracy", "greedy accuracy"),
    ("sampled_accuracy", "sampled accuracy"),
    ("majority_accuracy", "majority accuracy"),
    ("pass_at_k", "pass@k"),
    ("ece", "ECE, greedy"),
    ("brier", "Brier, greedy"),
    ("auroc", "AUROC, greedy"),
    ("ece_sampled", "ECE, sampled"),
    ("confidence", "confidence"),
    ("entropy", "entropy, nats"),
    ("length", "length, tokens"),
    ("tokens_per_answer", "tokens an answer"),
)
RECALIBRATED = (
    ("ece_recalibrated", "ECE, recalibrated"),
    ("brier_recalibrated", "Brier, recalibrated"),
    ("auroc_recalibrated", "AUROC, recalibrated"),
)
"""Shown below the others, where `inward calibrate` left a confidence with the checkpoint."""
CURVE = ("entropy", "greedy_accuracy", "sampled_accuracy", "pass_at_k", "ece")
"""Metrics shown for every mix; keys of `SHOWN`."""

console = Console(stderr=True, highlight=False)


@contextmanager
def progress(names: Mapping[str, str] | None = None) -> Iterator[Report]:
    """Progress bars, one per stage; `names` are what some stages are called here in place of their usual name."""
    columns = (
        TextColumn("{task.description:<26}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bars = Progress(*columns, console=console)
    tasks: dict[str, Any] = {}

    def report(stage: str, done: int, total: int) -> None:
        if not tasks:
            bars.start()
        if stage not in tasks:
            tasks[stage] = bars.add_task((names or {}).get(stage) or _stage(stage), total=total)
        bars.update(tasks[stage], completed=done, total=total)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()


def _stage(name: str) -> str:
    if name in STAGES:
        return STAGES[name]
    if in_round := re.fullmatch(r"rounds/0*(\d+)/(\w+)", name):
        return f"{_stage(in_round[2])}, {in_round[1]}"
    where, _, what = name.rpartition("/")
    if where.startswith("judged/"):
        return f"{'sample' if what == 'scored' else 'grade'} mix {where.removeprefix('judged/')}"
    step = where.rpartition("/")[2].lstrip("0")
    return f"{'sample' if what == 'scored' else 'grade'} the model at step {step}"


@contextmanager
def warnings_shown() -> Iterator[list[str]]:
    """Show each warning of inward's own once, as a line; those of libraries are for their developers.

    Yields:
        The warnings shown so far.
    """
    shown: list[str] = []

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
        if category is UserWarning and "inward" in Path(filename).parts and str(message) not in shown:
            shown.append(str(message))
            console.print(f"[yellow]warning:[/] {escape(str(message))}", soft_wrap=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield shown


def note(message: str) -> None:
    """Show a line."""
    console.print(escape(message), soft_wrap=True)


def show_summary(summary: Mapping[str, Any]) -> None:
    """Print the before-after table."""
    before, after, difference = summary["before"], summary["after"], summary["difference"]
    if before is None:
        return
    method = f"baseline {summary['baseline']}" if summary.get("baseline") else summary["method"]
    title = f"{method} on {summary['model']}, {summary['task']} (95% intervals)"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1), pad_edge=False)
    table.add_column("")
    for column in ("before", "after", "difference") if after else ("value",):
        table.add_column(column, justify="right", no_wrap=True)
    recalibrated = [row for row in RECALIBRATED if row[0] in before and (not after or row[0] in after)]
    for key, label in [*_shown(summary), *recalibrated]:
        cells = [_cell(before[key])]
        if after:
            cells += [_cell(after[key]), _cell(difference[key], signed=True)]
        table.add_row(label, *cells)
    speeds = [summary["throughput"][part] for part in (("before", "after") if after else ("before",))]
    if any(speeds):
        table.add_row("tokens a second", *(f"{speed:,.0f}" if speed else "-" for speed in speeds))
    console.print(table)


def _shown(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Metrics and their labels; without samples there is no pass@k."""
    k = summary["pass_k"]
    return [(key, label.replace("@k", f"@{k}")) for key, label in SHOWN if k or key != "pass_at_k"]


def show_kept(summary: Mapping[str, Any]) -> None:
    """Print which checkpoint was kept and why, and the findings, where a method keeps several."""
    if summary["kept_step"] is None:
        return
    fired = f"the rule fired at step {summary['stop_step']}" if summary["stop_step"] else "the rule did not fire"
    why = f"; {fired}: {summary['stop_reason']}" if summary["stop_reason"] else ""
    note(f"kept        step {summary['kept_step']} of {summary['counts']['steps']}{why}")
    for finding in summary["findings"]:
        note(f"{finding['severity']:<11} {finding['name']}: {finding['evidence']}")


def show_curve(summary: Mapping[str, Any]) -> None:
    """Print how the mixes of `inward interpolate` did, a row per ratio."""
    title = escape(f"{summary['model']} to {summary['to']}, {summary['task']} (95% intervals)")
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1), pad_edge=False)
    table.add_column("ratio", justify="right")
    labels = dict(_shown(summary))
    columns = [key for key in CURVE if key in labels]
    for key in columns:
        table.add_column(labels[key], justify="right")
    for row in summary["curve"]:
        # The interval on a line of its own: beside the value, five of them are wider than a terminal.
        table.add_row(f"{row['ratio']:g}", *(_cell(row[key]).replace(" ", "\n") for key in columns))
    console.print(table)


def _cell(estimate: Mapping[str, Any], *, signed: bool = False) -> str:
    if estimate["value"] is None:
        return "-"
    sign, digits = "+" if signed else "", 2 if abs(estimate["value"]) < 10 else 1
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    first, last = ends(value, low, high, signed=signed)
    return f"{value:{sign}.{digits + (digits > 1)}f} [{first},{last}]"


def ends(value: float, low: float, high: float, *, signed: bool = False) -> tuple[str, str]:
    """Write the ends of an interval, with a digit more where rounding would leave out the value as it is written."""
    places = 2 if abs(value) < 10 else 1
    if places == 2 and not round(low, 2) <= round(value, 3) <= round(high, 2):
        places = 3
    sign = "+" if signed else ""
    return f"{low:{sign}.{places}f}", f"{high:{sign}.{places}f}"


def show_places(folder: Path, *, checkpoint: bool = False) -> None:
    """Say where the results lie."""
    console.print(f"report      {escape(str(folder / 'report.html'))}", soft_wrap=True)
    console.print(f"numbers     {escape(str(folder / 'summary.json'))}", soft_wrap=True)
    if checkpoint:
        console.print(f"checkpoint  {escape(str(folder / 'checkpoint'))}", soft_wrap=True)
