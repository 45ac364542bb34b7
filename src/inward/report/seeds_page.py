"""The page over several runs: every curve with a thin line per run, and what the label-free stop came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from inward.report import along, figures
from inward.report.markup import NOTHING, counted, esc
from inward.report.metrics import METRICS, Metric, number
from inward.report.page import frame
from inward.report.progress import Points
from inward.report.seeds import Group, Run, other_differences

TABLE = ("greedy_accuracy", "greedy_accuracy_lenient", "sampled_accuracy", "sampled_accuracy_lenient", "ece")
Look = Callable[[Run], Points]
Found = Sequence[tuple[float, float] | None]
"""(step, value) per run; None where a run has none."""


def render(groups: Sequence[Group]) -> str:
    """Write the whole page; text from data is escaped."""
    runs = [run for group in groups for run in group.runs]
    claim, evidence = _headline(groups)
    shown = [
        ("steps", "What the stop came to", _table(groups)),
        ("along", "Along the way", _curves(groups)),
        ("runs", "The runs", _runs(groups)),
    ]
    models = ", ".join(f"<b>{esc(name)}</b>" for name in dict.fromkeys(run.manifest.start.name for run in runs))
    tasks = ", ".join(f"<b>{esc(task)}</b>" for task in dict.fromkeys(run.task for run in runs) if task)
    return frame(
        counted(len(runs), "run"),
        f"{counted(len(runs), 'run')} of {models}" + (f" on {tasks}" if tasks else ""),
        claim,
        evidence,
        shown,
        warnings=_warnings(groups),
        made="Made by inward from the files of these run folders.",
    )


def common(lines: Sequence[Points]) -> list[tuple[float, list[float]]]:
    """Return the values of all lines at the steps that all of them have."""
    by_step = [dict(line) for line in lines]
    steps = sorted(set.intersection(*(set(one) for one in by_step))) if by_step else []
    return [(step, [one[step] for one in by_step]) for step in steps]


def best(metric: Metric, points: Points) -> tuple[float, float] | None:
    """Return the step whose value is best in hindsight, the first of equals."""
    sign = metric.better or 1
    return max(points, key=lambda point: sign * point[1], default=None)


def at(points: Points, step: int | float | None) -> tuple[float, float] | None:
    """Return the point at a step; None where there is none."""
    return next((point for point in points if point[0] == step), None)


def _headline(groups: Sequence[Group]) -> tuple[str, str]:
    moved = [one for group in groups if (one := _moved(group))]
    claim = f"Greedy accuracy of {len(groups)} groups of runs"
    if len(groups) == 1:
        claim = f"Greedy accuracy over {counted(len(groups[0].runs), 'run')}"
    supervised = [esc(group.label) for group in groups if any(run.manifest.labels_used for run in group.runs)]
    sentences = [f"{'; '.join(moved)}."] if moved else []
    if supervised:
        sentences.append(f"Gold answers were used in training by {', '.join(supervised)}.")
    if len(supervised) < len(groups):
        sentences.append(f"No labels were used in {'the other trainings' if supervised else 'training'}.")
    return claim, " ".join(sentences)


def _moved(group: Group) -> str:
    """Say where the mean over runs began and where it ended, at the kept steps if every run has one."""
    metric = METRICS["greedy_accuracy"]
    lines = [run.metric(metric.key) for run in group.runs]
    kept = all(run.progress.kept_step is not None for run in group.runs)
    ends = [run.progress.kept_step if kept else run.curve[-1][0] for run in group.runs]
    first = [point for line in lines if (point := at(line, 0.0))]
    last = [point for line, step in zip(lines, ends, strict=True) if (point := at(line, step))]
    if len(first) < len(lines) or len(last) < len(lines):
        return ""
    old, new = (number(metric, sum(value for _, value in points) / len(points)) for points in (first, last))
    where = f"{'kept' if kept else 'last'} {'steps' if len(lines) > 1 else 'step'}"
    return f"{esc(group.label)}: {old} at step 0, {new} at the {where}"


def _warnings(groups: Sequence[Group]) -> list[str]:
    found: list[str] = []
    for group in groups:
        names = other_differences(group)
        if names:
            found.append(f"Runs of {group.label} differ in more than their seed: {', '.join(names)}.")
    judged = {run.manifest.evaluation.sha256 for group in groups for run in group.runs if run.manifest.evaluation}
    if len(judged) > 1:
        found.append("These runs were judged on different problems, so their curves can differ for that alone.")
    return found


def _style(position: int) -> str:
    return f"group c{position + 1}"


def _curves(groups: Sequence[Group]) -> str:
    keys = "".join(
        f'<span><svg viewBox="0 0 24 12"><line class="curve {_style(position)}" x1="1" y1="6" x2="23" y2="6"/></svg>'
        f"{esc(group.label)}, {_seeds(group)}</span>"
        for position, group in enumerate(groups)
    )
    judged = "".join(_drawings(groups, "judged"))
    watched = _drawing("Support by the start's votes", "share of votes", groups, _support)
    watched += "".join(_drawings(groups, "monitored"))
    return (
        "<p>A thin line is a run. The thick one is the mean of a group at the steps that all its runs have, the band "
        "goes from its lowest run to its highest. A ring is the step that a run kept.</p>"
        f'<p class="key">{keys}</p><h3>Checkpoints, judged on problems with gold answers</h3>'
        f'<div class="figures">{judged}</div>'
        + (
            f'<h3>What training saw of itself</h3><p class="key">{keys}</p><div class="figures">{watched}</div>'
            if watched
            else ""
        )
    )


def _drawings(groups: Sequence[Group], what: str) -> Iterator[str]:
    for figure in (*along.JUDGED, *along.MONITORED):
        named = figure.judged if what == "judged" else figure.monitored
        for name, key in named:
            alone = len(figure.judged) + len(figure.monitored) == 1
            caption = figure.caption if alone else f"{figure.caption}: {name}"
            look = _metric(key) if what == "judged" else _monitor(key)
            for part in _comparable(groups) if key == "reward" else (groups,):
                yield _drawing(caption, figure.unit, groups, look, of=part, whole=figure.whole)


def _comparable(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups that share a reward: those of different rewards have no common scale."""
    found: dict[object, list[Group]] = {}
    for group in groups:
        settings = group.runs[0].manifest.settings
        found.setdefault((settings.get("reward"), settings.get("length_norm")), []).append(group)
    return list(found.values())


def _metric(key: str) -> Look:
    return lambda run: run.metric(key)


def _monitor(key: str) -> Look:
    return lambda run: run.progress.monitors.get(key, ())


def _support(run: Run) -> Points:
    return [(step, one.value) for step, one in run.progress.support]


def _drawing(
    caption: str,
    unit: str,
    groups: Sequence[Group],
    look: Look,
    *,
    of: Sequence[Group] | None = None,
    whole: bool = False,
) -> str:
    """Draw one number of all groups, or of some of them; nothing where no run has two points of it."""
    shown = groups if of is None else of
    series = [one for i, group in enumerate(groups) if group in shown for one in _series(group, _style(i), look)]
    if not any(len(one.points) > 1 for one in series):
        return ""
    xs = sorted({x for one in series for x, _ in one.points})
    low, high = (0.0, 1.0) if whole else figures.scale(along.extent(series))
    drawing = figures.lines(
        series,
        x_label="step",
        y_label=unit,
        x_ticks=along.ticks(xs),
        x_high=xs[-1],
        y_low=low,
        y_high=high,
        key=False,
    )
    note = f"<small>{esc(', '.join(group.label for group in shown))}</small>" if len(shown) < len(groups) else ""
    return f"<figure><figcaption>{caption}{note}</figcaption>{drawing}</figure>"


def _series(group: Group, style: str, look: Look) -> Iterator[figures.Series]:
    lines = [look(run) for run in group.runs]
    for run, points in zip(group.runs, lines, strict=True):
        if points:
            name = f"{group.label}, seed {run.manifest.seed}"
            yield figures.Series(
                name=name, style=style, points=points, thin=True, ring=at(points, run.progress.kept_step)
            )
    shared = common([line for line in lines if line])
    if shared:
        yield figures.Series(
            name=f"{group.label}, mean",
            style=style,
            points=[(step, sum(values) / len(values)) for step, values in shared],
            band=[(step, min(values), max(values)) for step, values in shared] if len(lines) > 1 else (),
        )


def _table(groups: Sequence[Group]) -> str:
    heads = ("Step 0", "Best step in hindsight<small>picked with labels</small>", "Kept step", "Last step", "Stop")
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    rows: list[str] = []
    for key in TABLE:
        metric = METRICS[key]
        body = "".join(_row(metric, group) for group in groups)
        if not body:
            continue
        rows.append(
            f'<tr class="group"><th colspan="{len(heads) + 1}" scope="colgroup"><span>{metric.label}</span></th></tr>'
        )
        rows.append(body)
    return (
        "<p>Means over the runs of a group; beneath them the lowest and the highest run, and the steps by order of "
        "seeds. The best step in hindsight is picked run by run with the gold answers of the evaluation, which no "
        "rule without labels can know; the kept step is picked without them.</p>"
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Group</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(metric: Metric, group: Group) -> str:
    lines = [run.metric(metric.key) for run in group.runs]
    if not any(lines):
        return ""
    pairs = list(zip(lines, group.runs, strict=True))
    cells = (
        _cell(metric, [at(line, 0.0) for line in lines], steps=False),
        _cell(metric, [best(metric, line) for line in lines], steps=True),
        _cell(metric, [at(line, run.progress.kept_step) for line, run in pairs], steps=True),
        _cell(metric, [at(line, run.curve[-1][0]) for line, run in pairs], steps=True),
        ", ".join(_stop(run) for run in group.runs),
    )
    head = f'<th scope="row">{esc(group.label)}<small>{_seeds(group)}</small></th>'
    return f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _cell(metric: Metric, found: Found, *, steps: bool) -> str:
    values = [point[1] for point in found if point is not None]
    if not values:
        return NOTHING
    shown = number(metric, sum(values) / len(values))
    if len(values) > 1:
        shown += f"<small>{number(metric, min(values))} to {number(metric, max(values))}</small>"
    if steps:
        named = ", ".join(NOTHING if point is None else f"{point[0]:g}" for point in found)
        shown += f"<small>{'step' if len(found) == 1 else 'steps'} {named}</small>"
    return shown


def _stop(run: Run) -> str:
    if run.progress.stop_reason is None:
        return NOTHING
    return "none" if run.progress.stop_step is None else str(run.progress.stop_step)


def _seeds(group: Group) -> str:
    seeds = ", ".join(str(run.manifest.seed) for run in group.runs)
    return f"{'seed' if len(group.runs) == 1 else 'seeds'} {seeds}"


def _runs(groups: Sequence[Group]) -> str:
    facts: Mapping[str, Callable[[Run], str]] = {
        "Seed": lambda run: str(run.manifest.seed),
        "Steps": lambda run: NOTHING if run.progress.last_step is None else f"{run.progress.last_step:,}",
        "Kept": lambda run: NOTHING if run.progress.kept_step is None else f"{run.progress.kept_step:,}",
        "Stop": _stop,
        "Labels in training": lambda run: "yes" if run.manifest.labels_used else "none",
    }
    rows = "".join(
        f'<tr><th scope="row">{esc(run.name)}<small>{esc(group.label)}</small></th>'
        f"{''.join(f'<td>{look(run)}</td>' for look in facts.values())}</tr>"
        for group in groups
        for run in group.runs
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in facts)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Folder</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
