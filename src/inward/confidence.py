"""From token signals to one number per trace. Higher always means surer.

Every measure has the same shape: `measure(signals, answer) -> [N]`, where `answer` is True on the tokens of the
final answer. A trace without tokens to average gets 0 for the answer measures (no span: no confidence) and NaN for the
others. To use a measure of your own, pass the function.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inward.batch import TokenSignals
from inward.types import LengthNorm

Measure = Callable[[TokenSignals, Tensor], Tensor]


def _mean(
    values: Float[Tensor, "N C"], mask: Bool[Tensor, "N C"], empty: float, length_norm: LengthNorm = "mean"
) -> Float[Tensor, " N"]:
    count = mask.sum(1)
    total = values.masked_fill(~mask, 0.0).sum(1)
    value = total / count.clamp(min=1) if length_norm == "mean" else total
    return torch.where(count > 0, value, torch.full_like(value, empty))


def answer_disparity(signals: TokenSignals, answer: Bool[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """Mean disparity over the answer span, in [-1, 1]; 0 without a span (RLSF, arXiv 2507.21931)."""
    return _mean(signals.disparity, answer & signals.mask, empty=0.0)


def answer_probability(signals: TokenSignals, answer: Bool[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """Mean probability of the answer tokens, in [0, 1]; 0 without a span."""
    return _mean(signals.logprob.exp(), answer & signals.mask, empty=0.0)


def mean_logprob(
    signals: TokenSignals, answer: Bool[Tensor, "N C"], *, length_norm: LengthNorm = "mean"
) -> Float[Tensor, " N"]:
    """Mean log-probability of the completion tokens, nats, at most 0 (RLIF's trajectory entropy, negated)."""
    return _mean(signals.logprob, signals.mask, float("nan"), length_norm)


def neg_entropy(
    signals: TokenSignals, answer: Bool[Tensor, "N C"], *, length_norm: LengthNorm = "mean"
) -> Float[Tensor, " N"]:
    """Minus the mean token entropy of the completion, nats, at most 0 (RLIF's token entropy, negated)."""
    return _mean(-signals.entropy, signals.mask, float("nan"), length_norm)


def self_certainty(
    signals: TokenSignals, answer: Bool[Tensor, "N C"], *, length_norm: LengthNorm = "mean"
) -> Float[Tensor, " N"]:
    """Mean KL(U || p) over the completion tokens, nats, at least 0 (RLIF, arXiv 2506.17219)."""
    return _mean(signals.self_certainty, signals.mask, float("nan"), length_norm)


CONFIDENCE: dict[str, Measure] = {
    "answer_disparity": answer_disparity,
    "answer_probability": answer_probability,
    "mean_logprob": mean_logprob,
    "neg_entropy": neg_entropy,
    "self_certainty": self_certainty,
}


OptionMeasure = Callable[[Tensor, Tensor], Tensor]


def option_disparity(mass: Float[Tensor, "N K"], chosen: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Mass of the chosen option minus the largest mass of another, in [-1, 1] (CoT decoding, arXiv 2402.10200).

    Args:
        mass: where the answer's label begins, the probability of the tokens that write each of the K labels.
        chosen: index of the label that stands there.
    """
    index = chosen[:, None]
    return (mass.gather(1, index) - mass.scatter(1, index, 0.0).amax(1, keepdim=True)).squeeze(1)


def option_probability(mass: Float[Tensor, "N K"], chosen: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Share of the chosen option in the mass of all options, in [0, 1]; 0 where none has any. Arguments as above."""
    total = mass.sum(1)
    share = mass.gather(1, chosen[:, None]).squeeze(1) / total
    return torch.where(total > 0, share, torch.zeros_like(share))


OPTION_CONFIDENCE: dict[str, OptionMeasure] = {
    "option_disparity": option_disparity,
    "option_probability": option_probability,
}
"""The measures of a multiple-choice answer that need the distribution over the options."""

CERTAINTY: dict[str, Callable[..., Tensor]] = {
    "self_certainty": self_certainty,
    "neg_entropy": neg_entropy,
    "mean_logprob": mean_logprob,
}
"""The measures of a whole completion, which need no answer span: RLIF's rewards."""
