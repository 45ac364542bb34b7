"""Decode rows with `generate` while recording the signals of every token.

Two public seams of transformers carry this. A custom logits processor sees the raw logits of each step before any
temperature or truncation, so the signals cost no second forward pass and no logits are kept. And `generate` accepts a
filled cache: a prompt is read once per group and its cache copied to every row; decoding is halted whenever enough
rows are finished, to go on with the cache of the others; and a finished row that is to be asked for its answer is put
aside with its cache, which the question continues.

The processor also chooses the token (it leaves only that one possible). Each sampled row draws from a random stream of
its own, keyed by seed, prompt id and row index, so a trace does not depend on what else is in its batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, LogitsProcessor, StoppingCriteria

from inward.batch import SIGNALS, TokenSignals, spread
from inward.errors import ModelError
from inward.models import Policy
from inward.sample.cache import Layers, joined, left_pad, prefill, staying, taken
from inward.signals import token_signals
from inward.types import Source, TraceSignals

LEAVE_SHARE = 0.25
LEAVE_ROWS = 16
"""Finished rows leave once they are this share of the batch and this many: halting costs about two steps."""


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
    reply: tuple[int, ...] | None = None
    """What came after the question; None where none was put."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How rows are decoded."""

    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A question put to finished rows, the reply to which is greedy."""

    question: Callable[[Row, tuple[int, ...]], Sequence[int]]
    """Tokens to append to a row's completion, given with its end-of-sequence token, which is left out then; none where
    the row is not to be asked."""
    max_new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aside:
    """Finished rows that wait for their question."""

    rows: list[int]
    """[K] places in the batch."""
    ids: Tensor
    """[K, T + 1]"""
    mask: Tensor
    """[K, T + 1] 1 on the tokens of prompt and completion."""
    layers: Layers
    """Of the first T columns."""
    questions: list[Sequence[int]]


class _Chooser(LogitsProcessor):
    """Records the signals of each step and picks each row's token."""

    def __init__(
        self,
        rows: Sequence[Row],
        decoding: Decoding,
        eos_ids: Sequence[int],
        device: torch.device,
        *,
        record: bool = True,
    ) -> None:
        self.rows, self.decoding, self.record = rows, decoding, record
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
        if not bool(scores.amax(-1).isfinite().all()):
            raise ModelError(
                "the model's logits are not finite: its weights are damaged or overflow in its dtype; set "
                "model.dtype=float32, or take another checkpoint"
            )
        token = self._choose(scores.float())
        self.tokens[self.present, self.step] = token
        if self.record:
            signals = token_signals(scores[:, None], token[:, None], torch.ones_like(token[:, None], dtype=torch.bool))
            self.signals[:, self.present, self.step] = torch.stack([getattr(signals, name)[:, 0] for name in SIGNALS])
        self.finished |= torch.isin(token, self.eos_ids)
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter(1, token[:, None], 0.0)

    def keep(self, rows: Tensor, step: int) -> None:
        """Go on from a step with these of the present rows."""
        self.step = step
        self.present, self.finished = self.present[rows], self.finished[rows]
        self.sampled, self.uniform = self.sampled[rows], self.uniform[rows]

    def text_mask(self, step: int) -> Tensor:
        """[present rows, step] 1 on the tokens so far, up to the end-of-sequence token, which is left out."""
        return (torch.isin(self.tokens[self.present, :step], self.eos_ids).cumsum(1) == 0).long()

    def ids(self, rows: Tensor) -> list[tuple[int, ...]]:
        """Tokens of finished rows, the end-of-sequence token included."""
        tokens = self.tokens[rows]
        return [
            tuple(one[:length]) for one, length in zip(tokens.tolist(), self._mask(tokens).sum(1).tolist(), strict=True)
        ]

    def questions(self, which: Tensor, asking: Asking) -> dict[int, Sequence[int]]:
        """Of present finished rows, by their place among the present."""
        places = which.nonzero().squeeze(1)
        rows = self.present[places]
        asked = zip(places.tolist(), rows.tolist(), self.ids(rows), strict=True)
        found = {place: asking.question(self.rows[row], ids) for place, row, ids in asked}
        return {place: question for place, question in found.items() if question}

    def decoded(self, replies: Mapping[int, tuple[int, ...]]) -> list[Decoded]:
        """Every row."""
        mask = self._mask(self.tokens)
        longest = int(mask.sum(1).max())
        columns = dict(zip(SIGNALS, (part[:, :longest].cpu() for part in self.signals), strict=True))
        signals = spread(TokenSignals(**columns, mask=mask[:, :longest].cpu()))
        stopped = torch.isin(self.tokens, self.eos_ids).any(1).tolist()
        return [
            Decoded(ids=ids, stopped=stopped[row], signals=signals[row], reply=replies.get(row))
            for row, ids in enumerate(self.ids(torch.arange(len(self.rows), device=self.tokens.device)))
        ]

    def _mask(self, tokens: Tensor) -> Tensor:
        ends = torch.isin(tokens, self.eos_ids).int()
        return ends.cumsum(1) - ends == 0

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
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[Row],
    decoding: Decoding,
    *,
    asking: Asking | None = None,
    batch_rows: int | None = None,
) -> list[Decoded]:
    """Decode every row. Where memory runs out, the batch that did not fit and all after it are half as large.

    Args:
        policy: the frozen model.
        prompts: token ids of each prompt.
        rows: what to decode; `row.prompt` indexes `prompts`.
        decoding: temperature, truncation, length limit and seed, the same for all rows.
        asking: the question that finished rows are asked, if any.
        batch_rows: most rows at once; None for all.
    """
    size, decoded = batch_rows or max(1, len(rows)), list[Decoded]()
    while len(decoded) < len(rows):
        batch = rows[len(decoded) : len(decoded) + size]
        try:
            decoded += _decode_batch(policy, prompts, batch, decoding, asking)
            continue
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
        # Outside the handler, so that the failed attempt's tensors are free again.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size = len(batch) // 2
    return decoded


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on an accelerator or on the CPU."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


@torch.inference_mode()
def _decode_batch(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[Row],
    decoding: Decoding,
    asking: Asking | None,
) -> list[Decoded]:
    device = policy.model.device
    place = {prompt: i for i, prompt in enumerate(dict.fromkeys(row.prompt for row in rows))}
    index = torch.tensor([place[row.prompt] for row in rows], device=device)
    ids, mask = left_pad([prompts[i] for i in place], policy.pad_id, device)
    cache = prefill(policy, ids, mask, index)
    chooser = _Chooser(rows, decoding, policy.eos_ids, device)
    asides = _generate(policy, ids[index], mask[index], cache, chooser, asking)
    replies: dict[int, tuple[int, ...]] = {}
    if asking:
        replies = _ask_anew(policy, prompts, chooser, asking) if cache is None else _ask(policy, asides, asking)
    return chooser.decoded(replies)


def _generate(
    policy: Policy,
    ids: Tensor,
    mask: Tensor,
    cache: DynamicCache | None,
    chooser: _Chooser,
    asking: Asking | None = None,
) -> list[_Aside]:
    """Decode all rows to their ends; those that are finished leave the batch on the way, where its cache allows.

    Returns:
        The rows that are to be asked, as they left.
    """
    start, limit, asides = ids.shape[1], chooser.decoding.max_new_tokens, list[_Aside]()
    before = mask
    while len(ids) and chooser.step < limit:
        ids = policy.model.generate(  # pyright: ignore[reportCallIssue]
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            logits_processor=[chooser],
            stopping_criteria=[] if cache is None else [_EnoughFinished(chooser)],
            max_new_tokens=limit - chooser.step,
            do_sample=False,
        )
        if cache is None:
            break
        step = ids.shape[1] - start
        gone = chooser.finished if step < limit else torch.ones_like(chooser.finished)
        mask = torch.cat([before, chooser.text_mask(step)], 1)
        questions = chooser.questions(gone, asking) if asking else {}
        asked, rest = torch.tensor([*questions], dtype=torch.long, device=ids.device), staying(gone)
        layers, rows = taken(cache, asked, rest), chooser.present[asked].tolist()
        if questions:
            asides.append(
                _Aside(rows=rows, ids=ids[asked], mask=mask[asked], layers=layers, questions=[*questions.values()])
            )
        ids, mask, before = ids[rest], mask[rest], before[rest]
        chooser.keep(rest, step)
    return asides


def _ask(policy: Policy, asides: Sequence[_Aside], asking: Asking) -> dict[int, tuple[int, ...]]:
    """Put their questions to the rows that were put aside, all at once; the reply by row."""
    if not asides:
        return {}
    rows, width = [row for aside in asides for row in aside.rows], max(aside.ids.shape[1] for aside in asides)
    ids = torch.cat([functional.pad(a.ids, (width - a.ids.shape[1], 0), value=policy.pad_id) for a in asides])
    mask = torch.cat([functional.pad(a.mask, (width - a.mask.shape[1], 0)) for a in asides])
    question, asked = left_pad([one for aside in asides for one in aside.questions], policy.pad_id, ids.device)
    cache = joined([aside.layers for aside in asides], policy)
    return _replies(policy, torch.cat([ids, question], 1), torch.cat([mask, asked], 1), cache, rows, asking)


def _ask_anew(
    policy: Policy, prompts: Sequence[Sequence[int]], chooser: _Chooser, asking: Asking
) -> dict[int, tuple[int, ...]]:
    """As `_ask`, reading prompts and completions again: for models whose cache cannot be put aside."""
    questions = chooser.questions(torch.ones_like(chooser.finished), asking)
    if not questions:
        return {}
    texts = [
        [*prompts[chooser.rows[row].prompt], *without_eos(ids, policy.eos_ids), *question]
        for (row, question), ids in zip(
            questions.items(), chooser.ids(torch.tensor([*questions], device=chooser.tokens.device)), strict=True
        )
    ]
    return _replies(policy, *left_pad(texts, policy.pad_id, policy.model.device), None, [*questions], asking)


def _replies(
    policy: Policy, ids: Tensor, mask: Tensor, cache: DynamicCache | None, rows: Sequence[int], asking: Asking
) -> dict[int, tuple[int, ...]]:
    greedy = [Row(prompt=0, key="", source=Source.GREEDY)] * len(rows)
    decoding = Decoding(temperature=1.0, top_p=1.0, max_new_tokens=asking.max_new_tokens, seed=0)
    chooser = _Chooser(greedy, decoding, policy.eos_ids, ids.device, record=False)
    _generate(policy, ids, mask, cache, chooser)
    return dict(zip(rows, chooser.ids(torch.arange(len(rows), device=ids.device)), strict=True))


def without_eos(ids: tuple[int, ...], eos_ids: Sequence[int]) -> tuple[int, ...]:
    """A completion without its end-of-sequence token."""
    return ids[:-1] if ids and ids[-1] in eos_ids else ids
