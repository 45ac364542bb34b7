"""Tensors that live in memory only: the signals of many traces at once.

Shapes: N traces, C completion tokens of the longest one. Shorter ones are padded on the right and masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inward.types import Span, TraceSignals

SIGNALS = ("logprob", "entropy", "self_certainty", "disparity")
"""The signals that records keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSignals:
    """Signals of N traces. Entry [n, t] describes the distribution that generated token t of trace n."""

    logprob: Float[Tensor, "N C"]
    entropy: Float[Tensor, "N C"]
    self_certainty: Float[Tensor, "N C"]
    disparity: Float[Tensor, "N C"]
    mask: Bool[Tensor, "N C"]
    """True on completion tokens."""
    top1: Float[Tensor, "N C"] | None = None
    """Largest probability of a word; None, as the next two, where signals come from a record."""
    top2: Float[Tensor, "N C"] | None = None
    """Second largest probability of a word."""
    log_collision: Float[Tensor, "N C"] | None = None
    """log sum_v p_v^2, nats: of the probability that two draws coincide."""


def collate(traces: Sequence[TraceSignals]) -> TokenSignals:
    """Pad the signals of N traces on the right to [N, C]."""
    lengths = [len(trace.logprob) for trace in traces]
    width = max(lengths, default=0)
    padding = [(0.0,) * (width - length) for length in lengths]
    columns = {
        name: torch.tensor([getattr(trace, name) + pad for trace, pad in zip(traces, padding, strict=True)])
        for name in SIGNALS
    }
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    return TokenSignals(**{name: column.reshape(mask.shape) for name, column in columns.items()}, mask=mask)


def spread(signals: TokenSignals) -> list[TraceSignals]:
    """Cut [N, C] back into one record per trace: the inverse of `collate`."""
    lengths = [int(row.sum()) for row in signals.mask]
    columns = {name: getattr(signals, name).tolist() for name in SIGNALS}
    return [
        TraceSignals(**{name: tuple(values[row][:length]) for name, values in columns.items()})
        for row, length in enumerate(lengths)
    ]


def span_mask(spans: Sequence[Span | None], num_tokens: int) -> Bool[Tensor, "N C"]:
    """True on the tokens of each trace's span; all False where there is none."""
    starts = torch.tensor([[span.start if span else 0] for span in spans])
    ends = torch.tensor([[span.end if span else 0] for span in spans])
    position = torch.arange(num_tokens)[None]
    return (position >= starts) & (position < ends)
