"""What scoring needs the model for: signals that were not recorded, and the probabilities of options."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from inward.batch import spread
from inward.confidence import OPTION_CONFIDENCE
from inward.errors import ModelError
from inward.forward import sequence_signals, span_states
from inward.models import Policy, evaluating
from inward.signals import head_logits
from inward.types import ScoredTrace, Span, Trace, TraceSignals

BEFORE_LABEL = " \t\r\n([{*_`\"'“$:"


AFTER_LABEL = " \t\r\n)]}*_`\"'”$.,"
"""What a token may write beside a label and still stand for it: `(A`, ` A.` and `**A` are all option A."""


def forward_signals(traces: Sequence[Trace], policy: Policy) -> list[TraceSignals]:
    """Signals of given traces by one forward pass of `policy`."""
    sequences = [(trace.prompt_ids, trace.completion_ids) for trace in traces]
    with evaluating(policy.model):
        return spread(sequence_signals(policy.model, sequences, policy.pad_id))


def with_options(
    scored: Sequence[ScoredTrace], labels: Sequence[str], policy: Policy, *, required: bool
) -> list[ScoredTrace]:
    """Add the measures of options; not where the tokenizer cannot write a label and nothing is ranked by them."""
    ids = label_ids(policy.tokenizer, tuple(labels))
    unwritten = [label for label, one in zip(labels, ids, strict=True) if not one]
    if unwritten and required:
        raise ModelError(
            f"no single token of {policy.name} writes the label {unwritten[0]!r}; set confidence=answer_disparity"
        )
    if unwritten:
        return list(scored)
    answered = [row for row, trace in enumerate(scored) if trace.answer_tokens]
    # A trace without a span keeps mass 0 on every option, and thus gets 0 for both measures.
    mass, chosen = torch.zeros(len(scored), len(labels)), torch.zeros(len(scored), dtype=torch.long)
    if answered:
        mass[answered] = option_mass([scored[row] for row in answered], ids, policy)
        chosen[answered] = torch.tensor([labels.index(scored[row].answer or "") for row in answered])
    columns = {name: measure(mass, chosen).tolist() for name, measure in OPTION_CONFIDENCE.items()}
    return [
        dataclasses.replace(trace, measures=trace.measures | {name: column[row] for name, column in columns.items()})
        for row, trace in enumerate(scored)
    ]


@lru_cache(maxsize=32)
def label_ids(tokenizer: PreTrainedTokenizerBase, labels: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """For each label, the tokens that write it and nothing more than white space, brackets or markup around it."""
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))], skip_special_tokens=True)
    written: dict[str, list[int]] = {label: [] for label in labels}
    for i, text in enumerate(texts):
        label = text.lstrip(BEFORE_LABEL).rstrip(AFTER_LABEL)
        if label in written:
            written[label].append(i)
    return tuple(tuple(written[label]) for label in labels)


@torch.no_grad()
def option_mass(traces: Sequence[ScoredTrace], ids: Sequence[Sequence[int]], policy: Policy) -> Float[Tensor, "N K"]:
    """Probability of each option at the token with which the answer begins, by one forward pass.

    Args:
        traces: those that have an answer span.
        ids: the tokens that write each of the K labels.
        policy: the model that wrote the traces.
    """
    spans = [
        Span(start=one.answer_tokens.start, end=one.answer_tokens.start + 1) for one in traces if one.answer_tokens
    ]
    sequences = [
        (one.trace.prompt_ids, one.trace.completion_ids[: span.end]) for one, span in zip(traces, spans, strict=True)
    ]
    with evaluating(policy.model):
        states, head = span_states(policy.model, sequences, spans, policy.pad_id)
    probabilities = (head_logits(states, head) if head else states.float()).softmax(-1)
    return torch.stack([probabilities[:, list(one)].sum(-1) for one in ids], dim=-1).cpu()
