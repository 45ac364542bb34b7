"""Rewards that the policy's own probabilities make: of a whole completion, or of the tokens of its answer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch

from inward.advantages import FLAT
from inward.answers import AnswerSettings, earliest, find, token_span
from inward.batch import span_mask
from inward.confidence import CERTAINTY, mean_logprob
from inward.confidence import answer_disparity as disparity_of
from inward.errors import SettingsError
from inward.train.reward import AnswersOf, Reward, StepTraces
from inward.types import LengthNorm, Span


def certainty(measure: str, *, length_norm: LengthNorm = "mean") -> Reward:
    """The reward that is a certainty measure of the whole completion (RLIF, arXiv 2506.17219).

    Args:
        measure: `self_certainty`, `neg_entropy` or `mean_logprob`.
        length_norm: see `confidence.LengthNorm`. RLIF takes the mean; the sums are those of EM-RL (arXiv 2505.15134).

    Raises:
        SettingsError: there is no such measure.
    """
    if measure not in CERTAINTY:
        raise SettingsError(f"reward {measure!r} is unknown; choose one of {', '.join(CERTAINTY)}")

    def reward(traces: StepTraces) -> list[float | None]:
        no_answer = torch.zeros_like(traces.signals.mask)
        values = CERTAINTY[measure](traces.signals, no_answer, length_norm=length_norm).tolist()
        return _finite(values, traces, measure)

    return reward


def sequence_probability() -> Reward:
    """The reward p(y) = prod_t p_t(y_t), whatever the length (RLSC's, arXiv 2506.06395, as in arXiv 2603.08660).

    Not RLSC itself, which has no groups and no baseline. Long completions have probabilities so small that GRPO's
    normalisation levels them out, which is warned of.
    """

    def reward(traces: StepTraces) -> list[float | None]:
        no_answer = torch.zeros_like(traces.signals.mask)
        totals = mean_logprob(traces.signals, no_answer, length_norm="sum").tolist()
        rewards = _finite([math.exp(total) for total in totals], traces, "sequence_probability")
        if max((one for one in rewards if one is not None), default=1.0) < FLAT:
            warnings.warn(
                f"every completion of a step has a probability below {FLAT}, and GRPO, which divides by the standard "
                f"deviation + {FLAT}, learns next to nothing from it: take mean_logprob, or combine it with another "
                "reward, which normalises it first",
                stacklevel=2,
            )
        return rewards

    return reward


def answer_disparity(answers: AnswersOf) -> Reward:
    """The reward that is the mean disparity of the answer's tokens (RLSF's confidence, arXiv 2507.21931, online).

    The answer is read off the completion, the model is not asked for it. Without one, or where no token writes it, the
    reward is 0.

    Args:
        answers: how the answer to a prompt is read, by its key.
    """

    def reward(traces: StepTraces) -> list[float | None]:
        rows = zip(traces.prompt_keys, traces.completions, traces.token_ends, strict=True)
        spans = [_answer_span(text, ends, answers(key)) for key, text, ends in rows]
        mask = span_mask(spans, traces.signals.mask.shape[1]).to(traces.signals.mask.device)
        return _finite(disparity_of(traces.signals, mask).tolist(), traces, "answer_disparity")

    return reward


def _answer_span(completion: str, token_ends: Sequence[int], settings: AnswerSettings) -> Span | None:
    found = find(completion, settings.kind, settings.labels, strict=settings.strict)
    if found and settings.occurrence == "first":
        found = earliest(found, completion, settings.kind)
    return token_span(found.chars, token_ends) if found else None


def _finite(values: Sequence[float], traces: StepTraces, name: str) -> list[float | None]:
    """None for what is not finite, with a warning where the completion is not empty."""
    rewards = [value if math.isfinite(value) else None for value in values]
    infinite = sum(bool(ids) for one, ids in zip(rewards, traces.completion_ids, strict=True) if one is None)
    if infinite:
        warnings.warn(
            f"{infinite} traces have no finite {name} and no weight in this step: the model gives some token "
            "probability 0 or NaN",
            stacklevel=3,
        )
    return rewards
