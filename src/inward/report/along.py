"""Metrics against a number: the ratio of a mix, the step of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inward.report import figures
from inward.report.metrics import get
from inward.report.progress import Progress
from inward.types import Estimate

Metrics = Mapping[str, Estimate]
Named = tuple[tuple[str, str], ...]
"""Name in the key of the figure, and name of the number."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one figure shows."""

    caption: str
    unit: str
    """The vertical axis."""
    judged: Named = ()
    """Metrics of the checkpoints."""
    monitored: Named = ()
    """Monitors of the training traces."""
    whole: bool = False
    """Whether the vertical axis is all of [0, 1]; else it follows the numbers."""


JUDGED = (
    Figure(
        caption="Greedy accuracy",
        unit="share of problems",
        judged=(("strict", "greedy_accuracy"), ("lenient", "greedy_accuracy_lenient")),
        whole=True,
    ),
    Figure(
        caption="Sampled accuracy",
        unit="share of answers",
        judged=(("strict", "sampled_accuracy"), ("lenient", "sampled_accuracy_lenient")),
        whole=True,
    ),
    Figure(
        caption="Several samples",
        unit="share of problems",
        judged=(("pass@k", "pass_at_k"), ("majority", "majority_accuracy")),
        whole=True,
    ),
    Figure(caption="Calibration error", unit="ECE", judged=(("greedy", "ece"), ("sampled", "ece_sampled"))),
    Figure(
        caption="Entropy of a token",
        unit="nats",
        judged=(("evaluation", "entropy"),),
        monitored=(("training", "entropy"),),
    ),
    Figure(
        caption="Length of a completion",
        unit="tokens",
        judged=(("evaluation", "length"),),
        monitored=(("training", "length"),),
    ),
)
SUPPORT = Figure(caption="Support by the start's votes", unit="share of votes")
MONITORED = (
    Figure(caption="Reward", unit="mean reward", monitored=(("reward", "reward"),)),
    Figure(
        caption="Agreement within a group",
        unit="share of traces",
        monitored=(("agreement", "agreement"), ("top answer of all", "top_answer_share")),
        whole=True,
    ),
    Figure(
        caption="Answered and cut off",
        unit="share of traces",
        monitored=(("answered", "answer_rate"), ("cut off", "truncated_rate")),
        whole=True,
    ),
    Figure(caption="KL to the start model", unit="nats per token", monitored=(("KL", "kl"),)),
    Figure(caption="vLLM against the trainer", unit="nats per token", monitored=(("mean", "engine_mismatch"),)),
    Figure(caption="Weight of vLLM's traces", unit="mean weight", monitored=(("weight", "engine_weight"),)),
    Figure(caption="Repetition", unit="share of 4-grams", monitored=(("repeated", "repetition"),)),
    Figure(caption="Transitional words", unit="share of words", monitored=(("but, wait, ...", "transitional_ratio"),)),
    Figure(caption="Weight that is alpha", unit="share of weight", monitored=(("alpha", "alpha_share"),), whole=True),
    Figure(caption="Weight before alpha", unit="mean over samples", monitored=(("weight", "weight_mean"),)),
    Figure(caption="Log-probability of a training sample", unit="nats", monitored=(("mean", "logprob_sum"),)),
)  # fmt: skip
TICK_SPACE = 1 / 12
"""Least distance of two labels under a figure, as a share of its width."""


def along(points: Sequence[tuple[float, Metrics]], x_label: str, progress: Progress | None = None) -> str:
    """Draw metrics against the first number of each point, and monitors against the step.

    Args:
        points: Metrics by ratio, or by step.
        x_label: Which of the two it is.
        progress: What training showed of itself; None where there is no training.

    Returns:
        The figures; empty where nothing has two points.
    """
    seen = progress or Progress()
    ordered = sorted(points, key=lambda point: point[0])
    xs = axis(ordered, seen)
    if len(xs) < 2:
        return ""
    judged = [_figure(figure, ordered if len(ordered) > 1 else (), seen, xs, x_label) for figure in JUDGED]
    watched = [_support(seen, xs, x_label), *(_figure(figure, (), seen, xs, x_label) for figure in MONITORED)]
    if len(ordered) < 2:
        judged, watched = [], [*judged, *watched]
    if not any(watched):
        return _grid(judged)
    heading = "<h3>Checkpoints, judged on problems with gold answers</h3>" if judged else ""
    return f"{_legend(seen)}{heading}{_grid(judged)}<h3>What training saw of itself</h3>{_grid(watched)}"


def axis(points: Sequence[tuple[float, Metrics]], seen: Progress) -> list[float]:
    """Return the places worth a label on the horizontal axis, the judged ones if there are any, and its two ends."""
    judged = [x for x, _ in points]
    probed = [step for step, _ in seen.support]
    monitored = [step for values in seen.monitors.values() for step, _ in values]
    everything = [*judged, *probed, *monitored]
    labelled = next((xs for xs in (judged, probed) if len(xs) > 1), monitored)
    return sorted({*labelled, min(everything), max(everything)}) if everything else []


def ticks(xs: Sequence[float]) -> list[float]:
    """Choose the ratios or steps that can be labelled without their labels meeting; the first is among them."""
    chosen = [xs[0]]
    for x in xs[1:]:
        if x - chosen[-1] >= TICK_SPACE * (xs[-1] - xs[0]):
            chosen.append(x)
    return chosen


def _grid(drawn: Sequence[str]) -> str:
    return f'<div class="figures">{"".join(drawn)}</div>' if any(drawn) else ""


def _legend(seen: Progress) -> str:
    marked = "The triangle on each axis is the step that was kept" if seen.kept_step is not None else ""
    if marked and seen.stop_step is not None:
        marked += ", the dashed upright line the one where the stop rule fired"
    return f"<p>{marked}.</p>" if marked else ""


def _figure(
    figure: Figure, ordered: Sequence[tuple[float, Metrics]], seen: Progress, xs: Sequence[float], x_label: str
) -> str:
    series: list[figures.Series] = []
    styles = iter(("after", "before"))
    for name, key in figure.judged:
        points = [(x, one) for x, metrics in ordered if (one := get(metrics, key)) is not None]
        if points:
            series.append(estimated(name, next(styles), points))
    for name, key in figure.monitored:
        if len(seen.monitors.get(key, ())) > 1:
            series.append(figures.Series(name=name, style=next(styles), points=seen.monitors[key]))
    return _drawn(figure, series, seen, xs, x_label)


def _support(seen: Progress, xs: Sequence[float], x_label: str) -> str:
    if len(seen.support) < 2:
        return ""
    return _drawn(SUPPORT, [estimated("support", "after", seen.support)], seen, xs, x_label)


def estimated(name: str, style: str, points: Sequence[tuple[float, Estimate]]) -> figures.Series:
    """Make a line with its intervals, where all are known."""
    band = [(x, one.low, one.high) for x, one in points]
    known = all(math.isfinite(low) and math.isfinite(high) for _, low, high in band)
    return figures.Series(
        name=name, style=style, points=[(x, one.value) for x, one in points], band=band if known else ()
    )


def _drawn(figure: Figure, series: Sequence[figures.Series], seen: Progress, xs: Sequence[float], x_label: str) -> str:
    if not series:
        return ""
    low, high = (0.0, 1.0) if figure.whole else figures.scale(extent(series))
    drawing = figures.lines(
        series,
        x_label=x_label,
        y_label=figure.unit,
        x_ticks=ticks(xs),
        x_high=xs[-1],
        y_low=low,
        y_high=high,
        marks=figures.Marks(kept=seen.kept_step, stop=seen.stop_step),
    )
    note = "<small>with 95% intervals</small>" if any(one.band for one in series) else ""
    return f"<figure><figcaption>{figure.caption}{note}</figcaption>{drawing}</figure>"


def extent(series: Sequence[figures.Series]) -> list[float]:
    """Return every height that the lines and their bands reach."""
    heights = [y for one in series for _, y in one.points]
    return heights + [y for one in series for _, low, high in one.band for y in (low, high)]
