"""Rewards that the traces of a prompt give each other: every trace votes for its answer.

A group is all traces of one prompt in the step, those of other processes included. Answers are one where their
canonical forms are, so 0.5 and 1/2 are one vote. A trace without an answer has no vote, and reward 0.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import cast

from accelerate.utils import gather_object

from inward.answers import AnswerSettings, find
from inward.equivalence import canonical
from inward.equivalence.votes import Votes, majority_share, vote_share
from inward.errors import DataError
from inward.train.reward import AnswersOf, Reward, StepTraces
from inward.types import SECOND_PHRASING


def majority_vote(answers: AnswersOf) -> Reward:
    """1 for the answer that most traces of the group give, else 0 (TTRL, arXiv 2504.16084; SRT, arXiv 2505.21444).

    Of k answers that tie each gets 1/k, which is what breaking the tie at random gives on average. TTRL and SRT take
    the one that came first, which depends on nothing but the order of the traces.

    Args:
        answers: how the answer to a prompt is read, by its key.
    """
    return _voted(answers, lambda key, answer, groups: majority_share(groups[key], answer))


def soft_vote(answers: AnswersOf) -> Reward:
    """The share of the group's traces that give the same answer (EMPO, arXiv 2504.05812).

    Where every trace of the group has an answer and no two agree, all get 0.

    Args:
        answers: how the answer to a prompt is read, by its key.
    """
    return _voted(answers, lambda key, answer, groups: vote_share(groups[key], answer))


def co_rewarding(answers: AnswersOf) -> Reward:
    """1 for the majority of the same question asked in other words (Co-rewarding-I, arXiv 2508.00410).

    Both phrasings are prompts of the same step, with the ids `id` and `id~2`; the majority of each is the label of the
    other, ties as in `majority_vote`. Where the other phrasing has no answers all get 0.

    Args:
        answers: how the answer to a prompt is read, by its key.
    """

    def worth(key: str, answer: str, groups: Mapping[str, Votes]) -> float:
        other = other_phrasing(key)
        if other not in groups:
            raise DataError(
                f"prompt {key}: co_rewarding needs the prompt {other} in the same step, the same question in other "
                "words; put the two side by side, and an even number of prompts into a step"
            )
        return majority_share(groups[other], answer)

    return _voted(answers, worth)


def other_phrasing(prompt_id: str) -> str:
    """The id of the prompt that asks the same in other words."""
    first = prompt_id.removesuffix(SECOND_PHRASING)
    return first if first != prompt_id else prompt_id + SECOND_PHRASING


def answer_of(completion: str, settings: AnswerSettings) -> str | None:
    """The final answer that can be read off a completion, in the form that equal answers share."""
    found = find(completion, settings.kind, settings.labels, strict=settings.strict)
    return canonical(found.answer, settings.kind) if found else None


def _voted(answers: AnswersOf, worth: Callable[[str, str, Mapping[str, Votes]], float]) -> Reward:
    """The reward of an answer by the votes of all processes; each of them has to call."""

    def reward(traces: StepTraces) -> list[float | None]:
        keys = traces.prompt_keys
        own = [answer_of(text, answers(key)) for key, text in zip(keys, traces.completions, strict=True)]
        groups: defaultdict[str, Votes] = defaultdict(Counter)
        everywhere = cast("list[tuple[str, str | None]]", gather_object(list(zip(keys, own, strict=True))))
        for key, answer in everywhere:
            groups[key][answer] += 1
        return [0.0 if one is None else worth(key, one, groups) for key, one in zip(keys, own, strict=True)]

    return reward
