"""How well a confidence tells right answers from wrong ones: ECE, Brier, AUROC, bins, risk-coverage.

N answers have a confidence and a verdict each. The plain functions return one number; the builders ending in
`_statistic` return the same number as a function of how often each prompt was drawn: what
`inward.stats.bootstrap` takes.

Bins are (lower, upper] and the first one also holds 0, so an answer given with confidence 0 counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from inward.errors import DataError
from inward.stats import MAX_ELEMENTS, Statistic, cluster_sums, divide, mean_by_cluster
from inward.types import CalibrationBin, RiskCoverage

Confidences = Float[NDArray[np.float64], " N"]
Verdicts = Bool[NDArray[np.bool_], " N"]
Clusters = Int[NDArray[np.intp], " N"]
Weights = Float[NDArray[np.float64], "R P"]
Drawn = Float[NDArray[np.float64], "P R"]
"""`Weights`, a prompt per row."""
Values = Float[NDArray[np.float64], " R"]
Binning = Callable[[NDArray[np.float64], int], NDArray[np.intp]]

NUM_CURVE_POINTS = 100

TEMPERATURES = (0.05, 100.0)
"""Least and largest temperature that `fit_temperature` gives."""

_PRECISION = 1e-4
"""Of the logarithm of a temperature."""

_GRID = 31
"""Temperatures tried before refining: a quarter apart in the logarithm."""


def equal_width_bins(confidence: Confidences, num_bins: int = 10) -> Int[NDArray[np.intp], " N"]:
    """Give the bin of each confidence: bin b is (b/B, (b+1)/B], and bin 0 also holds 0."""
    return np.searchsorted(np.arange(1, num_bins) / num_bins, confidence, side="left")


def equal_mass_bins(confidence: Confidences, num_bins: int = 10) -> Int[NDArray[np.intp], " N"]:
    """Give the bin of each confidence, with edges at every N/B-th sorted confidence; equal ones share a bin.

    Without ties the bins differ in size by at most one answer; with ties some may be empty.
    """
    if confidence.size == 0:
        return np.zeros(0, dtype=np.intp)
    # Whole numbers: k/B * N in floating point can land beside the item it should name.
    last = -(-np.arange(1, num_bins) * confidence.size // num_bins) - 1
    return np.searchsorted(np.sort(confidence)[last], confidence, side="left")


def ece(
    confidence: Confidences, correct: Verdicts, *, num_bins: int = 10, binning: Binning = equal_width_bins
) -> float:
    """Mean over answers of |accuracy - mean confidence| of their bin: expected calibration error, in [0, 1].

    Naeini et al. 2015; Guo et al. 2017 (arXiv:1706.04599), equation 3. RLSF's own code uses the same ten bins
    but lets answers of confidence 0 fall out of all bins and of the denominator; here they lie in the first.

    Args:
        confidence: [N] in [0, 1].
        correct: [N] whether each answer is right.
        num_bins: B.
        binning: `equal_width_bins` or `equal_mass_bins`.

    Returns:
        The error; NaN without answers.

    Raises:
        DataError: A confidence lies outside [0, 1], or there are not as many verdicts as confidences.
    """
    return _at_ones(ece_statistic(confidence, correct, *_one_cluster(confidence), num_bins=num_bins, binning=binning))


def brier(confidence: Confidences, correct: Verdicts) -> float:
    """Mean squared difference of confidence and verdict (Brier 1950), in [0, 1]; arguments as in `ece`."""
    return _at_ones(brier_statistic(confidence, correct, *_one_cluster(confidence)))


def auroc(confidence: Confidences, correct: Verdicts) -> float:
    """Chance that a right answer has a higher confidence than a wrong one; ties count half.

    NaN when all answers are right or all are wrong. Only the order of the confidences matters.
    """
    return _at_ones(auroc_statistic(confidence, correct, *_one_cluster(confidence)))


def selective_accuracy(confidence: Confidences, correct: Verdicts, coverage: float) -> float:
    """Share of right answers among the surest ones, where one abstains from the rest.

    At a coverage of c the c * N surest of N answers are kept; where that is no whole number the last one counts in
    part. Of equal confidences each counts in the same part: the expectation over their orders.

    Args:
        confidence: [N] in [0, 1].
        correct: [N] whether each answer is right.
        coverage: Share of answers given, in (0, 1].

    Returns:
        The share; NaN without answers.

    Raises:
        DataError: The coverage lies outside (0, 1], or see `ece`.
    """
    return _at_ones(selective_accuracy_statistic(confidence, correct, *_one_cluster(confidence), coverage=coverage))


def ece_statistic(
    confidence: Confidences,
    correct: Verdicts,
    cluster: Clusters,
    num_clusters: int,
    *,
    num_bins: int = 10,
    binning: Binning = equal_width_bins,
) -> Statistic:
    """Build `ece` as a statistic; answer i belongs to prompt cluster[i] of num_clusters.

    Equal-mass edges are those of the full data in every resample.
    """
    _check(confidence, correct)
    cell = cluster * num_bins + binning(confidence, num_bins)
    excess = cluster_sums(confidence - correct, cell, num_clusters * num_bins).reshape(num_clusters, num_bins)
    count = cluster_sums(np.ones_like(confidence), cluster, num_clusters)
    return partial(_ece, excess, count)


def _ece(
    excess: Float[NDArray[np.float64], "P B"], count: Float[NDArray[np.float64], " P"], weights: Weights
) -> Values:
    return divide(np.abs(weights @ excess).sum(axis=1), weights @ count)


def brier_statistic(confidence: Confidences, correct: Verdicts, cluster: Clusters, num_clusters: int) -> Statistic:
    """Build `brier` as a statistic; answer i belongs to prompt cluster[i] of num_clusters."""
    _check(confidence, correct)
    return mean_by_cluster((confidence - correct) ** 2, cluster, num_clusters)


def auroc_statistic(confidence: Confidences, correct: Verdicts, cluster: Clusters, num_clusters: int) -> Statistic:
    """Build `auroc` as a statistic; answer i belongs to prompt cluster[i] of num_clusters.

    A resample without a right or without a wrong answer gives NaN.
    """
    _check(confidence, correct)
    wrong_confidence, wrong_cluster = confidence[~correct], cluster[~correct]
    order = np.argsort(wrong_confidence, kind="stable")
    wrong_confidence, wrong_cluster = wrong_confidence[order], wrong_cluster[order]
    right_cluster = cluster[correct]
    below = np.searchsorted(wrong_confidence, confidence[correct], side="left")
    up_to = np.searchsorted(wrong_confidence, confidence[correct], side="right")
    return partial(_by_columns, partial(_auroc, wrong_cluster, right_cluster, below, up_to), confidence.size)


def _auroc(
    wrong_cluster: Int[NDArray[np.intp], " W"],
    right_cluster: Int[NDArray[np.intp], " C"],
    below: Int[NDArray[np.intp], " C"],
    up_to: Int[NDArray[np.intp], " C"],
    drawn: Drawn,
) -> Values:
    """Of wrong answers by rising confidence, and how many of them lie below each right one, and below or beside it."""
    beaten = np.zeros((wrong_cluster.size + 1, drawn.shape[1]))
    np.cumsum(drawn[wrong_cluster], axis=0, out=beaten[1:])
    right = drawn[right_cluster]
    wins = np.einsum("ir,ir->r", right, beaten[below] + beaten[up_to]) / 2
    return divide(wins, right.sum(axis=0) * beaten[-1])


def _by_columns(of: Callable[[NDArray[np.float64]], NDArray[np.float64]], num_answers: int, weights: Weights) -> Values:
    """Apply a function of `Drawn` to so many resamples at once that its temporary arrays stay small."""
    columns = max(1, MAX_ELEMENTS // max(1, num_answers))
    starts = range(0, weights.shape[0], columns)
    # One prompt per row: its answers are then gathered as whole rows, which is faster than by column.
    return np.concatenate([of(np.ascontiguousarray(weights[s : s + columns].T)) for s in starts])


def selective_accuracy_statistic(
    confidence: Confidences, correct: Verdicts, cluster: Clusters, num_clusters: int, *, coverage: float
) -> Statistic:
    """Build `selective_accuracy` as a statistic; answer i belongs to prompt cluster[i] of num_clusters."""
    _check(confidence, correct)
    if not 0 < coverage <= 1:
        raise DataError(f"a coverage of {coverage}: give a share of the answers above 0 and at most 1.")
    order = np.argsort(-confidence, kind="stable")
    surest, right, owner = confidence[order], correct[order].astype(np.float64), cluster[order]
    ends = np.flatnonzero(np.concatenate([surest[1:] != surest[:-1], [True]])) + 1
    edges = np.concatenate([[0], ends])
    return partial(_by_columns, partial(_selective_accuracy, right, owner, edges, coverage), confidence.size)


def _selective_accuracy(
    right: Confidences, owner: Clusters, edges: Int[NDArray[np.intp], " E"], coverage: float, drawn: Drawn
) -> Values:
    """Of answers by falling confidence; edges lie between groups of equal ones."""
    if right.size == 0:
        nothing = np.zeros(drawn.shape[1])
        return divide(nothing, nothing)
    each = drawn[owner]
    reached, found = np.zeros((2, owner.size + 1, drawn.shape[1]))
    np.cumsum(each, axis=0, out=reached[1:])
    np.cumsum(each * right[:, None], axis=0, out=found[1:])
    reached, found = reached[edges], found[edges]
    wanted = coverage * reached[-1]
    # The group of equal confidences in which the last answer lies that is kept.
    last = (reached[1:-1] < wanted).sum(axis=0)
    column = np.arange(len(last))
    before, right_before = reached[last, column], found[last, column]
    share = divide(wanted - before, reached[last + 1, column] - before)
    return divide(right_before + share * (found[last + 1, column] - right_before), wanted)


def reliability_bins(confidence: Confidences, correct: Verdicts, num_bins: int = 10) -> tuple[CalibrationBin, ...]:
    """Give the bars of a reliability diagram: B equal-width bins with their mean confidence and accuracy."""
    _check(confidence, correct)
    bins = equal_width_bins(confidence, num_bins)
    count = np.bincount(bins, minlength=num_bins)
    mean_confidence = divide(cluster_sums(confidence, bins, num_bins), count.astype(np.float64))
    accuracy = divide(cluster_sums(correct.astype(np.float64), bins, num_bins), count.astype(np.float64))
    return tuple(
        CalibrationBin(
            low=b / num_bins,
            high=(b + 1) / num_bins,
            count=int(count[b]),
            confidence=float(mean_confidence[b]),
            accuracy=float(accuracy[b]),
        )
        for b in range(num_bins)
    )


def risk_coverage(
    confidence: Confidences, correct: Verdicts, max_points: int = NUM_CURVE_POINTS
) -> tuple[RiskCoverage, ...]:
    """Give the share of wrong answers among the surest ones, for growing shares of all answers.

    Among equal confidences the expected risk over their orders is taken. At most `max_points` points, evenly
    spaced in coverage and ending at 1; none without answers.
    """
    risk = _risk_by_count(confidence, correct)
    points = min(max_points, risk.size)
    counts = [-(-j * risk.size // points) for j in range(1, points + 1)]
    return tuple(RiskCoverage(coverage=k / risk.size, risk=float(risk[k - 1])) for k in counts)


def area_under_risk_coverage(confidence: Confidences, correct: Verdicts) -> float:
    """Mean risk over the coverages k/N, in [0, 1]; lower is better (Geifman et al. 2019)."""
    risk = _risk_by_count(confidence, correct)
    return float(risk.mean()) if risk.size else math.nan


def fit_temperature(
    confidence: Callable[[float], Confidences], target: Confidences, objective: Literal["mean", "brier"] = "mean"
) -> float:
    """Find the temperature at which confidences come nearest to a target that needs no labels, such as vote shares.

    Args:
        confidence: Gives the [N] confidences at a temperature. For `mean` their mean must not grow with it, as the
            probability of the most probable token does not.
        target: [N] in [0, 1], one for each confidence.
        objective: `mean`: the two have the same mean, found by bisection. `brier`: their mean squared difference is
            least, found on a grid and refined by golden section.

    Returns:
        The temperature, within 0.01%; an end of `TEMPERATURES` where the best one lies there or beyond.

    Raises:
        DataError: There is no target.
    """
    if target.size == 0:
        raise DataError("no answer to fit a temperature on: give prompts that the model answers")

    def mean(temperature: float) -> float:
        return float(confidence(temperature).mean())

    def squared(x: float) -> float:
        return float(((confidence(math.exp(x)) - target) ** 2).mean())

    lowest, highest = TEMPERATURES
    if objective == "brier":
        return min(max(math.exp(_least(squared, math.log(lowest), math.log(highest))), lowest), highest)
    wanted = float(target.mean())
    if mean(lowest) <= wanted:
        return lowest
    if mean(highest) >= wanted:
        return highest
    low, high = math.log(lowest), math.log(highest)
    while high - low > _PRECISION:
        middle = (low + high) / 2
        above = mean(math.exp(middle)) > wanted
        low, high = (middle, high) if above else (low, middle)
    return math.exp((low + high) / 2)


def _least(value: Callable[[float], float], low: float, high: float) -> float:
    """Where a function is least: at the lowest of some points evenly spaced, refined between its neighbours."""
    points: list[float] = np.linspace(low, high, _GRID).tolist()
    best = int(np.argmin([value(point) for point in points]))
    low, high = points[max(best - 1, 0)], points[min(best + 1, _GRID - 1)]
    golden = (math.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = value(left), value(right)
    while high - low > _PRECISION:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = value(right)
    return (low + high) / 2


def _risk_by_count(confidence: Confidences, correct: Verdicts) -> Float[NDArray[np.float64], " N"]:
    """Give the expected share of wrong answers among the k surest, k = 1 .. N."""
    _check(confidence, correct)
    _, tie, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = cluster_sums((~correct).astype(np.float64), tie, size.size) / size
    return np.cumsum(np.repeat(wrong, size)) / np.arange(1, confidence.size + 1)


def _check(confidence: Confidences, correct: Verdicts) -> None:
    if confidence.shape != correct.shape:
        raise DataError(f"{confidence.size} confidences but {correct.size} verdicts: give one verdict per answer.")
    if not np.all((confidence >= 0) & (confidence <= 1)):
        raise DataError("A confidence lies outside [0, 1] or is NaN: map the measure to [0, 1] first.")


def _one_cluster(confidence: Confidences) -> tuple[Clusters, int]:
    return np.zeros(confidence.size, dtype=np.intp), 1


def _at_ones(statistic: Statistic) -> float:
    return float(statistic(np.ones((1, 1)))[0])
