"""Decode rows with `generate` while recording the signals of every token.

Two public seams of transformers carry this. A custom logits processor sees the raw logits of each step before any
temperature or truncation, so the signals cost no second forward pass and no logits are kept. And `generate` accepts a
filled cache: a prompt is read once per group and its cache copied to every row; and decoding is halted whenever enough
rows are finished, to go on with the cache of the others.

The processor also chooses the token (it leaves only that one possible). Each sampled row draws from a random stream of
its own, keyed by seed, prompt id and row index, so a trace does not depend on what else is in its batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, LogitsProcessor, StoppingCriteria
from transformers.cache_utils import DynamicLayer

from inward.batch import SIGNALS, TokenSignals, spread
from inward.models import Policy
from inward.signals import token_signals
from inward.types import Source, TraceSignals

LEAVE_SHARE = 0.25
LEAVE_ROWS = 16
"""Finished rows leave once they are this share of the batch and this many: halting costs about two steps."""
ROOM = 64
"""Tokens by which the cache grows at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One completion to decode."""

    prompt: int
    """Index into the list of prompts."""
    key: str
    """Name of the row's random stream."""
    source: Source
    branch: int = 0
    """For branches: rank of the first token, 0 the most probable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One decoded completion."""

    ids: tuple[int, ...]
    """The end-of-sequence token included, where there was one."""
    stopped: bool
    signals: TraceSignals


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How rows are decoded."""

    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


class _Chooser(LogitsProcessor):
    """Records the signals of each step and picks each row's token."""

    def __init__(self, rows: Sequence[Row], decoding: Decoding, eos_ids: Sequence[int], device: torch.device) -> None:
        self.decoding = decoding
        self.eos_ids = torch.tensor(eos_ids, dtype=torch.long, device=device)
        self.sampled = torch.tensor([row.source is Source.SAMPLE for row in rows], device=device)
        self.branches = torch.tensor([row.source is Source.BRANCH for row in rows], device=device)
        self.ranks = torch.tensor([row.branch for row in rows], device=device)
        self.any_sampled, self.any_branch = bool(self.sampled.any()), bool(self.branches.any())
        self.precision = torch.float32 if device.type == "mps" else torch.float64
        draws = [
            _stream(decoding.seed, row.key).random(decoding.max_new_tokens)
            if row.source is Source.SAMPLE
            else np.zeros(decoding.max_new_tokens)
            for row in rows
        ]
        self.uniform = torch.tensor(np.stack(draws), dtype=self.precision, device=device)
        self.step = 0
        self.finished = torch.zeros(len(rows), dtype=torch.bool, device=device)
        self.present = torch.arange(len(rows), device=device)
        self.tokens = torch.zeros(len(rows), decoding.max_new_tokens, dtype=torch.long, device=device)
        self.signals = torch.zeros(len(SIGNALS), len(rows), decoding.max_new_tokens, device=device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        token = self._choose(scores.float())
        signals = token_signals(scores[:, None], token[:, None], torch.ones_like(token[:, None], dtype=torch.bool))
        self.tokens[self.present, self.step] = token
        self.signals[:, self.present, self.step] = torch.stack([getattr(signals, name)[:, 0] for name in SIGNALS])
        self.finished |= torch.isin(token, self.eos_ids)
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter(1, token[:, None], 0.0)

    def keep(self, rows: Tensor, step: int) -> None:
        """Go on from a step with these of the present rows."""
        self.step = step
        self.present, self.finished = self.present[rows], self.finished[rows]
        self.sampled, self.uniform = self.sampled[rows], self.uniform[rows]

    def _choose(self, scores: Tensor) -> Tensor:
        token = scores.argmax(-1)
        if self.any_sampled:
            token = torch.where(self.sampled, self._draw(scores), token)
        if self.any_branch and self.step == 0:
            barred = scores.index_fill(1, self.eos_ids, -torch.inf)
            order = barred.topk(int(self.ranks.max()) + 1, dim=-1).indices
            token = torch.where(self.branches, order.gather(1, self.ranks[:, None]).squeeze(1), token)
        return token

    def _draw(self, scores: Tensor) -> Tensor:
        """Inverse-CDF sampling: the token where the cumulative probability passes the row's uniform number."""
        probs = (scores / self.decoding.temperature).softmax(-1).to(self.precision)
        uniform = self.uniform[:, self.step][:, None]
        if self.decoding.top_p >= 1.0:
            return _pass(probs.cumsum(-1), uniform)
        ordered, order = probs.sort(dim=-1, descending=True, stable=True)
        below = ordered.cumsum(-1) - ordered
        cumulative = ordered.masked_fill(below >= self.decoding.top_p, 0.0).cumsum(-1)
        return order.gather(1, _pass(cumulative, uniform)[:, None]).squeeze(1)


class _EnoughFinished(StoppingCriteria):
    """Halts decoding once enough rows are finished to be worth taking out."""

    def __init__(self, chooser: _Chooser) -> None:
        self.chooser = chooser

    def __call__(self, input_ids: Tensor, scores: object) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        finished = self.chooser.finished
        return finished | (finished.sum() >= max(LEAVE_SHARE * len(finished), LEAVE_ROWS))


class _RoomyLayer(DynamicLayer):
    """Keys and values in tensors with room for more tokens, where `DynamicLayer` copies all it holds at every token."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values, self.length = key_states[:, :, :0], value_states[:, :, :0], 0

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


def _pass(cumulative: Tensor, uniform: Tensor) -> Tensor:
    total = cumulative[:, -1:]
    index = torch.searchsorted(cumulative, uniform * total, right=True).squeeze(1)
    # Rounding can carry uniform * total up to the total itself; the last token with mass is meant then.
    last = torch.searchsorted(cumulative, total.contiguous()).squeeze(1)
    return torch.minimum(index, last)


def _stream(seed: int, key: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def decode_rows(
    policy: Policy, prompts: Sequence[Sequence[int]], rows: Sequence[Row], decoding: Decoding
) -> list[Decoded]:
    """Decode every row. Out of memory splits the rows in two and goes on with the halves.

    Args:
        policy: the frozen model.
        prompts: token ids of each prompt.
        rows: what to decode; `row.prompt` indexes `prompts`.
        decoding: temperature, truncation, length limit and seed, the same for all rows.
    """
    if not rows:
        return []
    try:
        return _decode_batch(policy, prompts, rows, decoding)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if len(rows) == 1 or not is_out_of_memory(error):
            raise
    # Outside the handler, so that the failed attempt's tensors are free again.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(rows) // 2
    return [
        *decode_rows(policy, prompts, rows[:half], decoding),
        *decode_rows(policy, prompts, rows[half:], decoding),
    ]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on an accelerator or on the CPU."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


@torch.inference_mode()
def _decode_batch(
    policy: Policy, prompts: Sequence[Sequence[int]], rows: Sequence[Row], decoding: Decoding
) -> list[Decoded]:
    device = policy.model.device
    used = sorted({row.prompt for row in rows})
    ids, mask = left_pad([prompts[i] for i in used], policy.pad_id, device)
    index = torch.tensor([used.index(row.prompt) for row in rows], device=device)
    chooser = _Chooser(rows, decoding, policy.eos_ids, device)
    cache = _prefill(policy, ids, mask)
    if cache is not None:
        cache.batch_select_indices(index)
    _generate(policy, ids[index], mask[index], cache, chooser)
    ends = torch.isin(chooser.tokens, chooser.eos_ids)
    taken = ends.int().cumsum(1) - ends.int() == 0
    longest = int(taken.sum(1).max())
    kept = (part[..., :longest].cpu() for part in chooser.signals)
    signals = TokenSignals(**dict(zip(SIGNALS, kept, strict=True)), mask=taken[:, :longest].cpu())
    tokens, stopped = chooser.tokens[:, :longest].tolist(), ends.any(1).tolist()
    return [
        Decoded(ids=tuple(tokens[row][: len(one.logprob)]), stopped=stopped[row], signals=one)
        for row, one in enumerate(spread(signals))
    ]


def _generate(policy: Policy, ids: Tensor, mask: Tensor, cache: DynamicCache | None, chooser: _Chooser) -> None:
    """Decode all rows to their ends; those that are finished leave the batch on the way, where its cache allows."""
    start, limit = ids.shape[1], chooser.decoding.max_new_tokens
    while len(ids) and chooser.step < limit:
        sequences = policy.model.generate(  # pyright: ignore[reportCallIssue]
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            logits_processor=[chooser],
            stopping_criteria=[] if cache is None else [_EnoughFinished(chooser)],
            max_new_tokens=limit - chooser.step,
            do_sample=False,
        )
        if cache is None:
            return
        rest = (~chooser.finished).nonzero().squeeze(1)
        mask = torch.cat([mask, mask.new_ones(len(ids), sequences.shape[1] - ids.shape[1])], 1)[rest]
        ids = sequences[rest]
        cache.batch_select_indices(rest)
        chooser.keep(rest, ids.shape[1] - start)


def left_pad(prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both [N, T], padded on the left."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return ids, mask


def _prefill(policy: Policy, ids: Tensor, mask: Tensor) -> DynamicCache | None:
    """Read all but the last prompt token once per prompt; None where the model's cache cannot be selected by row."""
    if ids.shape[1] < 2:
        return None
    cache = DynamicCache(config=policy.model.config)
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    cache.layers[:] = [_RoomyLayer() for _ in cache.layers]
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    policy.model(
        input_ids=ids[:, :-1],
        attention_mask=mask[:, :-1],
        position_ids=position_ids[:, :-1],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache if cache.get_seq_length() else None  # some recurrent models keep their state elsewhere
