"""Figures as inline SVG: pure functions from numbers to text; colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inward.report.markup import counted, decimal, esc
from inward.types import CalibrationReport, Estimate

WIDTH = 420.0
"""Width of a figure in its own units; it scales with the page."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plotting area: where it lies in the figure and which values it spans."""

    left: float = 48.0
    top: float = 12.0
    width: float = 360.0
    height: float = 260.0
    x_low: float = 0.0
    x_high: float = 1.0
    y_low: float = 0.0
    y_high: float = 1.0

    def x(self, value: float) -> float:
        """Horizontal position of a value."""
        return self.left + self.width * (value - self.x_low) / (self.x_high - self.x_low)

    def y(self, value: float) -> float:
        """Vertical position of a value; larger values lie higher."""
        return self.top + self.height * (self.y_high - value) / (self.y_high - self.y_low)

    @property
    def bottom(self) -> float:
        """Vertical position of the horizontal axis."""
        return self.top + self.height


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart, in the colour of its style class."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    """(x, low, high) at every point; empty where there are no intervals."""


def histogram(values: Iterable[float], low: float, high: float, bins: int) -> list[int]:
    """Count in equal-width bins over [low, high]; the last one holds `high`, values outside are clamped."""
    counts = [0] * bins
    for value in values:
        if math.isfinite(value):
            counts[min(bins - 1, max(0, int((value - low) / (high - low) * bins)))] += 1
    return counts


def reliability(report: CalibrationReport) -> str:
    """Draw accuracy against confidence, bin by bin, the gap between them hatched, with the counts beneath."""
    plot = Plot(height=280.0)
    strip = Plot(top=plot.bottom + 42, height=48.0)
    most = max((bin_.count for bin_ in report.bins), default=0) or 1
    parts = [_grid(plot, y_label="accuracy"), _x_axis(plot, "")]
    for bin_ in report.bins:
        left, width = plot.x(bin_.low) + 1, plot.x(bin_.high) - plot.x(bin_.low) - 2
        if bin_.count:
            parts.append(_reliability_bin(plot, left, width, bin_.confidence, bin_.accuracy, bin_.count))
            height = strip.height * bin_.count / most
            parts.append(_rect("count", left, strip.bottom - height, width, height))
            parts.append(_text(left + width / 2, strip.bottom - height - 4, f"{bin_.count:,}", "small mid"))
    parts.append(_line("diagonal", plot.x(0.0), plot.y(0.0), plot.x(1.0), plot.y(1.0)))
    parts.append(_line("axis", strip.left, strip.bottom, strip.left + strip.width, strip.bottom))
    parts.append(_text(strip.left + strip.width / 2, strip.bottom + 18, "confidence, and how many answers", "mid"))
    label = f"Reliability diagram of {report.answers} answers, ECE {decimal(report.ece.value)}"
    return _svg(strip.bottom + 26, label, parts)


def _reliability_bin(plot: Plot, left: float, width: float, confidence: float, accuracy: float, count: int) -> str:
    low, high = sorted((confidence, accuracy))
    kind, word = ("over", "too sure") if confidence > accuracy else ("under", "not sure enough")
    about = (
        f"{counted(count, 'answer')}: mean confidence {decimal(confidence)}, accuracy {decimal(accuracy)}; "
        f"{word} by {decimal(high - low)}"
    )
    accuracy_bar = _rect("accuracy", left, plot.y(accuracy), width, plot.bottom - plot.y(accuracy))
    gap_bar = _rect(kind, left, plot.y(high), width, plot.y(low) - plot.y(high))
    return f"<g><title>{about}</title>{accuracy_bar}{gap_bar}</g>"


def mirrored(
    up: Sequence[float],
    down: Sequence[float],
    *,
    names: tuple[str, str],
    peak: float,
    low: float = 0.0,
    high: float = 1.0,
    bins: int = 20,
) -> str:
    """Draw two histograms back to back over [low, high].

    Args:
        up: Confidences counted upwards.
        down: Confidences counted downwards.
        names: What the two are.
        peak: Share of both together at which the vertical scale ends.
        low: Left end of the horizontal scale.
        high: Right end.
        bins: Number of bars each way.
    """
    total = len(up) + len(down) or 1
    plot = Plot(height=220.0, x_low=low, x_high=high, y_low=-peak, y_high=peak)
    parts: list[str] = []
    for tick in (-peak, -peak / 2, 0.0, peak / 2, peak):
        parts.append(_line("grid", plot.left, plot.y(tick), plot.left + plot.width, plot.y(tick)))
        parts.append(_text(plot.left - 6, plot.y(tick) + 4, f"{abs(tick):.0%}", "end"))
    step = (high - low) / bins
    for style, name, values, sign in (("right", names[0], up, 1), ("wrong", names[1], down, -1)):
        for index, count in enumerate(histogram(values, low, high, bins)):
            if count:
                start, share = low + index * step, count / total
                title = f"<title>{share:.1%} are {name} with confidence {start:.2f} to {start + step:.2f}</title>"
                top, height = plot.y(max(0.0, sign * share)), share / (2 * peak) * plot.height
                bar = _rect(style, plot.x(start) + 0.75, top, plot.width / bins - 1.5, height)
                parts.append(f"<g>{title}{bar}</g>")
        edge = plot.top + 16 if sign > 0 else plot.bottom - 8
        parts.append(_text(plot.left + 8, edge, f"{name}: {len(values):,}", "strong"))
    parts.append(_line("axis", plot.left, plot.y(0.0), plot.left + plot.width, plot.y(0.0)))
    parts.append(_x_axis(plot, "confidence", _fifths(low, high)))
    label = f"Confidence of {len(up)} {names[0]} and {len(down)} {names[1]} ones"
    return _svg(plot.bottom + 42, label, parts)


def lines(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[float],
    x_high: float,
    y_high: float = 1.0,
) -> str:
    """Draw lines from the first of `x_ticks` to `x_high` and from 0 to `y_high`, with bands and a key at the top."""
    plot = Plot(top=32.0, x_low=x_ticks[0], x_high=x_high, y_high=y_high)
    parts = [_grid(plot, y_label=y_label), _x_axis(plot, x_label, x_ticks)]
    for index, one in enumerate(series):
        key_x = plot.left + index * 110
        parts.append(_line(f"curve {one.style}", key_x, 14.0, key_x + 24, 14.0))
        parts.append(_text(key_x + 30, 18.0, esc(one.name), "strong"))
        if one.band:
            edge = [(x, top) for x, _, top in one.band] + [(x, bottom) for x, bottom, _ in reversed(one.band)]
            parts.append(f'<polygon class="band {one.style}" points="{_points(plot, edge)}"/>')
        parts.append(f'<polyline class="curve {one.style}" points="{_points(plot, one.points)}"/>')
        if len(one.points) <= 40:
            for x, y in one.points:
                parts.append(
                    f"<g><title>{esc(one.name)}: {_short(x)}, {decimal(y)}</title>"
                    f'<circle class="dot {one.style}" cx="{_n(plot.x(x))}" cy="{_n(plot.y(y))}" r="3.5"/></g>'
                )
    return _svg(plot.bottom + 42, f"{y_label} against {x_label}", parts)


def bars(counts: Sequence[int], low: float, high: float, *, x_label: str) -> str:
    """Draw `counts` over equal-width bins between `low` and `high`."""
    most = max(counts, default=0) or 1
    plot = Plot(height=150.0, x_low=low, x_high=high, y_high=float(most))
    step = (high - low) / len(counts)
    parts = [_line("axis", plot.left, plot.bottom, plot.left + plot.width, plot.bottom)]
    parts.append(_text(plot.left - 6, plot.top + 8, f"{most:,}", "end"))
    for index, count in enumerate(counts):
        start = low + index * step
        title = f"<title>{counted(count, 'trace')}: {start:.2f} to {start + step:.2f}</title>"
        bar = _rect(
            "count",
            plot.x(start) + 0.75,
            plot.y(float(count)),
            plot.width / len(counts) - 1.5,
            plot.bottom - plot.y(float(count)),
        )
        parts.append(f"<g>{title}{bar}</g>")
    parts.append(_x_axis(plot, x_label, _fifths(low, high)))
    return _svg(plot.bottom + 42, f"Histogram of {x_label}", parts)


def ranges(estimates: Sequence[tuple[str, Estimate]], *, low: float = 0.0, high: float = 1.0) -> str:
    """Draw numbers with their intervals on one scale: (style, number) from top to bottom."""
    left, width, step = 8.0, 244.0, 13.0
    base = 6 + step * len(estimates)

    def place(value: float) -> float:
        return left + width * (min(high, max(low, value)) - low) / (high - low)

    parts = [_line("axis", left, base, left + width, base)]
    for tick in (low, (low + high) / 2, high):
        parts.append(_line("axis", place(tick), base, place(tick), base + 4))
        parts.append(_text(place(tick), base + 16, decimal(tick, 0 if tick in (0, 1) else 1), "small mid"))
    for index, (style, one) in enumerate(estimates):
        y = 5 + step * index
        if math.isfinite(one.low) and math.isfinite(one.high):
            parts.append(_line(f"whisker {style}", place(one.low), y, place(one.high), y))
        parts.append(f'<circle class="dot {style}" cx="{_n(place(one.value))}" cy="{_n(y)}" r="4.5"/>')
    return _svg(base + 20, "Values with 95% intervals", parts, width=260.0)


def _grid(plot: Plot, *, y_label: str) -> str:
    parts: list[str] = []
    for step in range(6):
        value = plot.y_low + (plot.y_high - plot.y_low) * step / 5
        parts.append(_line("grid", plot.left, plot.y(value), plot.left + plot.width, plot.y(value)))
        parts.append(_text(plot.left - 6, plot.y(value) + 4, _short(value), "end"))
    middle = plot.top + plot.height / 2
    parts.append(f'<text class="mid" transform="translate(13 {_n(middle)}) rotate(-90)">{esc(y_label)}</text>')
    return "".join(parts)


def _x_axis(plot: Plot, label: str, ticks: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)) -> str:
    parts = [_line("axis", plot.left, plot.bottom, plot.left + plot.width, plot.bottom)]
    for tick in ticks:
        parts.append(_text(plot.x(tick), plot.bottom + 17, _short(tick), "mid"))
    parts.append(_text(plot.left + plot.width / 2, plot.bottom + 36, esc(label), "mid"))
    return "".join(parts)


def _fifths(low: float, high: float) -> list[float]:
    return [low + (high - low) * step / 5 for step in range(6)]


def _short(value: float) -> str:
    return _n(value).replace("-", "−")


def _n(value: float) -> str:
    """Write a number with at most two decimals."""
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


def _points(plot: Plot, points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_n(plot.x(x))},{_n(plot.y(y))}" for x, y in points)


def _rect(style: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{style}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"/>'


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{_n(x)}" y="{_n(y)}">{text}</text>'


def _svg(height: float, label: str, parts: Sequence[str], *, width: float = WIDTH) -> str:
    head = f'<svg viewBox="0 0 {_n(width)} {_n(height)}" role="img" aria-label="{esc(label)}">'
    return head + "".join(parts) + "</svg>"
