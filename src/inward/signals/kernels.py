# pyright: reportArgumentType=false
"""Triton kernels that read a tile of products once: into statistics, or into the gradient, written over it.

The product itself is torch's own (cuBLAS); a tile of it still lies in the device's cache when a kernel reads it.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from inward.signals.head import LocalHead
from inward.signals.statistics import ROWS

BLOCK = 1024
"""Words that a program works on at a time."""

LOWEST = -87.0
"""exp of it is a normal float32; see `statistics.lowest_exponent`."""


@triton.jit
def _transform(product, factor, softcap, over_temperature, HAS_SOFTCAP: tl.constexpr):
    scores = product.to(tl.float32) * factor
    if HAS_SOFTCAP:
        # tanh(x) = 2 sigmoid(2 x) - 1
        scores = (2.0 * tl.sigmoid(2.0 * scores) - 1.0) * softcap * over_temperature
    return scores


@triton.jit
def _fold(
    products,
    tokens,
    out,
    width,
    out_stride,
    factor,
    softcap,
    over_temperature,
    HAS_SOFTCAP: tl.constexpr,
    BLOCK: tl.constexpr,
    LOWEST: tl.constexpr,
):
    """One program for each token: the two strongest words in a first reading, the sums of exponentials in a second."""
    row = tl.program_id(0).to(tl.int64)
    line = products + row * width
    lanes = tl.arange(0, BLOCK)
    best = tl.full((BLOCK,), -float("inf"), tl.float32)
    next_best = tl.full((BLOCK,), -float("inf"), tl.float32)
    plain = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        inside = start + lanes < width
        product = tl.load(line + start + lanes, mask=inside, other=0.0)
        scores = _transform(product, factor, softcap, over_temperature, HAS_SOFTCAP)
        plain += tl.where(inside, scores, 0.0)
        scores = tl.where(inside, scores, -float("inf"))
        next_best = tl.maximum(next_best, tl.minimum(best, scores))
        best = tl.maximum(best, scores)
    first = tl.max(best, axis=0)
    lane = tl.argmax(best, axis=0)
    second = tl.max(tl.where(lanes == lane, next_best, best), axis=0)
    peak = tl.maximum(first, -3.0e38)
    total = tl.zeros((BLOCK,), tl.float32)
    squares = tl.zeros((BLOCK,), tl.float32)
    moment = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        inside = start + lanes < width
        product = tl.load(line + start + lanes, mask=inside, other=0.0)
        below = _transform(product, factor, softcap, over_temperature, HAS_SOFTCAP) - peak
        # Not a maximum, which would hide NaN.
        below = tl.where(below < LOWEST, LOWEST, below)
        weights = tl.where(inside, tl.exp(below), 0.0)
        total += weights
        squares += weights * weights
        moment += weights * below
    all_weights = tl.sum(total, axis=0)
    log_total = tl.log(all_weights)
    tl.store(out + row, peak + log_total)
    tl.store(out + out_stride + row, log_total - tl.sum(moment, axis=0) / all_weights)
    tl.store(out + 2 * out_stride + row, tl.log(tl.sum(squares, axis=0)) - 2.0 * log_total)
    tl.store(out + 3 * out_stride + row, tl.sum(plain, axis=0))
    tl.store(out + 4 * out_stride + row, first)
    tl.store(out + 5 * out_stride + row, second)
    token = tl.load(tokens + row)
    here = (token >= 0) & (token < width)
    own = tl.load(line + tl.where(here, token, 0))
    own = _transform(own, factor, softcap, over_temperature, HAS_SOFTCAP)
    tl.store(out + 6 * out_stride + row, tl.where(here, own, -float("inf")))


@triton.jit
def _gradient(
    products,
    tokens,
    terms,
    width,
    terms_stride,
    factor,
    softcap,
    over_temperature,
    slope,
    HAS_SOFTCAP: tl.constexpr,
    BLOCK: tl.constexpr,
    LOWEST: tl.constexpr,
):
    """One program for each token and block of words."""
    row = tl.program_id(0).to(tl.int64)
    words = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = words < width
    place = products + row * width + words
    scores = _transform(tl.load(place, mask=inside, other=0.0), factor, softcap, over_temperature, HAS_SOFTCAP)
    log_sum = tl.load(terms + row)
    entropy = tl.load(terms + terms_stride + row)
    by_logprob = tl.load(terms + 2 * terms_stride + row)
    by_entropy = tl.load(terms + 3 * terms_stride + row)
    log_p = scores - log_sum
    log_p = tl.where(log_p < LOWEST, LOWEST, log_p)
    change = -tl.exp(log_p) * (by_logprob + by_entropy * (log_p + entropy))
    change += tl.where(words == tl.load(tokens + row), by_logprob, 0.0)
    change *= slope
    if HAS_SOFTCAP:
        capped = scores / (softcap * over_temperature)
        change *= 1.0 - capped * capped
    tl.store(place, change.to(products.dtype.element_ty), mask=inside)


def fold(product: Tensor, local: Tensor, head: LocalHead, temperature: float, out: Tensor) -> None:
    """Statistics [7, M] of a product [M, W], as `statistics.fold` gives them for scores."""
    assert product.is_contiguous() and out.stride(1) == 1 and out.shape[0] == ROWS
    width = product.shape[1]
    _fold[(len(product),)](
        product,
        local,
        out,
        width,
        out.stride(0),
        *_factors(head, temperature),
        HAS_SOFTCAP=head.softcap is not None,
        BLOCK=min(BLOCK, triton.next_power_of_2(width)),
        LOWEST=LOWEST,
    )


def gradient(product: Tensor, local: Tensor, head: LocalHead, temperature: float, terms: Tensor) -> None:
    """The gradient by a product [M, W], written over it in its own type; terms [4, M] as for `tiles.gradient`."""
    assert product.is_contiguous() and terms.stride(1) == 1 and terms.dtype == torch.float32
    width = product.shape[1]
    block = min(BLOCK, triton.next_power_of_2(width))
    _gradient[(len(product), triton.cdiv(width, block))](
        product,
        local,
        terms,
        width,
        terms.stride(0),
        *_factors(head, temperature),
        head.scale / temperature,
        HAS_SOFTCAP=head.softcap is not None,
        BLOCK=block,
        LOWEST=LOWEST,
    )


def _factors(head: LocalHead, temperature: float) -> tuple[float, float, float]:
    """What a product is multiplied by before the softcap, if any; the softcap, 1 if none; and 1 / temperature."""
    return head.scale / (head.softcap or temperature), head.softcap or 1.0, 1.0 / temperature
