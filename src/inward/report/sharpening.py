"""The section on sharpening: how the model's mass over its own answers and completions changed, right or wrong."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from inward.report import figures
from inward.report.along import estimated
from inward.report.data import Judged, RunData
from inward.report.derived import mean_of
from inward.report.markup import decimal
from inward.report.words import moved
from inward.types import Estimate, EvalItem

MAX_RANKS = 10
"""Ranks of answers that are drawn."""
QUANTILES = 100
"""Points of a cumulative curve."""

_STYLES = ("before", "after")


def sharpening(data: RunData) -> str:
    """Show sequence log-probabilities and the mass of ranked answers, before and after; empty without samples of both.

    The analysis is that of RLSC (arXiv 2506.06395), whose objective is the sum of squared probabilities.
    """
    if data.judged_before is None or data.judged_after is None:
        return ""
    pair = (data.judged_before, data.judged_after)
    sides = [_logprobs(one.items) for one in pair]
    if not all(whole for whole, _ in sides):
        return ""
    per_token = [of for _, of in sides]
    drawn = (
        _masses(pair),
        _cumulative("Log-probability of a sample", "all its tokens together", "nats", [whole for whole, _ in sides]),
        _cumulative("The same per token", "divided by the length", "nats per token", per_token),
    )
    return f'{_words(data, per_token)}<div class="figures">{"".join(drawn)}</div>'


def ranked_masses(items: Collection[EvalItem]) -> list[Estimate]:
    """Estimate the share of a problem's samples that give its most frequent answer, its second most, and so on.

    Each is a mean over the problems that have samples; a problem with fewer different answers has 0 beyond its last.
    Answers count in the form that equal answers share. Samples without an answer count in the total alone.
    """
    ranks: list[Counter[float]] = []
    problems = 0
    for item in items:
        counts = Counter(sample.canonical for sample in item.samples if sample.canonical is not None)
        problems += bool(item.samples)
        for rank, (_, count) in enumerate(counts.most_common()):
            if rank == len(ranks):
                ranks.append(Counter())
            ranks[rank][count / len(item.samples)] += 1
    return [mean_of({**shares, 0.0: problems - shares.total()}) for shares in ranks]


def cumulative(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return (value, share of all values that are at most it), at no more than `QUANTILES` places; the last has 1."""
    ordered = sorted(values)
    count = len(ordered)
    places = sorted({math.ceil(count * step / QUANTILES) for step in range(1, QUANTILES + 1)})
    return [(ordered[place - 1], place / count) for place in places]


def _logprobs(items: Iterable[EvalItem]) -> tuple[array[float], array[float]]:
    """Of the samples, and per token of those that have tokens: eight bytes each, as the curves need all of them."""
    whole, per_token = array("d"), array("d")
    for item in items:
        for sample in item.samples:
            whole.append(sample.logprob)
            if sample.length:
                per_token.append(sample.logprob / sample.length)
    return whole, per_token


def _words(data: RunData, per_token: Sequence[Sequence[float]]) -> str:
    sentences = [
        moved(data, "answer_collision", "Two samples give the same answer"),
        moved(data, "answer_entropy", "Entropy of the answers, nats"),
        moved(data, "sequence_collision", "Two samples are the same token by token"),
        moved(data, "sequence_logprob", "Log-probability of a sample, nats"),
        _per_token(per_token),
        moved(data, "pass_at_k", "Problems with at least one right sample (pass@k)"),
    ]
    return (
        "<p>Sharpening shows as mass that moves to rank 1: samples agree on the answer that was the most frequent "
        "already, right or wrong, and pass@k pays for it where the right answer stood at a lower rank.</p>"
        f"<p>{' '.join(filter(None, [*sentences, _otherwise_sampled(data)]))}</p>"
    )


def _per_token(sides: Sequence[Sequence[float]]) -> str:
    if not all(sides):
        return ""
    old, new = (sum(side) / len(side) for side in sides)
    return f"The same per token: <b>{decimal(old)} → {decimal(new)}</b>."


def _otherwise_sampled(data: RunData) -> str:
    """Say so where samples come from another distribution than the one their probability is taken under."""
    evaluation = data.manifest.settings.get("evaluation")
    if not isinstance(evaluation, dict):
        return ""
    temperature, top_p = (evaluation.get(name, 1.0) for name in ("temperature", "top_p"))
    if temperature == top_p == 1:
        return ""
    return (
        f"Samples were drawn at temperature {temperature:g} with top_p {top_p:g}, but probabilities are those at "
        "temperature 1, so the chance that two samples are the same token by token is not known."
    )


def _masses(pair: tuple[Judged, Judged]) -> str:
    ranks = [ranked_masses(one.items) for one in pair]
    most = min(MAX_RANKS, max(map(len, ranks)))
    if most < 2:
        return ""
    series = [
        estimated(style.capitalize(), style, [(float(rank), one) for rank, one in enumerate(side[:most], start=1)])
        for style, side in zip(_STYLES, ranks, strict=True)
        if side
    ]
    drawing = figures.lines(
        series,
        x_label="rank of the answer, 1 is the most frequent",
        y_label="share of samples",
        x_ticks=[float(rank) for rank in range(1, most + 1)],
        x_high=float(most),
    )
    return _figure("Mass of ranked answers", "mean over problems, with 95% intervals", drawing)


def _cumulative(caption: str, note: str, x_label: str, sides: Sequence[Sequence[float]]) -> str:
    if not all(sides):
        return ""
    series = [
        figures.Series(name=style.capitalize(), style=style, points=cumulative(side))
        for style, side in zip(_STYLES, sides, strict=True)
    ]
    # Turned over, since an axis that may begin at zero begins there, and none of these numbers is above it.
    near, far = figures.scale([-x for one in series for x, _ in one.points])
    low, high = -far, -near
    drawing = figures.lines(
        series,
        x_label=x_label,
        y_label="share of samples at or below",
        x_ticks=[low + (high - low) * step / 5 for step in range(6)],
        x_high=high,
    )
    return _figure(caption, note, drawing)


def _figure(caption: str, note: str, drawing: str) -> str:
    return f"<figure><figcaption>{caption}<small>{note}</small></figcaption>{drawing}</figure>"
