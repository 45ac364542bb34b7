"""How well a score tells a problem's right samples from its wrong ones: a reward model's, or a confidence measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from inward.calibration import brier_statistic, ece_statistic
from inward.errors import DataError
from inward.evaluate.quantities import FURTHER
from inward.stats import bootstrap, cluster_sums, ratio
from inward.types import EvalItem, Outcome, RankingReport


def ranking(
    items: Sequence[EvalItem], scores: Mapping[str, Sequence[float]], name: str, *, seed: int = 0
) -> RankingReport:
    """Compare all (right, wrong) pairs of samples of one problem; pairs weigh alike, problems are resampled whole.

    RLSF's Bradley-Terry model takes sigmoid(difference of two rewards) for the probability that the higher one is the
    better: `ece` and `brier` ask whether it is, over these pairs. A tie is a prediction of 1/2 that is right half the
    time. Of differences between confidences in [0, 1] the sigmoid never exceeds 0.73, so these lack confidence by
    construction; only their `accuracy` compares with that of a reward model.

    Args:
        items: Judged problems with distinct ids, at least one.
        scores: For each prompt id the scores of its samples in their order, higher meaning better.
        name: What the scores are, for the record.
        seed: Of the bootstrap.

    Returns:
        NaN where no problem has both a right and a wrong sample. Samples that could not be graded are left out.

    Raises:
        DataError: There are no items, a problem has other than one score for each sample, or a score is not finite.
    """
    if not items:
        raise DataError("There are no judged problems to rank the samples of: evaluate at least one.")
    gaps = [_gaps(item, scores.get(item.prompt_id, ())) for item in items]
    gap = np.concatenate(gaps)
    cluster = np.repeat(np.arange(len(items)), [one.size for one in gaps])
    num_problems = sum(one.size > 0 for one in gaps)
    won = (gap > 0) + 0.5 * (gap == 0)
    # Each pair twice, so that a tie is right once and wrong once.
    sure, twice = np.tile(1 / (1 + np.exp(-np.abs(gap))), 2), np.tile(cluster, 2)
    correct = np.concatenate([gap >= 0, gap > 0])
    statistics = {
        "accuracy": ratio(cluster_sums(won, cluster, len(items)), cluster_sums(np.ones_like(won), cluster, len(items))),
        "ece": ece_statistic(sure, correct, twice, len(items)),
        "brier": brier_statistic(sure, correct, twice, len(items)),
    }
    estimates = {key: bootstrap(one, len(items), seed=seed, n=num_problems) for key, one in statistics.items()}
    return RankingReport(score=name, num_pairs=gap.size, num_problems=num_problems, **estimates)


def confidence_rankings(items: Sequence[EvalItem], *, seed: int = 0) -> list[RankingReport]:
    """Rank the samples by each confidence measure that all of them have; see `ranking`."""
    samples = [sample for item in items for sample in item.samples]
    columns = {
        "answer_probability": [sample.probability for sample in samples],
        "answer_disparity": [sample.disparity for sample in samples],
        **{name: [sample.confidences.get(name, math.nan) for sample in samples] for name in FURTHER},
    }
    found: list[RankingReport] = []
    for name, values in columns.items():
        if samples and all(map(math.isfinite, values)):
            column = iter(values)
            scores = {item.prompt_id: [next(column) for _ in item.samples] for item in items}
            found.append(ranking(items, scores, name, seed=seed))
    return found


def _gaps(item: EvalItem, scores: Sequence[float]) -> NDArray[np.float64]:
    """Score of the right sample minus that of the wrong one, for every such pair of a problem."""
    if len(scores) != len(item.samples) or not all(map(math.isfinite, scores)):
        raise DataError(
            f"Problem {item.prompt_id!r} has {len(item.samples)} samples and {len(scores)} scores, "
            f"{sum(map(math.isfinite, scores))} of them finite: give one finite score per sample."
        )
    values = np.asarray(scores, dtype=np.float64)
    right = np.array([sample.outcome is Outcome.CORRECT for sample in item.samples], dtype=np.bool_)
    decided = np.array([sample.outcome is not Outcome.UNSCORED for sample in item.samples], dtype=np.bool_)
    return (values[right][:, None] - values[decided & ~right][None, :]).ravel()
