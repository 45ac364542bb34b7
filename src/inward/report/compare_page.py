"""The page that sets checkpoints side by side: all metrics, the paired differences, and what each training cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from inward.report import explorer
from inward.report.explorer import Explored
from inward.report.markup import NOTHING, counted, decimal, duration, esc
from inward.report.measures import estimated, side_by_side
from inward.report.metrics import GROUPS, METRICS, Metric, change, get, interval, number, verdict
from inward.report.page import frame
from inward.stats import Flips
from inward.types import Estimate, Manifest

COSTS = {"seconds": "Training, seconds", "traces": "Training traces", "steps": "Optimizer steps"}
"""Keys of `Run.cost`, in words."""
HEADLINE = "greedy_accuracy"

Estimates = Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One judged checkpoint."""

    name: str
    """Of its folder."""
    manifest: Manifest
    metrics: Estimates
    from_start: Estimates | None
    """Paired differences to the start model; None where there is none to compare with."""
    from_first: Estimates | None
    """Paired differences to a run of the first group; None for that group itself."""
    cost: Mapping[str, float | None]
    """By the keys of `COSTS`; None where it is not known, or where nothing was trained."""
    decoding: str = "greedy"
    """How the answers judged were found."""
    flips_from_start: Flips | None = None
    """Greedy answers that turned right or wrong against the start model, as `from_start`."""
    flips_from_first: Flips | None = None
    """The same against the run that `from_first` is against."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ in their seed alone, at least one."""

    label: str
    runs: Sequence[Run]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Checkpoints judged on the same problems."""

    task: str
    num_problems: int
    start_name: str | None
    """The start model; None where no run was judged before its training."""
    start: Estimates | None
    groups: Sequence[Group]
    pass_k: int | None
    """The k of `pass_at_k`; None where it is not the same everywhere."""
    withheld: Mapping[str, str]
    """Metrics that cannot be compared here, and why."""
    warnings: Sequence[str]
    explored: Explored | None = None
    """The same questions under every run; None for a single run, and where no page is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A number over the runs of a group: their mean, the lowest and the highest run."""

    mean: float
    low: float
    high: float


def spread(values: Sequence[float | None]) -> Spread | None:
    """Sum up a number over runs; None where a run has none."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    if not found or len(found) < len(values):
        return None
    return Spread(mean=sum(found) / len(found), low=min(found), high=max(found))


def value_of(metrics: Estimates | None, key: str) -> float | None:
    """Return the value of a metric; None where it is missing or not defined."""
    found = get(metrics, key)
    return None if found is None else found.value


def flipped(data: Comparison) -> list[tuple[str, str, Flips]]:
    """List run, what it is held against, and the answers that flipped: first against the start model."""
    runs = [run for group in data.groups for run in group.runs]
    against_start = [(run.name, data.start_name or "", run.flips_from_start) for run in runs]
    against_first = [(run.name, data.groups[0].label, run.flips_from_first) for run in runs]
    return [(name, other, found) for name, other, found in [*against_start, *against_first] if found is not None]


def p_value(found: Flips) -> str:
    """Write a p-value, a tiny one as a bound."""
    return "< 0.0001" if found.p_value < 1e-4 else f"{found.p_value:.4f}"


def render(data: Comparison) -> str:
    """Write the whole page; text from data is escaped."""
    claim, evidence = _headline(data)
    reference = "the start model" if data.start is None else esc(data.start_name)
    shown = [
        ("metrics", "All metrics", _metrics(data)),
        ("measures", "Confidence measures side by side", _measures(data)),
        ("start", f"Against {reference}", _differences(data, start=True)),
        ("first", f"Against {esc(data.groups[0].label)}", _differences(data, start=False)),
        ("flips", "Answers that flipped", _flips(data)),
        ("explorer", "Question by question, side by side", explorer.section(data.explored)),
        ("cost", "What it cost", _cost(data)),
        ("runs", "The runs", _runs(data)),
    ]
    return frame(
        "Comparison",
        f"{counted(sum(len(group.runs) for group in data.groups), 'checkpoint')} on <b>{esc(data.task)}</b>",
        claim,
        evidence,
        shown,
        warnings=data.warnings,
        made="Made by inward from the files of these run folders.",
        explored=data.explored is not None,
    )


def _headline(data: Comparison) -> tuple[str, str]:
    metric = METRICS[HEADLINE]
    supervised = [group.label for group in data.groups if any(run.manifest.labels_used for run in group.runs)]
    free = [group for group in data.groups if group.label not in supervised]
    means = {group.label: found.mean for group in free or data.groups if (found := _over(group, HEADLINE)) is not None}
    claim = "Checkpoints side by side"
    if means:
        best = max(means, key=lambda label: means[label])
        without = " without labels" if supervised and free else ""
        claim = f"Highest greedy accuracy{without}: {number(metric, means[best])}, {esc(best)}"
    start = get(data.start, HEADLINE)
    sentences = [f"Judged on the same {counted(data.num_problems, 'problem')} with the same settings."]
    if start is not None:
        sentences.append(f"The start model, {esc(data.start_name)}, has {number(metric, start.value)}.")
    if supervised:
        sentences.append(f"Gold answers were used in training by {esc('; '.join(supervised))}.")
    return claim, " ".join(sentences)


def _over(group: Group, key: str) -> Spread | None:
    return spread([value_of(run.metrics, key) for run in group.runs])


def _metrics(data: Comparison) -> str:
    heads = [] if data.start is None else [f"{esc(data.start_name)}<small>start model</small>"]
    rows: list[str] = []
    for name, metrics in GROUPS.items():
        body = ""
        for metric in metrics:
            cells = [] if data.start is None else [_estimate(metric, data.start)]
            cells += [_value(metric, group) for group in data.groups]
            body += _row(data, metric, cells)
        rows += _titled(name, body, len(data.groups) + len(heads))
    return (
        f"<p>Beneath each number its 95% interval{_or_spread(data)}.</p>"
        f"{_table(heads + [_head(group) for group in data.groups], rows)}{_withheld(data)}"
    )


def _measures(data: Comparison) -> str:
    start = [] if data.start is None else [(f"{esc(data.start_name)}, start model", estimated(data.start))]
    return side_by_side([*start, *((esc(one.label), partial(_of_group, one)) for one in data.groups)])


def _of_group(group: Group, metric: Metric) -> str:
    return _value(metric, group)


def _differences(data: Comparison, *, start: bool) -> str:
    """Draw up the paired differences to the start model, or to the first group."""
    groups = data.groups if start else data.groups[1:]
    if not groups or (start and data.start is None):
        return ""
    rows: list[str] = []
    for name, metrics in GROUPS.items():
        body = "".join(
            _row(data, metric, [_difference(metric, group, start=start) for group in groups]) for metric in metrics
        )
        rows += _titled(name, body, len(groups))
    seeds = "" if start else " A run is compared with that of its own seed where there is one, else with the first."
    return (
        "<p>Differences are paired: the same problems on both sides. <b>Better</b> and <b>worse</b> are said only "
        "where the interval of the difference leaves zero out; of several seeds, where that of every run does, on the "
        f"same side{_or_spread(data)}.{seeds}</p>{_table([_head(group) for group in groups], rows)}"
    )


def _or_spread(data: Comparison) -> str:
    several = any(len(group.runs) > 1 for group in data.groups)
    return "; over several seeds the number is the mean, and beneath it stand the lowest and the highest run" * several


def _value(metric: Metric, group: Group) -> str:
    if len(group.runs) == 1:
        return _estimate(metric, group.runs[0].metrics)
    found = _over(group, metric.key)
    if found is None:
        return NOTHING
    return f"{number(metric, found.mean)}<small>{number(metric, found.low)} to {number(metric, found.high)}</small>"


def _estimate(metric: Metric, metrics: Estimates) -> str:
    return estimated(metrics)(metric)


def _difference(metric: Metric, group: Group, *, start: bool) -> str:
    found = [get(run.from_start if start else run.from_first, metric.key) for run in group.runs]
    over = spread([None if one is None else one.value for one in found])
    if over is None:
        return NOTHING
    judged = {(one.word, one.style) for one in (verdict(metric, difference) for difference in found)}
    word, style = judged.pop() if len(judged) == 1 else ("no clear change", "same")
    if len(found) == 1 and found[0] is not None:
        between = interval(metric, found[0], difference=True)
    else:
        between = f"{change(metric, over.low, unit=False)} to {change(metric, over.high, unit=False)}"
    return f'{change(metric, over.mean)}<small>{between}</small><span class="pill {style}">{word}</span>'


def _row(data: Comparison, metric: Metric, cells: Sequence[str]) -> str:
    if all(cell == NOTHING for cell in cells) and metric.key not in data.withheld:
        return ""
    label = metric.label.replace("@k", "@k" if data.pass_k is None else f"@{data.pass_k}")
    head = f'<th scope="row">{label}<small>{metric.about}</small></th>'
    return f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _titled(name: str, body: str, columns: int) -> list[str]:
    head = f'<tr class="group"><th colspan="{columns + 1}" scope="colgroup"><span>{name}</span></th></tr>'
    return [head, body] if body else []


def _table(heads: Sequence[str], rows: Sequence[str], first: str = "Metric") -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">{first}</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _head(group: Group) -> str:
    name, _, rest = group.label.partition(", ")
    return esc(name) + (f"<small>{esc(rest)}</small>" if rest else "")


def _withheld(data: Comparison) -> str:
    reasons: dict[str, list[str]] = {}
    for key, reason in data.withheld.items():
        reasons.setdefault(reason, []).append(METRICS[key].label)
    return "".join(f'<p class="quiet">{NOTHING} {", ".join(of)}: {esc(why)}.</p>' for why, of in reasons.items())


def _flips(data: Comparison) -> str:
    rows = [
        f'<tr><th scope="row">{esc(name)}</th><td>{esc(other)}</td><td>{found.lost:,}</td><td>{found.gained:,}</td>'
        f"<td>{esc(p_value(found))}</td></tr>"
        for name, other, found in flipped(data)
    ]
    if not rows:
        return ""
    words = (
        "<p>Problems whose greedy answer was right on one side and wrong on the other, and McNemar's exact two-sided "
        "test of whether it is as likely one way as the other. The p-values are not corrected for how many there are."
        "</p>"
    )
    return words + _table(("Against", "Right to wrong", "Wrong to right", "Exact p"), rows, "Run")


def _cost(data: Comparison) -> str:
    rows: list[str] = []
    for key, label in COSTS.items():
        found = [spread([run.cost[key] for run in group.runs]) for group in data.groups]
        cells = "".join(f"<td>{_price(key, one)}</td>" for one in found)
        if any(one is not None for one in found):
            rows.append(f'<tr><th scope="row">{label}</th>{cells}</tr>')
    if not rows:
        return ""
    words = (
        "<p>Seconds are those of all training stages, the probes of the stop rule included and evaluations not; traces "
        "are those trained on or ranked, not those of the probes.</p>"
    )
    return words + _table([_head(group) for group in data.groups], rows, "Cost")


def _price(key: str, found: Spread | None) -> str:
    if found is None:
        return NOTHING

    def shown(value: float) -> str:
        return duration(value) if key == "seconds" else decimal(value, 0)

    between = f"<small>{shown(found.low)} to {shown(found.high)}</small>" if found.low < found.high else ""
    return shown(found.mean) + between


def _runs(data: Comparison) -> str:
    heads = ("Seed", "Start model", "Prompts", "Labels in training", "Decoding", "Greedy accuracy")
    rows: list[str] = []
    for group in data.groups:
        for run in group.runs:
            manifest = run.manifest
            prompts = NOTHING if manifest.data is None else f"{manifest.data.num_records:,}"
            cells = (
                str(manifest.seed),
                esc(manifest.start.name),
                prompts,
                "yes" if manifest.labels_used else "none",
                esc(run.decoding),
                _estimate(METRICS[HEADLINE], run.metrics),
            )
            head = f'<th scope="row">{esc(run.name)}<small>{esc(group.label)}</small></th>'
            rows.append(f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return _table(heads, rows, "Folder")
