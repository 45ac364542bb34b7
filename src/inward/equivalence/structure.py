r"""Take lists, sets, tuples, intervals and unions apart, so that order and brackets count where they mean something."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MAX_PARTS = 60
"""Most elements of a list that is taken apart."""

_TOKEN = re.compile(
    r"\\(?:langle|rangle|lbrace|rbrace|cup|pm|begin|end)(?![A-Za-z])|\\.|[()\[\]{},;<>=]|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])"
)
_OPENING = {
    "(": ")",
    "[": "]",
    "{": "}",
    "\\{": "\\}",
    "\\langle": "\\rangle",
    "\\lbrace": "\\rbrace",
    "\\begin": "\\end",
}
_CLOSING = frozenset(_OPENING.values())
_LEAD = re.compile(
    r"((?:[A-Za-z]|\\[A-Za-z]+)(?:_(?:\{\w{1,9}\}|\w))?'*(?:\([A-Za-z0-9, ]{1,12}\))?"
    r"|\([A-Za-z](?:, ?[A-Za-z]){1,5}\)) ?(?:=|\\in(?![A-Za-z])) ?"
)
_POINT = re.compile(r"^[A-Z](?:_?[0-9])?'* ?(?=\([^()]*,[^()]*\)$)")
_TURNED = re.compile(r"([\[\](])([^\[\]()]+,[^\[\]()]+)([\[\])])")
_EQUALS = re.compile(r"=|<|>|\\(?:leq|geq|neq?|lt|gt|approx|equiv|sim|in)(?![A-Za-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The elements of an answer: `Parts(kind="ordered", opening="(", closing=")", elements=("1", "2"))`."""

    kind: Literal["ordered", "set", "list", "union"]
    """`list`: without brackets."""
    opening: str
    closing: str
    elements: tuple[str, ...]


def parts(text: str) -> Parts | None:
    """Take an answer, in the form of `forms.light`, apart; None if it is one thing, unbalanced or too long."""
    text = text.rstrip(" .,;").lstrip()
    marks = _marks(text)
    if marks is None:
        return None
    unions = [mark for mark in marks if mark[2] == "\\cup"]
    if unions:
        return _made("union", "", "", text, 0, len(text), unions)
    separators = [mark for mark in marks if mark[2] in (",", ";", "and", "or")]
    if separators:
        return _made("list", "", "", text, 0, len(text), separators)
    signs = [mark for mark in marks if mark[2] == "\\pm"]
    if len(signs) == 1 and "\\mp" not in text and "=" not in text:
        before, after = text[: signs[0][0]].strip(), text[signs[0][1] :].strip()
        return Parts(
            kind="list",
            opening="",
            closing="",
            elements=(f"{before}+{after}" if before else after, f"{before}-{after}"),
        )
    return _bracketed(text)


def without_lead(answer: str, gold: str) -> tuple[str, str]:
    r"""Leave the name out of "x = 5", "f(x) = 5", "(x, y) = (1, 2)", "x \in [1, 2]" unless they differ."""
    one, other = _lead(answer), _lead(gold)
    if one and other:
        alike = one[0] == other[0] or _is_function_value(one[0], other[0])
        return (one[1], other[1]) if alike and not _has_relation(one[1] + other[1]) else (answer, gold)
    if one and not _has_relation(gold):
        return one[1], gold
    if other and not _has_relation(answer):
        return answer, other[1]
    return answer, gold


def _is_function_value(one: str, other: str) -> bool:
    """Whether two names are y and f(x)."""
    return {one[-1] == ")", other[-1] == ")"} == {True, False} and (one == "y" or other == "y")


def by_name(elements: tuple[str, ...]) -> tuple[str, ...]:
    """Put "y = 2, x = 1" in the order of its names; anything else stays."""
    leads = [_lead(element) for element in elements]
    names = [lead[0] for lead in leads if lead]
    if len(set(names)) < len(elements) or not all(len(name) == 1 for name in names):
        return elements
    return tuple(element for _, element in sorted(zip(names, elements, strict=True)))


def without_label(text: str) -> str:
    """Leave the name of a point out, P(1, 2), and write [1, 2[ as [1, 2)."""
    text = _POINT.sub("", text)
    turned = _TURNED.fullmatch(text)
    if turned and (turned[1] == "]" or turned[3] == "["):
        text = f"{'(' if turned[1] == ']' else turned[1]}{turned[2]}{')' if turned[3] == '[' else turned[3]}"
    return text


def _lead(text: str) -> tuple[str, str] | None:
    match = _LEAD.match(text)
    if (
        match is None
        or parts(text) is not None
        or not text[match.end() :].strip()
        or _has_relation(text[match.end() :])
    ):
        return None
    return match[1].replace(" ", ""), text[match.end() :]


def _has_relation(text: str) -> bool:
    return _EQUALS.search(text) is not None


_Mark = tuple[int, int, str]


def _marks(text: str) -> list[_Mark] | None:
    """Separators outside of all brackets; None if the brackets are not balanced."""
    stack: list[str] = []
    found: list[_Mark] = []
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in _OPENING:
            stack.append(mark)
        elif mark in _CLOSING:
            opened = stack.pop() if stack else ""
            # Half-open intervals close with the other bracket.
            if _OPENING.get(opened) != mark and not (opened in ("(", "[") and mark in (")", "]")):
                return None
        elif (not stack and not mark.startswith("\\")) or (not stack and mark in ("\\cup", "\\pm")):
            found.append((token.start(), token.end(), mark))
    return None if stack else found


def _bracketed(text: str) -> Parts | None:
    opening = next((mark for mark in ("\\langle", "\\lbrace", "\\{", "(", "[") if text.startswith(mark)), None)
    closing = next((mark for mark in ("\\rangle", "\\rbrace", "\\}", ")", "]") if text.endswith(mark)), None)
    if opening is None or closing is None:
        return None
    start, stop = len(opening), len(text) - len(closing)
    inside = _marks(text[start:stop])
    if inside is None:
        return None
    separators = [(a + start, b + start, mark) for a, b, mark in inside if mark in (",", ";")]
    opening, closing = (
        {"\\langle": "(", "\\lbrace": "\\{"}.get(opening, opening),
        {"\\rangle": ")", "\\rbrace": "\\}"}.get(closing, closing),
    )
    if opening == "\\{":
        wordy = re.search(r"\||\\mid(?![A-Za-z])|:|\\(?:c|l|v)?dots", text)
        return None if wordy or closing != "\\}" else _made("set", opening, closing, text, start, stop, separators)
    if not separators:
        return None
    made = _made("ordered", opening, closing, text, start, stop, separators)
    # Only two ends make an interval; [1, 2, 3] is a tuple in other brackets.
    if made and len(made.elements) > 2:
        return Parts(kind="ordered", opening="(", closing=")", elements=made.elements)
    return made


def _made(
    kind: Literal["ordered", "set", "list", "union"],
    opening: str,
    closing: str,
    text: str,
    start: int,
    stop: int,
    separators: list[_Mark],
) -> Parts | None:
    edges = [start, *(edge for a, b, _ in separators for edge in (a, b)), stop]
    pieces = [text[a:b].strip() for a, b in zip(edges[::2], edges[1::2], strict=True)]
    # "1, 2, and 3" has nothing between its last two separators.
    elements = [
        piece
        for i, piece in enumerate(pieces)
        if piece or not (0 < i < len(pieces) - 1 and separators[i][2] in ("and", "or"))
    ]
    if not all(elements) or len(elements) > MAX_PARTS or (kind in ("list", "union") and len(elements) < 2):
        return None
    return Parts(kind=kind, opening=opening, closing=closing, elements=tuple(elements))
