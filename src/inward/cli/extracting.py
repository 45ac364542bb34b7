"""Read predictions and gold answers of files for `inward grade`: what kind they are, what the final answer is.

The gold answer is known here, and three things follow from it: its kind, the options, and whether a list of boxes is
one answer. How the single answer is found is `inward.answers`' business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from inward.answers import LABELS, FoundAnswer, find
from inward.answers.doubt import negated, standing
from inward.answers.numbers import all_numbers
from inward.answers.places import (
    CONTENT,
    MATHS_BETWEEN_SIGNS,
    PHRASE,
    PROSE,
    WRAPPED,
    Range,
    all_boxes,
    meant,
    statement,
    trim,
    trim_maths,
)
from inward.characters import unified
from inward.cli.labels import bare_label, choice, label_of, options_in
from inward.equivalence import MAX_EXPRESSION, dates, exact, is_list
from inward.equivalence.forms import is_prose, light, plain, visible
from inward.equivalence.structure import parts
from inward.errors import DataError
from inward.types import AnswerKind

_HASHES = re.compile(r"(?<!#)####(?!#)")
_SIMPLE = re.compile(r"[^\\^{}=]*")
_ALTERNATIVE = re.compile(r"\b(?:or|no|wait|actually|sorry|mean|rather)\b[^.\n]{0,40}?[0-9]")
_BOXES_OR = re.compile(r"\}[\s$*,]{0,4}\bor\b[^.\n{}]{0,20}\\boxed\s?\{[^{}]{0,80}\}[^{}]*\Z")
_EMPTY_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{\s*\}")
_OPEN_BOX = re.compile(r"(?:\$\$?|\\\(|\\\[)?\s?\\(?:boxed|fbox)\s?\{")
_LEAD = re.compile(
    r"(?:=|(?:then|therefore|thus|hence|simply|just|indeed|exactly|now|given\s+by|equal\s+to|as\s+follows)\b[,:]?"
    r"|[^\W\d_]{2,20}\s?:)\s*",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"\banswer\b", re.IGNORECASE)
_CONTRAST = re.compile(r",?\s+(?:not|rather than|instead of|and not|but not)\s.*", re.DOTALL)
_ASIDE = re.compile(r"[,;](?![0-9])(?<!\{,)(?!\\!)|(?<=\w)\s\(")
_CLAUSE = re.compile(r"[^,;:\n(<>=]{0,60}")
_WORDS = re.compile(r"\S+")
_INCHES = re.compile(r"(?<=[0-9])\s?in\.?\Z")
_CLOSING = re.compile(r"\A(?:\s?(?:\$|\\\)|\\\])|\*\*)+")
_RATIO = re.compile(r"[0-9.]+ to [0-9.]+")
_DIGIT = re.compile(r"[0-9]")
_MATHEMATICS = re.compile(r"[0-9\\=^]")
_ALGEBRA = re.compile(r"\\[a-z]|[\^!√π]| [-+*/] ?[0-9A-Za-z]|[0-9)][-+*/][0-9(]|-\(|\||[0-9][a-z]\b")
_PREDICATE = re.compile(r"\b(?:is|are|was|were|be|equals?|gives?|get|gets)\s+(?!not\b)([^\n]{1,300}?)\s*[.!]?\s*\Z")
_THEREFORE = re.compile(
    r"(?:\A|[.\n]\s{0,3})(?:so|therefore|thus|hence|then|finally|consequently)\b[,:]?\s+([^\n]{1,300}?)\s*[.!]?\s*\Z",
    re.IGNORECASE,
)
_PLAIN_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2}")
_MAX_BARE = 300
_NEAR = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A gold answer: `Expected(gold="B", kind="choice", options={"A": "bank", "B": "library"})`."""

    gold: str
    """The answer itself, without the solution it ended; of a choice, the label."""
    kind: AnswerKind
    options: dict[str, str]
    """Text by label, of a choice; empty texts where they are not known."""


def expected(gold: str, kind: AnswerKind | None, choices: Mapping[str, str], question: str) -> Expected:
    """Find out what the gold answer is, and of which kind where that is not given.

    Raises:
        DataError: it is empty, or none of the options.
    """
    answer = _final(gold)
    if not answer:
        raise DataError("the gold answer is empty")
    if kind is None or kind == "auto":
        kind = _kind(answer, choices, question)
    if kind == "latex" and _is_plain_number(answer):
        kind = "number"
    if kind == "text":
        answer = WRAPPED.sub(r"\1", answer).strip() or answer
    if kind != "choice":
        return Expected(gold=answer, kind=kind, options={})
    options = dict(choices) or options_in(question)
    if not options:
        label = bare_label(answer)
        options = dict.fromkeys(LABELS if label in LABELS else (*LABELS, label), "")
    label = label_of(answer, options)
    if label is None:
        raise DataError(
            f"the gold answer {answer[:80]!r} is neither a label nor the text of an option ({', '.join(options)})"
        )
    return Expected(gold=label, kind=kind, options=options)


def extracted(prediction: str | None, task: Expected, *, strict: bool) -> str | None:
    """Return the final answer of a completion, or of a bare answer; None where there is none.

    Args:
        prediction: what the model wrote.
        task: the gold answer and its kind.
        strict: only a bare or an announced answer counts.
    """
    if prediction is None or not visible(prediction):
        return None
    prediction = unified(prediction[slice(*meant(prediction))])
    if "box" in prediction:
        prediction = _EMPTY_BOX.sub("", prediction)
    if task.kind != "choice" and visible(prediction) == visible(task.gold):
        return task.gold
    if _BOXES_OR.search(prediction) and not is_list(task.gold):
        return None
    prediction = standing(prediction)
    if prediction is None:
        return None
    match task.kind:
        case "choice":
            return choice(prediction, task.options, strict=strict)
        case "number":
            return _number(prediction, strict=strict)
        case "text":
            return _text(prediction, task.gold, strict=strict)
        case "latex" | "auto":
            return _expression(prediction, strict=strict, several=is_list(task.gold))


def _final(gold: str) -> str:
    """The answer at the end of a solution: after the last `####`, in the last boxes, else all of it."""
    parts = _HASHES.split(gold)
    if len(parts) > 1 and parts[-1].strip():
        gold = parts[-1].strip().splitlines()[0]
    boxes = _last_boxes(gold, several=True)
    if boxes:
        return boxes
    start, stop = trim_maths(gold, 0, len(gold)) if gold.count("$") == 2 else (0, len(gold))
    return gold[start:stop].strip()


def _kind(gold: str, choices: Mapping[str, str], question: str) -> AnswerKind:
    label = bare_label(gold)
    timed = dates.time(gold)
    if dates.read(gold) is not None or (timed and timed[1]):
        return "text"
    if choices or (label in options_in(question)) or re.fullmatch(r"[A-J]", label):
        return "choice"
    if _is_plain_number(gold):
        return "number"
    return "text" if len(gold) <= MAX_EXPRESSION and is_prose(plain(gold)) and "\\" not in plain(gold) else "latex"


def _is_plain_number(gold: str) -> bool:
    return _SIMPLE.fullmatch(gold) is not None and exact.read(gold, words=True) is not None


def _number(prediction: str, *, strict: bool) -> str | None:
    boxes = all_boxes(prediction)
    for stated, stop in _stated_numbers(prediction, boxes, strict=strict):
        bare = _bare_number(stated)
        if bare:
            return _with_unit(bare, _CLOSING.sub("", prediction[stop : stop + _MAX_BARE])) if boxes else bare
    found = find(prediction, "number", strict=strict)
    if found is None:
        return _bare(prediction) if _DIGIT.search(prediction) and not all_numbers(prediction) else None
    return _measured(prediction, found)


def _stated_numbers(text: str, boxes: Sequence[Range], *, strict: bool) -> Iterator[tuple[str, int]]:
    """The last box and where it ends; else the whole prediction where nothing is announced in it, or what is."""
    if boxes:
        yield text[slice(*boxes[-1])], boxes[-1][1] + 1
        return
    if not _HASHES.search(text):
        yield text, len(text)
    for stated in _statements(text, strict=strict):
        yield stated, len(text)


def _bare_number(text: str) -> str | None:
    """The text itself, where it is a number with its unit, several numbers in a row, or an expression for one."""
    start, stop = trim_maths(text, 0, len(text))
    text = text[start:stop]
    if not _DIGIT.search(text) or PROSE.search(_INCHES.sub("", text[:_MAX_BARE])) or _ALTERNATIVE.search(text):
        return None
    if _is_number_list(text):
        return text
    clause = text[: aside.start()] if (aside := _ASIDE.search(text)) else text
    for one in (clause, text):
        if exact.read(one, words=True) is not None:
            return one
    symbols = WRAPPED.sub("", text)
    algebra = _ALGEBRA.search(symbols) and not _PLAIN_WORD.search(symbols)
    return text if algebra and "=" not in text and "\n" not in text and "boxed" not in text else None


def _is_number_list(text: str) -> bool:
    """Whether a text is numbers alone, such as "1, 2": it answers none of them."""
    taken = parts(light(text)) if len(text) <= _MAX_BARE else None
    return taken is not None and all(exact.read(one, words=True) is not None for one in taken.elements)


def _statements(prediction: str, *, strict: bool) -> Iterator[str]:
    """What is announced without a box, else what the last sentence says something is."""
    hashes = _HASHES.split(prediction)
    if len(hashes) > 1:
        if hashes[-1].strip():
            yield hashes[-1].strip().splitlines()[0]
        return
    phrases = list(PHRASE.finditer(prediction))
    if phrases:
        yield prediction[slice(*statement(prediction, phrases[-1].end()))]
    elif not strict:
        said = _said(prediction)
        if said:
            yield said


def _said(prediction: str) -> str | None:
    """What the last sentence says something is: "x + 1" of "So we get x + 1."."""
    last = prediction[-_MAX_BARE:]
    said = _PREDICATE.search(last)
    if said:
        return None if negated(last, said.start(1)) else said[1]
    said = _THEREFORE.search(last)
    return said[1] if said and not PROSE.search(WRAPPED.sub("", said[1])) else None


def _measured(text: str, found: FoundAnswer) -> str:
    """The number with the per cent, unit or currency that it is written with, where that is known."""
    start, stop = found.chars.start, found.chars.end
    before = exact.read(found.answer, words=True)
    if before is None:
        return found.answer
    sign = text[start - 1 : start]
    if sign and (sign in "€£¥₹" or (sign == "$" and (text[stop : stop + 1] == "$" or text.count("$") == 1))):
        start -= 1
    written = _with_unit(text[start:stop], text[stop : stop + _MAX_BARE])
    earlier = [place for place in all_numbers(text[max(0, start - _NEAR) : start]) if place[1]]
    for first, _ in earlier[-2:]:
        # "2 hours and 30 minutes" is one quantity.
        whole = text[max(0, start - _NEAR) + first : start] + written
        if exact.read(whole, words=True) is not None:
            return whole
    after = exact.read(written, words=True)
    if after is None or (after.value, after.unit, after.percent) == (before.value, before.unit, before.percent):
        return found.answer
    return found.answer + "%" if after.percent and after.value == before.value else written


def _with_unit(number: str, following: str) -> str:
    """The number with what follows it as far as that changes what it means: per cent, or a known unit."""
    before, following = exact.read(number, words=True), following.replace("**", "")
    clause = _CLAUSE.match(following)
    if before is None or clause is None:
        return number
    words = [word.end() for word in _WORDS.finditer(clause[0])]
    for end in reversed(words[:5]):
        # "18 in total" is no length.
        if end != words[-1] and following[:end].split()[-1] == "in":
            continue
        written = f"{number}{following[:end]}"
        after = exact.read(written, words=True)
        if after and (after.value, after.unit, after.percent) != (before.value, before.unit, before.percent):
            return written.strip()
    return number


def _expression(prediction: str, *, strict: bool, several: bool) -> str | None:
    boxed = _last_boxes(prediction, several=several)
    if boxed:
        return boxed
    hashes = _HASHES.split(prediction)
    if len(hashes) > 1 and hashes[-1].strip():
        return _trimmed(hashes[-1].strip().splitlines()[0])
    if "box" in prediction:
        prediction = _OPEN_BOX.sub("", prediction)  # none of them is closed
    for stated in _statements(prediction, strict=strict):
        stated = _without_lead(_CONTRAST.sub("", stated))
        if CONTENT.search(stated) and not PROSE.search(WRAPPED.sub("", stated)) and _is_maths(stated):
            return stated
    bare = _bare(prediction)
    if bare is not None and not (
        MATHS_BETWEEN_SIGNS.search(bare) and CONTENT.search(MATHS_BETWEEN_SIGNS.sub("", bare))
    ):
        return _without_lead(bare)
    return _last(prediction, "latex", strict=strict) or bare


def _without_lead(text: str) -> str:
    """Without the markup around an expression, and without what leads to it: "= x", "then x", "Result: x"."""
    text = _trimmed(text)
    lead = _LEAD.match(text)
    return _trimmed(text[lead.end() :]) if lead and CONTENT.search(text, lead.end()) else text


def _is_maths(text: str) -> bool:
    return bool(_MATHEMATICS.search(text) or not _PLAIN_WORD.search(text) or plain(text) == "\\infty")


def _trimmed(text: str) -> str:
    """Without the markup and the full stop around it, and without one pair of signs of mathematics."""
    start, stop = trim(text, 0, len(text))
    while text[stop:].lstrip(" ").startswith("!"):
        stop = text.index("!", stop) + 1
    inside = trim_maths(text, start, stop)
    return text[start:stop] if "$" in text[slice(*inside)] else text[slice(*inside)]


def _text(prediction: str, gold: str, *, strict: bool) -> str | None:
    answer = _last_boxes(prediction, several=False)
    hashes = _HASHES.split(prediction)
    if not answer and len(hashes) > 1 and hashes[-1].strip():
        answer = hashes[-1].strip().splitlines()[0]
    if not answer:
        answer = _last(prediction, "text", strict=strict)
    short = prediction.strip()
    if not answer and len(short) <= _MAX_BARE and "\n" not in short and not _ANSWER.search(short):
        answer = short
    if answer and dates.read(gold) and not dates.read(answer):
        return dates.last(answer) or answer
    if answer and dates.time(gold) and not dates.time(answer):
        return dates.last_time(answer) or answer
    if not answer:
        return None
    start, stop = trim_maths(answer, 0, len(answer))
    answer = _CONTRAST.sub("", answer[start:stop])
    return WRAPPED.sub(r"\1", answer).strip() or answer or None


def _last(prediction: str, kind: AnswerKind, *, strict: bool) -> str | None:
    """What is announced; else what the last sentence says something is; else what the reader falls back to."""
    announced = find(prediction, kind, strict=True)
    if announced is None and kind == "latex":
        words = find(prediction, "text")
        announced = None if words is None or PROSE.search(words.answer) else words
    if announced or strict:
        return announced.answer if announced else None
    said = _said(prediction)
    if said and not PROSE.search(WRAPPED.sub("", said)) and (kind == "text" or _is_maths(said)):
        return _trimmed(said)
    found = find(prediction, kind)
    return found.answer if found else None


def _bare(prediction: str) -> str | None:
    """The prediction itself, where it is an answer and no completion: one line of mathematics, or of words alone."""
    text = prediction.strip()
    if "\n" in text or PHRASE.search(text[:_MAX_BARE]):
        return None
    if len(text) > _MAX_BARE:
        return text if not re.search(r"[A-Za-z]{2}\s+[A-Za-z]{2}", text[:2_000]) else None
    sentence = PROSE.search(WRAPPED.sub("", text)) and _MATHEMATICS.search(text) and not _RATIO.fullmatch(text)
    return None if sentence else text


def _last_boxes(text: str, *, several: bool) -> str | None:
    """The inside of the last box; of all the different ones where the answer is a list and the last box is not."""
    boxes = [text[start:stop] for start, stop in all_boxes(text)]
    if not boxes:
        return None
    if several and len(boxes) > 1 and not is_list(boxes[-1]):
        return ", ".join(dict.fromkeys(boxes))
    return boxes[-1]


def choices_of(listed: Sequence[object]) -> dict[str, str]:
    """Options of a row by label.

    Raises:
        DataError: they are no list of objects with `label` and `text`, or a label comes twice.
    """
    found: dict[str, str] = {}
    for one in listed:
        if (
            not isinstance(one, Mapping)
            or not isinstance(one.get("label"), str)
            or not isinstance(one.get("text"), str)
        ):
            raise DataError("`choices` must be a list of objects with `label` and `text`, both text")
        if one["label"] in found:
            raise DataError(f"two choices have the label {one['label']!r}")
        found[one["label"]] = one["text"]
    return found
