"""Every intrinsic reward by its name, alone or several of them in one."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

from accelerate.utils import gather_object

from inward.answers import AnswerSettings
from inward.settings.rewards import names_of
from inward.train.certainty import answer_disparity, certainty, sequence_probability
from inward.train.reward import AnswersOf, IntrinsicReward, Reward, StepTraces
from inward.train.votes import co_rewarding, majority_vote, soft_vote
from inward.types import LengthNorm

VOTES = {"majority_vote": majority_vote, "soft_vote": soft_vote, "co_rewarding": co_rewarding}


ROUNDING = 1e-5
"""A spread below this share of a group's largest value is float32's rounding, and counts as none."""


def named_reward(name: str, answers: AnswersOf, *, length_norm: LengthNorm = "mean") -> Reward:
    """One intrinsic reward by its name.

    Args:
        name: one of `INTRINSIC`.
        answers: how the answer to a prompt is read, by its key; the certainties read none.
        length_norm: of the three certainties alone.

    Raises:
        SettingsError: there is no such reward.
    """
    if name in VOTES:
        return VOTES[name](answers)
    match name:
        case "sequence_probability":
            return sequence_probability()
        case "answer_disparity":
            return answer_disparity(answers)
        case measure:
            return certainty(measure, length_norm=length_norm)


def combined(rewards: Sequence[Reward], weights: Sequence[float] | None = None) -> Reward:
    """The weighted sum of several rewards, each normalised within its group first (GDPO, as in arXiv 2605.22620).

    Rewards differ in unit and spread, nats beside shares of votes, and a plain sum is that of the widest. So each has
    its group's mean taken off and is divided by its group's standard deviation (n - 1), over the traces of all
    processes; where a group has no spread it adds 0. A trace that one of the rewards cannot score has no reward.

    Args:
        rewards: what to add.
        weights: one for each; all 1 where None.
    """
    factors = [1.0] * len(rewards) if weights is None else list(weights)

    def reward(traces: StepTraces) -> list[float | None]:
        columns = [standardised(one(traces), traces.prompt_keys) for one in rewards]
        return [
            None if None in row else sum(w * value for w, value in zip(factors, row, strict=True) if value is not None)
            for row in zip(*columns, strict=True)
        ]

    return reward


def standardised(values: Sequence[float | None], keys: Sequence[str]) -> list[float | None]:
    """Values minus the mean of their group, over its standard deviation (n - 1); each process has to call.

    Args:
        values: [N] of this process; None is left out of the group's statistics, and stays.
        keys: [N] the group of each.
    """
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for key, value in cast("list[tuple[str, float | None]]", gather_object(list(zip(keys, values, strict=True)))):
        if value is not None:
            groups[key].append(value)
    known = {key: (statistics.fmean(group), _spread(group)) for key, group in groups.items()}

    def one(key: str, value: float | None) -> float | None:
        if value is None:
            return None
        mean, spread = known[key]
        return (value - mean) / spread if spread else 0.0

    return [one(*pair) for pair in zip(keys, values, strict=True)]


def _spread(group: Sequence[float]) -> float:
    spread = statistics.stdev(group) if len(group) > 1 else 0.0
    return spread if spread > ROUNDING * max(map(abs, group)) else 0.0


def intrinsic_reward(
    name: str,
    *,
    weights: Sequence[float] | None = None,
    answer: AnswerSettings | None = None,
    length_norm: LengthNorm = "mean",
    temperature: float = 1.0,
) -> IntrinsicReward:
    """An intrinsic reward, or several in one, for a GRPOTrainer of yours.

    Add the reward to `reward_funcs` and its `callback` to `callbacks`. Beside other rewards it is weighed by TRL's
    `reward_weights`.

    Args:
        name: one of `INTRINSIC`, or several joined by `+`, see `combined`.
        weights: of several.
        answer: how answers are read off the completions, for the votes and `answer_disparity`.
        length_norm: of `self_certainty`, `neg_entropy` and `mean_logprob`: see `confidence.LengthNorm`.
        temperature: see `IntrinsicReward`.

    Raises:
        SettingsError: there is no such reward, or the weights do not fit.
    """
    settings = answer or AnswerSettings()
    names = names_of(name, weights=weights)
    parts = [named_reward(one, lambda key: settings, length_norm=length_norm) for one in names]
    return IntrinsicReward(name, parts[0] if len(parts) == 1 else combined(parts, weights), temperature=temperature)
