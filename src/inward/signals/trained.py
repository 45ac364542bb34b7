"""Log-probability and entropy with gradient, in tiles both ways: the backward pass makes each tile again.

For logits z = transform(y), y = h W^T + b, p = softmax(z) and entropy S, with incoming gradients g and e,

    dz_v = g (1[v = token] - p_v) - e p_v (log p_v + S)
    dy_v = dz_v * scale / temperature * (1 - tanh^2)     the last factor with a softcap alone
    dh = sum_v dy_v W_v,   dW_v = sum over tokens of dy_v h,   db_v = sum over tokens of dy_v
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from inward.signals.head import LocalHead
from inward.signals.sharded import add_everywhere, gather, merge_everywhere
from inward.signals.statistics import ENTROPY, LOG_SUM, OWN
from inward.signals.tiles import Tile, compute_dtype, grid, multiply, runs, score_dtype, statistics, words


def tiled_logprobs(
    states: Float[Tensor, "M H"],
    ids: Int[Tensor, " M"],
    head: LocalHead,
    temperature: float,
    tile_bytes: int | None,
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Log-probability and entropy of M tokens, with gradient to states, weight and bias."""
    found: Any = _TiledLogprobs.apply(states, head.weight, head.bias, ids, head, temperature, tile_bytes)
    return found


class _TiledLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ids: Tensor,
        head: LocalHead,
        temperature: float,
        tile_bytes: int | None,
    ) -> tuple[Tensor, Tensor]:
        """Kept for the way back are the states and two numbers for each token."""
        own, shared = slice(0, len(ids)), True
        if head.group is not None:
            every = gather(states, ids, head.group)
            states, ids, own, shared = every.states, every.ids, every.own, every.shared
        found = statistics(states, ids - head.start, head, temperature, tile_bytes)
        if head.group is not None:
            found = merge_everywhere(found, head.group)
        log_sum, entropy = found[LOG_SUM], found[ENTROPY]
        ctx.save_for_backward(states, weight, bias, ids, log_sum, entropy)
        ctx.head, ctx.temperature, ctx.tile_bytes = replace(head, weight=weight, bias=bias), temperature, tile_bytes
        ctx.own, ctx.shared, ctx.dtype = own, shared, compute_dtype(states, weight)
        return (found[OWN] - log_sum)[own].clone(), entropy[own].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gradients of states, weight and bias, added up in float32 and rounded once."""
        states, weight, bias, ids, log_sum, entropy = ctx.saved_tensors
        head: LocalHead = replace(ctx.head, weight=weight, bias=bias)
        terms = torch.zeros(4, len(ids), dtype=log_sum.dtype, device=log_sum.device)
        terms[0], terms[1], terms[2:, ctx.own] = log_sum, entropy, torch.stack(grad_outputs)
        if not ctx.shared:
            add_everywhere(terms[2:], head.group)
        grads = _gradients(
            states.to(ctx.dtype),
            ids - head.start,
            head,
            terms,
            needed=ctx.needs_input_grad[:3],
            temperature=ctx.temperature,
            tile_bytes=ctx.tile_bytes,
        )
        by_states, by_weight, by_bias = grads
        if by_states is not None:
            if head.group is not None:
                by_states = add_everywhere(by_states, head.group)
            by_states = by_states[ctx.own].to(states.dtype)
        return by_states, by_weight, by_bias, None, None, None, None


def _gradients(
    states: Float[Tensor, "M H"],
    ids: Int[Tensor, " M"],
    head: LocalHead,
    terms: Float[Tensor, "4 M"],
    *,
    needed: tuple[bool, bool, bool],
    temperature: float,
    tile_bytes: int | None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of states in the type that sums have; of weight and bias in their own."""
    dtype, wide = states.dtype, score_dtype(states.dtype)
    by_states = torch.zeros_like(states, dtype=wide) if needed[0] else None
    by_weight = torch.zeros_like(head.weight) if needed[1] else None
    by_bias = torch.zeros_like(head.bias) if needed[2] and head.bias is not None else None
    if not len(ids) or not len(head.weight):
        return by_states, by_weight, by_bias
    cut = grid(len(ids), len(head.weight), states.device, tile_bytes)
    tile = Tile(cut, dtype, states.device)
    for first, weight, bias in words(head, cut.width, dtype):
        stripe = slice(first, first + len(weight))
        weight_sum = torch.zeros_like(weight, dtype=wide) if needed[1] else None
        bias_sum = states.new_zeros(len(weight), dtype=wide) if by_bias is not None else None
        for rows in runs(slice(0, len(ids)), cut.rows):
            product = tile.product(rows, weight)
            multiply(states[rows], weight, bias, product)
            change = tile.gradient(product, ids[rows] - first, head, temperature, terms[:, rows])
            if by_states is not None:
                _add_product(by_states[rows], change, weight)
            if weight_sum is not None:
                _add_product(weight_sum, change.T, states[rows])
            if bias_sum is not None:
                bias_sum += change.sum(0, dtype=wide)
        if by_weight is not None and weight_sum is not None:
            by_weight[stripe] = weight_sum
        if by_bias is not None and bias_sum is not None:
            by_bias[stripe] = bias_sum
    return by_states, by_weight, by_bias


def _add_product(total: Float[Tensor, "A B"], left: Float[Tensor, "A K"], right: Float[Tensor, "K B"]) -> None:
    """Total += left @ right, never rounded to half precision on the way."""
    if right.dtype == total.dtype:
        total.addmm_(left.to(total.dtype), right)
    elif total.is_cuda:
        torch.addmm(total, left.to(right.dtype), right, out_dtype=total.dtype, out=total)
    else:
        total.addmm_(left.to(total.dtype), right.to(total.dtype))
