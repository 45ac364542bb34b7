"""What `inward choose` prints: every checkpoint with its support, what to keep, and the true accuracy beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Found = Mapping[str, Any]

FEW_VOTES = 8
"""Samples of the start model for each question, below which it is advised to draw more."""


def show(result: Found) -> None:
    """Print the choices, one for each start model, and what was left out."""
    out = Console(highlight=False)
    for choice in result["choices"]:
        alone = choice["voters"] == "start model"
        by = "its votes" if alone else "the other runs, each without its own vote, of what its votes cannot tell apart"
        title = f"from {choice['start']}: support by {by} ({choice['source']})"
        if not choice["paired"]:
            title += "; runs on different prompts are compared unpaired"
        out.print(escape(title), soft_wrap=True)
        for run in dict.fromkeys(one["run"] for one in choice["candidates"]):
            if run:
                out.print(escape(run), soft_wrap=True)
            out.print(_table(choice, run))
        _kept(out, choice)
    for one in result["left_out"]:
        out.print(escape(f"left out {one['run']}: {one['why']}"), soft_wrap=True)


def _table(choice: Found, run: str | None) -> Table:
    """The checkpoints of one run."""
    table = Table(box=SIMPLE, padding=0, pad_edge=False)
    judged = any(one["greedy_accuracy"] for one in choice["candidates"])
    columns = [("checkpoint", 17), ("support", 7), ("change", 20), ("P(best)", 7)]
    for name, width in columns + [("greedy accuracy", 17)] * judged:
        table.add_column(name, justify="left" if name == "checkpoint" else "right", min_width=width)
    for one in choice["candidates"]:
        if one["run"] != run:
            continue
        mark = ", keep" if one == choice["kept"] else ", stopped" if one["stopped"] else ", out" if one["out"] else ""
        cells = [
            _number(one["support"]),
            _cell(one["support_change"], signed=True),
            "-" if one["out"] else _number(one["probability_best"], 2),
        ]
        if judged:
            cells.append(_cell(one["greedy_accuracy"]))
        table.add_row(escape(one["label"] + mark), *cells)
    return table


def _kept(out: Console, choice: Found) -> None:
    kept = choice["kept"]
    where = f" of {kept['run']}" if kept["run"] else ""
    lines = [
        f"keep        {kept['label']}{where}",
        f"why         {choice['reason']}",
        f"confidence  {choice['confidence']:.2f}: chance, over other prompts, that no other has more support",
    ]
    if choice["no_difference"]:
        lines[-1] += f"; {choice['confidence_alike']:.2f} that it or one of these has the most"
        lines.append(f"no difference can be told to {', '.join(choice['no_difference'])}")
    lines.append(f"checkpoint  {kept['checkpoint'] or 'not on disk any more'}")
    alone = choice["voters"] == "start model"
    whose = "A start model whose votes are wrong supports" if alone else "Runs that err alike support"
    lines.append(f"{whose} wrong answers; no label was read for this.")
    drawn = f", those of {choice['ballot']}" if choice["ballot"] else ""
    lines.append(f"The start model has {choice['votes']} votes a question{drawn}.")
    if choice["votes"] < FEW_VOTES and choice["advice"]:
        lines.append(f"These are few. Put more beside the runs, and choose again with that folder: {choice['advice']}")
    elif choice["votes"] < FEW_VOTES:
        lines.append("These are few: train with stop.start_samples=16, or have the runs judged (--eval-task).")
    for line in lines:
        out.print(escape(line), soft_wrap=True)


def _number(value: float | None, places: int = 3) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _cell(one: Found | None, *, signed: bool = False) -> str:
    if one is None or one["value"] is None:
        return "-"
    sign = "+" if signed else ""
    return escape(f"{one['value']:{sign}.3f} [{one['low']:{sign}.2f},{one['high']:{sign}.2f}]")
