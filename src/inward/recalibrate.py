"""Confidences fitted without labels: what they need of a model, and the file that keeps the fit beside a checkpoint.

After training on its own confidence a model gives its answers probabilities near 1, right or wrong. Two things still
tell them apart, and neither needs a label: how often the model answers the same when it is asked again (`temperature`
maps probabilities to that on average, `votes` asks again every time), and what another model makes of the same answer
after the same trace (`reference`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from inward.calibration import Confidences
from inward.equivalence import canonical
from inward.errors import ModelError
from inward.forward import span_states
from inward.models import Policy, evaluating
from inward.parsing import parse_json
from inward.runs import from_json, to_json
from inward.signals import Head, head_signals, token_signals
from inward.types import AnswerKind, ScoredTrace

FILE = "inward_confidence.json"
"""Of a checkpoint folder."""

MEASURE = "recalibrated"
"""Name of the measure that evaluation adds."""

Method = Literal["temperature", "votes", "reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """How the confidence of a checkpoint's answers is to be computed, and what it was fitted on."""

    method: Method
    temperature: float | None
    """Divides the logits of the answer tokens; `temperature` alone."""
    objective: str | None
    """What the temperature was fitted by: `mean` or `brier`."""
    num_votes: int | None
    """Samples per prompt whose answers were counted; None for `reference`."""
    votes_temperature: float | None
    """They were sampled at."""
    reference: str | None
    """Name of the other model; `reference` alone."""
    reference_sha256: str | None
    num_prompts: int
    """Greedy answers it was fitted on."""
    num_without_span: int
    """Greedy traces left out, since no token writes an answer."""
    confidence_before: float
    """Mean probability of the greedy answers' tokens, over the `num_prompts`."""
    confidence_after: float
    """Mean of the new confidence of the same answers."""
    vote_share: float | None
    """Mean share of the samples that give the greedy answer."""


def read(checkpoint: Path) -> Recalibration | None:
    """The recalibration that lies in a checkpoint folder, if any.

    Raises:
        ModelError: The file is damaged.
    """
    file = checkpoint / FILE
    if not file.exists():
        return None
    try:
        found = from_json(Recalibration, parse_json(file.read_bytes()))
        if found.method not in get_args(Method):
            raise ValueError(f"method {found.method!r} is unknown")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file} cannot be used ({error}): make it again with `inward calibrate`, or remove it to evaluate without"
        ) from error
    return found


def write(recalibration: Recalibration, checkpoint: Path) -> None:
    """Put a recalibration into a checkpoint folder that is being made."""
    (checkpoint / FILE).write_text(to_json(recalibration, indent=2) + "\n", encoding="utf-8")


def answer_confidence(traces: Sequence[ScoredTrace], policy: Policy) -> Callable[[float], Confidences]:
    """Mean probability of each trace's answer tokens under a model, as a function of the temperature.

    One forward pass gives the hidden states of the answer tokens, which alone are kept; a temperature costs one pass
    of the last layer over them, in tiles. At temperature 1 and with the model that wrote the traces it is the measure
    `answer_probability`.

    Args:
        traces: N traces, answer spans found; without a span the confidence is 0.
        policy: the model that wrote them, or a reference that shares its tokens.

    Returns:
        temperature -> [N] confidences in [0, 1].
    """
    rows = [row for row, trace in enumerate(traces) if trace.answer_tokens is not None]
    spans = [trace.answer_tokens for trace in traces if trace.answer_tokens is not None]
    if not spans:
        return lambda temperature: np.zeros(len(traces))
    with evaluating(policy.model):
        sequences = [(traces[row].trace.prompt_ids, traces[row].trace.completion_ids) for row in rows]
        states, head = span_states(policy.model, sequences, spans, policy.pad_id)
    ids = [
        token
        for row, span in zip(rows, spans, strict=True)
        for token in traces[row].trace.completion_ids[span.start : span.end]
    ]
    tokens = torch.tensor(ids, device=states.device)
    owner = np.repeat(rows, [span.end - span.start for span in spans])
    count = np.maximum(np.bincount(owner, minlength=len(traces)), 1)

    def confidence(temperature: float) -> Confidences:
        probability = _logprob(states, head, tokens, temperature).exp().cpu().double().numpy()
        # Probabilities computed in single precision can end a hair above 1.
        return np.minimum(np.bincount(owner, weights=probability, minlength=len(traces)) / count, 1.0)

    return confidence


def _logprob(states: Tensor, head: Head | None, tokens: Tensor, temperature: float) -> Tensor:
    """[M] log-probabilities of tokens from their [M, H] hidden states, or from [M, V] logits without a head."""
    everything = torch.ones(1, len(tokens), dtype=torch.bool, device=tokens.device)
    if head is None:
        return token_signals(states[None].float() / temperature, tokens[None], everything).logprob[0]
    return head_signals(states[None], head, tokens[None], everything, temperature=temperature).logprob[0]


def vote_share(answer: str | None, votes: Sequence[str | None], kind: AnswerKind) -> float:
    """Share of the votes that give the same answer, by its canonical form; 0 for no answer, and one without is a no."""
    if answer is None or not votes:
        return 0.0
    form = canonical(answer, kind)
    return sum(vote is not None and canonical(vote, kind) == form for vote in votes) / len(votes)
