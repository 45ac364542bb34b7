"""Numbers that only the page needs, worked out from records and from outlines of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

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
    confidences: list[float]
    """One per trace."""
    pairs: int
    same_answer: int
    """Pairs whose two traces give the same answer."""
    chosen: list[float]
    """Confidences of the traces chosen in some pair."""
    rejected: list[float]
    roles: Mapping[str, Roles]
    """By prompt id; only prompts that gave pairs."""
    examples: list[int]
    """Positions of the groups to show: the first that gave pairs, or the first of all where there are no pairs."""


def training_facts(groups: Sequence[GroupOutline], pairs: Iterable[PairOutline]) -> TrainingFacts | None:
    """Sum up; None where there are no groups."""
    if not groups:
        return None
    roles: dict[str, Roles] = {}
    num_pairs = same_answer = 0
    for pair in pairs:
        role = roles.setdefault(pair.prompt_id, Roles(chosen=set(), rejected=set()))
        role.chosen.add(pair.chosen)
        role.rejected.add(pair.rejected)
        num_pairs += 1
        same_answer += pair.same_answer
    in_pairs = [(group.confidences, roles[group.prompt_id]) for group in groups if group.prompt_id in roles]
    confidences = [confidence for group in groups for confidence in group.confidences.values()]
    shown = [position for position, group in enumerate(groups) if group.prompt_id in roles or not roles]
    return TrainingFacts(
        prompts=len(groups),
        traces=len(confidences),
        without_span=sum(group.without_span for group in groups),
        measure=groups[0].measure,
        confidences=confidences,
        pairs=num_pairs,
        same_answer=same_answer,
        chosen=[by_index[index] for by_index, role in in_pairs for index in sorted(role.chosen)],
        rejected=[by_index[index] for by_index, role in in_pairs for index in sorted(role.rejected)],
        roles=roles,
        examples=shown[:NUM_TRAINING_PROMPTS],
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
    ranks: list[list[float]] = []
    for item in items:
        graded = [sample for sample in item.samples if sample.outcome is not Outcome.UNSCORED]
        for rank, share in enumerate(_shares(graded)):
            if rank == len(ranks):
                ranks.append([])
            ranks[rank].append(share)
    return [mean(values) for values in ranks]


def mean(shares: Sequence[float]) -> Estimate:
    """Average shares, at least one; the interval is a normal one, cut to [0, 1]."""
    count = len(shares)
    value = sum(shares) / count
    half = 1.96 * math.sqrt(sum((one - value) ** 2 for one in shares) / max(1, count - 1) / count)
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half), n=count)


def by_outcome(answers: Iterable[JudgedTrace]) -> tuple[list[float], list[float]]:
    """Split answer probabilities into right and wrong, leaving out answers that could not be graded."""
    right: list[float] = []
    wrong: list[float] = []
    for answer in answers:
        if answer.outcome is not Outcome.UNSCORED:
            (right if answer.outcome is Outcome.CORRECT else wrong).append(answer.probability)
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
