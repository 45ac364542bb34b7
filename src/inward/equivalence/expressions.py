"""Compare two answers that may be expressions, lists of them, intervals, or words."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from inward.equivalence import dates, exact, pool, relations, structure, units
from inward.equivalence.forms import MAX_EXPRESSION, is_prose, light, plain, unlabelled, visible, worded
from inward.equivalence.structure import Parts

_MAX_DEPTH = 4
_MAX_PAIRS = 200
# Math-Verify reads "2 3" as the mixed number 5.
_TWO_NUMBERS = re.compile(r"(?<![\w^.])[0-9][0-9.]* +[0-9]")
_UNIT = re.compile(
    r" ?(?:\\(?:text|textrm|mathrm|mbox) ?\{ ?([A-Za-z][A-Za-z /.]{0,40}(?:\^\{?-?[23]\}?)?) ?\}"
    r"(?: ?\^ ?\{?([23])\}?)?| ([A-Za-z]{2,15}))$"
)
_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREES = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:\^ ?\{? ?\\circ ?\}?|\\degrees?(?![A-Za-z])|°)")
_BEFORE_I = re.compile(r"(?<=[0-9}]) (?=i(?![A-Za-z]))")
_NUMBERED_UNIT = re.compile(r"(?<=[0-9}\])])$")


def same_latex(answer: str, gold: str) -> bool | None:
    """Compare as the package's docstring says for kind latex; None where it could not be decided."""
    if len(answer) > MAX_EXPRESSION or len(gold) > MAX_EXPRESSION:
        return _same_long(answer, gold)
    return _same(answer, gold, 0)


def _same_long(answer: str, gold: str) -> bool | None:
    """Compare texts that are too long for anything but reading them as one number."""
    if visible(answer) == visible(gold):
        return True
    left, right = exact.read(answer, words=False), exact.read(gold, words=False)
    if left is None or right is None:
        return None
    return exact.equal(left, right)


def _same(answer: str, gold: str, depth: int) -> bool | None:
    left, right = exact.read(answer, words=False), exact.read(gold, words=False)
    if left is not None and right is not None:
        return exact.equal(left, right)
    if unlabelled(plain(answer)) == unlabelled(plain(gold)):
        return True
    empty = [worded(plain(text)) == "\\emptyset" for text in (answer, gold)]
    if any(empty):
        return all(empty)
    if is_prose(plain(gold)):
        return worded(plain(answer)) == worded(plain(gold))
    timed = dates.same_time(plain(answer), plain(gold))
    if timed is not None:
        return timed
    dated = dates.read(plain(gold))
    if dated is not None:
        return dates.read(plain(answer)) == dated
    answer, gold = structure.without_lead(*(light(text).rstrip(" .,;") for text in (answer, gold)))
    based = exact.same_in_base(answer, gold)
    if based is not None:
        return based
    number = right is not None or exact.read(gold, words=False) is not None
    if number and relations.as_intervals(answer) is not None:
        return False
    answer, gold = map(structure.without_label, _as_intervals(answer, gold))
    ours, theirs = (structure.parts(text) for text in (answer, gold))
    if theirs is not None and theirs.kind in ("list", "set") and relations.as_intervals(answer) is not None:
        return False
    if theirs is not None and ours is not None and depth < _MAX_DEPTH:
        return _same_parts(ours, theirs, depth + 1)
    for one, other, whole in ((ours, theirs, gold), (theirs, ours, answer)):
        if one is None or other is not None:
            continue
        if one.kind in ("set", "list") and len(set(map(_form, one.elements))) == 1:
            return _same(one.elements[0], whole, depth + 1) if one is ours else _same(whole, one.elements[0], depth + 1)
        if exact.read(whole, words=False) is not None:
            return False
    left, right = exact.read(answer, words=False), exact.read(gold, words=False)
    if left is not None and right is not None:
        return exact.equal(left, right)
    return _same_expression(answer, gold)


def _as_intervals(answer: str, gold: str) -> tuple[str, str]:
    """Write relations as intervals, on both sides where they speak of the same variable, else where one side does."""
    one, other = relations.as_intervals(answer), relations.as_intervals(gold)
    if one and other:
        return (one[1], other[1]) if one[0] == other[0] or not (one[0] and other[0]) else (answer, gold)
    if one and (gold.startswith(("(", "[")) or "\\cup" in gold):
        return one[1], gold
    if other and (answer.startswith(("(", "[")) or "\\cup" in answer):
        return answer, other[1]
    return answer, gold


def _same_expression(answer: str, gold: str) -> bool | None:
    (answer, one), (gold, other) = _without_unit(answer), _without_unit(gold)
    if one and other and one != other:
        return False
    if _TWO_NUMBERS.search(gold):
        return None
    if _TWO_NUMBERS.search(answer) or not answer:
        return False
    return _compared(_in_radians(answer), _in_radians(gold))


def _in_radians(text: str) -> str:
    """Write the degrees that an angle function is taken of as radians; keep an "i" with its factor."""
    if _ANGLE.search(text):
        text = _DEGREES.sub(r"(\1\\cdot\\frac{\\pi}{180})", text)
    return _BEFORE_I.sub("", text)


@lru_cache(maxsize=4096)
def _compared(answer: str, gold: str) -> bool | None:
    return pool.same(answer, gold, pool.TIME_LIMIT)


def _without_unit(text: str) -> tuple[str, units.Unit | None]:
    match = _UNIT.search(text)
    if match is None or not text[: match.start()].strip():
        return text, None
    unit = units.read((match[1] or match[3]) + (f"^{match[2]}" if match[2] else ""))
    if unit is None and (match[3] or not _NUMBERED_UNIT.search(text[: match.start()])):
        return text, None
    return text[: match.start()].strip(), unit


def _same_parts(ours: Parts, theirs: Parts, depth: int) -> bool | None:
    """Compare element by element: in order, and with the same brackets, unless the gold answer is a set or a list."""
    if theirs.kind == "ordered":
        if ours.kind == "union" or (ours.kind != "ordered" and (theirs.opening, theirs.closing) != ("(", ")")):
            return False
        if ours.kind == "ordered" and (ours.opening, ours.closing) != (theirs.opening, theirs.closing):
            return False
        if len(ours.elements) != len(theirs.elements):
            return False
        named = structure.by_name(ours.elements) if ours.kind == "list" else ours.elements
        return _all(_same(a, b, depth) for a, b in zip(named, theirs.elements, strict=True))
    if theirs.kind == "union" and ours.kind == "list" and all(one[:1] in ("(", "[") for one in ours.elements):
        ours = dataclasses.replace(ours, kind="union")
    if (theirs.kind == "union") != (ours.kind == "union") or (ours.kind == "ordered" and ours.opening != "("):
        return False
    return _same_sets(ours.elements, theirs.elements, lambda a, b: _same(a, b, depth))


def _same_sets(ours: tuple[str, ...], theirs: tuple[str, ...], same: Callable[[str, str], bool | None]) -> bool | None:
    """Every element of one is in the other; how often does not count."""
    left, right = set(map(_form, ours)), set(map(_form, theirs))
    ours = tuple(dict.fromkeys(one for one in ours if _form(one) not in right))
    theirs = tuple(dict.fromkeys(one for one in theirs if _form(one) not in left))
    if len(ours) * len(theirs) > _MAX_PAIRS:
        return None
    if len(left) != len(right) and not (ours and theirs):
        return False
    verdicts = {(a, b): same(a, b) for a in ours for b in theirs}
    return _all(
        [_any(verdicts[a, b] for b in theirs) for a in ours] + [_any(verdicts[a, b] for a in ours) for b in theirs]
    )


def _form(text: str) -> str:
    number = exact.read(text, words=False)
    return number.form if number else plain(text)


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    undecided = False
    for verdict in verdicts:
        if verdict is False:
            return False
        undecided = undecided or verdict is None
    return None if undecided else True


def _any(verdicts: Iterable[bool | None]) -> bool | None:
    undecided = False
    for verdict in verdicts:
        if verdict:
            return True
        undecided = undecided or verdict is None
    return None if undecided else False
