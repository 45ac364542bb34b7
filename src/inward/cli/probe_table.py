"""What `inward probe` prints: what was seen, what it says of each method, and what to do. From probe.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inward.cli.console import ends
from inward.diagnose.features import MEASURES

SEEN = (
    ("entropy", "policy entropy, nats a token"),
    ("answer_rate", "traces with an answer"),
    ("announced_rate", "traces that announce it (format)"),
    ("agreement", "agreement with the vote"),
    ("unanimous_rate", "prompts with one answer alone"),
    ("pair_agreement", "two samples agree"),
    ("chance_agreement", "of two different prompts"),
    ("greedy_vote", "votes for the greedy answer"),
    ("confidence", "confidence of greedy answers"),
    ("length", "length, tokens"),
    ("truncated_rate", "cut at the limit"),
    ("repetition", "repeated 4-grams"),
)
BY_MEASURE = (
    ("auroc/{}", "AUROC, vote"),
    ("chosen_voted/{}", "best-of-n voted"),
    ("chosen_greedy/{}", "best-of-n greedy"),
    ("chosen_length/{}", "best-of-n tokens"),
)
PUSHED = (
    ("announced", "format"),
    ("longer", "longer"),
    ("voted", "voted"),
)
COLOURS = {"try": "green", "do not": "red", "no evidence": "yellow"}

Found = Mapping[str, Any]

console = Console(highlight=False)
"""Results go to standard output; progress, elsewhere, to standard error."""


def show(found: Found) -> None:
    """Print the tables and the advice."""
    seen = found["features"]
    about = f"{found['model']}, {found['num_prompts']} prompts x {found['num_samples']} samples (95% intervals)"
    rows = [(label, [cell(seen[key])]) for key, label in SEEN]
    quantiles = found["agreement_spread"]["quantiles"]
    rows.insert(5, ("  its quartiles over prompts", [", ".join(f"{quantiles[i]:.2f}" for i in (2, 3, 4))]))
    console.print(_table(about, ["what it shows"], rows))
    measured = [(name, [cell(seen[key.format(name)]) for key, _ in BY_MEASURE]) for name in MEASURES]
    console.print(_table("each measure against the votes", [label for _, label in BY_MEASURE], measured))
    console.print(_table("a small step of each reward moves the share of traces", _heads(), _pushes(seen)))
    for finding in found["prompting"]["findings"]:
        note(f"{finding['severity']}: {finding['name']}: {finding['evidence']}\n    {finding['advice']}")
    for name, why in found["prompting"]["refused"].items():
        note(f"form {name} was not tried: {why}")
    _outlooks(found["outlooks"])
    _advice(found["advice"])


def _heads() -> list[str]:
    return [label for _, label in PUSHED] + ["cov. log-prob."]


def _pushes(seen: Found) -> list[tuple[str, list[str]]]:
    keys = [f"share/{cluster}" for cluster, _ in PUSHED] + ["covariance"]
    known = [name for name in MEASURES if f"push/{name}/covariance" in seen]
    return [(name, [cell(seen[f"push/{name}/{key}"], signed=True) for key in keys]) for name in known]


def _table(title: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE, padding=(0, 1), pad_edge=False)
    table.add_column("", no_wrap=True)
    for head in heads:
        table.add_column(head.replace(" ", "\n") if len(heads) > 3 else head, justify="right", no_wrap=True)
    for label, cells in rows:
        # With several columns the interval goes on a line of its own: beside the value it is wider than a terminal.
        several = len(cells) > 1
        shown = [one.replace(" [", "\n[") if several else one for one in map(escape, cells)]
        table.add_row(label.replace("_", "\n", 1) if several else label, *shown)
    return table


def _outlooks(outlooks: Sequence[Found]) -> None:
    rows = [(name_of(one), [one["verdict"], cell(one["expected_gain"], signed=True), one["risk"]]) for one in outlooks]
    console.print(_table("forecast, in greedy accuracy", ["verdict", "expected gain", "risk"], rows))
    for one in outlooks:
        console.print(f"[{COLOURS[one['verdict']]}]{name_of(one)}: {one['verdict']}[/]", soft_wrap=True)
        for line in one["reasons"]:
            note(f"    {line}")
        for line in one["risks"]:
            note(f"    risk: {line}")


def _advice(said: Found) -> None:
    what = f"try {name_of(said)}" if said["verdict"] == "try" else f"{said['verdict']}: here is why"
    console.print(f"[bold {COLOURS[said['verdict']]}]{what}[/]")
    for line in said["because"]:
        note(f"    {line}")
    if said["command"]:
        note(f"recipe      {said['command']}")


def name_of(one: Found) -> str:
    """As `rlif self_certainty`."""
    return f"{one['method']} {one['reward'] or ''}".rstrip()


def cell(one: Found, *, signed: bool = False) -> str:
    """Write `0.43 [0.41,0.46]`; a dash where it is not defined."""
    if one["value"] is None:
        return "-"
    value, low, high = (one[key] for key in ("value", "low", "high"))
    first, last = ends(value, low, high, signed=signed)
    return f"{value:{'+' if signed else ''}.{3 if abs(value) < 10 else 1}f} [{first},{last}]"


def note(message: str) -> None:
    """Print a line as it is."""
    console.print(escape(message), soft_wrap=True)
