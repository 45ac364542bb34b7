"""From logits to per-token signals: pure functions, and the only place where positions shift by one.

A causal model's logits at position i describe token i + 1. `completion_logits` makes that shift once; everything
after it is aligned: entry t of a signal describes the distribution that generated completion token t.
All signals come from raw logits at temperature 1 unless the caller divided them, and are computed in float32.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inward.batch import TokenSignals


def completion_logits(logits: Float[Tensor, "N T V"], num_tokens: int) -> Float[Tensor, "N C V"]:
    """Logits that generated the last `num_tokens` tokens of a sequence.

    Args:
        logits: for every position, or at least for the last `num_tokens` + 1.
        num_tokens: C, the length of the (right-padded) completions.

    Returns:
        The entries from one before the first completion token up to one before the last.
    """
    if logits.shape[1] <= num_tokens:
        raise ValueError(
            f"need logits of {num_tokens + 1} positions to score {num_tokens} tokens, got {logits.shape[1]}"
        )
    return logits[:, -num_tokens - 1 : -1]


def token_signals(
    logits: Float[Tensor, "N C V"], tokens: Int[Tensor, "N C"], mask: Bool[Tensor, "N C"]
) -> TokenSignals:
    """Log-probability, entropy, self-certainty and disparity of each token, from aligned logits.

    - logprob: log p(token), nats.
    - entropy: -sum_v p_v log p_v over the full distribution, nats.
    - self_certainty: KL(U || p) = -log V - mean_v log p_v, nats (RLIF, arXiv 2506.17219; Intuitor drops the constant).
    - disparity: p(token) - max_{v != token} p_v (RLSF, arXiv 2507.21931, section 1.3 of its code: the sampled token
      against the strongest other one; equals top-1 minus top-2 when the token is the most probable).

    Args:
        logits: aligned, see `completion_logits`; any float type.
        tokens: the completion tokens; padding may hold any valid id.
        mask: True on completion tokens; signals are 0 elsewhere.
    """
    scores = logits.float()
    log_z = scores.logsumexp(-1)
    token_scores = scores.gather(-1, tokens[..., None]).squeeze(-1)
    probs = (scores - log_z[..., None]).exp()
    # A token masked by -inf has probability 0 and adds nothing, but 0 * -inf is NaN.
    expected_score = (probs * scores.masked_fill(probs == 0, 0.0)).sum(-1)
    top = scores.topk(min(2, scores.shape[-1]), dim=-1).values
    strongest_other = torch.where(token_scores >= top[..., 0], top[..., -1], top[..., 0])
    logprob = token_scores - log_z
    disparity = logprob.exp() - (strongest_other - log_z).exp()
    self_certainty = log_z - scores.mean(-1) - math.log(scores.shape[-1])
    entropy = log_z - expected_score
    return TokenSignals(
        logprob=logprob.masked_fill(~mask, 0.0),
        entropy=entropy.masked_fill(~mask, 0.0),
        self_certainty=self_certainty.masked_fill(~mask, 0.0),
        disparity=disparity.masked_fill(~mask, 0.0),
        mask=mask,
    )
