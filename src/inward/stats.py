"""Numbers with their uncertainty: the only producer of `Estimate`.

A statistic is a vectorised function of how often each prompt was drawn, so that thousands of resamples cost a
few matrix products. Prompts are drawn whole: the traces of one prompt are no independent observations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from inward.errors import DataError
from inward.types import Estimate

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Weights [R, P] -> values [R]: weights[r, p] says how often resample r drew prompt p; NaN if undefined."""

MAX_ELEMENTS = 1 << 20
"""Largest number of elements of a temporary array: 8 MiB of float64, which also suits the cache."""

_NORMAL_975 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """Problems on which two judgements disagree, with McNemar's exact test of "as likely one way as the other"."""

    lost: int
    """Right before, wrong after."""
    gained: int
    """Wrong before, right after."""
    p_value: float
    """Two-sided, not corrected for several comparisons; 1 where nothing flipped."""


def bootstrap(
    statistic: Statistic, num_clusters: int, *, num_resamples: int = 2000, seed: int = 0, n: int | None = None
) -> Estimate:
    """Estimate a statistic with a 95% percentile interval, resampling prompts with replacement.

    Args:
        statistic: See `Statistic`; its value at weights of one is the point value.
        num_clusters: P, the number of prompts.
        num_resamples: R. Resamples in which the statistic is NaN are left out of the interval.
        seed: The same seed draws the same resamples, whatever the statistic.
        n: Prompts behind the number where these are fewer than P; P when not given.

    Returns:
        The estimate; NaN in value and bounds where the statistic is NaN, on the data or in every resample.
        The interval is widened to hold the point value: resampling shifts a statistic that noise can only
        raise, like ECE near 0, upwards.
    """
    n = num_clusters if n is None else n
    value = float(statistic(np.ones((1, num_clusters)))[0])
    if math.isnan(value):
        return _undefined(n)
    replicates = np.concatenate([statistic(w) for w in _resamples(num_clusters, num_resamples, seed)])
    defined = replicates[~np.isnan(replicates)]
    if defined.size == 0:
        return _undefined(n)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value), n=n)


def paired_bootstrap(
    before: Statistic,
    after: Statistic,
    num_clusters: int,
    *,
    num_resamples: int = 2000,
    seed: int = 0,
    n: int | None = None,
) -> Estimate:
    """Estimate after - before on the same resamples of the same prompts; arguments as in `bootstrap`."""
    return bootstrap(
        lambda weights: after(weights) - before(weights), num_clusters, num_resamples=num_resamples, seed=seed, n=n
    )


def proportion(successes: int, n: int) -> Estimate:
    """Estimate a share of prompts, each counting 0 or 1, with Wilson's 95% score interval (Wilson 1927).

    Unlike a bootstrap it has a width where all prompts agree. NaN when n is 0.
    """
    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes among {n} prompts: give 0 <= successes <= n.")
    if n == 0:
        return _undefined(n)
    share, z2 = successes / n, _NORMAL_975**2
    centre = share + z2 / (2 * n)
    half = _NORMAL_975 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    return Estimate(value=share, low=min(max(low, 0.0), share), high=max(min(high, 1.0), share), n=n)


def mcnemar(lost: int, gained: int) -> Flips:
    """Test whether answers flipped from right to wrong as often as back (McNemar 1947, in its exact form).

    The p-value is min(1, 2 P(X <= min(lost, gained))) for X binomial with lost + gained tries and chance 1/2: problems
    that did not flip do not matter. Raises DataError where a count is negative.
    """
    if min(lost, gained) < 0:
        raise DataError(f"{lost} lost and {gained} gained: give counts of problems, 0 or more.")
    flipped = lost + gained
    ways = tail = 1
    for count in range(min(lost, gained)):
        ways = ways * (flipped - count) // (count + 1)
        tail += ways
    # Whole numbers until the one division: neither overflows, however many problems there are.
    return Flips(lost=lost, gained=gained, p_value=min(1.0, 2 * tail / 2**flipped))


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that k of n samples, drawn without replacement, hold at least one of the c right ones.

    Unbiased for "at least one of k fresh samples is right": 1 - C(n-c, k) / C(n, k), as a product that does
    not overflow (Chen et al. 2021, arXiv:2107.03374, equation 1). Raises DataError where 1 <= k <= n fails.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise DataError(f"pass@{k} of {n} samples with {c} right ones: give 0 <= c <= n and 1 <= k <= n.")
    if n - c < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def cluster_sums(
    values: Float[NDArray[np.float64], " N"], cluster: Int[NDArray[np.intp], " N"], num_clusters: int
) -> Float[NDArray[np.float64], " P"]:
    """Sum N values by the prompt they belong to."""
    return np.asarray(np.bincount(cluster, weights=values, minlength=num_clusters), dtype=np.float64)


def ratio(numerator: Float[NDArray[np.float64], " P"], denominator: Float[NDArray[np.float64], " P"]) -> Statistic:
    """Build the statistic "sum of the numerators over sum of the denominators"; NaN where the latter is 0."""
    return partial(_ratio, numerator, denominator)


def _ratio(
    numerator: Float[NDArray[np.float64], " P"],
    denominator: Float[NDArray[np.float64], " P"],
    weights: Float[NDArray[np.float64], "R P"],
) -> Float[NDArray[np.float64], " R"]:
    return divide(weights @ numerator, weights @ denominator)


def mean_by_cluster(
    values: Float[NDArray[np.float64], " N"], cluster: Int[NDArray[np.intp], " N"], num_clusters: int
) -> Statistic:
    """Build the statistic "mean of all values", where value i belongs to prompt cluster[i]."""
    ones = np.ones_like(values)
    return ratio(cluster_sums(values, cluster, num_clusters), cluster_sums(ones, cluster, num_clusters))


def divide(
    numerator: Float[NDArray[np.float64], " R"], denominator: Float[NDArray[np.float64], " R"]
) -> Float[NDArray[np.float64], " R"]:
    """Divide where the denominator is positive; NaN elsewhere."""
    undefined = np.full(numerator.shape, math.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _undefined(n: int) -> Estimate:
    return Estimate(value=math.nan, low=math.nan, high=math.nan, n=n)


def _resamples(num_clusters: int, num_resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield weights in chunks [r, P]; the draws do not depend on the size of a chunk."""
    if num_clusters * num_resamples <= MAX_ELEMENTS:
        yield _few_resamples(num_clusters, num_resamples, seed)
        return
    yield from _drawn(num_clusters, num_resamples, seed)


@lru_cache(maxsize=1)
def _few_resamples(num_clusters: int, num_resamples: int, seed: int) -> NDArray[np.float64]:
    """One chunk for all statistics of a report: they mostly meet the same resamples, one after the other."""
    (weights,) = _drawn(num_clusters, num_resamples, seed)
    weights.flags.writeable = False
    return weights


def _drawn(num_clusters: int, num_resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    rows = max(1, MAX_ELEMENTS // num_clusters)
    for start in range(0, num_resamples, rows):
        count = min(rows, num_resamples - start)
        drawn = rng.integers(num_clusters, size=(count, num_clusters))
        drawn += np.arange(count)[:, None] * num_clusters
        times = np.bincount(drawn.ravel(), minlength=count * num_clusters)
        yield times.reshape(count, num_clusters).astype(np.float64)
