"""The shift by one, and every signal from full logits by its formula."""

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


def completion_states(
    states: Float[Tensor, "N T D"], starts: Int[Tensor, "N"], num_tokens: int
) -> Float[Tensor, "N C D"]:
    """Hidden states (or logits) that generated the completions of sequences padded on the right.

    Args:
        states: for every position.
        starts: where each completion begins, at least 1.
        num_tokens: C, the length of the longest completion. Entries past the end of a shorter one mean nothing.
    """
    if len(starts) and int(starts.min()) < 1:
        raise ValueError("a completion without a prompt has no state that generated its first token")
    position = starts[:, None] - 1 + torch.arange(num_tokens, device=starts.device)
    position = position.clamp(max=states.shape[1] - 1)
    return states.gather(1, position[..., None].expand(-1, -1, states.shape[2]))


def token_signals(
    logits: Float[Tensor, "N C V"], tokens: Int[Tensor, "N C"], mask: Bool[Tensor, "N C"]
) -> TokenSignals:
    """Log-probability, entropy, self-certainty, disparity, top-1, top-2 and collision of each token, from logits.

    - logprob: log p(token), nats.
    - entropy: -sum_v p_v log p_v over the full distribution, nats.
    - self_certainty: KL(U || p) = -log V - mean_v log p_v, nats (RLIF, arXiv 2506.17219; Intuitor drops the constant).
    - disparity: p(token) - max_{v != token} p_v (RLSF, arXiv 2507.21931, section 1.3 of its code: the sampled token
      against the strongest other one; equals top-1 minus top-2 when the token is the most probable).
    - top1, top2: the two largest p_v; 0 for the second where there is one word.
    - log_collision: log sum_v p_v^2, nats: of the probability that two draws coincide (RLSC, arXiv 2506.06395).

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
    first, second = two_largest(scores)
    strongest_other = torch.where(token_scores >= first, second, first)
    logprob = token_scores - log_z
    disparity = logprob.exp() - (strongest_other - log_z).exp()
    self_certainty = log_z - scores.mean(-1) - math.log(scores.shape[-1])
    entropy = log_z - expected_score
    return TokenSignals(
        logprob=logprob.masked_fill(~mask, 0.0),
        entropy=entropy.masked_fill(~mask, 0.0),
        self_certainty=self_certainty.masked_fill(~mask, 0.0),
        disparity=disparity.masked_fill(~mask, 0.0),
        top1=(first - log_z).exp().masked_fill(~mask, 0.0),
        top2=(second - log_z).exp().masked_fill(~mask, 0.0),
        log_collision=(2 * (scores - log_z[..., None])).logsumexp(-1).masked_fill(~mask, 0.0),
        mask=mask,
    )


def two_largest(scores: Float[Tensor, "*N V"]) -> tuple[Float[Tensor, "*N"], Float[Tensor, "*N"]]:
    """The two largest entries of each row; -inf for the second where there is one column."""
    if scores.shape[-1] == 1:
        first = scores[..., 0]
        return first, torch.full_like(first, -torch.inf)
    first, second = scores.topk(2, dim=-1).values.unbind(-1)
    return first, second
