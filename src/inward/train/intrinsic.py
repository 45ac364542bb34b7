"""Every intrinsic reward by its name, alone or several of them in one."""

from __future__ import annotations

import difflib
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

from accelerate.utils import gather_object

from inward.answers import AnswerSettings
from inward.confidence import CERTAINTY, LengthNorm
from inward.errors import SettingsError
from inward.train.certainty import answer_disparity, certainty, sequence_probability
from inward.train.reward import AnswersOf, IntrinsicReward, Reward, StepTraces
from inward.train.votes import co_rewarding, majority_vote, soft_vote

VOTES = {"majority_vote": majority_vote, "soft_vote": soft_vote, "co_rewarding": co_rewarding}

INTRINSIC = (*CERTAINTY, "sequence_probability", "answer_disparity", *VOTES)
"""Names of the intrinsic rewards."""

ROUNDING = 1e-5
"""A spread below this share of a group's largest value is float32's rounding, and counts as none."""


def names_of(reward: str, known: Sequence[str] = INTRINSIC, weights: Sequence[float] | None = None) -> tuple[str, ...]:
    """The names in `a` or `a+b+c`.

    Args:
        reward: as the user wrote it.
        known: the names there are.
        weights: of the names, where they are given.

    Raises:
        SettingsError: a name is unknown or stands twice, or the weights are not a positive number for each of several.
    """
    names = tuple(name.strip() for name in reward.split("+"))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            listed = ", ".join(known)
            raise SettingsError(f"reward {name!r} is unknown; choose one of {listed}, or several joined by +{hint}")
    if len(set(names)) < len(names):
        raise SettingsError(f"reward {reward!r} names one twice; give it a weight instead")
    if weights is None:
        return names
    if len(names) == 1 or len(weights) != len(names):
        raise SettingsError(
            f"reward_weights must be one number for each of several rewards: {reward!r} has {len(names)}, "
            f"got {len(weights)}"
        )
    if not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise SettingsError(f"reward_weights must be above 0, got {list(weights)}")
    return names


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
