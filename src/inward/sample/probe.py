"""Ask the frozen model for its final answer where none can be read off the trace (RLSF's extraction prompt).

The question is appended to prompt and trace as text, without a chat template, and continued greedily for at most 20
tokens. Where the answer stands in the original trace is found later, by `inward.answers.locate`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from inward import answers
from inward.answers import AnswerSettings
from inward.errors import DataError, SettingsError
from inward.models import Policy, decode, encode
from inward.sample.decode import Asking, Decoding, Row, decode_rows, without_eos
from inward.sample.fitting import rows_that_fit
from inward.types import Prompt, Source, TraceGroup

PROBE_TOKENS = 20
"""RLSF's limit for the reply."""

Greedy = Callable[[Sequence[Sequence[int]], int], Sequence[Sequence[int]]]
"""Continues texts, given as token ids, greedily for at most so many tokens."""


def probe(
    groups: Iterable[TraceGroup],
    policy: Policy,
    settings: AnswerSettings,
    *,
    batch_rows: int | None = None,
    greedy: Greedy | None = None,
) -> Iterator[TraceGroup]:
    """Fill in `answer_probe` on the traces that `settings.elicit` names, asking the policy, or `greedy` where given.

    Of a multiple-choice question the model is told the labels of that question.
    A trace too long to take question and reply within the model's context is left without a probe.
    Every trace is read again: `sample` asks those that it makes while it still has what it read of them.

    Raises:
        SettingsError: `elicit` is `always` and the tokenizer cannot write the question.
    """
    if settings.elicit == "never":
        yield from groups
        return
    questions: dict[str, list[int]] = {}
    for group in groups:
        own = settings.for_prompt(group.prompt)
        question = _question(own, policy, questions)
        reply = greedy or (lambda texts, limit: _continued(texts, limit, policy, batch_rows))
        yield _asked(group, question, policy, own, reply) if question else group


def questions_of(prompts: Sequence[Prompt], policy: Policy, settings: AnswerSettings) -> dict[int, list[int]]:
    """Token ids of the question that each prompt's traces may be asked, by the prompt's index; none for some or all.

    Raises:
        SettingsError: `elicit` is `always` and the tokenizer cannot write the question.
    """
    if settings.elicit == "never":
        return {}
    known: dict[str, list[int]] = {}
    found = {i: _question(settings.for_prompt(prompt), policy, known) for i, prompt in enumerate(prompts)}
    return {index: question for index, question in found.items() if question}


def asking_of(
    prompts: Sequence[Prompt],
    prompt_ids: Sequence[Sequence[int]],
    questions: Mapping[int, list[int]],
    policy: Policy,
    settings: AnswerSettings,
) -> Asking:
    """Who is asked, and what, of the rows of these prompts."""

    def question(row: Row, ids: tuple[int, ...]) -> Sequence[int]:
        asked = questions.get(row.prompt, [])
        length = len(prompt_ids[row.prompt]) + len(ids)
        if not asked or not _fits(length, asked, policy):
            return []
        own = settings.for_prompt(prompts[row.prompt])
        return asked if _wants(decode(policy.tokenizer, ids), own) else []

    return Asking(question=question, max_new_tokens=PROBE_TOKENS)


def _question(settings: AnswerSettings, policy: Policy, known: dict[str, list[int]]) -> list[int]:
    """Token ids of the question; none, with one warning, where the tokenizer cannot write it."""
    text = " " + answers.probe_prompt(settings.kind, settings.labels)
    if text not in known:
        known[text] = _question_ids(text, policy)
        if not known[text]:
            _refuse(text, policy, settings)
    return known[text]


def _refuse(question: str, policy: Policy, settings: AnswerSettings) -> None:
    message = f"the tokenizer of {policy.name} cannot write {question.strip()!r}, so no answer can be asked for"
    if settings.elicit == "always":
        raise SettingsError(f"{message}; set answer.elicit=never")
    warnings.warn(f"{message}; answers are only read off the traces", stacklevel=4)


def _asked(
    group: TraceGroup, question_ids: list[int], policy: Policy, settings: AnswerSettings, greedy: Greedy
) -> TraceGroup:
    asked = [
        trace
        for trace in group.traces
        if _wants(trace.completion, settings)
        and _fits(len(trace.prompt_ids) + len(trace.completion_ids), question_ids, policy)
    ]
    texts = [[*t.prompt_ids, *without_eos(t.completion_ids, policy.eos_ids), *question_ids] for t in asked]
    replies = [decode(policy.tokenizer, ids) for ids in greedy(texts, PROBE_TOKENS)]
    by_index = {trace.index: reply for trace, reply in zip(asked, replies, strict=True)}
    traces = (dataclasses.replace(t, answer_probe=by_index.get(t.index)) for t in group.traces)
    return dataclasses.replace(group, traces=tuple(traces))


def _continued(
    texts: Sequence[Sequence[int]], limit: int, policy: Policy, batch_rows: int | None
) -> list[tuple[int, ...]]:
    rows = [Row(prompt=i, key="", source=Source.GREEDY) for i in range(len(texts))]
    decoding = Decoding(temperature=1.0, top_p=1.0, max_new_tokens=limit, seed=0)
    size = batch_rows or rows_that_fit(policy, max(map(len, texts), default=0), limit, 0, None)
    return [
        reply.ids
        for start in range(0, len(rows), size)
        for reply in decode_rows(policy, texts, rows[start : start + size], decoding)
    ]


def _question_ids(question: str, policy: Policy) -> list[int]:
    """Token ids of the question; none where the tokenizer cannot write it."""
    try:
        ids = encode(policy.tokenizer, question, special=False)
    except DataError:
        return []
    return ids if decode(policy.tokenizer, ids).split() == question.split() else []


def _fits(length: int, question_ids: Sequence[int], policy: Policy) -> bool:
    return length + len(question_ids) + PROBE_TOKENS <= policy.context


def _wants(completion: str, settings: AnswerSettings) -> bool:
    if settings.elicit == "always":
        return True
    return answers.find(completion, settings.kind, settings.labels, strict=settings.strict) is None
