"""Logits in tiles of tokens by words, each written over the one before, folded into statistics or into gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inward.signals.head import LocalHead
from inward.signals.statistics import NEUTRAL, ROWS, fold, lowest_exponent, merge

TILE_BYTES = 32 * 2**20
"""Most bytes of a tile of float32 scores: what an accelerator works on at a time."""

CPU_TILE_BYTES = 16 * 2**20
"""The same on a processor. Smaller tiles would stay in a core's own cache, but the product runs slower in narrow
stripes, and every operation ends with the threads waiting for one another: fewer of them win."""

BLOCK_TOKENS = 1024
"""Tokens that share one reading of the weight. Statistics of every tile are held for so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How tokens by words are cut: `block` tokens share a reading of the weight, in tiles of `rows` by `width`."""

    block: int
    rows: int
    width: int


def grid(num_tokens: int, words: int, device: torch.device, tile_bytes: int | None) -> Grid:
    """The cut for tiles of at most `tile_bytes` in float32; None: what suits the device."""
    most = CPU_TILE_BYTES if device.type == "cpu" else TILE_BYTES
    cells = max(1, (most if tile_bytes is None else tile_bytes) // 4)
    width = min(words, max(1, cells // max(1, min(num_tokens, BLOCK_TOKENS))))
    if 64 < width < words:
        width -= width % 64  # rows that begin at cache lines
    rows = cells // max(1, width)
    return Grid(block=BLOCK_TOKENS, rows=max(1, min(num_tokens, BLOCK_TOKENS, rows)), width=width)


def compute_dtype(states: Tensor, weight: Tensor) -> torch.dtype:
    """Type of the product: the weight's own, as in the model, unless autocast says otherwise."""
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def score_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type of everything after the product."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Tile:
    """Room for one tile, written again and again: fresh memory would cost more time than the arithmetic on it."""

    def __init__(self, cut: Grid, dtype: torch.dtype, device: torch.device) -> None:
        size, wide = cut.rows * cut.width, score_dtype(dtype)
        self.kernels = kernels(device.type) if wide == torch.float32 else None
        self.products = torch.empty(size, dtype=dtype, device=device)
        if self.kernels is None:
            self.scores = self.products if dtype == wide else torch.empty(size, dtype=wide, device=device)
            self.spare = torch.empty(size, dtype=wide, device=device)

    def product(self, rows: slice, weight: Float[Tensor, "W H"]) -> Float[Tensor, "M W"]:
        """Where the product of these rows goes."""
        count, width = rows.stop - rows.start, len(weight)
        return self.products[: count * width].view(count, width)

    def fold(
        self, product: Float[Tensor, "M W"], local: Int[Tensor, " M"], head: LocalHead, temperature: float, out: Tensor
    ) -> None:
        """Statistics of a product, which may be overwritten, into `out`."""
        if self.kernels is not None:
            self.kernels.fold(product, local, head, temperature, out)
            return
        scores = self.scores[: product.numel()].view_as(product)
        transform(product, scores, head, temperature)
        fold(scores, local, self.spare[: product.numel()].view_as(product), out, barred=head.bias is not None)

    def gradient(
        self,
        product: Float[Tensor, "M W"],
        local: Int[Tensor, " M"],
        head: LocalHead,
        temperature: float,
        terms: Float[Tensor, "4 M"],
    ) -> Float[Tensor, "M W"]:
        """Gradient of the loss by a product, which is overwritten; see the function of that name for the terms."""
        if self.kernels is not None:
            self.kernels.gradient(product, local, head, temperature, terms)
            return product
        scores = self.scores[: product.numel()].view_as(product)
        transform(product, scores, head, temperature)
        spare = self.spare[: product.numel()].view_as(product)
        gradient(scores, local, head, temperature, terms, spare)
        return spare


@cache
def kernels(kind: str) -> ModuleType | None:
    """The kernels for a kind of device; None where torch's own operations do the work."""
    if kind != "cuda" or find_spec("triton") is None:
        return None
    return import_module("inward.signals.kernels")


def multiply(
    states: Float[Tensor, "M H"], weight: Float[Tensor, "W H"], bias: Tensor | None, out: Float[Tensor, "M W"]
) -> None:
    """The product of a tile, all in one type."""
    if bias is None:
        torch.mm(states, weight.T, out=out)
    else:
        torch.addmm(bias, states, weight.T, out=out)


def transform(product: Float[Tensor, "M W"], scores: Float[Tensor, "M W"], head: LocalHead, temperature: float) -> None:
    """Scores from a product: in their own type, scaled, capped, divided by the temperature."""
    if scores.dtype != product.dtype:
        scores.copy_(product)
    factor = head.scale / (head.softcap or temperature)
    if factor != 1.0:
        scores.mul_(factor)
    if head.softcap:
        scores.tanh_().mul_(head.softcap / temperature)


def gradient(
    scores: Float[Tensor, "M W"],
    local: Int[Tensor, " M"],
    head: LocalHead,
    temperature: float,
    terms: Float[Tensor, "4 M"],
    out: Float[Tensor, "M W"],
) -> None:
    """Gradient of the loss by the products behind a tile of scores, which it overwrites.

    Args:
        scores: z of M tokens and W words.
        local: the word of each token, counted from the first of the tile.
        head: its scale and softcap.
        temperature: what logits were divided by.
        terms: log-sum, entropy, and the incoming gradients of log-probability and of entropy of each token.
        out: written.
    """
    log_sum, entropy, by_logprob, by_entropy = terms.to(scores.dtype)[:, :, None].unbind(0)
    factor = head.scale / temperature
    slope = None
    if head.softcap:
        slope = (scores * (temperature / head.softcap)).square_().neg_().add_(1.0)
    log_p = scores.sub_(log_sum).clamp_(min=lowest_exponent(scores.dtype))
    torch.exp(log_p, out=out)
    # -p (g + e (log p + S)), and g besides where the word is the token.
    out.mul_(log_p.mul_(-factor * by_entropy).sub_(factor * (by_logprob + by_entropy * entropy)))
    index = local.clamp(0, scores.shape[1] - 1)[:, None]
    out.scatter_add_(1, index, factor * by_logprob * (local[:, None] == index))
    if slope is not None:
        out.mul_(slope)


def words(head: LocalHead, width: int, dtype: torch.dtype) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """First word, weight and bias of each stripe of `width` words, in the type of the product."""
    for start in range(0, len(head.weight), width):
        stripe = slice(start, start + width)
        yield start, head.weight[stripe].to(dtype), None if head.bias is None else head.bias[stripe].to(dtype)


def statistics(
    states: Float[Tensor, "S H"],
    ids: Int[Tensor, " M"],
    head: LocalHead,
    temperature: float,
    tile_bytes: int | None,
    places: Int[Tensor, " M"] | None = None,
) -> Float[Tensor, "7 M"]:
    """Statistics of M tokens over the words of a head, see the module of that name.

    Args:
        states: of the tokens, or of more.
        ids: words, counted from the first of the head.
        head: whole or a part.
        temperature: what logits are divided by.
        tile_bytes: see `grid`.
        places: which states are those of the tokens; None: all.
    """
    dtype = compute_dtype(states, head.weight)
    found = torch.empty(ROWS, len(ids), dtype=score_dtype(dtype), device=states.device)
    if not len(head.weight):
        return found.copy_(torch.tensor(NEUTRAL)[:, None])
    cut = grid(len(ids), len(head.weight), states.device, tile_bytes)
    tile, stripes = Tile(cut, dtype, states.device), -(-len(head.weight) // cut.width)
    for begin in range(0, len(ids), cut.block):
        block = slice(begin, min(begin + cut.block, len(ids)))
        # Only a block's states are ever copied: memory stays flat as tokens grow.
        some = (states[block] if places is None else states[places[block]]).to(dtype)
        # A place for every stripe, merged once: a small operation costs as much as many rows of a tile.
        parts = found.new_empty(stripes, ROWS, block.stop - begin)
        for stripe, (first, weight, bias) in enumerate(words(head, cut.width, dtype)):
            for rows in runs(block, cut.rows):
                multiply(some[rows.start - begin : rows.stop - begin], weight, bias, tile.product(rows, weight))
                out = parts[stripe, :, rows.start - begin : rows.stop - begin]
                tile.fold(tile.product(rows, weight), ids[rows] - first, head, temperature, out)
        found[:, block] = merge(parts.permute(1, 2, 0))
    return found


def runs(block: slice, rows: int) -> Iterator[slice]:
    """The block in pieces of so many rows."""
    for start in range(block.start, block.stop, rows):
        yield slice(start, min(start + rows, block.stop))
