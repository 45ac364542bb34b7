"""The page of `inward interpolate`: every metric against the ratio of the mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inward.report import sections
from inward.report.along import along
from inward.report.data import RunData
from inward.report.markup import NOTHING, counted, esc
from inward.report.metrics import GROUPS, METRICS, Metric, change, get, interval, number
from inward.report.page import document
from inward.report.reading import estimates, summary_of
from inward.runs import RunFolder
from inward.types import Estimate

Metrics = Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class CurveData:
    """Everything the page shows."""

    run: RunData
    to: str
    """The model at ratio 1, as the user named it."""
    curve: Sequence[tuple[float, Metrics]]
    """Ratio and metrics of every mix, in the order asked for."""
    differences: Sequence[tuple[float, Metrics]]
    """The same for every mix but the first: paired differences, mix minus first."""


def read(path: Path) -> CurveData:
    """Read what the page shows.

    Raises:
        RunFolderError: The run has not come to its end, or a file is damaged.
    """
    folder = RunFolder.read(path)
    summary = summary_of(folder)
    parts = {
        key: [(float(row.pop("ratio")), estimates(row) or {}) for row in summary[key]]
        for key in ("curve", "differences")
    }
    run = RunData(
        manifest=folder.manifest,
        task=summary["task"],
        seconds=summary["seconds"],
        warnings=tuple(summary["warnings"]),
    )
    return CurveData(run=run, to=summary["to"], **parts)


def render(data: CurveData) -> str:
    """Write the whole page; text from data is escaped."""
    claim, evidence = _headline(data)
    about = (
        f"<p>A mix has the weights (1 − ratio) of <b>{esc(data.run.manifest.start.name)}</b> + ratio of "
        f"<b>{esc(data.to)}</b>. All mixes met the same problems and the same random draws.</p>"
    )
    shown = [
        ("result", "Result", about + along(data.curve, "ratio")),
        ("metrics", "All metrics", _table(data.curve, difference=False)),
        (
            "differences",
            f"Differences from ratio {_ratio(data.curve[0][0])}",
            _table(data.differences, difference=True),
        ),
        ("run", "The run", sections.run(data.run)),
    ]
    return document(data.run, claim, evidence, shown)


def _headline(data: CurveData) -> tuple[str, str]:
    metric = METRICS["greedy_accuracy"]
    (ratio, first), (last_ratio, last) = data.curve[0], data.curve[-1]
    one, other = get(first, metric.key), get(last, metric.key)
    if one is None or other is None:
        return f"{counted(len(data.curve), 'mix', 'mixes')} judged", "No greedy answer could be graded."
    claim = f"Greedy accuracy is {number(metric, one.value)} at ratio {_ratio(ratio)}"
    difference = get(data.differences[-1][1], metric.key) if data.differences else None
    if difference is None:
        return claim, f"95% interval {interval(metric, one)}, on {counted(one.n, 'problem')}."
    return (
        f"{claim} and {number(metric, other.value)} at ratio {_ratio(last_ratio)}",
        f"{change(metric, difference.value)}, 95% interval {interval(metric, difference, difference=True)}, "
        f"on {counted(difference.n, 'problem')}.",
    )


def _table(mixes: Sequence[tuple[float, Metrics]], *, difference: bool) -> str:
    if not mixes:
        return ""
    head = "".join(f'<th scope="col">{_ratio(ratio)}</th>' for ratio, _ in mixes)
    rows: list[str] = []
    for group, metrics in GROUPS.items():
        span = f'colspan="{len(mixes) + 1}" scope="colgroup"'
        rows.append(f'<tr class="group"><th {span}><span>{group}</span></th></tr>')
        for metric in metrics:
            cells = (_cell(metric, get(one, metric.key), difference=difference) for _, one in mixes)
            named = f'<th scope="row">{metric.label}<small>{metric.about}</small></th>'
            rows.append(f"<tr>{named}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return (
        "<p>Beneath each number its 95% interval; a column is a ratio.</p>"
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Metric</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(metric: Metric, one: Estimate | None, *, difference: bool) -> str:
    if one is None:
        return NOTHING
    value = change(metric, one.value, unit=False) if difference else number(metric, one.value)
    return f"{value}<small>{interval(metric, one, difference=difference)}</small>"


def _ratio(ratio: float) -> str:
    return f"{ratio:g}".replace("-", "−")
