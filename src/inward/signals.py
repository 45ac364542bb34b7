"""From logits, or hidden states and the last layer, to per-token signals: the only place where positions shift by one.

A causal model's output at position i describes token i + 1. `completion_logits` and `completion_states` make that
shift once; everything after it is aligned: entry t of a signal describes the distribution that generated completion
token t. All signals come from raw logits at temperature 1 unless the caller asks for another, and are computed in
float32. Averages over the vocabulary run over every column of the logits, those that pad it included.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from inward.batch import SIGNALS, TokenSignals

TILE_BYTES = 32 * 2**20
"""Float32 scores of a tile: wide enough for a fast product, small beside any model that has so large a vocabulary."""

TILE_TOKENS = 1024
"""Tokens that share one reading of the weight, where the vocabulary does not fit into a tile."""

LOWEST_EXPONENT = -87.0
"""exp of it is the smallest normal float32: below it lie slow subnormal numbers, and 0 * -inf, which is NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last layer of a language model: logits z = scale * (h W^T + b), then softcap * tanh(z / softcap) if any."""

    weight: Float[Tensor, "V H"]
    bias: Float[Tensor, "V"] | None = None
    scale: float = 1.0
    softcap: float | None = None


def completion_logits(logits: Float[Tensor, "N T V"], num_tokens: int) -> Float[Tensor, "N C V"]:
    """Logits that generated the last `num_tokens` tokens of a sequence.

    Args:
        logits: for every position, or at least for the last `num_tokens` + 1.
        num_tokens: C, the length of the (right-padded) completions.

    Returns:
        The entries from one before the first completion token up to one before the last.
    """
    if logits.shape[1] <= num_tokens:
        raise ValueError(
            f"need logits of {num_tokens + 1} positions to score {num_tokens} tokens, got {logits.shape[1]}"
        )
    return logits[:, -num_tokens - 1 : -1]


def completion_states(
    states: Float[Tensor, "N T D"], starts: Int[Tensor, "N"], num_tokens: int
) -> Float[Tensor, "N C D"]:
    """Hidden states (or logits) that generated the completions of sequences padded on the right.

    Args:
        states: for every position.
        starts: where each completion begins, at least 1.
        num_tokens: C, the length of the longest completion. Entries past the end of a shorter one mean nothing.
    """
    if len(starts) and int(starts.min()) < 1:
        raise ValueError("a completion without a prompt has no state that generated its first token")
    position = starts[:, None] - 1 + torch.arange(num_tokens, device=starts.device)
    position = position.clamp(max=states.shape[1] - 1)
    return states.gather(1, position[..., None].expand(-1, -1, states.shape[2]))


def token_signals(
    logits: Float[Tensor, "N C V"], tokens: Int[Tensor, "N C"], mask: Bool[Tensor, "N C"]
) -> TokenSignals:
    """Log-probability, entropy, self-certainty and disparity of each token, from aligned logits.

    - logprob: log p(token), nats.
    - entropy: -sum_v p_v log p_v over the full distribution, nats.
    - self_certainty: KL(U || p) = -log V - mean_v log p_v, nats (RLIF, arXiv 2506.17219; Intuitor drops the constant).
    - disparity: p(token) - max_{v != token} p_v (RLSF, arXiv 2507.21931, section 1.3 of its code: the sampled token
      against the strongest other one; equals top-1 minus top-2 when the token is the most probable).

    Args:
        logits: aligned, see `completion_logits`; any float type.
        tokens: the completion tokens; padding may hold any valid id.
        mask: True on completion tokens; signals are 0 elsewhere.
    """
    scores = logits.float()
    log_z = scores.logsumexp(-1)
    token_scores = scores.gather(-1, tokens[..., None]).squeeze(-1)
    probs = (scores - log_z[..., None]).exp()
    # A token masked by -inf has probability 0 and adds nothing, but 0 * -inf is NaN.
    expected_score = (probs * scores.masked_fill(probs == 0, 0.0)).sum(-1)
    top = scores.topk(min(2, scores.shape[-1]), dim=-1).values
    strongest_other = torch.where(token_scores >= top[..., 0], top[..., -1], top[..., 0])
    logprob = token_scores - log_z
    disparity = logprob.exp() - (strongest_other - log_z).exp()
    self_certainty = log_z - scores.mean(-1) - math.log(scores.shape[-1])
    entropy = log_z - expected_score
    return TokenSignals(
        logprob=logprob.masked_fill(~mask, 0.0),
        entropy=entropy.masked_fill(~mask, 0.0),
        self_certainty=self_certainty.masked_fill(~mask, 0.0),
        disparity=disparity.masked_fill(~mask, 0.0),
        mask=mask,
    )


def head_logits(hidden: Float[Tensor, "*N H"], head: Head) -> Float[Tensor, "*N V"]:
    """Float32 logits of a few hidden states: all of them at once."""
    logits = torch.nn.functional.linear(hidden.to(head.weight.dtype), head.weight, head.bias).float() * head.scale
    return head.softcap * (logits / head.softcap).tanh() if head.softcap else logits


@torch.no_grad()
def head_signals(
    hidden: Float[Tensor, "N C H"],
    head: Head,
    tokens: Int[Tensor, "N C"],
    mask: Bool[Tensor, "N C"],
    *,
    temperature: float = 1.0,
    tile_bytes: int = TILE_BYTES,
) -> TokenSignals:
    """The same signals as `token_signals`, from hidden states, without ever holding the logits of all tokens.

    Logits are made in tiles of tokens by vocabulary and folded into running sums (the online softmax of Milakov and
    Gimelshein, arXiv 1805.02867, carrying the expected score and the strongest other token along). The product
    runs in the weight's own type, as in the model, so half-precision weights give logits rounded to half precision;
    everything after it runs in float32. Beside the results, memory grows by two tiles (three in half precision)
    and one copy of the masked hidden states. No gradient flows.

    Args:
        hidden: aligned, see `completion_states`, on the head's device.
        head: the last layer.
        tokens: the completion tokens.
        mask: True on completion tokens; nothing is computed elsewhere, and signals are 0 there.
        temperature: logits are divided by it.
        tile_bytes: size of a tile of float32 scores.
    """
    states, ids = hidden[mask].to(head.weight.dtype), tokens[mask]
    vocabulary, cells = len(head.weight), tile_bytes // 4
    width = min(vocabulary, max(1, cells // max(1, min(len(ids), TILE_TOKENS))))
    rows = max(1, cells // width)
    values = hidden.new_zeros(len(SIGNALS), len(ids), dtype=torch.float32)
    for start in range(0, len(ids), rows):
        block = slice(start, start + rows)
        values[:, block] = _block_signals(states[block], head, ids[block], temperature, width)
    empty = torch.zeros(mask.shape, dtype=torch.float32, device=hidden.device)
    columns = {name: empty.masked_scatter(mask, column) for name, column in zip(SIGNALS, values, strict=True)}
    return TokenSignals(**columns, mask=mask)


def head_logprobs(
    hidden: Float[Tensor, "N C H"],
    head: Head,
    tokens: Int[Tensor, "N C"],
    mask: Bool[Tensor, "N C"],
    *,
    temperature: float = 1.0,
    tile_bytes: int = TILE_BYTES,
) -> tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]:
    """Log-probability and entropy of each token, with gradient to hidden states and head.

    Logits of one block of tokens exist at a time; the backward pass makes them again.

    Args:
        hidden: aligned, see `completion_states`, on the head's device.
        head: the last layer, its weight not detached where it is trained.
        tokens: the completion tokens.
        mask: True on completion tokens; results are 0 elsewhere.
        temperature: logits are divided by it.
        tile_bytes: size of a block of float32 logits.

    Returns:
        Both in nats, float32.
    """
    states, ids = hidden[mask], tokens[mask]
    rows = max(1, tile_bytes // (4 * len(head.weight)))
    columns = [hidden.new_zeros(0, dtype=torch.float32)], [hidden.new_zeros(0, dtype=torch.float32)]
    for start in range(0, len(ids), rows):
        block = slice(start, start + rows)
        terms = cast(
            "tuple[Tensor, Tensor]",
            checkpoint(_block_logprobs, states[block], head, ids[block], temperature, use_reentrant=False),
        )
        for column, part in zip(columns, terms, strict=True):
            column.append(part)
    empty = torch.zeros(mask.shape, dtype=torch.float32, device=hidden.device)
    logprob, entropy = (empty.masked_scatter(mask, torch.cat(column)) for column in columns)
    return logprob, entropy


def _block_logprobs(
    states: Float[Tensor, "M H"], head: Head, ids: Int[Tensor, "M"], temperature: float
) -> tuple[Float[Tensor, "M"], Float[Tensor, "M"]]:
    logprobs = (head_logits(states, head) / temperature).log_softmax(-1)
    probs = logprobs.exp()
    entropy = -(probs * logprobs.masked_fill(probs == 0, 0.0)).sum(-1)
    return logprobs.gather(-1, ids[:, None]).squeeze(-1), entropy


def _block_signals(
    states: Float[Tensor, "M H"], head: Head, ids: Int[Tensor, "M"], temperature: float, width: int
) -> Float[Tensor, "4 M"]:
    """The signals of M tokens, in the order of `SIGNALS`, from tiles of `width` words."""
    floor = torch.finfo(torch.float32).min
    zeros = torch.zeros(len(ids), dtype=torch.float32, device=states.device)
    own, other, peak = zeros - torch.inf, zeros - torch.inf, zeros + floor
    # Over the words so far: sum of z, sum of exp(z - peak), sum of (z - peak) exp(z - peak).
    plain, total, moment = zeros.clone(), zeros.clone(), zeros.clone()
    spare = torch.empty(len(ids) * width, dtype=torch.float32, device=states.device)
    for start, scores in _tiles(states, head, temperature, width):
        plain += scores.sum(1)
        index = (ids - start).clamp(0, scores.shape[1] - 1)[:, None]
        present = (ids - start)[:, None] == index
        entry = scores.gather(1, index)
        own = torch.where(present, entry, own[:, None]).squeeze(1)
        scores.scatter_(1, index, entry.masked_fill(present, -torch.inf))
        other = torch.maximum(other, scores.amax(1))
        scores.scatter_(1, index, entry)
        top = torch.maximum(other, own).clamp(min=floor)
        shrink = (peak - top).exp()
        moment, total, peak = shrink * (moment + (peak - top) * total), shrink * total, top
        scores.sub_(peak[:, None]).clamp_(min=LOWEST_EXPONENT)
        weights = torch.exp(scores, out=spare[: scores.numel()].view_as(scores))
        total += weights.sum(1)
        moment += weights.mul_(scores).sum(1)
    log_total, vocabulary = total.log(), len(head.weight)
    logprob = own - peak - log_total
    entropy = log_total - moment / total
    self_certainty = peak + log_total - plain / vocabulary - math.log(vocabulary)
    disparity = logprob.exp() - (other - peak - log_total).exp()
    return torch.stack((logprob, entropy, self_certainty, disparity))


def _tiles(
    states: Float[Tensor, "M H"], head: Head, temperature: float, width: int
) -> Iterator[tuple[int, Float[Tensor, "M W"]]]:
    """First word and float32 scores of each tile; every tile is written over the one before.

    Fresh memory for each would cost more time than the arithmetic on it.
    """
    rows, dtype = len(states), head.weight.dtype
    products = torch.empty(rows * width, dtype=dtype, device=states.device)
    wide = products if dtype == torch.float32 else torch.empty_like(products, dtype=torch.float32)
    factor = head.scale / (head.softcap or temperature)
    for start in range(0, len(head.weight), width):
        weight = head.weight[start : start + width]
        size = rows * len(weight)
        product, scores = products[:size].view(rows, -1), wide[:size].view(rows, -1)
        if head.bias is None:
            torch.mm(states, weight.T, out=product)
        else:
            torch.addmm(head.bias[start : start + width], states, weight.T, out=product)
        if scores.dtype != product.dtype:
            scores.copy_(product)
        if factor != 1.0:
            scores.mul_(factor)
        if head.softcap:
            scores.tanh_().mul_(head.softcap / temperature)
        yield start, scores
