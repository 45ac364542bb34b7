"""Read the final answer off a completion."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from functools import lru_cache

from inward.answers.bounds import whole
from inward.answers.doubt import denied, label_patterns, negated, taken_back
from inward.answers.numbers import all_numbers, decided, number_places, plain, read_number
from inward.answers.places import (
    ALGEBRA,
    CONTENT,
    HASHES,
    LABELS,
    MATHS,
    MATHS_BETWEEN_SIGNS,
    PROSE,
    WINDOW,
    WRAPPED,
    FoundAnswer,
    Range,
    all_boxes,
    answer_at,
    choice_patterns,
    last_group,
    meant,
    phrases,
    statement,
    trim,
    trim_maths,
)
from inward.characters import place_in, unified
from inward.types import AnswerKind, Span

_MORE_THAN_A_NUMBER = re.compile(r"[A-Za-z\\^_(){}\[\]=<>;*|!√π∞]|,(?![0-9]{3}(?![0-9]))|[0-9] *[-+:] *[0-9]")
_SIGN = re.compile(r"[0-9\\^_=+*/<>|(\[√π∞]|^-| - ")
_ASIDE = re.compile(r"[0-9] \(")
_TAIL = 4_000


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
    return _remembered(completion, kind, tuple(labels), strict)


@lru_cache(maxsize=128)
def _remembered(completion: str, kind: AnswerKind, labels: Sequence[str], strict: bool) -> FoundAnswer | None:
    """Traces of the same question often have the same words."""
    start, stop = meant(completion)
    found = _find(unified(completion[start:stop]), kind, labels, strict)
    if found is None:
        return None
    first, last = place_in(completion[start:stop], found.chars.start, found.chars.end)
    return dataclasses.replace(found, chars=Span(start=start + first, end=start + last))


def _find(text: str, kind: AnswerKind, labels: Sequence[str], strict: bool) -> FoundAnswer | None:
    match kind:
        case "number":
            return _find_number(text, strict)
        case "latex":
            return _find_latex(text, strict)
        case "choice":
            return find_choice(text, labels, strict=strict)
        case "text":
            return _find_text(text)
        case "auto":
            return _find_auto(text, labels, strict)


def _find_number(text: str, strict: bool) -> FoundAnswer | None:
    numbers = all_numbers(text)
    if not numbers:
        return None
    boxes = () if HASHES.search(text) else all_boxes(text)[-1:]
    for start, stop in boxes:
        # \boxed{2\sqrt{3}} answers neither 2 nor 3.
        if ALGEBRA.search(text, start, stop) and "=" not in text[start:stop]:
            return answer_at(text, (start, stop))
    for start, stop in number_places(text):
        place = read_number(text, numbers, start, stop)
        if place is not None:
            return _number_at(text, decided(text, numbers, place))
    place = None if strict else next((one for one in reversed(numbers) if not denied(text, one)), None)
    return _number_at(text, place and decided(text, numbers, place))


def _number_at(text: str, place: Range | None) -> FoundAnswer | None:
    if place is None:
        return None
    all_of_it = whole(text, place)
    return answer_at(text, all_of_it, plain(text, place) if all_of_it == place else None)


def _find_latex(text: str, strict: bool) -> FoundAnswer | None:
    boxes = all_boxes(text)
    if boxes:
        return answer_at(text, boxes[-1])
    for phrase in phrases(text):
        expression = _expression(text, phrase.end())
        if expression:
            return answer_at(text, expression)
        maths = MATHS.match(text, phrase.end())
        if maths and maths.lastindex:
            start, stop = trim_maths(text, *maths.span(maths.lastindex))
            if start < stop:
                return answer_at(text, (start, stop))
    number = _find_number(text, strict)
    return number if strict or (number and _find_number(text, True)) else _last_maths(text, number)


def _expression(text: str, start: int) -> Range | None:
    """Where the statement is an expression and more than a number: "x^2 + 1", "(1, 2)", "$3$, $4$"."""
    start, stop = trim(text, *statement(text, start))
    stated = WRAPPED.sub("", text[start:stop])
    # The answer may stand on the lines after "\\[".
    if (
        not CONTENT.search(stated)
        or PROSE.search(stated)
        or not _MORE_THAN_A_NUMBER.search(stated)
        or _ASIDE.search(stated)
    ):
        return None
    if "$" in MATHS_BETWEEN_SIGNS.sub("", stated) or not (_SIGN.search(stated) or len(stated) == 1):
        return None
    inside = trim_maths(text, start, stop)
    return (start, stop) if "$" in text[slice(*inside)] else inside


def _last_maths(text: str, number: FoundAnswer | None) -> FoundAnswer | None:
    """The last mathematics between signs of its own, where no number follows it."""
    place = last_group(MATHS_BETWEEN_SIGNS, text[-_TAIL:])
    if place is None:
        return number
    offset = max(0, len(text) - _TAIL)
    start, stop = trim_maths(text, place[0] + offset, place[1] + offset)
    return answer_at(text, (start, stop)) if start < stop and (number is None or number.chars.end <= stop) else number


def find_choice(text: str, labels: Sequence[str], *, strict: bool = False) -> FoundAnswer | None:
    """Read a label off a text."""
    stated, apart, _ = choice_patterns(tuple(labels))
    place, open_from = _committed(stated, text, labels, brief=False)
    if place is None and not strict:
        place, _ = _committed(apart, text, labels, brief=True, start=open_from)
    return place and answer_at(text, place)


def _committed(
    pattern: re.Pattern[str], text: str, labels: Sequence[str], *, brief: bool, start: int = 0
) -> tuple[Range | None, int]:
    """Where the last label stands that is not taken back later; none where the last one is one of several.

    Returns:
        The place, and where the last statement that leaves it open begins (0 where none does).
    """
    doubt = label_patterns(tuple(labels))
    back: dict[str, int] | None = None
    for match in reversed(list(pattern.finditer(text, start))):
        place = match.span(match.lastindex or 0)
        if doubt.offered_after.match(text, place[1]) or doubt.offered_before.search(
            text[max(0, place[0] - 48) : place[0]]
        ):
            if brief:
                continue
            return None, place[0]
        correction = doubt.corrected.match(text, place[1])
        while correction:
            place = correction.span(1)
            correction = doubt.corrected.match(text, place[1])
        label = text[slice(*place)]
        if not label.isalpha() and negated(text, place[0]):
            continue
        if back is None:
            # Most often the last candidate stands, and only what follows it can take it back.
            near = taken_back(text, tuple(labels), brief=brief, start=max(0, place[0] - WINDOW))
            if near.get(label, -1) < place[0]:
                return place, 0
            back = taken_back(text, tuple(labels), brief=brief)
        if back.get(label, -1) < place[0]:
            return place, 0
    return None, 0


def _find_text(text: str) -> FoundAnswer | None:
    for phrase in phrases(text):
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
    choice, sentence = find_choice(text, labels, strict=True), _find_text(text)
    if choice and (sentence is None or choice.chars.start >= sentence.chars.start):
        return choice
    if sentence:
        numbers = all_numbers(text)
        place = read_number(text, numbers, sentence.chars.start, sentence.chars.end)
        return _number_at(text, place and decided(text, numbers, place)) or sentence
    if strict:
        return None
    bracketed = re.compile(rf"\(({'|'.join(map(re.escape, labels))})\)")
    place = last_group(bracketed, text)
    return answer_at(text, place) if place else _find_number(text, strict)
