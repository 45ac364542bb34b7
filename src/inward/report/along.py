"""Metrics against a number: the ratio of a mix, the step of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from inward.report import figures
from inward.report.metrics import get
from inward.types import Estimate

Metrics = Mapping[str, Estimate]

FIGURES = (
    ("Accuracy", "share of answers", (("greedy", "greedy_accuracy"), ("sampled", "sampled_accuracy"))),
    ("Several samples", "share of problems", (("pass@k", "pass_at_k"), ("majority", "majority_accuracy"))),
    ("Calibration error", "ECE", (("greedy", "ece"), ("sampled", "ece_sampled"))),
    ("Entropy of a token", "nats", (("entropy", "entropy"),)),
)
"""Caption, vertical axis, and the name and key of one or two metrics."""
TICK_SPACE = 1 / 12
"""Least distance of two labels under a figure, as a share of its width."""


def along(points: Sequence[tuple[float, Metrics]], x_label: str) -> str:
    """Draw accuracy, calibration and entropy against the first number of each point; nothing for fewer than two."""
    ordered = sorted(points, key=lambda point: point[0])
    if len(ordered) < 2:
        return ""
    drawn = [_figure(caption, unit, named, ordered, x_label) for caption, unit, named in FIGURES]
    return f'<div class="figures">{"".join(drawn)}</div>'


def _figure(
    caption: str, unit: str, named: Sequence[tuple[str, str]], ordered: Sequence[tuple[float, Metrics]], x_label: str
) -> str:
    series: list[figures.Series] = []
    for style, (name, key) in zip(("after", "before"), named, strict=False):
        points = [(ratio, one) for ratio, metrics in ordered if (one := get(metrics, key)) is not None]
        if points:
            series.append(
                figures.Series(
                    name=name,
                    style=style,
                    points=[(ratio, one.value) for ratio, one in points],
                    band=[(ratio, one.low, one.high) for ratio, one in points],
                )
            )
    if not series:
        return ""
    highest = max(high for one in series for _, _, high in one.band)
    drawing = figures.lines(
        series,
        x_label=x_label,
        y_label=unit,
        x_ticks=_ticks([ratio for ratio, _ in ordered]),
        x_high=ordered[-1][0],
        y_high=max(1, math.ceil(10 * highest)) / 10 if unit == "nats" else 1.0,
    )
    return f"<figure><figcaption>{caption}<small>with 95% intervals</small></figcaption>{drawing}</figure>"


def _ticks(ratios: Sequence[float]) -> list[float]:
    """Choose the ratios that can be labelled without their labels meeting; the first is among them."""
    ticks = [ratios[0]]
    for ratio in ratios[1:]:
        if ratio - ticks[-1] >= TICK_SPACE * (ratios[-1] - ratios[0]):
            ticks.append(ratio)
    return ticks
