"""From hidden states and the last layer to the signals of each token, without the logits of all of them."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inward.batch import TokenSignals
from inward.signals.head import Head, local_head
from inward.signals.sharded import gather, merge_everywhere
from inward.signals.statistics import signals_of
from inward.signals.tiles import statistics
from inward.signals.trained import tiled_logprobs


@torch.no_grad()
def head_signals(
    hidden: Float[Tensor, "N C H"],
    head: Head,
    tokens: Int[Tensor, "N C"],
    mask: Bool[Tensor, "N C"],
    *,
    temperature: float = 1.0,
    tile_bytes: int | None = None,
) -> TokenSignals:
    """The same signals as `token_signals`, from hidden states, without ever holding the logits of all tokens.

    The product runs in the weight's own type, as in the model, so half-precision weights give logits rounded to half
    precision; it adds up, and everything after it runs, in float32. On CUDA with Triton a kernel reads each tile once.
    No gradient flows. Memory beside the results does not grow with the tokens: two tiles (three in half precision), and
    for 1024 tokens their states, and 28 bytes for each stripe of words.

    A head sharded by words (a DTensor of `Shard(0)`) is never gathered: each process folds its own words, and the
    statistics are merged. Its processes must call this together, each with its own tokens, or all with the same; each
    then holds the states of all.

    Args:
        hidden: aligned, see `completion_states`, on the head's device.
        head: the last layer.
        tokens: the completion tokens.
        mask: True on completion tokens; nothing is computed elsewhere, and signals are 0 there.
        temperature: logits are divided by it.
        tile_bytes: size of a tile of float32 scores; None takes what suits the device.
    """
    local = local_head(head)
    ids = tokens[mask]
    if local.group is None:
        places = None if len(ids) == mask.numel() else mask.flatten().nonzero().squeeze(1)
        found = statistics(hidden.flatten(0, 1), ids, local, temperature, tile_bytes, places)
    else:
        every = gather(hidden[mask], ids, local.group)
        found = statistics(every.states, every.ids - local.start, local, temperature, tile_bytes)
        found = merge_everywhere(found, local.group)[:, every.own]
    return signals_of(found, head.vocabulary, mask)


def head_logprobs(
    hidden: Float[Tensor, "N C H"],
    head: Head,
    tokens: Int[Tensor, "N C"],
    mask: Bool[Tensor, "N C"],
    *,
    temperature: float = 1.0,
    tile_bytes: int | None = None,
) -> tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]:
    """Log-probability and entropy of each token, with gradient to hidden states and head.

    One tile of logits exists at a time; the backward pass makes it again. Beside the gradients themselves memory is as
    flat as that of `head_signals`, whose words on types and sharding hold here too; under autocast the product runs in
    its type. With a sharded head, a weight's gradient is the sum over the tokens of all its processes.

    Args:
        hidden: aligned, see `completion_states`, on the head's device.
        head: the last layer, its weight not detached where it is trained.
        tokens: the completion tokens.
        mask: True on completion tokens; results are 0 elsewhere.
        temperature: logits are divided by it.
        tile_bytes: size of a tile of float32 scores; None takes what suits the device.

    Returns:
        Both in nats, float32 (float64 where the weight is).
    """
    local = local_head(head)
    logprob, entropy = tiled_logprobs(hidden[mask], tokens[mask], local, temperature, tile_bytes)
    empty = logprob.new_zeros(mask.shape)
    return empty.masked_scatter(mask, logprob), empty.masked_scatter(mask, entropy)
