"""Rewards and advantages from a trainer's own log-probabilities and entropies: tensors in, tensors out.

For training loops that are not ours (verl, a loop of yours). The numbers are those of `inward run rlif`: the same
measures, normalised within the group as GRPO does. Nothing here knows a model.

Shapes: N traces, C tokens of the longest response, padded on the right or masked in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inward.batch import TokenSignals
from inward.confidence import LengthNorm, mean_logprob, neg_entropy
from inward.errors import DataError, SettingsError

FLAT = 1e-4
"""Added to a group's standard deviation: what TRL's GRPO adds (verl adds 1e-6)."""


def token_entropy(
    entropy: Float[Tensor, "N C"], mask: Tensor, *, length_norm: LengthNorm = "mean"
) -> Float[Tensor, " N"]:
    """RLIF's token-entropy reward (arXiv 2506.17219): minus the mean entropy of the tokens under the mask, nats.

    Args:
        entropy: of the distribution that each token was drawn from.
        mask: [N, C] true, or 1, on the tokens that the policy wrote; tool output and padding are left out.
        length_norm: see `confidence.LengthNorm`.

    Returns:
        At most 0, NaN for a trace without a token.

    Raises:
        DataError: shapes differ.
    """
    return neg_entropy(
        _signals(entropy, mask, "entropy"), torch.zeros_like(mask, dtype=torch.bool), length_norm=length_norm
    )


def trajectory_entropy(
    logprob: Float[Tensor, "N C"], mask: Tensor, *, length_norm: LengthNorm = "mean"
) -> Float[Tensor, " N"]:
    """RLIF's trajectory-entropy reward: the mean log-probability of the tokens under the mask, nats.

    `length_norm="sum"` is the log-probability of the whole response (EM-RL, arXiv 2505.15134). Arguments, values and
    errors as `token_entropy`.
    """
    return mean_logprob(
        _signals(logprob, mask, "logprob"), torch.zeros_like(mask, dtype=torch.bool), length_norm=length_norm
    )


def group_advantages(
    rewards: Float[Tensor, " N"], groups: Sequence[Any], mask: Tensor, *, flat: float = FLAT, scale: bool = True
) -> Float[Tensor, "N C"]:
    """GRPO's advantages: rewards minus their group's mean, over its standard deviation (n - 1) + `flat`, at each token.

    Args:
        rewards: one a trace; NaN for what has none, which has advantage 0 and no part in its group's statistics.
        groups: [N] what is equal for traces of one prompt, such as verl's `uid`.
        mask: [N, C] as in `token_entropy`.
        flat: keeps a group of equal rewards from a division by 0.
        scale: whether to divide; without, groups keep the rewards' own unit (Dr. GRPO, arXiv 2503.20783).

    Raises:
        DataError: not one group and one row of the mask for each reward.
    """
    if not len(rewards) == len(groups) == len(mask):
        raise DataError(f"{len(rewards)} rewards, {len(groups)} groups and {len(mask)} rows of the mask: give one each")
    rows: dict[Any, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    advantages = torch.zeros_like(rewards)
    for members in rows.values():
        known = [row for row in members if not bool(rewards[row].isnan())]
        if len(known) > 1:
            own = rewards[known]
            centred = own - own.mean()
            advantages[known] = centred / (own.std() + flat) if scale else centred
    return advantages[:, None] * mask.to(rewards.dtype)


def at_last_token(rewards: Float[Tensor, " N"], mask: Tensor) -> Float[Tensor, "N C"]:
    """Rewards of whole traces as verl's token-level scores: at the last token under the mask, 0 elsewhere.

    A trace without a reward (NaN), or without a token, has 0 everywhere.
    """
    position = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask.bool(), position, -1).amax(1)
    return torch.where(position == last[:, None], rewards.nan_to_num()[:, None], 0.0)


def intrinsic(measure: str, *, logprob: Tensor, entropy: Tensor, mask: Tensor) -> Float[Tensor, " N"]:
    """One of the two rewards by its name in RLIF: `neg_entropy` (token) or `mean_logprob` (trajectory).

    Raises:
        SettingsError: another name; `self_certainty` needs what neither tensor holds.
    """
    match measure:
        case "neg_entropy":
            return token_entropy(entropy, mask)
        case "mean_logprob":
            return trajectory_entropy(logprob, mask)
        case _:
            raise SettingsError(
                f"reward {measure!r} cannot be made of entropies and log-probabilities alone: choose neg_entropy or "
                "mean_logprob"
            )


def _signals(values: Tensor, mask: Tensor, name: str) -> TokenSignals:
    """Signals of which one alone is known; the others are NaN, so that nothing can be taken from them."""
    if values.shape != mask.shape or values.ndim != 2:
        raise DataError(f"{name} has the shape {tuple(values.shape)} and the mask {tuple(mask.shape)}: both are [N, C]")
    unknown = torch.full_like(values, float("nan"))
    known = {"logprob": unknown, "entropy": unknown, "self_certainty": unknown, "disparity": unknown, name: values}
    return TokenSignals(**known, mask=mask.bool())
