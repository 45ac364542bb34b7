"""Confidence measures side by side: how well each one tells right answers from wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from inward.report.markup import NOTHING
from inward.report.metrics import MEASURES, Metric, get, interval, number, of_measure
from inward.types import Estimate

Cell = Callable[[Metric], str]
"""Writes a metric of one checkpoint."""


def side_by_side(sides: Sequence[tuple[str, Cell]]) -> str:
    """Draw up a table with a block for every measure that some checkpoint has, and a row for each checkpoint.

    Args:
        sides: Name, escaped, and cells of every checkpoint. A checkpoint has no row for a measure that it lacks.

    Returns:
        A text of HTML; empty where no measure is known.
    """
    rows: list[str] = []
    for end, (name, about) in MEASURES.items():
        found = [(side, [cell(metric) for metric in of_measure(end)]) for side, cell in sides]
        known = [(side, cells) for side, cells in found if any(cell != NOTHING for cell in cells)]
        if known:
            head = f"<span>{name}</span> <small>{about}</small>"
            rows.append(f'<tr class="group"><th colspan="5" scope="colgroup">{head}</th></tr>')
            rows += [
                f'<tr><th scope="row">{side}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
                for side, cells in known
            ]
    if not rows:
        return ""
    heads = "".join(f'<th scope="col">{metric.label}</th>' for metric in of_measure(""))
    return (
        "<p>Every measure is a number from 0 to 1 for the answer given to a problem, held against whether that answer "
        "is right. <b>Right at 80%</b> is the share of right answers where one abstains from the fifth that the "
        "measure is least sure of.</p>"
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Measure</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def estimated(metrics: Mapping[str, Estimate]) -> Cell:
    """Write a metric with its interval beneath."""

    def cell(metric: Metric) -> str:
        one = get(metrics, metric.key)
        return NOTHING if one is None else f"{number(metric, one.value)}<small>{interval(metric, one)}</small>"

    return cell
