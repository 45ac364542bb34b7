"""Keys and values of many rows: each prompt read once, rows put aside, and put together again.

All rows end in the same column. Columns that belong to no row's text, on the left or in between, are masked out; a
token's position is the number of unmasked columns before it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from inward.models import Policy

ROOM = 64
"""Tokens by which the cache grows at a time."""

PREFILL_TOKENS = 4096
"""Prompt tokens read at once, with their padding: enough to fill a device, and a bound on what their layers take."""

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, [N, heads, T, size]."""


class _RoomyLayer(DynamicLayer):
    """Keys and values in tensors with room for more tokens, where `DynamicLayer` copies all it holds at every token."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values, self.length = key_states[:, :, :0], value_states[:, :, :0], 0

    def hold(self, keys: Tensor, values: Tensor, length: int) -> None:
        """Take tensors whose first `length` columns are filled."""
        super().lazy_initialization(keys, values)
        self.keys, self.values, self.length = keys, values, length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        start, end = self.length, self.length + key_states.shape[2]
        missing = end - self.keys.shape[2]
        if missing > 0:
            self.keys = functional.pad(self.keys, (0, 0, 0, missing + ROOM))
            self.values = functional.pad(self.values, (0, 0, 0, missing + ROOM))
        self.keys[:, :, start:end], self.values[:, :, start:end] = key_states, value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length if self.is_initialized else 0

    def crop(self, tokens_to_remove: int) -> None:
        self.length -= abs(tokens_to_remove)

    def leave(self, rows: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Give away what is held of some rows, and go on with the rest."""
        assert self.keys is not None and self.values is not None
        gone = self.keys[rows, :, : self.length], self.values[rows, :, : self.length]
        if len(rows):  # what they held is in use elsewhere, so its memory is let go here
            self.keys, self.values = self.keys[rest], self.values[rest]
        else:
            self.keys, self.values = self._gathered(self.keys, rest), self._gathered(self.values, rest)
        return gone

    def _gathered(self, states: Tensor, rest: Tensor) -> Tensor:
        moved = (rest != torch.arange(len(rest), device=rest.device)).nonzero().squeeze(1)
        states[moved, :, : self.length] = states[rest[moved], :, : self.length]
        return states[: len(rest)]


def left_pad(sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both [N, T], padded on the left."""
    width = max(map(len, sequences))
    ids = torch.tensor([[pad_id] * (width - len(one)) + list(one) for one in sequences], device=device)
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in sequences], device=device)
    return ids, mask


def prefill(policy: Policy, ids: Tensor, mask: Tensor, index: Tensor) -> DynamicCache | None:
    """Read all but the last token of each prompt once.

    Args:
        policy: the frozen model.
        ids: [P, T] prompts, padded on the left.
        mask: [P, T] 1 on their tokens.
        index: [N] the prompt of each row.

    Returns:
        A cache of N rows; None where the model's cannot be selected by row, or its positions cannot be told to it.
    """
    if ids.shape[1] < 2 or "position_ids" not in inspect.signature(policy.model.forward).parameters:
        return None
    plain = DynamicCache(config=policy.model.config).layers
    if any(type(layer) is not DynamicLayer for layer in plain):
        return None
    lengths, parts = mask.sum(1).tolist(), list[Layers]()
    start = 0
    while start < len(ids):
        # Neighbours are of like length, so a slice is cut to its own longest.
        stop, width = start, 0
        while stop < len(ids) and (stop == start or max(width, lengths[stop]) * (stop - start + 1) <= PREFILL_TOKENS):
            width, stop = max(width, lengths[stop]), stop + 1
        part = _read(policy, ids[start:stop, -max(width, 2) :], mask[start:stop, -max(width, 2) :], len(plain))
        if part is None:
            return None
        parts.append(part)
        start = stop
    return joined(parts, policy, index)


def _read(policy: Policy, ids: Tensor, mask: Tensor, num_layers: int) -> Layers | None:
    cache = DynamicCache(config=policy.model.config)
    policy.model(
        input_ids=ids[:, :-1],
        attention_mask=mask[:, :-1],
        position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, :-1],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    held = [layer for layer in cache.layers if isinstance(layer, DynamicLayer) and layer.get_seq_length()]
    if len(held) < num_layers:  # some recurrent models keep their state elsewhere
        return None
    return [(layer.keys, layer.values) for layer in held if layer.keys is not None and layer.values is not None]


def taken(cache: DynamicCache, rows: Tensor, rest: Tensor) -> Layers:
    """Take some rows out of a cache, in which the rest stays, see `staying`."""
    # Layer by layer, so that no more than one of them is held twice.
    return [layer.leave(rows, rest) for layer in cast("list[_RoomyLayer]", cache.layers)]


def staying(gone: Tensor) -> Tensor:
    """[K] places of the rows that stay, of which as few as can be have another place than before.

    Args:
        gone: [N] whether a row leaves.
    """
    stay = (~gone).nonzero().squeeze(1)
    order = torch.arange(len(stay), device=gone.device)
    order[gone[: len(stay)]] = stay[stay >= len(stay)]
    return order


def joined(parts: Sequence[Layers], policy: Policy, index: Tensor | None = None) -> DynamicCache:
    """One cache of the rows of all parts, flush right; the parts are emptied on the way.

    Args:
        parts: keys and values of some rows each.
        policy: whose they are.
        index: [N] which of these rows each row of the cache is; None for all of them in order.
    """
    cache = DynamicCache(config=policy.model.config)
    width = max(part[0][0].shape[2] for part in parts)
    cache.layers[:] = [_RoomyLayer() for _ in parts[0]]
    for layer in cache.layers:
        assert isinstance(layer, _RoomyLayer)
        keys, values = zip(*(part.pop(0) for part in parts), strict=True)
        layer.hold(_flush_right(keys, width, index), _flush_right(values, width, index), width)
    return cache


def _flush_right(states: Sequence[Tensor], width: int, index: Tensor | None) -> Tensor:
    """[N, heads, width + ROOM, size], zero where there is nothing: what is masked out must still be a number."""
    if index is not None:
        states = [_flush_right(states, width, None)[index, :, :width]] if len(states) > 1 else [states[0][index]]
    _, heads, _, size = states[0].shape
    whole = states[0].new_empty(sum(map(len, states)), heads, width + ROOM, size)
    start = 0
    for one in states:
        rows = whole[start : start + len(one)]
        rows[:, :, : width - one.shape[2]] = 0
        rows[:, :, width - one.shape[2] : width] = one
        start += len(one)
    return whole
