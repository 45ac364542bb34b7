r"""Which traces a small step of a reward makes likelier: covariances over the samples of a prompt.

A step of length s along the natural policy gradient of a reward, with advantages A normalised within the group as GRPO
does, changes the share of the traces of a cluster c by s E[A 1(y in c)] and the entropy of whole completions by
-s Cov(A, log p(y)) (arXiv 2505.22617, lemma 1). Both are means over samples that are there anyway; the second is given
cluster by cluster too, and its parts add up. To first order: it says where training sets out to, not where it ends.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from inward.diagnose.seen import SeenGroup
from inward.stats import bootstrap, mean_by_cluster
from inward.types import Estimate

CLUSTERS = ("announced", "unannounced", "shorter", "longer", "voted", "outvoted", "unanswered")
"""By format (an announced answer or none), length (against the group's median) and vote (the answer of most)."""


def pushes(groups: Sequence[SeenGroup], measure: str) -> dict[str, Estimate]:
    """Change of each cluster's share per unit step, and its part in the covariance of reward and log-probability.

    Keys are `share/CLUSTER`, `covariance/CLUSTER` and `covariance`. Groups with a trace that the measure does not know
    are left out; nothing is returned where that leaves none.
    """
    rows = [row for group in groups if (row := _of_group(group, measure))]
    return {key: _mean([row[key] for row in rows]) for key in (rows[0] if rows else ())}


def advantages(rewards: Sequence[float]) -> list[float]:
    """Rewards minus their mean, by their sample standard deviation; 0 where they do not differ."""
    spread, mean = statistics.stdev(rewards), statistics.fmean(rewards)
    known = spread > 1e-9 * max(map(abs, rewards)) if any(rewards) else False
    return [(reward - mean) / spread if known else 0.0 for reward in rewards]


def _of_group(group: SeenGroup, measure: str) -> Mapping[str, float]:
    samples = group.samples
    rewards = [one.measures.get(measure, float("nan")) for one in samples]
    if len(samples) < 2 or not np.isfinite([*rewards, *(one.logprob for one in samples)]).all():
        return {}
    advantage, centre = advantages(rewards), statistics.fmean(one.logprob for one in samples)
    inside = _clusters(group)
    row: dict[str, float] = {}
    for name in CLUSTERS:
        pulled = [a for a, member in zip(advantage, inside[name], strict=True) if member]
        moved = [
            a * (one.logprob - centre)
            for a, one, member in zip(advantage, samples, inside[name], strict=True)
            if member
        ]
        row[f"share/{name}"] = sum(pulled) / len(samples)
        row[f"covariance/{name}"] = sum(moved) / len(samples)
    row["covariance"] = row["covariance/announced"] + row["covariance/unannounced"]
    return row


def _clusters(group: SeenGroup) -> dict[str, list[bool]]:
    samples, voted = group.samples, group.voted
    median = statistics.median(one.length for one in samples)
    inside = {
        "announced": [one.announced for one in samples],
        "longer": [one.length > median for one in samples],
        "voted": [one.answer is not None and one.answer == voted for one in samples],
        "unanswered": [one.answer is None for one in samples],
    }
    inside["unannounced"] = [not one for one in inside["announced"]]
    inside["shorter"] = [not one for one in inside["longer"]]
    inside["outvoted"] = [not (a or b) for a, b in zip(inside["voted"], inside["unanswered"], strict=True)]
    return inside


def _mean(values: Sequence[float]) -> Estimate:
    return bootstrap(mean_by_cluster(np.array(values), np.arange(len(values)), len(values)), len(values))
