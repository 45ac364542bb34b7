r"""Are two answers the same? Asked by evaluation, which knows the gold answer, and by votes, which do not.

Sameness, kind by kind
    number   equal as exact numbers, whatever the notation: 1,000 = 1000.0 = 1e3, 3/4 = 0.75. Currency signs, units and
             per cent are left out of both sides (`answers.find` leaves them out, too): $18 = 18 and 50% = 50, not 0.5.
    choice   the same label, case-sensitive: (B) = B.
    text     equal but for case, white space and punctuation at the ends.
    latex    equal as written but for spacing and style (\dfrac = \frac, \left, \text{}, degrees, per cent, dollar
             signs), or as numbers; else math-verify compares the expressions (for it 50% is 0.5 as well, and
             "2, 3" the set "3, 2").
    auto     as latex, and case does not matter.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

from inward.types import AnswerKind, Outcome

MAX_EXPRESSION = 2_000
"""Most characters of an expression that is compared as mathematics."""
TIME_LIMIT = 3
"""Seconds for reading an expression, and for comparing two."""

# Numbers of at most so many digits are compared as fractions, longer ones digit by digit: 1e999999999 has no int.
_MAX_DIGITS = 1_000

_NUMBER = re.compile(
    r"(-?)\\?[$€£¥₹]?\s*(-?)(?:([0-9]+)/([0-9]+)|([0-9]*)(?:\.([0-9]*))?(?:[eE]([-+]?[0-9]{1,15})(?![0-9]))?)(.*)",
    re.DOTALL,
)
_UNIT = re.compile(r"[^0-9]{0,60}")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:,|\{,\}|[\u202f\u2009])(?=[0-9]{3}(?![0-9]))")
_DELIMITER = re.compile(r"\\?\$|(?<!\\)\\[()\[\]]")
_STYLE = (
    (_DELIMITER, ""),
    (re.compile(r"\\(?:left|right)(?![A-Za-z])\.?"), ""),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![A-Za-z])|°|\\?%"), ""),
    (re.compile(r"\\[,;:! ]|~|\\q?quad(?![A-Za-z])"), " "),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\frac\s*([0-9])\s*([0-9])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\s+"), " "),
    (re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])|\.$"), ""),
)
_NUMERIC_FRACTION = re.compile(r"\\frac\{([0-9]+)\}\{([0-9]+)\}")
_LABEL = re.compile(r"^\((\w+)\)$")
_MATHEMATICS = re.compile(r"[0-9\\^_=+*/<>|{}()\[\]]")
_WORD = re.compile(r"[^\W\d_]{3}|[^\x00-\x7f]")
# Towers of powers, long exponents, factorials: evaluating them can take for ever, and no signal stops one long power.
_EXPLOSIVE = re.compile(
    r"[0-9)}\]]\s*\^\s*\{[^{}]*(?:\^|!)|\^\s*[^\s{}]\s*\^|\*\*\s*\(?-?[0-9]+\s*\*\*"
    r"|\^\s*\{?[0-9]{3,}\}?\s*[)}\]]+\s*\^\s*\{?[0-9]{3,}|(?:\^|\*\*)\s*[{(]?\s*-?[0-9]{5,}"
    r"|[0-9]{5,}\s*!|!\s*\)?\s*!|[eE][-+]?[0-9]{4,}"
)


def same(answer: str, gold: str, kind: AnswerKind) -> bool | None:
    """Say whether two answers mean the same; the module's docstring says what that means for each kind.

    Args:
        answer: what was answered.
        gold: what it is compared with.
        kind: what both look like.

    Returns:
        None if it could not be decided: the gold answer is empty, no number where one is asked for, or an expression
        that is unreadable, longer than `MAX_EXPRESSION`, a tower of powers, or takes longer than `TIME_LIMIT`.
    """
    left, right = canonical(answer, kind), canonical(gold, kind)
    if not right:
        return None
    if left == right:
        return True
    if kind in ("choice", "text"):
        return False
    if kind == "number":
        return None if _number(gold, unit=True) is None else False
    if _is_prose(right):
        return _text(left) == _text(right)
    if len(answer) > MAX_EXPRESSION or len(gold) > MAX_EXPRESSION:
        return None
    if _EXPLOSIVE.search(answer) or _EXPLOSIVE.search(gold):
        return None
    return _same_expression(answer, gold)


def grade(answer: str | None, gold: str, kind: AnswerKind) -> Outcome:
    """Judge an answer: NO_ANSWER where there is none, UNSCORED where `same` could not decide."""
    if answer is None:
        return Outcome.NO_ANSWER
    match same(answer, gold, kind):
        case True:
            return Outcome.CORRECT
        case False:
            return Outcome.INCORRECT
        case None:
            return Outcome.UNSCORED


def canonical(answer: str, kind: AnswerKind) -> str:
    """Write an answer in a form that equal answers share, by cheap rules alone (no computer algebra)."""
    match kind:
        case "number":
            return _number(answer, unit=True) or _text(answer)
        case "choice":
            return answer.strip(" \t\n()[]{}*.:,")
        case "text":
            return _text(answer)
        case "latex":
            return _number(_plain_latex(answer), unit=False) or _plain_latex(answer)
        case "auto":
            return _number(_plain_latex(answer), unit=False) or _LABEL.sub(r"\1", _text(_plain_latex(answer)))


def majority(answers: Sequence[str | None], kind: AnswerKind) -> str | None:
    """Return the answer given most often, as it was first written; the one given first on ties.

    Answers with the same `canonical` form count as one. None entries are no votes; without votes the result is None.
    """
    votes: Counter[str] = Counter()
    written: dict[str, str] = {}
    for answer in answers:
        if answer is not None:
            form = canonical(answer, kind)
            votes[form] += 1
            written.setdefault(form, answer)
    return written[max(votes, key=lambda form: votes[form])] if votes else None


def _number(text: str, *, unit: bool) -> str | None:
    """Write the value of a number in one way, "-3/4" or "18"; None if the text is no single number."""
    text = _THOUSANDS.sub("", _NUMERIC_FRACTION.sub(r"\1/\2", text.strip().replace("−", "-")))
    read = _NUMBER.fullmatch(text)
    if read is None or not _UNIT.fullmatch(read[8]) or (read[8] and not unit):
        return None
    sign = "-" if (read[1] or read[2]) else ""
    if read[3]:
        if len(text) > _MAX_DIGITS or not int(read[4]):
            return None
        return str(Fraction(int(sign + read[3]), int(read[4])))
    decimals = read[6] or ""
    digits = read[5] + decimals
    if not digits:
        return None
    significant = digits.rstrip("0")
    exponent = int(read[7] or 0) - len(decimals) + len(digits) - len(significant)
    significant = significant.lstrip("0")
    if not significant:
        return "0"
    if len(significant) > _MAX_DIGITS or abs(exponent) > _MAX_DIGITS:
        return f"{sign}{significant}e{exponent}"
    return str(Fraction(int(sign + significant)) * Fraction(10) ** exponent)


def _text(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .,;:!?\"'“”*_`")


def _plain_latex(text: str) -> str:
    text = text.strip().replace("−", "-").replace("π", r"\pi")
    for style, plain in _STYLE:
        text = style.sub(plain, text)
    return text


def _is_prose(text: str) -> bool:
    """Tell words from algebra, in which "listen" would equal "silent"."""
    return not _MATHEMATICS.search(text) and _WORD.search(text) is not None


def _same_expression(answer: str, gold: str) -> bool | None:
    """Compare with math-verify; an answer it cannot read is wrong, a gold answer it cannot read decides nothing."""
    from math_verify import parse, verify  # pyright: ignore[reportMissingTypeStubs]
    from math_verify.errors import TimeoutException  # pyright: ignore[reportMissingTypeStubs]

    # Its time limit is a signal, which only the main thread can take; 0 means none.
    limit = TIME_LIMIT if threading.current_thread() is threading.main_thread() else 0

    def read(text: str) -> list[Any]:
        text = f"${_DELIMITER.sub('', text)}$"
        return cast("list[Any]", parse(text, parsing_timeout=limit, raise_on_error=True))

    try:
        expected, given = read(gold), read(answer)
        # What it cannot read comes back as text alone.
        if all(isinstance(reading, str) for reading in expected):
            return None
        return verify(expected, given, timeout_seconds=limit, raise_on_error=True)
    except (Exception, TimeoutException):
        return None
