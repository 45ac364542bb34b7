"""The last layer of a language model, whole or as the share of it that one process holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last layer of a language model: logits z = scale * (h W^T + b), then softcap * tanh(z / softcap) if any.

    Weight and bias may be DTensors, whole everywhere or sharded by words: see `head_signals`.
    """

    weight: Float[Tensor, "V H"]
    bias: Float[Tensor, " V"] | None = None
    scale: float = 1.0
    softcap: float | None = None
    words: int | None = None
    """Rows of the weight that are words, the first ones; the rest only pad it and get no probability. None: all."""

    def __post_init__(self) -> None:
        if self.words is not None and not 1 <= self.words <= self.weight.shape[0]:
            raise ValueError(f"words must be from 1 to the {self.weight.shape[0]} rows of the weight, got {self.words}")

    @property
    def vocabulary(self) -> int:
        """Number of words that share the probability."""
        return self.weight.shape[0] if self.words is None else self.words


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalHead:
    """The words of a head that this process holds: `start` and those after it."""

    weight: Float[Tensor, "L H"]
    bias: Float[Tensor, " L"] | None
    scale: float
    softcap: float | None
    start: int
    group: Any
    """Process group whose members hold the other words; None where this process holds all."""


def local_head(head: Head) -> LocalHead:
    """The part of a head that is in this process, with gradient to it; all of it unless it is sharded."""
    weight, bias, start, group = head.weight, head.bias, 0, None
    if isinstance(weight, DTensor):
        dim = shard_dim(weight.placements)
        if dim is not None:
            mesh = weight.device_mesh
            group = mesh.get_group(dim)
            # Rows are dealt out as torch.chunk cuts them: all shares but the last ones are equally large.
            start = min(weight.shape[0], -(-weight.shape[0] // mesh.size(dim)) * mesh.get_local_rank(dim))
        weight = weight.to_local()
    dealt = isinstance(bias, DTensor) and shard_dim(bias.placements) is not None
    if isinstance(bias, DTensor):
        bias = bias.to_local()
    if bias is not None and not dealt and group is not None:
        bias = bias[start : start + len(weight)]
    count = max(0, min(len(weight), head.vocabulary - start))
    if count < len(weight):
        weight, bias = weight[:count], None if bias is None else bias[:count]
    return LocalHead(
        weight=weight,
        bias=bias,
        scale=head.scale,
        softcap=head.softcap,
        start=start,
        group=group,
    )


def shard_dim(placements: Sequence[Placement]) -> int | None:
    """Dimension of the mesh along which a DTensor's rows are dealt out; None where every process holds all of them.

    Raises:
        ValueError: it is laid out in any other way.
    """
    dims = [dim for dim, placement in enumerate(placements) if placement == Shard(0)]
    others = [one for dim, one in enumerate(placements) if dim not in dims and one != Replicate()]
    if len(dims) > 1 or others:
        raise ValueError(f"a head must be replicated, or sharded by rows along one dimension, not {tuple(placements)}")
    return dims[0] if dims else None


def head_logits(hidden: Float[Tensor, "*N H"], head: Head) -> Float[Tensor, "*N V"]:
    """Float32 logits of a few hidden states: all of them at once, of words alone. A sharded head is gathered."""
    weight, bias = (one.full_tensor() if isinstance(one, DTensor) else one for one in (head.weight, head.bias))
    assert weight is not None
    weight, bias = weight[: head.vocabulary], bias if bias is None else bias[: head.vocabulary]
    logits = torch.nn.functional.linear(hidden.to(weight.dtype), weight, bias).float() * head.scale
    return head.softcap * (logits / head.softcap).tanh() if head.softcap else logits
