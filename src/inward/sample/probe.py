"""Ask the frozen model for its final answer where none can be read off the trace (RLSF's extraction prompt).

The question is appended to prompt and trace as text, without a chat template, and continued greedily for at most 20
tokens. Where the answer stands in the original trace is found later, by `inward.answers.locate`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Iterator

from inward import answers
from inward.answers import AnswerSettings
from inward.errors import DataError, SettingsError
from inward.models import Policy, decode, encode
from inward.sample.decode import Decoding, Row, decode_rows
from inward.types import Source, Trace, TraceGroup

PROBE_TOKENS = 20
"""RLSF's limit for the reply."""


def probe(
    groups: Iterable[TraceGroup], policy: Policy, settings: AnswerSettings, *, batch_rows: int = 256
) -> Iterator[TraceGroup]:
    """Fill in `answer_probe` on the traces that `settings.elicit` names.

    Of a multiple-choice question the model is told the labels of that question.
    A trace too long to take question and reply within the model's context is left without a probe.

    Raises:
        SettingsError: `elicit` is `always` and the tokenizer cannot write the question.
    """
    if settings.elicit == "never":
        yield from groups
        return
    questions: dict[str, list[int]] = {}
    for group in groups:
        own = settings.for_prompt(group.prompt)
        text = " " + answers.probe_prompt(own.kind, own.labels)
        if text not in questions:
            questions[text] = _question_ids(text, policy)
            if not questions[text]:
                _refuse(text, policy, own)
        yield _asked(group, questions[text], policy, own, batch_rows) if questions[text] else group


def _refuse(question: str, policy: Policy, settings: AnswerSettings) -> None:
    message = f"the tokenizer of {policy.name} cannot write {question.strip()!r}, so no answer can be asked for"
    if settings.elicit == "always":
        raise SettingsError(f"{message}; set answer.elicit=never")
    warnings.warn(f"{message}; answers are only read off the traces", stacklevel=3)


def _asked(
    group: TraceGroup, question_ids: list[int], policy: Policy, settings: AnswerSettings, batch_rows: int
) -> TraceGroup:
    room = len(question_ids) + PROBE_TOKENS
    asked = [
        trace
        for trace in group.traces
        if _wants(trace, settings) and len(trace.prompt_ids) + len(trace.completion_ids) + room <= policy.context
    ]
    texts = [[*trace.prompt_ids, *_without_eos(trace, policy), *question_ids] for trace in asked]
    rows = [Row(prompt=i, key="", source=Source.GREEDY) for i in range(len(asked))]
    decoding = Decoding(temperature=1.0, top_p=1.0, max_new_tokens=PROBE_TOKENS, seed=0)
    replies = [
        decode(policy.tokenizer, reply.ids)
        for start in range(0, len(rows), batch_rows)
        for reply in decode_rows(policy, texts, rows[start : start + batch_rows], decoding)
    ]
    by_index = {trace.index: reply for trace, reply in zip(asked, replies, strict=True)}
    traces = (dataclasses.replace(t, answer_probe=by_index.get(t.index)) for t in group.traces)
    return dataclasses.replace(group, traces=tuple(traces))


def _question_ids(question: str, policy: Policy) -> list[int]:
    """Token ids of the question; none where the tokenizer cannot write it."""
    try:
        ids = encode(policy.tokenizer, question, special=False)
    except DataError:
        return []
    return ids if decode(policy.tokenizer, ids).split() == question.split() else []


def _wants(trace: Trace, settings: AnswerSettings) -> bool:
    if settings.elicit == "always":
        return True
    return answers.find(trace.completion, settings.kind, settings.labels, strict=settings.strict) is None


def _without_eos(trace: Trace, policy: Policy) -> tuple[int, ...]:
    ids = trace.completion_ids
    return ids[:-1] if ids and ids[-1] in policy.eos_ids else ids
