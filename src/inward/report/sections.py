"""The sections of the page below the table of metrics: texts of HTML, empty where there is nothing to show."""

from __future__ import annotations

import json
import math

from inward.report import examples, explorer, figures
from inward.report.data import Judged, RunData
from inward.report.derived import TrainingFacts, accuracy_by_rank, by_outcome
from inward.report.markup import counted, decimal, duration, esc, percent
from inward.report.metrics import get
from inward.report.tally import Histogram
from inward.report.words import advice, cost, loading
from inward.types import Artifact, CalibrationReport, Outcome

_RIGHT, _WRONG = (Outcome.CORRECT,), (Outcome.INCORRECT, Outcome.NO_ANSWER)
_GRADED = _RIGHT + _WRONG
_RELIABILITY_KEY = "".join(
    f'<span><svg viewBox="0 0 18 12"><rect class="{style}" x="1" y="1" width="16" height="10"/></svg>{name}</span>'
    for style, name in (
        ("accuracy", "accuracy"),
        ("over", "too sure"),
        ("under", "not sure enough"),
        ("count", "answers in the bin"),
    )
)


def calibration(data: RunData) -> str:
    """Show reliability, confidence of right and wrong answers, accuracy by rank, risk against coverage.

    Nothing where no confidence is known, as of completions that were made elsewhere.
    """
    judged = [(name, one) for name, one in _judged(data) if get(one.report.metrics, "confidence")]
    if not judged:
        return ""
    greedy = _reliability(judged, "greedy")
    sampled = _reliability(judged, "sampled")
    parts = [
        "<p>Confidence here is the mean probability of the answer's tokens. Where a bar ends on the dashed line, "
        "answers given with that confidence are right as often as it says.</p>",
        "<h3>Greedy answers: is the confidence right?</h3>",
        f'<div class="figures">{greedy}</div><p class="key">{_RELIABILITY_KEY}</p>',
    ]
    if sampled:
        parts.append(
            '<details class="fold"><summary>The same for sampled answers</summary>'
            f'<div class="figures">{sampled}</div></details>'
        )
    parts.append("<h3>How sure it is of right and of wrong greedy answers</h3>")
    parts.append(f'<div class="figures">{_right_and_wrong(judged)}</div>')
    parts.append("<h3>Do surer answers deserve more trust?</h3>")
    parts.append(f'<div class="figures">{_by_rank(judged)}{_risk_coverage(judged)}</div>')
    return "".join(parts)


def price(data: RunData) -> str:
    """Say what the gain was paid with."""
    return "".join(f"<p>{paragraph}</p>" for paragraph in cost(data))


def training(data: RunData) -> str:
    """Show the training traces and pairs at a glance."""
    facts = data.training
    if facts is None or not facts.traces:
        return ""
    tiles = [
        (f"{facts.prompts:,}", "prompts, without answers" if not data.manifest.labels_used else "prompts"),
        (f"{facts.traces:,}", "traces"),
        (
            f"{facts.without_span:,}",
            f"traces without an answer ({percent(facts.without_span / facts.traces)})",
        ),
    ]
    if facts.pairs:
        tiles += [
            (f"{facts.pairs:,}", "preference pairs"),
            (
                f"{facts.prompts_with_pairs:,}",
                f"prompts that gave pairs ({percent(facts.prompts_with_pairs / facts.prompts)})",
            ),
            (percent(facts.same_answer / facts.pairs), "of pairs: both traces give the same answer"),
        ]
    shown = "".join(f"<p><b>{value}</b>{about}</p>" for value, about in tiles)
    return f'<div class="tiles">{shown}</div><div class="figures">{_confidences(facts)}</div>'


def traces(data: RunData) -> str:
    """Show some traces to read."""
    judged = _judged(data)
    parts: list[str] = []
    if judged:
        ids = [*dict.fromkeys([*judged[0][1].groups, *judged[-1][1].groups])]
        boxes = "".join(examples.evaluated(judged, ids))
        parts.append(f"<h3>Greedy answers to {counted(len(ids), 'problem')} of the evaluation</h3>{boxes}")
    if data.training is not None and data.training_examples:
        boxes = "".join(examples.trained(data.training_examples, data.training.roles))
        parts.append(f"<h3>{'What training preferred' if data.training.pairs else 'Training traces'}</h3>{boxes}")
    if not parts:
        return ""
    return f"<p>{examples.LEGEND} Shown are the first few of every kind, picked by rule and not by hand.</p>" + "".join(
        parts
    )


def run(data: RunData) -> str:
    """Say what was run, on what, and how long it took."""
    manifest = data.manifest
    rows = [
        ("Method", manifest.method),
        ("Recipe", manifest.recipe),
        ("Start model", _artifact(manifest.start)),
        ("Training set", _artifact(manifest.data)),
        ("Evaluation set", _artifact(manifest.evaluation)),
        ("Labels in training", "yes" if manifest.labels_used else "none"),
        ("Seed", str(manifest.seed)),
        ("Created", manifest.created),
    ]
    counts = [(name.replace("_", " ").capitalize(), f"{count:,}") for name, count in data.counts.items()]
    system = ({"inward": manifest.inward} | manifest.versions | manifest.hardware).items()
    columns = "".join(f"<div>{_definitions(part)}</div>" for part in (rows, [*counts, *system]))
    settings = esc(json.dumps(manifest.settings, indent=2, ensure_ascii=False, default=str))
    return (
        f'<div class="figures">{columns}</div>{_stages(data)}<details class="fold">'
        f"<summary>All settings, as resolved</summary><pre>{settings}</pre></details>"
    )


def next_steps(data: RunData) -> str:
    """Give advice from the numbers, and say how to load the checkpoint."""
    items = "".join(f"<li><b>{title}</b>{sentence}</li>" for title, sentence in advice(data))
    load = ""
    if data.checkpoint:
        load = f"<h3>Load the trained model</h3><pre>{loading(data.checkpoint)}</pre>"
    return (f'<ol class="advice">{items}</ol>' if items else "") + load


def _judged(data: RunData) -> list[tuple[str, Judged]]:
    both = (("Before", data.judged_before), ("After", data.judged_after))
    found = [(heading, one) for heading, one in both if one is not None]
    return found if len(found) == 2 else [("The model", one) for _, one in found]


def _style(index: int, judged: list[tuple[str, Judged]]) -> str:
    return "before" if index == 0 and len(judged) == 2 else "after"


def _report(judged: Judged, answers: str) -> CalibrationReport | None:
    return next(
        (
            report
            for report in judged.report.calibration
            if report.answers == answers and report.measure == "answer_probability"
        ),
        None,
    )


def _figure(caption: str, note: str, drawing: str) -> str:
    return f"<figure><figcaption>{caption}<small>{note}</small></figcaption>{drawing}</figure>"


def _reliability(judged: list[tuple[str, Judged]], answers: str) -> str:
    found = [(heading, _report(one, answers)) for heading, one in judged]
    return "".join(
        _figure(heading, f"ECE {decimal(report.ece.value)}", figures.reliability(report, _bin_picks(heading, report)))
        for heading, report in found
        if report is not None
    )


def _bin_picks(heading: str, report: CalibrationReport) -> list[str]:
    """A bin holds its upper end, and the first one its lower end too."""
    intervals = [f"{'(' if bin_.low else '['}{bin_.low:g},{bin_.high:g}]" for bin_ in report.bins]
    return [explorer.pick(int(heading == "After"), report.answers, _GRADED, interval) for interval in intervals]


def _bar_picks(heading: str, outcomes: tuple[Outcome, ...], bins: int = 20) -> list[str]:
    """A bar holds its lower end, and the last one its upper end too."""
    side = int(heading == "After")
    ends = [f"{index / bins:g},{(index + 1) / bins:g}" for index in range(bins)]
    return [explorer.pick(side, "greedy", outcomes, f"[{end}{']' if end.endswith(',1') else ')'}") for end in ends]


def _right_and_wrong(judged: list[tuple[str, Judged]]) -> str:
    split = [(heading, by_outcome(item.greedy for item in one.items)) for heading, one in judged]
    peak = max(_peak(right, wrong) for _, (right, wrong) in split)
    return "".join(
        _figure(
            heading,
            "share of answers",
            figures.mirrored(
                right,
                wrong,
                names=("right", "wrong"),
                peak=peak,
                picks=(_bar_picks(heading, _RIGHT), _bar_picks(heading, _WRONG)),
            ),
        )
        for heading, (right, wrong) in split
    )


def _peak(up: Histogram, down: Histogram) -> float:
    """Return the largest share in a bar of a mirrored histogram, rounded up to a tenth."""
    return max(1, math.ceil(10 * max(*up.counts, *down.counts) / max(1, up.total + down.total))) / 10


def _by_rank(judged: list[tuple[str, Judged]]) -> str:
    series: list[figures.Series] = []
    for index, (heading, one) in enumerate(judged):
        ranks = list(enumerate(accuracy_by_rank(one.items), start=1))
        if len(ranks) > 1:
            series.append(
                figures.Series(
                    name=heading,
                    style=_style(index, judged),
                    points=[(float(rank), one.value) for rank, one in ranks],
                    band=[(float(rank), one.low, one.high) for rank, one in ranks],
                )
            )
    if not series:
        return ""
    longest = max(len(one.points) for one in series)
    ticks = [float(rank) for rank in range(1, longest + 1, max(1, math.ceil(longest / 12)))]
    drawing = figures.lines(
        series,
        x_label="rank by confidence, 1 is surest",
        y_label="accuracy",
        x_ticks=ticks,
        x_high=float(longest),
    )
    return _figure("Accuracy by confidence rank", "samples, by answer disparity", drawing)


def _risk_coverage(judged: list[tuple[str, Judged]]) -> str:
    series: list[figures.Series] = []
    for index, (heading, one) in enumerate(judged):
        report = _report(one, "greedy")
        if report is not None and report.risk_coverage:
            points = [(point.coverage, point.risk) for point in report.risk_coverage]
            series.append(figures.Series(name=heading, style=_style(index, judged), points=points))
    if not series:
        return ""
    drawing = figures.lines(
        series, x_label="share of answers kept, surest first", y_label="share of them wrong",
        x_ticks=(0.0, 0.25, 0.5, 0.75, 1.0), x_high=1.0,
    )  # fmt: skip
    return _figure("Risk and coverage", "greedy answers, by answer probability", drawing)


def _confidences(facts: TrainingFacts) -> str:
    drawing = figures.bars(facts.confidences, x_label="confidence")
    shown = _figure("All training traces", esc(facts.measure), drawing)
    if facts.pairs:
        peak = _peak(facts.chosen, facts.rejected)
        drawing = figures.mirrored(facts.chosen, facts.rejected, names=("chosen", "rejected"), peak=peak)
        shown += _figure("Chosen and rejected", "share of these traces", drawing)
    return shown


def _artifact(artifact: Artifact | None) -> str:
    if artifact is None:
        return "none"
    records = "" if artifact.num_records is None else f", {artifact.num_records:,} records"
    return f"{artifact.name}{records}, sha256 {artifact.sha256[:12]}"


def _definitions(rows: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in rows) + "</dl>"


def _stages(data: RunData) -> str:
    if not data.seconds:
        return ""
    longest = max(data.seconds.values()) or 1.0
    bars = "".join(
        f'<span>{esc(stage)}</span><span class="bar" style="width:{100 * seconds / longest:.1f}%"></span>'
        f"<span>{duration(seconds)}</span>"
        for stage, seconds in data.seconds.items()
    )
    total = duration(sum(data.seconds.values()))
    return f'<h3>Time: {total}</h3><div class="stages">{bars}</div>'
