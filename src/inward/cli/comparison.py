"""What `inward compare` prints: metrics, confidence measures, paired differences and costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from inward.cli import console
from inward.report.compare_page import (
    COSTS,
    Comparison,
    Estimates,
    Group,
    Spread,
    flipped,
    p_value,
    spread,
    value_of,
)
from inward.report.metrics import MEASURES, of_measure
from inward.types import Estimate

SHOWN = (
    ("greedy_accuracy", "greedy accuracy"),
    ("greedy_accuracy_lenient", "greedy, lenient"),
    ("sampled_accuracy", "sampled accuracy"),
    ("sampled_accuracy_lenient", "sampled, lenient"),
    ("majority_accuracy", "majority accuracy"),
    ("pass_at_k", "pass@k"),
    ("ece", "ECE, greedy"),
    ("brier", "Brier, greedy"),
    ("auroc", "AUROC, greedy"),
    ("ece_sampled", "ECE, sampled"),
    ("brier_sampled", "Brier, sampled"),
    ("auroc_sampled", "AUROC, sampled"),
    ("entropy", "entropy, nats"),
    ("length", "length, tokens"),
    ("tokens_per_answer", "tokens an answer"),
)
LABEL_WIDTH, CELL_WIDTH = 20, 16


def show(data: Comparison) -> None:
    """Print the metrics, the differences to the start model and to the first group, and the costs."""
    for warning in data.warnings:
        console.console.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    on = f"{data.task}, {data.num_problems} problems"
    several = ", mean and range over seeds" if any(len(group.runs) > 1 for group in data.groups) else ""
    starts = [] if data.start is None else [(f"start: {data.start_name}", _column(data.start))]
    columns = [*starts, *((group.label, _values(group) | _costs(group)) for group in data.groups)]
    _tables(f"{on} (95% intervals{several})", columns, data, costs=True)
    _measures(data)
    if data.start is not None:
        columns = [(group.label, _differences(group, start=True)) for group in data.groups]
        _tables(f"paired differences to {data.start_name}", columns, data)
    columns = [(group.label, _differences(group, start=False)) for group in data.groups[1:]]
    _tables(f"paired differences to {data.groups[0].label}", columns, data)
    _flips(data)
    for reason in dict.fromkeys(data.withheld.values()):
        keys = [label for key, label in SHOWN if data.withheld.get(key) == reason]
        if keys:
            console.note(f"- {', '.join(keys)}: {reason}")


def _measures(data: Comparison) -> None:
    """Print how well each confidence measure tells right answers from wrong ones."""
    table = Table(title="confidence measures side by side", title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("")
    for metric in of_measure(""):
        table.add_column(metric.label.lower() if metric.unit == "share" else metric.label, justify="right")
    starts = [] if data.start is None else [(f"start: {data.start_name}", data.start)]
    for end, (name, _) in MEASURES.items():
        keys = [metric.key for metric in of_measure(end)]
        of_starts = [(label, [value_of(metrics, key) for key in keys]) for label, metrics in starts]
        of_groups = [(group.label, [_mean(group, key) for key in keys]) for group in data.groups]
        rows = [(label, row) for label, row in [*of_starts, *of_groups] if any(value is not None for value in row)]
        if rows:
            table.add_row(name.lower())
        for label, row in rows:
            table.add_row(escape(f"  {label}"), *("-" if value is None else f"{value:.3f}" for value in row))
    console.console.print(table)


def _flips(data: Comparison) -> None:
    """Print how many greedy answers turned right or wrong, with McNemar's exact test."""
    rows = flipped(data)
    if not rows:
        return
    table = Table(title="greedy answers that flipped", title_justify="left", box=SIMPLE, pad_edge=False)
    for heading in ("run", "against"):
        table.add_column(heading)
    for heading in ("right to wrong", "wrong to right", "exact p"):
        table.add_column(heading, justify="right")
    for run, against, one in rows:
        table.add_row(escape(run), escape(against), str(one.lost), str(one.gained), p_value(one))
    console.console.print(table)


def _mean(group: Group, key: str) -> float | None:
    found = spread([value_of(run.metrics, key) for run in group.runs])
    return None if found is None else found.mean


Cells = dict[str, str]


def _column(metrics: Estimates) -> Cells:
    return {key: _cell(metrics[key]) for key, _ in SHOWN if key in metrics}


def _values(group: Group) -> Cells:
    if len(group.runs) == 1:
        return _column(group.runs[0].metrics)
    return {key: _spread(spread([value_of(run.metrics, key) for run in group.runs])) for key, _ in SHOWN}


def _differences(group: Group, *, start: bool) -> Cells:
    found = [(run.from_start if start else run.from_first) or {} for run in group.runs]
    if len(found) == 1:
        return {key: _cell(found[0][key], signed=True) for key, _ in SHOWN if key in found[0]}
    return {key: _spread(spread([value_of(one, key) for one in found]), signed=True) for key, _ in SHOWN}


def _costs(group: Group) -> Cells:
    return {key: _price(spread([run.cost[key] for run in group.runs])) for key in COSTS}


def _price(found: Spread | None) -> str:
    if found is None:
        return "-"
    return f"{found.mean:,.0f}" + (f"\n{found.low:,.0f}..{found.high:,.0f}" if found.low < found.high else "")


def _spread(found: Spread | None, *, signed: bool = False) -> str:
    return "-" if found is None else _number(found.mean, "{}..{}", found.low, found.high, signed=signed)


def _cell(one: Estimate, *, signed: bool = False) -> str:
    return "-" if math.isnan(one.value) else _number(one.value, "[{},{}]", one.low, one.high, signed=signed)


def _number(value: float, form: str, low: float, high: float, *, signed: bool) -> str:
    """A number, and its range on a line of its own: beside it, there would be room for two runs on a terminal."""
    sign, digits = "+" if signed else "", 2 if abs(value) < 10 else 1
    between = form.format(*console.ends(value, low, high, signed=signed))
    return f"{value:{sign}.{digits + (digits > 1)}f}\n{between}"


def _tables(title: str, columns: Sequence[tuple[str, Cells]], data: Comparison, *, costs: bool = False) -> None:
    """Print columns in as many tables as the terminal's width asks for."""
    room = max(1, (console.console.width - LABEL_WIDTH) // CELL_WIDTH)
    k = "" if data.pass_k is None else str(data.pass_k)
    labels = (
        dict(SHOWN)
        | ({"pass_at_k": f"pass@{k}"} if k else {})
        | ({key: label.lower() for key, label in COSTS.items()} if costs else {})
    )
    for first in range(0, len(columns), room):
        table = Table(title=escape(title), title_justify="left", box=SIMPLE, padding=(0, 1), pad_edge=False)
        table.add_column("", no_wrap=True)
        for label, _ in columns[first : first + room]:
            heading = label.replace(" ", "\n", 1).replace(", seed", "\nseed")
            table.add_column(escape(heading), justify="right")
        for key, label in labels.items():
            table.add_row(label, *(escape(cells.get(key, "-")) for _, cells in columns[first : first + room]))
        console.console.print(table)
