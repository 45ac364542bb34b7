"""Read predictions and gold answers of files for `inward grade`: what kind they are, what the final answer is.

The gold answer is known here, and three things follow from it: its kind, the options, and whether a list of boxes is
one answer. How the single answer is found is `inward.answers`' business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inward.answers import LABELS, find
from inward.answers.places import PHRASE, PROSE, WRAPPED, all_boxes, trim_maths
from inward.equivalence import MAX_EXPRESSION, exact, is_list
from inward.equivalence.forms import folded, is_prose, plain, visible
from inward.errors import DataError
from inward.types import AnswerKind

_HASHES = re.compile(r"(?<!#)####(?!#)")
_OPTION = re.compile(r"(?:^|\n|(?<=\s))\(?([A-J])[).:]\s*(\S[^\n]{0,400}?)(?=\s+\(?[A-J][).:]\s|\n|\Z)")
_SIMPLE = re.compile(r"[^\\^{}=]*")
_PER_CENT = re.compile(r"\s?(?:\\?%|per ?cent\b)")
_DIGIT = re.compile(r"[0-9]")
_MATHEMATICS = re.compile(r"[0-9\\=^]")
_LABELLED = re.compile(r"\(?(\w{1,2})(?:[).:]|\s+-)\s+(.*)", re.DOTALL)
_ALGEBRA = re.compile(r"\\[a-z]|[\^!√π]| [-+*/] ?[0-9A-Za-z]|[0-9][a-z]\b")
_PREDICATE = re.compile(r"\b(?:is|are|was|were|be|equals?|gives?|get|gets)\s+(?!not\b)([^\n]{1,300}?)\s*[.!]?\s*\Z")
_PLAIN_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2}")
_WORD = re.compile(r"\w+")
_MAX_BARE = 300
_MAX_QUESTION = 20_000


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
    if kind == "text":
        answer = WRAPPED.sub(r"\1", answer).strip() or answer
    if kind != "choice":
        return Expected(gold=answer, kind=kind, options={})
    options = dict(choices) or _options(question)
    if not options:
        label = _bare_label(answer)
        options = dict.fromkeys(LABELS if label in LABELS else (*LABELS, label), "")
    label = _label_of(answer, options)
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
    if task.kind != "choice" and visible(prediction) == visible(task.gold):
        return task.gold
    match task.kind:
        case "choice":
            return _choice(prediction, task.options, strict=strict)
        case "number":
            return _number(prediction, strict=strict)
        case "text":
            return _text(prediction, strict=strict)
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
    label = _bare_label(gold)
    if choices or (label in _options(question)) or re.fullmatch(r"[A-J]", label):
        return "choice"
    if _SIMPLE.fullmatch(gold) and exact.read(gold, words=True) is not None:
        return "number"
    return "text" if len(gold) <= MAX_EXPRESSION and is_prose(plain(gold)) and "\\" not in plain(gold) else "latex"


def _options(question: str) -> dict[str, str]:
    """Options that stand in the question, "(A) ... (B) ..." or one a line; none unless they are in order from A on."""
    found = {label: text.strip() for label, text in _OPTION.findall(question[-_MAX_QUESTION:])}
    return found if len(found) > 1 and "".join(found) == "ABCDEFGHIJ"[: len(found)] else {}


def _bare_label(text: str) -> str:
    return visible(WRAPPED.sub(r"\1", text)).strip(" ()[]{}*.:,$")


def _label_of(text: str, options: Mapping[str, str]) -> str | None:
    """The option that a short text names, by label, by its text, or by both."""
    bare = _bare_label(text)
    if bare in options:
        return bare
    wanted = folded(WRAPPED.sub(r"\1", text))
    named = [label for label, option in options.items() if option and _same_text(wanted, option)]
    if len(named) == 1:
        return named[0]
    both = _LABELLED.fullmatch(WRAPPED.sub(r"\1", text).strip())
    if both and both[1] in options and _same_text(folded(both[2]), options[both[1]]):
        return both[1]
    capital = [label for label in options if label.casefold() == bare.casefold()]
    return capital[0] if len(capital) == 1 else None


def _same_text(text: str, option: str) -> bool:
    if text == folded(option):
        return True
    left, right = exact.read(text, words=True), exact.read(option, words=True)
    return left is not None and right is not None and exact.equal(left, right)


def _choice(prediction: str, options: Mapping[str, str], *, strict: bool) -> str | None:
    labels = tuple(options)
    named = _label_of(prediction, options) if len(prediction) <= _MAX_BARE else None
    boxed = _last_boxes(prediction, several=False)
    if named is None and boxed:
        named = _label_of(boxed, options)
    if named is not None:
        return named
    found = find(prediction, "choice", labels, strict=True)
    if found:
        return found.answer
    stated = find(prediction, "text")
    if stated and len(stated.answer) <= _MAX_BARE:
        named = _label_of(stated.answer, options)
        if named is not None:
            return named
    if strict:
        return None
    found = find(prediction, "choice", labels)
    return found.answer if found else _mentioned(prediction, options)


def _mentioned(prediction: str, options: Mapping[str, str]) -> str | None:
    """The one option whose text stands in the completion."""
    words = _words(prediction)
    there = [label for label, text in options.items() if _words(text).strip() and _words(text) in words]
    return there[0] if len(there) == 1 else None


def _words(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _number(prediction: str, *, strict: bool) -> str | None:
    if exact.read(prediction, words=True) is not None and not PROSE.search(prediction[:_MAX_BARE]):
        return prediction.strip()
    boxed = _last_boxes(prediction, several=False)
    if boxed and exact.read(boxed, words=True) is not None:
        return boxed
    bare = _bare(prediction) if "=" not in prediction else None
    if bare and _DIGIT.search(bare) and _ALGEBRA.search(bare) and not _PLAIN_WORD.search(WRAPPED.sub("", bare)):
        return bare
    found = find(prediction, "number", strict=strict)
    if found is None:
        return _bare(prediction) if _DIGIT.search(prediction) else None
    # The reader leaves per cent out; to a gold answer of 0.5 it matters.
    per_cent = _PER_CENT.match(prediction, found.chars.end)
    return found.answer + "%" if per_cent else found.answer


def _expression(prediction: str, *, strict: bool, several: bool) -> str | None:
    boxed = _last_boxes(prediction, several=several)
    if boxed:
        return boxed
    hashes = _HASHES.split(prediction)
    if len(hashes) > 1 and hashes[-1].strip():
        return hashes[-1].strip().splitlines()[0]
    return _bare(prediction) or _last(prediction, "latex", strict=strict)


def _text(prediction: str, *, strict: bool) -> str | None:
    answer = _last_boxes(prediction, several=False)
    hashes = _HASHES.split(prediction)
    if not answer and len(hashes) > 1 and hashes[-1].strip():
        answer = hashes[-1].strip().splitlines()[0]
    if not answer:
        answer = _last(prediction, "text", strict=strict)
    short = prediction.strip()
    if not answer and len(short) <= _MAX_BARE and "\n" not in short:
        answer = short
    return (WRAPPED.sub(r"\1", answer).strip() or answer) if answer else None


def _last(prediction: str, kind: AnswerKind, *, strict: bool) -> str | None:
    """What is announced; else what the last sentence says something is; else what the reader falls back to."""
    announced = find(prediction, kind, strict=True)
    if announced is None and kind == "latex":
        words = find(prediction, "text")
        announced = None if words is None or PROSE.search(words.answer) else words
    if announced or strict:
        return announced.answer if announced else None
    said = _PREDICATE.search(prediction[-_MAX_BARE:])
    if said and not PROSE.search(WRAPPED.sub("", said[1])) and (kind == "text" or _MATHEMATICS.search(said[1])):
        start, stop = trim_maths(said[1], 0, len(said[1])) if said[1].count("$") == 2 else (0, len(said[1]))
        return said[1][start:stop]
    found = find(prediction, kind)
    return found.answer if found else None


def _bare(prediction: str) -> str | None:
    """The prediction itself, where it is an answer and no completion: one line of mathematics, or of words alone."""
    text = prediction.strip()
    if "\n" in text or PHRASE.search(text[:_MAX_BARE]):
        return None
    if len(text) > _MAX_BARE:
        return text if not re.search(r"[A-Za-z]{2}\s+[A-Za-z]{2}", text[:2_000]) else None
    sentence = PROSE.search(WRAPPED.sub("", text)) and _MATHEMATICS.search(text)
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
