"""Numbers that only the page needs, worked out from records and from outlines of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from inward.errors import RunFolderError
from inward.report.tally import Histogram
from inward.types import Estimate, EvalItem, JudgedTrace, Outcome

NUM_PROBLEMS = 8
NUM_TRAINING_PROMPTS = 4
NUM_ALONG = 3
"""Problems whose greedy answers are shown step by step."""


@dataclass(frozen=True, kw_only=True)
class GroupOutline:
    """What the page needs of every training group; whole groups would take too long to read."""

    prompt_id: str
    measure: str
    confidences: Mapping[int, float]
    """By index of the trace."""
    without_span: int


@dataclass(frozen=True, kw_only=True)
class PairOutline:
    """What the page needs of every pair."""

    prompt_id: str
    chosen: int
    rejected: int
    same_answer: bool


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Indices of the traces of a prompt that were chosen, and rejected, in some pair."""

    chosen: set[int]
    rejected: set[int]


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """The training traces and pairs at a glance."""

    prompts: int
    traces: int
    without_span: int
    measure: str
    """Name of the confidence."""
    confidences: Histogram
    """Of all traces."""
    pairs: int
    prompts_with_pairs: int
    same_answer: int
    """Pairs whose two traces give the same answer."""
    chosen: Histogram
    """Confidences of the traces chosen in some pair."""
    rejected: Histogram
    roles: Mapping[str, Roles]
    """By prompt id; only prompts that are shown and gave pairs."""
    examples: list[int]
    """Positions of the groups to show: the first that gave pairs, or the first of all where there are no pairs."""


def confidence_range(groups: Iterable[GroupOutline]) -> tuple[float, float]:
    """Choose the ends of the scale of confidences: [0, 1] or [-1, 1] where all lie in it, their own otherwise."""
    low, high = math.inf, -math.inf
    for group in groups:
        known = [value for value in group.confidences.values() if math.isfinite(value)]
        low, high = min([low, *known]), max([high, *known])
    if low > high:
        return 0.0, 1.0
    if low >= -1 and high <= 1:
        return (-1.0 if low < 0 else 0.0), 1.0
    return low, (low + 1 if low == high else high)


def training_facts(
    groups: Iterable[GroupOutline], pairs: Iterable[PairOutline], scale: tuple[float, float] = (0.0, 1.0)
) -> TrainingFacts | None:
    """Sum up what comes by, holding no more than a group and its pairs; None where there are no groups.

    Args:
        groups: In their order.
        pairs: In the order of their groups, as ranking writes them.
        scale: Ends of the histograms.

    Raises:
        RunFolderError: A pair is of no group, or not in the order of the groups.
    """
    low, high = scale
    confidences = Histogram(low=low, high=high, bins=40)
    chosen, rejected = Histogram(low=low, high=high), Histogram(low=low, high=high)
    measure = ""
    examples: list[int] = []
    roles: dict[str, Roles] = {}
    prompts = without_span = num_pairs = same_answer = prompts_with_pairs = 0
    for group, of_group in _matched(groups, pairs):
        measure = measure or group.measure
        confidences.add(group.confidences.values())
        without_span += group.without_span
        if of_group:
            role = Roles(chosen={one.chosen for one in of_group}, rejected={one.rejected for one in of_group})
            chosen.add(group.confidences[index] for index in role.chosen)
            rejected.add(group.confidences[index] for index in role.rejected)
            num_pairs += len(of_group)
            same_answer += sum(one.same_answer for one in of_group)
            if prompts_with_pairs < NUM_TRAINING_PROMPTS:
                examples.append(prompts)
                roles[group.prompt_id] = role
            prompts_with_pairs += 1
        prompts += 1
    if not prompts:
        return None
    return TrainingFacts(
        prompts=prompts,
        traces=confidences.total,
        without_span=without_span,
        measure=measure,
        confidences=confidences,
        pairs=num_pairs,
        prompts_with_pairs=prompts_with_pairs,
        same_answer=same_answer,
        chosen=chosen,
        rejected=rejected,
        roles=roles,
        examples=examples or list(range(min(prompts, NUM_TRAINING_PROMPTS))),
    )


def _matched(
    groups: Iterable[GroupOutline], pairs: Iterable[PairOutline]
) -> Iterator[tuple[GroupOutline, list[PairOutline]]]:
    """Give every group with its pairs."""
    waiting = groupby(pairs, key=lambda pair: pair.prompt_id)
    head = next(waiting, None)
    for group in groups:
        if head is not None and head[0] == group.prompt_id:
            yield group, list(head[1])
            head = next(waiting, None)
        else:
            yield group, []
    if head is not None:
        raise RunFolderError(
            f"pairs/ holds pairs of the prompt {head[0]!r}, which scored/ does not have, or has elsewhere; delete both "
            "folders and run the same command again"
        )


def problems_to_show(before: Collection[EvalItem], after: Collection[EvalItem]) -> list[str]:
    """Choose problems by id: the first few of every kind of change, in the order of the evaluation set."""
    was = {item.prompt_id: item.greedy.outcome is Outcome.CORRECT for item in before}
    now = {item.prompt_id: item.greedy.outcome is Outcome.CORRECT for item in after}
    kinds: dict[tuple[bool | None, bool | None], list[str]] = {}
    for prompt_id in was | now:
        kinds.setdefault((was.get(prompt_id), now.get(prompt_id)), []).append(prompt_id)
    quota = NUM_PROBLEMS // max(1, len(kinds))
    chosen = {prompt_id for ids in kinds.values() for prompt_id in ids[:quota]}
    return [prompt_id for prompt_id in was | now if prompt_id in chosen]


def problems_along(verdicts: Sequence[Mapping[str, Outcome]]) -> list[str]:
    """Choose problems by id: the first whose greedy answer is right at one step and not at another, then the first.

    Args:
        verdicts: By step, the outcome of the greedy answer by prompt id, in the order of the evaluation set.
    """
    first, *others = verdicts or ({},)
    everywhere = [prompt_id for prompt_id in first if all(prompt_id in one for one in others)]
    changed = [
        prompt_id for prompt_id in everywhere if len({one[prompt_id] is Outcome.CORRECT for one in verdicts}) == 2
    ][:NUM_ALONG]
    rest = [prompt_id for prompt_id in everywhere if prompt_id not in changed]
    return changed + rest[: NUM_ALONG - len(changed)]


def steps_to_show(steps: Sequence[int], kept: int | None) -> list[int]:
    """Choose of the judged steps, by step: the first, the middle one, the one that was kept and the last."""
    middle = min(steps, key=lambda step: abs(2 * step - steps[0] - steps[-1]))
    return sorted({steps[0], middle, steps[-1], *(step for step in steps if step == kept)})


def accuracy_by_rank(items: Collection[EvalItem]) -> list[Estimate]:
    """Estimate the accuracy of the surest sample of each problem, the second surest, and so on.

    Surest means of the largest answer disparity; samples of equal disparity share their ranks, and each of those
    ranks gets their mean accuracy. Samples that could not be graded are left out. Intervals are normal ones over
    problems.
    """
    # Each share with how often it occurs: there are few different ones, however many samples.
    ranks: list[Counter[float]] = []
    for item in items:
        graded = [sample for sample in item.samples if sample.outcome is not Outcome.UNSCORED]
        for rank, share in enumerate(_shares(graded)):
            if rank == len(ranks):
                ranks.append(Counter())
            ranks[rank][share] += 1
    return [mean_of(values) for values in ranks]


def mean(shares: Iterable[float]) -> Estimate:
    """Average shares, at least one; the interval is a normal one, cut to [0, 1]."""
    return mean_of(Counter(shares))


def mean_of(shares: Mapping[float, int]) -> Estimate:
    """Average shares as `mean`, given how often each occurs."""
    count = sum(shares.values())
    value = sum(one * times for one, times in shares.items()) / count
    squares = sum(times * (one - value) ** 2 for one, times in shares.items())
    half = 1.96 * math.sqrt(squares / max(1, count - 1) / count)
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half), n=count)


def by_outcome(answers: Iterable[JudgedTrace]) -> tuple[Histogram, Histogram]:
    """Count answer probabilities of right and of wrong answers, leaving out those that could not be graded."""
    right, wrong = Histogram(), Histogram()
    for answer in answers:
        if answer.outcome is not Outcome.UNSCORED:
            (right if answer.outcome is Outcome.CORRECT else wrong).add((answer.probability,))
    return right, wrong


def _shares(samples: list[JudgedTrace]) -> list[float]:
    """Give the expected correctness at each rank, ties broken at random."""
    levels: dict[float, list[bool]] = {}
    for sample in samples:
        levels.setdefault(sample.disparity, []).append(sample.outcome is Outcome.CORRECT)
    shares: list[float] = []
    for level in sorted(levels, reverse=True):
        right = levels[level]
        shares.extend([sum(right) / len(right)] * len(right))
    return shares
