"""A prompt that several completions continue, read once: its keys and values are handed to all of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

Sequences = Sequence[tuple[Sequence[int], Sequence[int]]]


class Prompts:
    """Some prompts after one forward pass.

    Args:
        backbone: gives hidden states and takes a cache, see `can_share`.
        config: its model's configuration.
        prompts: token ids of P prompts, none of them empty.
        pad_id: fills masked positions.
        device: of the model.
    """

    def __init__(
        self, backbone: nn.Module, config: Any, prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device
    ) -> None:
        self.backbone, self.config, self.pad_id = backbone, config, pad_id
        width = max(map(len, prompts))
        ids = torch.tensor([[pad_id] * (width - len(one)) + list(one) for one in prompts], device=device)
        self.lengths = torch.tensor([len(one) for one in prompts], device=device)
        # Flush right, so that every completion begins in the same column.
        self.mask = (torch.arange(width, device=device) >= width - self.lengths[:, None]).long()
        cache = DynamicCache(config=config)
        read = backbone(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=(self.mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
        )
        self.last = read.last_hidden_state[:, -1]
        self.layers = [(cast(Any, layer).keys, cast(Any, layer).values) for layer in cache.layers]

    def states(self, places: Sequence[int], completions: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states [N, C, H] that generated the completions; anything where there is no token.

        Args:
            places: [N] the prompt of each, by its place.
            completions: N token ids, none of them empty.
        """
        device = self.mask.device
        width = max(map(len, completions)) - 1  # what follows the last token is nobody's
        index, place = torch.tensor(places, device=device), torch.arange(width, device=device)
        first = self.last[index.to(self.last.device)][:, None]
        if not width:
            return first
        rows = [[*one[:-1], *[self.pad_id] * (width + 1 - len(one))] for one in completions]
        sizes = torch.tensor([len(one) - 1 for one in completions], device=device)
        own = (place < sizes[:, None]).long()
        cache = DynamicCache(config=self.config)
        for number, (keys, values) in enumerate(self.layers):
            cache.update(keys[index.to(keys.device)], values[index.to(keys.device)], number)
        rest = self.backbone(
            input_ids=torch.tensor(rows, device=device),
            attention_mask=torch.cat([self.mask[index], own], 1),
            position_ids=self.lengths[index][:, None] + place,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return torch.cat([first.to(rest.device), rest], 1)


HELD = 4
"""Tokens whose keys and values a batch of completions holds, as a multiple of those that it reads."""


def can_share(backbone: nn.Module, config: Any) -> bool:
    """Whether the cache of a backbone is plain keys and values that can be taken by row, and positions can be told."""
    if "position_ids" not in inspect.signature(backbone.forward).parameters:
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def windows(
    sequences: Sequences, rows: Sequence[int], limit: int
) -> Iterator[tuple[list[tuple[int, ...]], dict[int, int]]]:
    """Prompts of at most `limit` tokens together, their padding included, with the rows that continue them.

    Yields:
        The prompts, the longest first, and for each of their rows the place of its prompt among them.
    """
    places: dict[tuple[int, ...], list[int]] = {}
    for row in rows:
        places.setdefault(tuple(sequences[row][0]), []).append(row)
    order = sorted(places, key=lambda prompt: -len(prompt))
    start = 0
    while start < len(order):
        prompts = order[start : start + max(1, limit // len(order[start]))]
        yield prompts, {row: place for place, prompt in enumerate(prompts) for row in places[prompt]}
        start += len(prompts)


def continuing(sequences: Sequences, rows: Iterable[int], prompt_tokens: int, limit: int) -> Iterator[list[int]]:
    """The rows, those of the longest completions first, in batches of at most `limit` completion tokens with padding.

    Args:
        sequences: prompt and completion of all rows.
        rows: which to take.
        prompt_tokens: of the longest prompt, whose keys and values every row gets a copy of.
        limit: see above.
    """
    order = sorted(rows, key=lambda row: -len(sequences[row][1]))
    start = 0
    while start < len(order):
        length = len(sequences[order[start]][1])
        count = max(1, min(limit // length, HELD * limit // (prompt_tokens + length)))
        yield order[start : start + count]
        start += count
