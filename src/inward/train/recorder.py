"""Signals of a policy's own samples, taken while a trainer samples them, so that scoring them needs no further pass.

`generate` calls the model once for every token that it writes, and what the model gives then, before any truncation or
penalty, is the distribution of the next token. A forward hook sees it, and keeps four numbers of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from inward.batch import SIGNALS, TokenSignals
from inward.models import evaluating
from inward.signals import TILE_BYTES, token_signals


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What one call of `generate` wrote: N rows of T tokens, each at least as long as its completion."""

    prompts: Sequence[Sequence[int]]
    tokens: Sequence[Sequence[int]]
    signals: dict[str, Tensor]
    """[N, T] by name; entry [n, t] describes the distribution that token t of row n was drawn from."""


class Recorder:
    """Stands in a policy for its `generate`, and keeps the signals of what was written last.

    A trainer calls it in training mode. The policy samples in evaluation mode then, the mode that a reward scores in;
    what is sampled in evaluation mode, such as a probe's answers, is not kept.

    Args:
        policy: a causal language model, an adapter around it or not.
        temperature: logits are divided by it before signals are taken.
        training: whose it is. Recorders of another training are removed: one that was interrupted left them there.
    """

    def __init__(self, policy: nn.Module, temperature: float, training: object = None) -> None:
        self.policy, self.temperature, self.training = policy, temperature, training
        while isinstance(earlier := vars(policy).get("generate"), Recorder) and earlier.training is not training:
            earlier.remove()
        self.last: Recorded | None = None
        self.removed = False
        self.inner = cast(Any, policy).generate
        cast(Any, policy).generate = self

    def remove(self) -> None:
        """Give the policy its own `generate` back, once those of other rewards in front of this one are gone."""
        self.removed = True
        while isinstance(top := vars(self.policy).get("generate"), Recorder) and top.removed:
            if isinstance(top.inner, Recorder):
                cast(Any, self.policy).generate = top.inner
            else:
                del cast(Any, self.policy).generate

    @torch.no_grad()
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`generate` with the same arguments and result."""
        return self._written(self.policy.training, *args, **kwargs)

    def _written(self, training: bool, *args: Any, **kwargs: Any) -> Any:
        self.last = None
        inner = partial(self.inner._written, training) if isinstance(self.inner, Recorder) else self.inner
        if self.removed or not training:
            return inner(*args, **kwargs)
        with evaluating(self.policy), self._watched() as steps:
            written = inner(*args, **kwargs)
        self.last = steps.recorded(written, kwargs.get("attention_mask")) if isinstance(written, Tensor) else None
        return written

    def taken(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> TokenSignals | None:
        """Signals [N, C] of prompts and completions, on the CPU; None where they are not what was written last.

        A completion may be shorter than its row: a signal knows nothing of what comes after it. What is asked for once
        is forgotten: the policy is about to change.
        """
        last, self.last = self.last, None
        if last is None or len(last.tokens) != len(sequences):
            return None
        for (prompt, completion), before, after in zip(sequences, last.prompts, last.tokens, strict=True):
            if list(prompt) != before or list(completion) != after[: len(completion)]:
                return None
        lengths = torch.tensor([len(completion) for _, completion in sequences])
        width = int(lengths.max())
        mask = torch.arange(width) < lengths[:, None]
        columns = {name: part[:, :width].masked_fill(~mask, 0.0) for name, part in last.signals.items()}
        return TokenSignals(**columns, mask=mask)

    @contextmanager
    def _watched(self) -> Iterator[Steps]:
        steps = Steps(self.temperature)
        policy = cast(Any, self.policy)
        inner: nn.Module = policy.get_base_model() if hasattr(policy, "get_base_model") else policy
        hook = inner.register_forward_hook(steps.see, with_kwargs=True)
        try:
            yield steps
        finally:
            hook.remove()


class Steps:
    """The forward passes of one call of `generate`: each is told which token the one before led to."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
        self.lost = False
        self.scores: Tensor | None = None
        """[N, V] logits of the pass whose token is not known yet."""
        self.tokens: list[Tensor] = []
        self.made: list[Tensor] = []
        """[4, N] of each token so far."""

    def see(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """A pass: its input ends with the token that the last one led to."""
        ids = kwargs.get("input_ids")
        self.lost |= ids is None  # embeddings went in, as with a learned prompt
        if ids is None or self.lost:
            return
        self._close(ids[:, -1])
        self.scores = output.logits[:, -1]

    def recorded(self, written: Tensor, mask: Tensor | None) -> Recorded | None:
        """All that was seen, if it is what was written: a search over beams goes other ways."""
        if self.lost or self.scores is None or len(self.scores) != len(written):
            return None
        self._close(written[:, -1])
        width = written.shape[1] - len(self.tokens)
        if width < 1 or not torch.equal(torch.stack(self.tokens, 1), written[:, width:]):
            return None
        shown = written[:, :width]
        real = torch.ones_like(shown) if mask is None else mask
        prompts = [
            [token for token, own in zip(*row, strict=True) if own]
            for row in zip(shown.tolist(), real.tolist(), strict=True)
        ]
        signals = torch.stack(self.made, 2).cpu()
        return Recorded(
            prompts=prompts,
            tokens=written[:, width:].tolist(),
            signals=dict(zip(SIGNALS, signals.unbind(0), strict=True)),
        )

    def _close(self, token: Tensor) -> None:
        if self.scores is None:
            return
        tokens = token[:, None].to(self.scores.device)
        # A tile of rows at a time: signals take several times the memory of the scores that they are made of.
        size = max(1, TILE_BYTES // (4 * self.scores.shape[1]))
        parts: list[Tensor] = []
        for scores, chosen in zip(self.scores.split(size), tokens.split(size), strict=True):
            mask = torch.ones_like(chosen, dtype=torch.bool)
            made = token_signals(scores[:, None].float() / self.temperature, chosen, mask)
            parts.append(torch.stack([getattr(made, name)[:, 0] for name in SIGNALS]))
        self.tokens.append(token)
        self.made.append(torch.cat(parts, 1))
        self.scores = None
