"""Read the final answer off a completion."""

from __future__ import annotations

import re
from collections.abc import Sequence

from inward.answers.numbers import all_numbers, number_places, plain, read_number
from inward.answers.places import (
    HASHES,
    LABELS,
    MATHS,
    PHRASE,
    FoundAnswer,
    all_boxes,
    answer_at,
    choice_patterns,
    last_group,
    statement,
    trim,
)
from inward.types import AnswerKind


def find(
    completion: str, kind: AnswerKind, labels: Sequence[str] = LABELS, *, strict: bool = False
) -> FoundAnswer | None:
    """Read the final answer off the completion; the module's docstring says how, kind by kind.

    Args:
        completion: the text the model wrote, without special tokens.
        kind: what the answer looks like.
        labels: of the options, for choice and auto.
        strict: only an announced answer counts (`####`, a box, "answer is"): no falling back to the last number
            or label.

    Raises:
        SettingsError: if `labels` is empty.
    """
    match kind:
        case "number":
            return _find_number(completion, strict)
        case "latex":
            return _find_latex(completion, strict)
        case "choice":
            return find_choice(completion, labels, strict=strict)
        case "text":
            return _find_text(completion)
        case "auto":
            return _find_auto(completion, labels, strict)


def _find_number(text: str, strict: bool) -> FoundAnswer | None:
    numbers = all_numbers(text)
    if not numbers:
        return None
    for start, stop in number_places(text):
        place = read_number(text, numbers, start, stop)
        if place is not None:
            return answer_at(text, place, plain(text, place))
    return None if strict else answer_at(text, numbers[-1], plain(text, numbers[-1]))


def _find_latex(text: str, strict: bool) -> FoundAnswer | None:
    boxes = all_boxes(text)
    if boxes:
        return answer_at(text, boxes[-1])
    for phrase in reversed(list(PHRASE.finditer(text))):
        maths = MATHS.match(text, phrase.end())
        if maths and maths.lastindex:
            start, stop = trim(text, *maths.span(maths.lastindex))
            if start < stop:
                return answer_at(text, (start, stop))
    return _find_number(text, strict)


def find_choice(text: str, labels: Sequence[str], *, strict: bool = False) -> FoundAnswer | None:
    """Read a label off a text."""
    stated, apart, _ = choice_patterns(tuple(labels))
    place = last_group(stated, text) or (None if strict else last_group(apart, text))
    return place and answer_at(text, place)


def _find_text(text: str) -> FoundAnswer | None:
    for phrase in reversed(list(PHRASE.finditer(text))):
        start, stop = trim(text, *statement(text, phrase.end()))
        if start < stop:
            return answer_at(text, (start, stop), " ".join(text[start:stop].split()))
    return None


def _find_auto(text: str, labels: Sequence[str], strict: bool) -> FoundAnswer | None:
    if all_boxes(text):
        return _find_latex(text, strict)
    if HASHES.search(text):
        return _find_number(text, strict)
    body = text.rstrip()
    line = body.rfind("\n") + 1
    if body.startswith("####", line) and not body.startswith("#####", line):
        start, stop = trim(text, line + 4, len(body))
        if start < stop:
            return answer_at(text, (start, stop))
    stated, _, _ = choice_patterns(tuple(labels))
    choice, sentence = last_group(stated, text), _find_text(text)
    if choice and (sentence is None or choice[0] >= sentence.chars.start):
        return answer_at(text, choice)
    if sentence:
        start, stop = sentence.chars.start, sentence.chars.end
        place = read_number(text, all_numbers(text), start, stop)
        return answer_at(text, place, plain(text, place)) if place else sentence
    if strict:
        return None
    bracketed = re.compile(rf"\(({'|'.join(map(re.escape, labels))})\)")
    place = last_group(bracketed, text)
    return answer_at(text, place) if place else _find_number(text, strict)
