"""Read numbers as people write them: signs, separators, decimals, fractions, exponents."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction

from inward.answers.places import HASHES, PHRASE, WINDOW, Range, all_boxes, statement

_SEPARATOR = r"(?:,|\{,\}|,\\!|\\,|[\u202f\u2009])"
_FRACTION = r"\\[dtc]?frac\s*(?:\{(-?[0-9]+)\}\s*\{([0-9]+)\}|([0-9])([0-9]))"
_DIGITS = re.compile(
    rf"(?P<latex>{_FRACTION})"
    rf"|(?:(?<![\w.)])\.)?[0-9]+(?:(?:{_SEPARATOR}|[./])[0-9]+)*(?:[eE][-+−]?[0-9]+(?!\w))?"
)
_INTEGER = rf"(?:[1-9][0-9]{{0,2}}(?:{_SEPARATOR}[0-9]{{3}})+|[0-9]+)"
_NUMBER = re.compile(rf"{_INTEGER}/{_INTEGER}|(?:{_INTEGER}(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+−]?[0-9]+)?")
_PLAIN = re.compile(r"[0-9.]+(?:[eE][-+−]?[0-9]+)?")
_ATTACHED = re.compile(r"(?:[A-Za-z]|(?:\^|\w_)\{?[-−]?)\Z")
_MINUS = re.compile(
    r"(?:(?:\A|[^\w\s)\]}%.−–-]|(?:\A|\n|[^0-9\s)\]}%])[ \t]+|\n)(?P<tight>[-−–][$€£¥₹\\]{0,3})"
    r"|=[ ]{0,3}(?P<loose>[-−–][ ]{1,3}[$€£¥₹\\]{0,3}))\Z"
)

_CLAUSE_END = re.compile(r"[,;](?![0-9])|(?<=\w)\s\(|\b(?:because|since|as|where|for|when|if)\b")
_LEAD = re.compile(
    r"(?:[\s*_`\"'“(\[{$€£¥₹\\:=~≈>]|(?:about|approximately|around|exactly|equal to|a total of|therefore|thus"
    r"|simply|just|text)\b|[A-Za-z]\s?=)*"
)


def all_numbers(text: str) -> list[Range]:
    """Return the range of every number, minus sign included, from left to right."""
    found: list[Range] = []
    for run in _DIGITS.finditer(text):
        start, stop = run.span()
        if run["latex"] or (run[0].isdigit() and text[max(0, start - 1) : start].isspace()):
            found.append((_with_minus(text, start), stop))
        elif not _ATTACHED.search(text[max(0, start - 4) : start]):
            found.extend((_with_minus(text, start + a), start + b) for a, b in _pieces(run[0]))
    return found


def _pieces(run: str) -> Iterator[Range]:
    """Split a run of digits and separators into numbers: "1,234" is one, "1,2" two, "3.11.2" none."""
    if _NUMBER.fullmatch(run):
        yield 0, len(run)
        return
    for part in re.finditer(r"[^/]+", run):
        whole = _NUMBER.fullmatch(part[0]) is not None
        for piece in [part] if whole else _PLAIN.finditer(run, part.start(), part.end()):
            if _NUMBER.fullmatch(piece[0]):
                yield piece.span()


def _with_minus(text: str, start: int) -> int:
    """Return where the number begins that has digits at `start`: a minus sign counts, a hyphen does not."""
    before = text[max(0, start - 16) : start]
    minus = _MINUS.search(before) if any(sign in before for sign in "-−–") else None
    return start - len(minus["tight"] or minus["loose"]) if minus else start


def plain(text: str, place: Range) -> str:
    """Write the number of a range with digits, ".", "/", "e" and "-" alone."""
    number = re.sub(_FRACTION, lambda f: f"{f[1] or f[3]}/{f[2] or f[4]}", text[slice(*place)])
    number = re.sub(r"[^0-9./eE-]", "", number.replace("−", "-").replace("–", "-"))
    return number.replace("--", "")


def number_places(text: str) -> Iterator[Range]:
    """Yield where a final number may be announced, most explicit and latest first."""
    for hashes in reversed(list(HASHES.finditer(text))):
        line_end = text.find("\n", hashes.end(), hashes.end() + WINDOW)
        yield hashes.end(), line_end if line_end >= 0 else min(len(text), hashes.end() + WINDOW)
    yield from reversed(all_boxes(text))
    for phrase in reversed(list(PHRASE.finditer(text))):
        yield statement(text, phrase.end())


def read_number(text: str, numbers: list[Range], start: int, stop: int) -> Range | None:
    """Choose the number that a statement means; `numbers` are those of the whole text."""
    first, after = bisect_left(numbers, (start, 0)), bisect_left(numbers, (stop, 0))
    if first == after:
        return None
    if not _LEAD.fullmatch(text, start, numbers[first][0]):
        return numbers[after - 1]
    end = numbers[first][1]
    clause = _CLAUSE_END.search(text, end, max(stop, end))
    equals = text.rfind("=", end, clause.start() if clause else stop)
    result = bisect_left(numbers, (equals, 0))
    return numbers[result] if equals >= 0 and result < after else numbers[first]


def number_value(number: str) -> Fraction | str:
    """Return the exact value of a short number; a long one, or 1/0, stands for itself."""
    _, _, exponent = number.lower().partition("e")
    if len(number) > 200 or len(exponent) > 3:
        return number.lstrip("0")
    try:
        return Fraction(number)
    except ZeroDivisionError:
        return number
