"""How many rows fit into memory at once, from the model's sizes."""

from __future__ import annotations

import torch

from inward.models import Policy
from inward.sample.cache import PREFILL_TOKENS, ROOM

CPU_GIB = 2.0
"""Memory for decoding where nobody says otherwise and the device does not tell what is free."""

FREE_SHARE = 0.8
"""Of an accelerator's free memory, what decoding may take where nobody says otherwise."""

LOGIT_BYTES = 64
"""Per row and word: logits and their copy in float32, probabilities and their running sum in float64, what is sorted,
and the signals' own copies."""

LAYER_COPIES = 4
"""Tensors as wide as a layer's MLP, or as its attention, that live while the layer reads a token."""


def rows_that_fit(
    policy: Policy, prompt_tokens: int, new_tokens: int, question_tokens: int, memory_gib: float | None
) -> int:
    """Rows of these lengths that can be decoded at once; at least one.

    Args:
        policy: the model.
        prompt_tokens: of the longest prompt.
        new_tokens: most tokens of a completion.
        question_tokens: of the longest question and its reply; 0 where none is put.
        memory_gib: beside the model's weights. None: 80% of what is free on an accelerator, 2 GiB elsewhere.
    """
    config, itemsize = policy.model.config.get_text_config(), policy.model.dtype.itemsize
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    # All layers keep keys and values, and one at a time repeats them for every head and may hold them twice.
    heads = key_heads * (config.num_hidden_layers + 1) + config.num_attention_heads
    cached = (prompt_tokens + new_tokens + question_tokens + ROOM) * 2 * heads * size * itemsize
    width = max(getattr(config, "intermediate_size", None) or 4 * config.hidden_size, 3 * config.hidden_size)
    read = LAYER_COPIES * width * itemsize
    row = cached + LOGIT_BYTES * config.vocab_size + question_tokens * read
    return max(1, int((_budget(policy, memory_gib) - PREFILL_TOKENS * read) // row))


def _budget(policy: Policy, memory_gib: float | None) -> float:
    device = policy.model.device
    if memory_gib is not None:
        return memory_gib * 2**30
    if device.type != "cuda":
        return CPU_GIB * 2**30
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return FREE_SHARE * (torch.cuda.mem_get_info(device)[0] + unused)
