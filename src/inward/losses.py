"""Losses of self-confidence training: pure functions of log-probabilities and entropies.

RLSC (arXiv 2506.06395) raises F(p) = E_{y~p}[p(y)], the probability that two samples coincide. Its gradient is
2 E_{y~p}[p(y) grad log p(y)], so the loss of a sampled completion is its log-probability times a detached weight.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inward.types import WeightKind


def confidence_weight(
    logprob: Float[Tensor, " N"],
    length: Int[Tensor, " N"],
    kind: WeightKind,
    *,
    answer_share: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, " N"]:
    """The detached weight of each completion, before alpha is added.

    - `sequence`: p(y) = exp(sum of log-probabilities): RLSC, equation 4. Numerically 0 beyond some hundred tokens.
    - `length_normalised`: exp(mean log-probability), which does not vanish with length. No longer the gradient of F;
      it favours completions whose tokens are sure one by one, short ones among them.
    - `answer`: the share of the prompt's samples that give the same answer, an estimate of the probability of the
      answer: the gradient is that of half the collision probability of *answers*.
    - `none`: 0, so that alpha alone remains: fine-tuning on own samples.

    Args:
        logprob: sum of log-probabilities of each completion at the scoring temperature, nats.
        length: number of its tokens.
        kind: see above.
        answer_share: in [0, 1], needed for `answer` alone.
    """
    match kind:
        case "sequence":
            return logprob.detach().exp()
        case "length_normalised":
            return (logprob.detach() / length.clamp(min=1)).exp()
        case "answer":
            assert answer_share is not None, "given by the caller for this kind"
            return answer_share
        case "none":
            return torch.zeros_like(logprob, requires_grad=False)


def weighted_nll(logprob: Float[Tensor, " N"], weight: Float[Tensor, " N"], alpha: float) -> Float[Tensor, " N"]:
    """-(weight + alpha) * log-probability of each completion (RLSC, equations 5 and 6).

    The gradient of its sum with respect to each log-probability is exactly -(weight + alpha).

    Args:
        logprob: sum of log-probabilities of each completion, nats.
        weight: detached, see `confidence_weight`.
        alpha: the same for every completion. Where samples come from the very distribution that scores them, its
            expected gradient is 0 and it only adds variance; where they come from a sharper one, it pulls to that.
    """
    return -(weight.detach() + alpha) * logprob


def alpha_share(weight: Float[Tensor, " N"], alpha: float) -> float:
    """Share of the summed weights that comes from alpha, in [0, 1]; near 1 means fine-tuning on own samples."""
    total = float(weight.sum()) + alpha * len(weight)
    return alpha * len(weight) / total if total else 0.0
