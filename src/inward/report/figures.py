"""Figures as inline SVG: pure functions from numbers to text; colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from inward.report.markup import counted, decimal, esc, significant
from inward.report.tally import Histogram
from inward.types import CalibrationReport, Estimate

WIDTH = 420.0
"""Width of a figure in its own units; it scales with the page."""
MAX_DOTS = 24
"""Points of a line from which on they are not marked one by one."""


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
    thin: bool = False
    """Without dots: one of several lines of a kind."""
    ring: tuple[float, float] | None = None
    """A point to put a ring around."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Steps to point out in a chart over steps; None where there is nothing to point out."""

    kept: int | None = None
    stop: int | None = None


def reliability(report: CalibrationReport, picks: Sequence[str] = ()) -> str:
    """Draw accuracy against confidence, bin by bin, the gap between them hatched, with the counts beneath.

    Args:
        report: What to draw.
        picks: What each bin picks in the trace explorer; empty where there is none.
    """
    plot = Plot(height=280.0)
    strip = Plot(top=plot.bottom + 42, height=48.0)
    most = max((bin_.count for bin_ in report.bins), default=0) or 1
    parts = [_grid(plot, y_label="accuracy"), _x_axis(plot, "")]
    for index, bin_ in enumerate(report.bins):
        left, width = plot.x(bin_.low) + 1, plot.x(bin_.high) - plot.x(bin_.low) - 2
        if bin_.count:
            height = strip.height * bin_.count / most
            drawn = _reliability_bin(plot, left, width, bin_.confidence, bin_.accuracy, bin_.count)
            drawn += _rect("count", left, strip.bottom - height, width, height)
            drawn += _text(left + width / 2, strip.bottom - height - 4, f"{bin_.count:,}", "small mid")
            whole = _rect("hit", left, plot.top, width, strip.bottom - plot.top)
            parts.append(_picking(drawn, picks[index], whole) if picks else f"<g>{drawn}</g>")
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
    return f"<title>{about}</title>{accuracy_bar}{gap_bar}"


def _picking(drawn: str, pick: str, whole: str) -> str:
    """Group what stands for some traces, with an area to click that is as high as the figure."""
    return f'<g data-pick="{esc(pick)}">{drawn}{whole}</g>'


def mirrored(
    up: Histogram,
    down: Histogram,
    *,
    names: tuple[str, str],
    peak: float,
    picks: tuple[Sequence[str], Sequence[str]] | None = None,
) -> str:
    """Draw two histograms back to back.

    Args:
        up: Confidences counted upwards.
        down: Confidences counted downwards, over the same bins.
        names: What the two are.
        peak: Share of both together at which the vertical scale ends.
        picks: What each bar picks in the trace explorer, upwards and downwards; None where there is none.
    """
    low, high, bins = up.low, up.high, len(up.counts)
    total = up.total + down.total or 1
    plot = Plot(height=220.0, x_low=low, x_high=high, y_low=-peak, y_high=peak)
    parts: list[str] = []
    for tick in (-peak, -peak / 2, 0.0, peak / 2, peak):
        parts.append(_line("grid", plot.left, plot.y(tick), plot.left + plot.width, plot.y(tick)))
        parts.append(_text(plot.left - 6, plot.y(tick) + 4, f"{abs(tick):.0%}", "end"))
    step = (high - low) / bins
    for side, (style, name, counted_, sign) in enumerate((("right", names[0], up, 1), ("wrong", names[1], down, -1))):
        for index, count in enumerate(counted_.counts):
            if count:
                start, share = low + index * step, count / total
                title = f"<title>{share:.1%} are {name} with confidence {start:.2f} to {start + step:.2f}</title>"
                top, height = plot.y(max(0.0, sign * share)), share / (2 * peak) * plot.height
                bar = _rect(style, plot.x(start) + 0.75, top, plot.width / bins - 1.5, height)
                half = plot.top if sign > 0 else plot.y(0.0)
                whole = _rect("hit", plot.x(start) + 0.75, half, plot.width / bins - 1.5, plot.height / 2)
                parts.append(_picking(title + bar, picks[side][index], whole) if picks else f"<g>{title}{bar}</g>")
        edge = plot.top + 16 if sign > 0 else plot.bottom - 8
        parts.append(_text(plot.left + 8, edge, f"{name}: {counted_.total:,}", "strong"))
    parts.append(_line("axis", plot.left, plot.y(0.0), plot.left + plot.width, plot.y(0.0)))
    parts.append(_x_axis(plot, "confidence", _fifths(low, high)))
    label = f"Confidence of {up.total} {names[0]} and {down.total} {names[1]} ones"
    return _svg(plot.bottom + 42, label, parts)


def scale(values: Iterable[float]) -> tuple[float, float]:
    """Choose the ends of an axis of five equal steps of 1, 2, 2.5 or 5 times a power of ten that holds all values.

    It begins at zero where the values would still fill at least half of it.
    """
    known = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    if low == high:
        low, high = (low - abs(low) / 10, high + abs(high) / 10) if low else (0.0, 1.0)
    if 0 <= low <= high / 2:
        low = 0.0
    power = math.floor(math.log10((high - low) / 5))
    for step in (factor * 10.0**exponent for exponent in (power, power + 1) for factor in (1, 2, 2.5, 5)):
        start = math.floor(low / step + 1e-9)
        if (start + 5) * step >= high - 1e-9 * step:
            return start * step, (start + 5) * step
    raise AssertionError("ten times the power is always enough")


def lines(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[float],
    x_high: float,
    y_high: float = 1.0,
    y_low: float = 0.0,
    marks: Marks | None = None,
    key: bool = True,
) -> str:
    """Draw lines from the first of `x_ticks` to `x_high` and from `y_low` to `y_high`, with bands.

    Args:
        series: The lines; those that come later lie above.
        x_label: What is below.
        y_label: What is on the left.
        x_ticks: Where the horizontal axis is labelled.
        x_high: Right end.
        y_high: Upper end.
        y_low: Lower end.
        marks: Steps to point out.
        key: Whether the names of the lines stand above them.
    """
    widest = max(len(_tick(value, y_high - y_low)) for value in _fifths(y_low, y_high))
    left = max(48.0, 25 + 7.5 * widest)
    top = 32.0 if key else 16.0
    plot = Plot(top=top, left=left, width=408 - left, x_low=x_ticks[0], x_high=x_high, y_low=y_low, y_high=y_high)
    parts = [_grid(plot, y_label=y_label), _x_axis(plot, x_label, x_ticks)]
    rules, words = _marks(plot, marks or Marks())
    parts.extend(rules)
    key_x = plot.left
    for one in series if key else ():
        parts.append(_line(f"curve {one.style}", key_x, 14.0, key_x + 24, 14.0))
        parts.append(_text(key_x + 30, 18.0, esc(one.name), "strong"))
        key_x += max(110.0, 50 + 7.5 * len(one.name))
    for one in series:
        parts.extend(_curve(plot, one))
    parts.extend(words)
    return _svg(plot.bottom + 42, f"{y_label} against {x_label}", parts)


def _curve(plot: Plot, one: Series) -> Iterator[str]:
    if one.band:
        edge = [(x, top) for x, _, top in one.band] + [(x, bottom) for x, bottom, _ in reversed(one.band)]
        yield f'<polygon class="band {one.style}" points="{_points(plot, edge)}"/>'
    line = f'<polyline class="curve {one.style}{" thin" if one.thin else ""}" points="{_points(plot, one.points)}"/>'
    yield f"<g><title>{esc(one.name)}</title>{line}</g>" if one.thin else line
    if not one.thin and len(one.points) <= MAX_DOTS:
        for x, y in one.points:
            yield (
                f"<g><title>{esc(one.name)}: {_short(x)}, {significant(y)}</title>"
                f'<circle class="dot {one.style}" cx="{_n(plot.x(x))}" cy="{_n(plot.y(y))}" r="3.5"/></g>'
            )
    if one.ring is not None:
        x, y = one.ring
        yield (
            f"<g><title>{esc(one.name)}: kept step {_short(x)}, {decimal(y)}</title>"
            f'<circle class="ring {one.style}" cx="{_n(plot.x(x))}" cy="{_n(plot.y(y))}" r="5"/></g>'
        )


def _marks(plot: Plot, marks: Marks) -> tuple[list[str], list[str]]:
    """A rule where training should have stopped, a triangle on the axis at the step that was kept; and their words."""
    shapes: list[str] = []
    words: list[str] = []
    if marks.stop is not None:
        x = plot.x(float(marks.stop))
        rule = _line("stop", x, plot.top, x, plot.bottom)
        shapes.append(f"<g><title>the stop rule fired at step {marks.stop}</title>{rule}</g>")
        words.append(_beside(plot, x, plot.top + 13, "stop"))
    if marks.kept is not None:
        x = plot.x(float(marks.kept))
        corners = " ".join(f"{_n(x + dx)},{_n(plot.bottom + dy)}" for dx, dy in ((-6, -10), (6, -10), (0, 0)))
        triangle = f'<polygon class="kept" points="{corners}"/>'
        shapes.append(f"<g><title>kept: step {marks.kept}</title>{triangle}</g>")
        words.append(_beside(plot, x, plot.bottom - 5, "kept"))
    return shapes, words


def _beside(plot: Plot, x: float, y: float, word: str) -> str:
    """Write a word to the side of x where there is more room."""
    right = x < plot.left + plot.width / 2
    return _text(x + (9 if right else -9), y, word, "mark strong" if right else "mark strong end")


def bars(shown: Histogram, *, x_label: str, noun: str = "trace") -> str:
    """Draw a histogram; `noun` is what it counts."""
    counts, low, high = shown.counts, shown.low, shown.high
    most = max(counts, default=0) or 1
    plot = Plot(height=150.0, x_low=low, x_high=high, y_high=float(most))
    step = (high - low) / len(counts)
    parts = [_line("axis", plot.left, plot.bottom, plot.left + plot.width, plot.bottom)]
    parts.append(_text(plot.left - 6, plot.top + 8, f"{most:,}", "end"))
    for index, count in enumerate(counts):
        start = low + index * step
        title = f"<title>{counted(count, noun)}: {start:.2f} to {start + step:.2f}</title>"
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
        parts.append(_text(plot.left - 6, plot.y(value) + 4, _tick(value, plot.y_high - plot.y_low), "end"))
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


def _tick(value: float, span: float) -> str:
    """Write a label of an axis of five steps with the decimals that its steps need."""
    if span < 1e-3:
        return (f"{value:.1e}" if value else "0").replace("-", "−")
    places = max(2, 2 - math.floor(math.log10(span)))
    shown = f"{round(value, places) + 0.0:,.{places}f}".rstrip("0").rstrip(".")
    return shown.replace("-", "−")


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
