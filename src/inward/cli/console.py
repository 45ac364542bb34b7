"""What the terminal shows: progress while it works, a table and the places of the results at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    "traces": "sample traces",
    "scored": "score traces",
    "pairs": "rank into pairs",
    "train": "train",
    "after/scored": "sample the trained model",
    "after/items": "grade the trained model",
}
SHOWN = (
    ("greedy_accuracy", "greedy accuracy"),
    ("sampled_accuracy", "sampled accuracy"),
    ("majority_accuracy", "majority accuracy"),
    ("pass_at_k", "pass@k"),
    ("ece", "ECE, greedy answers"),
    ("brier", "Brier, greedy answers"),
    ("auroc", "AUROC, greedy answers"),
    ("ece_sampled", "ECE, sampled answers"),
    ("confidence", "mean confidence"),
    ("entropy", "entropy, nats per token"),
    ("length", "length, tokens"),
)

console = Console(stderr=True, highlight=False)


@contextmanager
def progress() -> Iterator[Report]:
    """Progress bars, one per stage."""
    columns = (
        TextColumn("{task.description:<26}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(STAGES.get(stage, stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def warn(message: str) -> None:
    """Show a warning."""
    console.print(f"[yellow]warning:[/] {escape(message)}", soft_wrap=True)


def note(message: str) -> None:
    """Show a line."""
    console.print(escape(message), soft_wrap=True)


def show_summary(summary: Mapping[str, Any]) -> None:
    """Print the before-after table."""
    before, after, difference = summary["before"], summary["after"], summary["difference"]
    if before is None:
        return
    table = Table(title=f"{summary['method']} on {summary['model']}, {summary['task']}", title_justify="left")
    table.add_column("")
    for column in ("before", "after", "difference") if after else ("value",):
        table.add_column(column, justify="right")
    for key, label in SHOWN:
        cells = [_cell(before[key])]
        if after:
            cells += [_cell(after[key]), _cell(difference[key], signed=True)]
        table.add_row(label, *cells)
    console.print(table)


def _cell(estimate: Mapping[str, Any], *, signed: bool = False) -> str:
    if estimate["value"] is None:
        return "-"
    form = "{:+.3f} [{:+.3f}, {:+.3f}]" if signed else "{:.3f} [{:.3f}, {:.3f}]"
    return form.format(estimate["value"], estimate["low"], estimate["high"])


def show_places(folder: Path, *, checkpoint: bool = False) -> None:
    """Say where the results lie."""
    console.print(f"report      {escape(str(folder / 'report.html'))}", soft_wrap=True)
    console.print(f"numbers     {escape(str(folder / 'summary.json'))}", soft_wrap=True)
    if checkpoint:
        console.print(f"checkpoint  {escape(str(folder / 'checkpoint'))}", soft_wrap=True)
