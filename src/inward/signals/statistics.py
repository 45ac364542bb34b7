"""What is known of each token's distribution after some of the words: it adds up over tiles, blocks and processes.

For logits z_v of a set of words, the rows of a table of statistics are

| row        | meaning                             | of no word |
|------------|-------------------------------------|------------|
| LOG_SUM    | log sum_v exp(z_v)                  | -inf       |
| ENTROPY    | -sum_v q_v log q_v, q = softmax(z)  | 0          |
| COLLISION  | log sum_v q_v^2                     | -inf       |
| PLAIN      | sum_v z_v                           | 0          |
| FIRST      | largest z_v                         | -inf       |
| SECOND     | second largest z_v                  | -inf       |
| OWN        | z of the token itself               | -inf       |

so that two tables give the table of the union (`merge`): the online softmax of Milakov and Gimelshein
(arXiv 1805.02867), carrying entropy, collision and the two strongest words along.
"""

import math
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inward.batch import TokenSignals
from inward.signals.plain import two_largest

LOG_SUM, ENTROPY, COLLISION, PLAIN, FIRST, SECOND, OWN = range(7)
ROWS = 7

NEUTRAL = (-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf, -torch.inf, -torch.inf)
"""The statistics of no word."""

GROUP = 32
"""Words of one group, of which the largest score is taken before the largest of all: a cheap way to the two largest."""


def lowest_exponent(dtype: torch.dtype) -> float:
    """Exp of it is a normal number: below it lie slow subnormal numbers, and 0 * -inf, which is NaN."""
    return float(math.ceil(math.log(torch.finfo(dtype).tiny)))


def merge(parts: Float[Tensor, "7 M P"]) -> Float[Tensor, "7 M"]:
    """Statistics of all words from those of P disjoint sets of words."""
    log_sum = parts[LOG_SUM].logsumexp(1)
    share = parts[LOG_SUM] - log_sum[:, None]
    first, second = two_largest(parts[[FIRST, SECOND]].transpose(0, 1).flatten(1))
    return torch.stack(
        (
            log_sum,
            # Of no word the share's logarithm is -inf, and 0 * -inf is NaN.
            (share.exp() * (parts[ENTROPY] - share.clamp(min=torch.finfo(share.dtype).min))).sum(1),
            (2 * share + parts[COLLISION]).logsumexp(1),
            parts[PLAIN].sum(1),
            first,
            second,
            parts[OWN].amax(1),
        )
    )


def signals_of(statistics: Float[Tensor, "7 M"], vocabulary: int, mask: Bool[Tensor, "N C"]) -> TokenSignals:
    """The signals of M tokens in their places among N completions; 0 elsewhere."""
    log_sum, entropy, collision, plain, first, second, own = statistics.float().unbind(0)
    other = torch.where(own >= first, second, first)
    columns = {
        "logprob": own - log_sum,
        "entropy": entropy,
        "self_certainty": log_sum - plain / vocabulary - math.log(vocabulary),
        "disparity": (own - log_sum).exp() - (other - log_sum).exp(),
        "top1": (first - log_sum).exp(),
        "top2": (second - log_sum).exp(),
        "log_collision": collision,
    }
    empty = torch.zeros(mask.shape, dtype=torch.float32, device=statistics.device)
    return TokenSignals(**{name: empty.masked_scatter(mask, column) for name, column in columns.items()}, mask=mask)


def fold(
    scores: Float[Tensor, "M W"],
    local: Int[Tensor, " M"],
    spare: Float[Tensor, "M W"],
    out: Float[Tensor, "7 M"],
    *,
    barred: bool,
) -> None:
    """Statistics of a tile of scores, which it overwrites.

    Each line is one reading of a tile that lies in the processor's cache; together they cost a fifth of the
    product that made it.

    Args:
        scores: z of M tokens and W words.
        local: the word of each token, counted from the first of the tile; outside it where it is none of them.
        spare: overwritten.
        out: written.
        barred: whether a score may be -inf.
    """
    log_sum, entropy, collision, plain, first, second, own = out.unbind(0)
    index = local.clamp(0, scores.shape[1] - 1)[:, None]
    own.copy_(scores.gather(1, index)[:, 0]).masked_fill_(local != index[:, 0], -torch.inf)
    torch.sum(scores, 1, out=plain)
    _two_largest(scores, first, second)
    # Where a whole tile is barred, its peak must be finite for the differences to it.
    peak = first.clamp(min=torch.finfo(scores.dtype).min) if barred else first
    scores.sub_(peak[:, None])
    if barred:
        scores.clamp_(min=lowest_exponent(scores.dtype))
    weights = torch.exp(scores, out=spare)
    total = weights.sum(1)
    squares = cast(Tensor, torch.linalg.vector_norm(weights, dim=1))  # pyright: ignore[reportUnknownMemberType]
    log_total = total.log()
    torch.mul(torch.div(squares, total).log_(), 2.0, out=collision)
    torch.sub(log_total, weights.mul_(scores).sum(1).div_(total), out=entropy)
    torch.add(peak, log_total, out=log_sum)


def _two_largest(scores: Float[Tensor, "M W"], first: Float[Tensor, " M"], second: Float[Tensor, " M"]) -> None:
    """The two largest of each row in one reading: the second is another group's best, or second in the best group."""
    whole = scores.shape[1] - scores.shape[1] % GROUP
    if not whole:
        _first_and_second(scores.clone(), first, second)
        return
    best = cast(Tensor, scores[:, :whole].unflatten(1, (GROUP, -1)).amax(1))  # pyright: ignore[reportUnknownMemberType]
    candidates = best if whole == scores.shape[1] else torch.cat((best, scores[:, whole:]), 1)
    place = _first_and_second(candidates, first, second)
    # Where the best is none of a group, the group looked into instead has a best of its own above its second.
    members = place.clamp_(max=best.shape[1] - 1) + torch.arange(0, whole, best.shape[1], device=scores.device)
    members += torch.arange(0, scores.numel(), scores.shape[1], device=scores.device)[:, None]
    within, rest = torch.empty_like(first), torch.empty_like(first)
    _first_and_second(scores.take(members), within, rest)
    torch.maximum(second, rest, out=second)


def _first_and_second(
    scores: Float[Tensor, "M W"], first: Float[Tensor, " M"], second: Float[Tensor, " M"]
) -> Int[Tensor, "M 1"]:
    """The two largest of each row, which it overwrites, and where the first stood: far faster than a partial sort."""
    place = torch.empty(len(scores), dtype=torch.long, device=scores.device)
    torch.max(scores, 1, out=(first, place))
    torch.amax(scores.scatter_(1, place[:, None], -torch.inf), 1, out=second)
    return place[:, None]
