"""A head whose words are dealt out to several processes: who has which tokens, and what all words say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from inward.signals.statistics import merge


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Tokens of all processes, one after the other; those of one alone where all have the same."""

    states: Float[Tensor, "M H"]
    ids: Int[Tensor, " M"]
    own: slice
    """Which of them are this process's."""
    shared: bool
    """Whether all processes have the same tokens, as with tensor parallelism."""


def gather(states: Float[Tensor, "M H"], ids: Int[Tensor, " M"], group: Any) -> Gathered:
    """The tokens of all processes of a group, each of which must call it."""
    size, rank = dist.get_world_size(group), dist.get_rank(group)
    counts = [int(one) for one in _all_gather(ids.new_tensor([len(ids)]), group)]
    longest = max(counts)
    every_state = _all_gather(_padded(states, longest), group)
    every_id = _all_gather(_padded(ids, longest), group)
    if all(
        counts[other] == counts[0]
        and torch.equal(every_id[other], every_id[0])
        and torch.equal(every_state[other], every_state[0])
        for other in range(1, size)
    ):
        return Gathered(states=states, ids=ids, own=slice(0, len(ids)), shared=True)
    start = sum(counts[:rank])
    return Gathered(
        states=torch.cat([one[:count] for one, count in zip(every_state, counts, strict=True)]),
        ids=torch.cat([one[:count] for one, count in zip(every_id, counts, strict=True)]),
        own=slice(start, start + len(ids)),
        shared=False,
    )


def merge_everywhere(statistics: Float[Tensor, "7 M"], group: Any) -> Float[Tensor, "7 M"]:
    """Statistics over the words of all processes of a group, for tokens that all of them have."""
    return merge(torch.stack(_all_gather(statistics, group), -1))


def add_everywhere(values: Tensor, group: Any) -> Tensor:
    """The sum over all processes of a group, which it writes over what was given."""
    dist.all_reduce(values, group=group)
    return values


def _padded(values: Tensor, length: int) -> Tensor:
    out = values.new_zeros(length, *values.shape[1:])
    out[: len(values)] = values
    return out


def _all_gather(values: Tensor, group: Any) -> list[Tensor]:
    found = [torch.empty_like(values) for _ in range(dist.get_world_size(group))]
    dist.all_gather(found, values.contiguous(), group=group)
    return found
