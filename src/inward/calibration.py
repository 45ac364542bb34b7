"""How well a confidence tells right answers from wrong ones: ECE, Brier, AUROC, bins, risk-coverage.

N answers have a confidence and a verdict each. The plain functions return one number; the builders ending in
`_statistic` return the same number as a function of how often each prompt was drawn: what
`inward.stats.bootstrap` takes.

Bins are (lower, upper] and the first one also holds 0, so an answer given with confidence 0 counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from inward.errors import DataError
from inward.stats import MAX_ELEMENTS, Statistic, cluster_sums, divide, mean_by_cluster
from inward.types import CalibrationBin, RiskCoverage

Confidences = Float[NDArray[np.float64], " N"]
Verdicts = Bool[NDArray[np.bool_], " N"]
Clusters = Int[NDArray[np.intp], " N"]
Binning = Callable[[NDArray[np.float64], int], NDArray[np.intp]]

NUM_CURVE_POINTS = 100


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

    def statistic(weights: Float[NDArray[np.float64], "R P"]) -> Float[NDArray[np.float64], " R"]:
        return divide(np.abs(weights @ excess).sum(axis=1), weights @ count)

    return statistic


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
    columns = max(1, MAX_ELEMENTS // max(1, confidence.size))

    def chunk(drawn: Float[NDArray[np.float64], "P r"]) -> Float[NDArray[np.float64], " r"]:
        beaten = np.zeros((wrong_cluster.size + 1, drawn.shape[1]))
        np.cumsum(drawn[wrong_cluster], axis=0, out=beaten[1:])
        right = drawn[right_cluster]
        wins = np.einsum("ir,ir->r", right, beaten[below] + beaten[up_to]) / 2
        return divide(wins, right.sum(axis=0) * beaten[-1])

    def statistic(weights: Float[NDArray[np.float64], "R P"]) -> Float[NDArray[np.float64], " R"]:
        starts = range(0, weights.shape[0], columns)
        # One prompt per row: its answers are then gathered as whole rows, which is faster than by column.
        return np.concatenate([chunk(np.ascontiguousarray(weights[s : s + columns].T)) for s in starts])

    return statistic


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
