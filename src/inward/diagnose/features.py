"""What the traces of an untrained model show, as named numbers with intervals; docs/methods/probe.md says what each is.

No labels. Every number is a mean over prompts or over their samples, with an interval that resamples prompts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from inward.calibration import auroc_statistic
from inward.diagnose.pushes import pushes
from inward.diagnose.seen import SEQUENCE, VOTES, Seen, SeenGroup, share
from inward.diagnose.selection import LIKELIEST, agreement, chance_of, gain, surest
from inward.diagnose.ways import favoured
from inward.stats import bootstrap, mean_by_cluster, proportion, ratio
from inward.types import Estimate, FinishReason

MEASURES = ("answer_disparity", "answer_probability", "mean_logprob", "neg_entropy", "self_certainty", SEQUENCE, *VOTES)
"""What may rank or reward a trace, each the confidence or the reward of some method."""

QUANTILES = (0, 10, 25, 50, 75, 90, 100)

Number = Callable[[Seen], float]


def features(groups: Sequence[SeenGroup], *, alpha: float) -> dict[str, Estimate]:
    """Measure everything that a forecast may use.

    Args:
        groups: at least one; each with at least two samples.
        alpha: RLSC's, which its weights are compared with.
    """
    found = _rates(groups) | _votes(groups) | _greedy(groups)
    found["alpha_share"] = _alpha_share(groups, alpha)
    for measure in MEASURES:
        found |= {f"{key}/{measure}": value for key, value in _of_measure(groups, measure).items()}
        found |= {f"push/{measure}/{key}": value for key, value in pushes(groups, measure).items()}
    return found


def spread(groups: Sequence[SeenGroup]) -> dict[str, list[float]]:
    """How agreement is spread over prompts: its quantiles at `QUANTILES` percent, and prompts by tenth of the scale."""
    shares = [_top_share(group) for group in groups]
    counts, _ = np.histogram(shares, bins=10, range=(0, 1))
    return {"quantiles": np.percentile(shares, QUANTILES).tolist(), "histogram": counts.tolist()}


def _rates(groups: Sequence[SeenGroup]) -> dict[str, Estimate]:
    entropy, length = _summed(groups, lambda one: one.entropy), _summed(groups, lambda one: one.length)
    return {
        "entropy": _mean(groups, lambda one: one.entropy / max(1, one.length)),
        "token_entropy": bootstrap(ratio(entropy, length), len(groups)),
        "answer_rate": _mean(groups, lambda one: one.answer is not None),
        "announced_rate": _mean(groups, lambda one: one.announced),
        "truncated_rate": _mean(groups, lambda one: one.finish is FinishReason.LENGTH),
        "endless_rate": _mean(groups, lambda one: one.finish is FinishReason.FIXED),
        "length": _mean(groups, lambda one: one.length),
        "repetition": _mean(groups, lambda one: one.repetition),
    }


def _votes(groups: Sequence[SeenGroup]) -> dict[str, Estimate]:
    cluster = np.arange(len(groups))
    frequencies, pairs = _frequencies(groups), np.array([_pair_agreement(group) for group in groups])

    def chance(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn, squares = weights @ frequencies, weights**2
        return chance_of(drawn, drawn, squares @ (frequencies**2).sum(1), weights.sum(1), squares)

    agreed = mean_by_cluster(pairs, cluster, len(groups))
    top = Counter(one.answer for group in groups for one in group.samples if one.answer is not None)
    return {
        "agreement": _by_prompt([_top_share(group) for group in groups]),
        "unanimous_rate": proportion(sum(_top_share(group) == 1 for group in groups), len(groups)),
        "distinct_answers": _by_prompt([float(len(group.votes)) for group in groups]),
        "pair_agreement": bootstrap(agreed, len(groups)),
        "chance_agreement": bootstrap(chance, len(groups)),
        "agreement_above_chance": bootstrap(lambda weights: agreed(weights) - chance(weights), len(groups)),
        "top_answer_share": _top_answer(groups, max(top, key=lambda answer: top[answer], default=None)),
    }


def _greedy(groups: Sequence[SeenGroup]) -> dict[str, Estimate]:
    answered = [group for group in groups if group.greedy.answer is not None]
    return {
        "greedy_answer_rate": proportion(len(answered), len(groups)),
        "greedy_vote": _by_prompt([g.votes[g.greedy.answer or ""] / len(g.samples) for g in answered]),
        "confidence": _by_prompt([g.greedy.measures["answer_probability"] for g in answered]),
    }


def _of_measure(groups: Sequence[SeenGroup], measure: str) -> dict[str, Estimate]:
    way = favoured(groups, measure)
    of = agreement(way.groups, LIKELIEST)
    chosen = [(surest(group.samples, measure), group) for group in groups]
    voted = [(answer, group.voted) for answer, group in chosen if answer is not None and group.voted is not None]
    greedy = [(answer, g.greedy.answer) for answer, g in chosen if answer is not None and g.greedy.answer is not None]
    return {
        "auroc": _auroc(groups, measure),
        "chosen_voted": proportion(sum(a == b for a, b in voted), len(voted)),
        "chosen_greedy": proportion(sum(a == b for a, b in greedy), len(greedy)),
        "chosen_length": _by_prompt(_lengths(groups, measure)),
        "push_long": way.push,
        "favoured_share": way.share,
        "picks_agree": _by_prompt(of.together.tolist()),
        "picks_greedy": _by_prompt(of.with_greedy.tolist()),
        "gain": gain(of) if way.groups else proportion(0, 0),
    }


def _auroc(groups: Sequence[SeenGroup], measure: str) -> Estimate:
    """Chance that a trace with the voted answer is surer than one with another; prompts with a vote only."""
    rows = [
        (one.measures[measure], one.answer == group.voted, p)
        for p, group in enumerate(groups)
        if group.voted is not None
        for one in group.samples
        if one.answer is not None and math.isfinite(one.measures.get(measure, math.nan))
    ]
    if not rows:
        return proportion(0, 0)
    values, member, cluster = (np.array(column) for column in zip(*rows, strict=True))
    # Only the order counts, and the statistic takes numbers in [0, 1].
    order = np.unique(values, return_inverse=True)[1] / max(1, len(values))
    voting = len(set(cluster.tolist()))
    return bootstrap(auroc_statistic(order, member, cluster, len(groups)), len(groups), n=voting)


def _lengths(groups: Sequence[SeenGroup], measure: str) -> list[float]:
    """Length of each group's surest trace, answered or not."""
    known = [[one for one in g.samples if math.isfinite(one.measures.get(measure, math.nan))] for g in groups]
    return [float(max(able, key=lambda one: one.measures[measure]).length) for able in known if able]


def _alpha_share(groups: Sequence[SeenGroup], alpha: float) -> Estimate:
    alphas = _summed(groups, lambda one: alpha)
    weights = _summed(groups, lambda one: alpha + one.measures[SEQUENCE])
    return bootstrap(ratio(alphas, weights), len(groups))


def _frequencies(groups: Sequence[SeenGroup]) -> NDArray[np.float64]:
    """[P, K] share of a prompt's samples that gave each answer."""
    index = {answer: k for k, answer in enumerate(sorted({answer for group in groups for answer in group.votes}))}
    frequencies = np.zeros((len(groups), len(index)))
    for p, group in enumerate(groups):
        for answer, votes in group.votes.items():
            frequencies[p, index[answer]] = votes / len(group.samples)
    return frequencies


def _pair_agreement(group: SeenGroup) -> float:
    """Chance that two samples of a prompt, drawn without replacement, give the same answer."""
    size = len(group.samples)
    return sum(votes * (votes - 1) for votes in group.votes.values()) / (size * (size - 1))


def _top_share(group: SeenGroup) -> float:
    return max(group.votes.values(), default=0) / len(group.samples)


def _top_answer(groups: Sequence[SeenGroup], answer: str | None) -> Estimate:
    """Share of all answers that one answer has."""
    given = _summed(groups, lambda one: one.answer is not None and one.answer == answer)
    return bootstrap(ratio(given, _summed(groups, lambda one: one.answer is not None)), len(groups))


def _summed(groups: Sequence[SeenGroup], number: Number) -> NDArray[np.float64]:
    return np.array([sum(float(number(one)) for one in group.samples) for group in groups])


def _mean(groups: Sequence[SeenGroup], number: Number) -> Estimate:
    values = np.array([float(number(one)) for group in groups for one in group.samples])
    cluster = np.repeat(np.arange(len(groups)), [len(group.samples) for group in groups])
    return bootstrap(mean_by_cluster(values, cluster, len(groups)), len(groups))


def _by_prompt(values: Sequence[float]) -> Estimate:
    """Mean of one number a prompt; not defined without any."""
    if not values:
        return proportion(0, 0)
    return bootstrap(mean_by_cluster(np.array(values, float), np.arange(len(values)), len(values)), len(values))


def paired(before: Sequence[SeenGroup], after: Sequence[SeenGroup]) -> dict[str, Estimate]:
    """How answers change where the same prompts are put to the model in another form: `after` minus `before`."""
    numbers: Mapping[str, Number] = {
        "answer_rate": lambda one: one.answer is not None,
        "announced_rate": lambda one: one.announced,
        "truncated_rate": lambda one: one.finish is FinishReason.LENGTH,
    }
    changes = {
        key: [
            share([bool(number(one)) for one in b.samples]) - share([bool(number(one)) for one in a.samples])
            for a, b in zip(before, after, strict=True)
        ]
        for key, number in numbers.items()
    }
    return {key: _by_prompt(values) for key, values in changes.items()}
