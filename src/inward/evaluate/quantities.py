"""Judged problems as columns, and the metrics as statistics over them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inward.calibration import (
    auroc_statistic,
    brier_statistic,
    ece_statistic,
    equal_mass_bins,
    selective_accuracy_statistic,
)
from inward.evaluate.decoding import vote
from inward.stats import Statistic, cluster_sums, divide, mean_by_cluster, pass_at_k
from inward.types import EvalItem, JudgedTrace, Outcome

FURTHER = ("sequence_probability", "vote_share", "reference_probability", "recalibrated", "option_disparity")
"""Keys of `JudgedTrace.confidences`: measures that answers may have beside their probability and disparity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """N judged traces as columns."""

    prompt: NDArray[np.intp]
    decided: NDArray[np.bool_]
    correct: NDArray[np.bool_]
    lenient_decided: NDArray[np.bool_]
    lenient_correct: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    has_span: NDArray[np.bool_]
    probability: NDArray[np.float64]
    disparity: NDArray[np.float64]
    further: dict[str, NDArray[np.float64]]
    """Columns of the measures of `FURTHER` that some trace has; NaN where one has not."""
    entropy: NDArray[np.float64]
    logprob: NDArray[np.float64]
    length: NDArray[np.float64]
    truncated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """P problems as columns."""

    num_prompts: int
    smallest_group: int
    greedy: Traces
    sampled: Traces
    majority_decided: NDArray[np.bool_]
    majority_correct: NDArray[np.bool_]
    weighted_decided: NDArray[np.bool_]
    """Of the vote in which samples weigh by their disparity."""
    weighted_correct: NDArray[np.bool_]
    tokens: NDArray[np.float64]
    """Generated to give the answer; NaN where not known."""
    collision: NDArray[np.float64]
    """NaN where there are fewer than two samples."""
    answer_entropy: NDArray[np.float64]
    """Nats; NaN without samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The decided answers of one kind of which one measure is known, as confidence."""

    measure: str
    answers: str
    suffix: str
    prompt: NDArray[np.intp]
    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    has_span: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A statistic over the P problems, how many are behind it, and the successes where each counts 0 or 1."""

    statistic: Statistic
    num_prompts: int
    successes: int | None = None


def tabulate(items: Sequence[EvalItem]) -> Table:
    """Put judged problems, at least one, into columns in their order."""
    given = [[sample.canonical for sample in item.samples] for item in items]
    # The majority of no samples says nothing about the model.
    voted = [bool(i.samples) and i.majority_outcome is not Outcome.UNSCORED for i in items]
    weighted = [_weighted_outcome(item.samples) for item in items]
    return Table(
        num_prompts=len(items),
        smallest_group=min(len(i.samples) for i in items),
        greedy=_traces([(p, item.greedy) for p, item in enumerate(items)]),
        sampled=_traces([(p, trace) for p, item in enumerate(items) for trace in item.samples]),
        majority_decided=np.array(voted, dtype=np.bool_),
        majority_correct=np.array([i.majority_outcome is Outcome.CORRECT for i in items], dtype=np.bool_),
        weighted_decided=np.array([one is not Outcome.UNSCORED for one in weighted], dtype=np.bool_),
        weighted_correct=np.array([one is Outcome.CORRECT for one in weighted], dtype=np.bool_),
        tokens=np.array([math.nan if i.tokens is None else i.tokens for i in items], dtype=np.float64),
        collision=np.array([collision(answers) for answers in given]),
        answer_entropy=np.array([answer_entropy(answers) for answers in given]),
    )


def _weighted_outcome(samples: Sequence[JudgedTrace]) -> Outcome:
    """Judge the answer with the largest sum of disparities; UNSCORED without samples, or where these are not known."""
    weights = [sample.disparity for sample in samples]
    if not weights or any(map(math.isnan, weights)):
        return Outcome.UNSCORED
    winner = vote([sample.canonical for sample in samples], weights)
    return Outcome.NO_ANSWER if winner is None else samples[winner].outcome


def _traces(traces: Sequence[tuple[int, JudgedTrace]]) -> Traces:
    judged = [t for _, t in traces]
    known = {name for one in judged for name in one.confidences}

    def flags(of: Callable[[JudgedTrace], bool]) -> NDArray[np.bool_]:
        return np.fromiter(map(of, judged), dtype=np.bool_, count=len(judged))

    def floats(of: Callable[[JudgedTrace], float]) -> NDArray[np.float64]:
        return np.fromiter(map(of, judged), dtype=np.float64, count=len(judged))

    return Traces(
        prompt=np.array([p for p, _ in traces], dtype=np.intp),
        decided=flags(lambda t: t.outcome is not Outcome.UNSCORED),
        correct=flags(lambda t: t.outcome is Outcome.CORRECT),
        lenient_decided=flags(lambda t: t.lenient is not Outcome.UNSCORED),
        lenient_correct=flags(lambda t: t.lenient is Outcome.CORRECT),
        answered=flags(lambda t: t.outcome is not Outcome.NO_ANSWER),
        has_span=flags(lambda t: t.has_span),
        probability=floats(lambda t: t.probability),
        disparity=floats(lambda t: t.disparity),
        further={
            name: floats(lambda t, name=name: t.confidences.get(name, math.nan)) for name in FURTHER if name in known
        },
        entropy=floats(lambda t: t.entropy),
        logprob=floats(lambda t: t.logprob),
        length=floats(lambda t: math.nan if t.length is None else t.length),
        truncated=flags(lambda t: t.truncated),
    )


def answer_sets(table: Table) -> tuple[Answers, ...]:
    """Return what is calibrated: the answers given with every measure that some have, the sampled ones with one."""
    greedy, disparity = table.greedy, np.maximum(table.greedy.disparity, 0.0)
    return (
        _answers(greedy, greedy.probability, "answer_probability", "greedy", suffix=""),
        _answers(greedy, disparity, "answer_disparity", "greedy", suffix="_disparity"),
        _answers(table.sampled, table.sampled.probability, "answer_probability", "sampled", suffix="_sampled"),
        *(_answers(greedy, values, name, "greedy", suffix=f"_{name}") for name, values in greedy.further.items()),
    )


def _answers(traces: Traces, values: NDArray[np.float64], measure: str, answers: str, *, suffix: str) -> Answers:
    taken = traces.decided & ~np.isnan(values)
    return Answers(
        measure=measure,
        answers=answers,
        suffix=suffix,
        prompt=traces.prompt[taken],
        confidence=np.where(traces.answered, values, 0.0)[taken],
        correct=traces.correct[taken],
        has_span=traces.has_span[taken],
    )


def quantities(table: Table, pass_k: int) -> dict[str, Quantity]:
    """Build every metric, and what the calibration reports hold beyond them."""
    num, greedy, sampled = table.num_prompts, table.greedy, table.sampled
    described = sampled if pass_k else greedy
    counted = ~np.isnan(described.length)
    sets = answer_sets(table)
    quantities = {
        "greedy_accuracy": _accuracy(greedy.correct, greedy.decided, greedy.prompt, num),
        "sampled_accuracy": _accuracy(sampled.correct, sampled.decided, sampled.prompt, num),
        "greedy_accuracy_lenient": _accuracy(greedy.lenient_correct, greedy.lenient_decided, greedy.prompt, num),
        "sampled_accuracy_lenient": _accuracy(sampled.lenient_correct, sampled.lenient_decided, sampled.prompt, num),
        "majority_accuracy": _accuracy(table.majority_correct, table.majority_decided, np.arange(num), num),
        "weighted_majority_accuracy": _accuracy(table.weighted_correct, table.weighted_decided, np.arange(num), num),
        "pass_at_k": _pass_at_k(sampled, num, pass_k),
        "confidence": _mean(sets[0].confidence, sets[0].prompt, num),
        "entropy": _mean(described.entropy, described.prompt, num),
        "length": _mean(described.length, described.prompt, num),
        "tokens_per_answer": _mean(table.tokens, np.arange(num), num),
        "answer_rate": _share(greedy.answered, greedy.prompt, num),
        # Whether a completion was cut is known where its tokens are.
        "truncated_rate": _share(described.truncated[counted], described.prompt[counted], num),
        "answer_collision": _share(*_known(table.collision), num),
        "answer_entropy": _mean(table.answer_entropy, np.arange(num), num),
        "sequence_logprob": _mean(sampled.logprob, sampled.prompt, num),
        "sequence_collision": _mean(_sequence_collision(sampled, num), np.arange(num), num),
    }
    for answers in sets:
        quantities |= _calibration_quantities(answers, num)
    return quantities


def collision(answers: Sequence[str | None]) -> float:
    """Estimate without bias the chance that two samples of a problem give the same answer.

    The share of pairs of samples that agree: sum over answers a of n_a (n_a - 1) / (M (M - 1)), for M samples of which
    n_a give a; a sample without an answer agrees with none. The expectation is the sum of p(a) squared, which is
    equation 1 of RLSC (arXiv 2506.06395) for answers in place of completions, and exp(-Renyi-2 entropy).

    Args:
        answers: Of the M samples, in the form that equal answers share; None where there is none.

    Returns:
        NaN for fewer than two samples.
    """
    total = len(answers)
    if total < 2:
        return math.nan
    counts = Counter(answer for answer in answers if answer is not None).values()
    return sum(count * (count - 1) for count in counts) / (total * (total - 1))


def answer_entropy(answers: Sequence[str | None]) -> float:
    """Entropy in nats of the shares of the answers given, no answer being one of them; NaN without samples.

    This plug-in estimate lies below the entropy of what the model may answer, most so for few samples.
    """
    shares = [count / len(answers) for count in Counter(answers).values()]
    return sum(-share * math.log(share) for share in shares) if shares else math.nan


def _sequence_collision(sampled: Traces, num_prompts: int) -> NDArray[np.float64]:
    """Average p(y) over the samples of each problem, NaN without any.

    That is the chance that another sample is the same, sum of p(y) squared (RLSC, equations 2 and 3), without bias
    for samples drawn at temperature 1 and with top_p 1, as p is at temperature 1.
    """
    return divide(
        cluster_sums(np.exp(sampled.logprob), sampled.prompt, num_prompts),
        cluster_sums(np.ones_like(sampled.logprob), sampled.prompt, num_prompts),
    )


def _known(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Keep the values of the problems where they are defined, with the positions of these problems."""
    known = np.flatnonzero(~np.isnan(values))
    return values[known], known


def _calibration_quantities(answers: Answers, num_prompts: int) -> dict[str, Quantity]:
    span = answers.has_span
    everything = (answers.confidence, answers.correct, answers.prompt, num_prompts)
    with_span = (answers.confidence[span], answers.correct[span], answers.prompt[span], num_prompts)
    count = np.unique(answers.prompt).size
    statistics = {
        "ece": ece_statistic(*everything),
        "ece_equal_mass": ece_statistic(*everything, binning=equal_mass_bins),
        "brier": brier_statistic(*everything),
        "auroc": auroc_statistic(*everything),
        "accuracy_at_50": selective_accuracy_statistic(*everything, coverage=0.5),
        "accuracy_at_80": selective_accuracy_statistic(*everything, coverage=0.8),
    }
    quantities = {
        name + answers.suffix: Quantity(statistic=statistic, num_prompts=count)
        for name, statistic in statistics.items()
    }
    quantities["ece_answered" + answers.suffix] = Quantity(
        statistic=ece_statistic(*with_span), num_prompts=np.unique(answers.prompt[span]).size
    )
    return quantities


def _mean(values: NDArray[np.float64], prompt: NDArray[np.intp], num_prompts: int) -> Quantity:
    """Average the values that are known."""
    known = ~np.isnan(values)
    return Quantity(
        statistic=mean_by_cluster(values[known], prompt[known], num_prompts), num_prompts=np.unique(prompt[known]).size
    )


def _accuracy(
    correct: NDArray[np.bool_], decided: NDArray[np.bool_], prompt: NDArray[np.intp], num_prompts: int
) -> Quantity:
    return _share(correct[decided], prompt[decided], num_prompts)


def _share(values: NDArray[np.bool_] | NDArray[np.float64], prompt: NDArray[np.intp], num_prompts: int) -> Quantity:
    """As `_mean`, with the successes where each problem is all right or all wrong and weighs the same."""
    sums = np.bincount(prompt, weights=values, minlength=num_prompts)
    counts = np.bincount(prompt, minlength=num_prompts)
    successes, total = int(np.count_nonzero(sums)), int(np.count_nonzero(counts))
    whole = np.all((sums == 0) | (sums == counts)) and successes * counts.sum() == sums.sum() * total
    return Quantity(
        statistic=mean_by_cluster(values.astype(np.float64), prompt, num_prompts),
        num_prompts=total,
        successes=successes if whole else None,
    )


def _pass_at_k(sampled: Traces, num_prompts: int, k: int) -> Quantity:
    """Leave out problems with fewer than k decided samples; undefined when k is 0."""
    decided = np.bincount(sampled.prompt[sampled.decided], minlength=num_prompts)
    right = np.bincount(sampled.prompt[sampled.correct], minlength=num_prompts)
    enough = np.flatnonzero(decided >= k) if k else np.zeros(0, dtype=np.intp)
    values = [pass_at_k(int(decided[p]), int(right[p]), k) for p in enough]
    return _share(np.array(values, dtype=np.float64), enough, num_prompts)
