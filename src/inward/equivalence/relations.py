r"""Write relations of one variable as intervals: "x < 2 or x > 3" as (-\infty, 2) \cup (3, \infty)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RELATION = re.compile(r"<|>|\\(?:leq|geq|lt|gt|neq|ne)(?![A-Za-z])")
_ANY = re.compile(r"[<>]|\\(?:leq|geq|lt|gt|neq?|in|approx|equiv|sim|mid)(?![A-Za-z])|[=|{}\[\]:]")
_JOINT = re.compile(r" ?(?:(?<![A-Za-z\\])(or|and)(?![A-Za-z])|(\\cup|\\lor|\\vee)|(\\cap|\\land|\\wedge)) ?")
_NAME = re.compile(r"[A-Za-z]|\\(?:theta|alpha|beta|lambda|mu|phi|varphi|epsilon|delta|gamma)(?![A-Za-z])")
_LETTERS = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
_WRITTEN = {"\\leq": "<=", "\\geq": ">=", "\\lt": "<", "\\gt": ">", "\\neq": "!=", "\\ne": "!="}
_MAX_LENGTH = 200


@dataclass(frozen=True, slots=True)
class _Range:
    name: str
    low: str | None
    """None where there is no bound."""
    low_bracket: str
    high: str | None
    high_bracket: str

    def written(self) -> str:
        low = "(-\\infty" if self.low is None else f"{self.low_bracket}{self.low}"
        high = "\\infty)" if self.high is None else f"{self.high}{self.high_bracket}"
        return f"{low}, {high}"


def as_intervals(text: str) -> tuple[str, str] | None:
    """The variable, and its intervals joined by unions, of a statement in the form of `forms.light`.

    Returns:
        None where the text is no statement about one variable with bounds that hold none.
    """
    text = text.rstrip(" .,;")
    if len(text) > _MAX_LENGTH or not _RELATION.search(text):
        return None
    joints = {"and" if joint[1] == "and" or joint[3] else "or" for joint in _JOINT.finditer(text)}
    ranges = [_ranges(piece.strip()) for piece in _JOINT.sub("\n", text).split("\n")]
    if None in ranges or len(joints) > 1:
        return None
    found = [one for several in ranges if several for one in several]
    if len({one.name for one in found}) != 1:
        return None
    if joints == {"and"}:
        met = _met(found)
        if met is None:
            return None
        found = [met]
    return found[0].name, " \\cup ".join(one.written() for one in found)


def _met(found: list[_Range]) -> _Range | None:
    """What two half-lines share: x > 2 and x < 3."""
    lows, highs = [one for one in found if one.high is None], [one for one in found if one.low is None]
    if len(found) != 2 or len(lows) != 1 or len(highs) != 1:
        return None
    return _Range(lows[0].name, lows[0].low, lows[0].low_bracket, highs[0].high, highs[0].high_bracket)


def _ranges(text: str) -> list[_Range] | None:
    """Of one relation, such as "x < 2", "2 >= x", "1 < x <= 2" or "x != 3"."""
    signs = [_WRITTEN.get(match[0], match[0]) for match in _RELATION.finditer(text)]
    sides = [side.strip() for side in _RELATION.split(text)]
    if not 1 <= len(signs) <= 2 or not all(sides) or any(_ANY.search(side) for side in _plain(sides)):
        return None
    if len(signs) == 2:
        low, name, high = sides
        if signs[0][0] != signs[1][0] or signs[0][0] == "!" or not _is_variable(name, low + " " + high):
            return None
        if signs[0][0] == ">":
            low, high, signs = high, low, [sign.replace(">", "<") for sign in signs[::-1]]
        return [_Range(name, low, "[" if "=" in signs[0] else "(", high, "]" if "=" in signs[1] else ")")]
    (left, right), sign = sides, signs[0]
    if not _is_variable(left, right):
        left, right, sign = right, left, sign.translate(str.maketrans("<>", "><"))
        if not _is_variable(left, right):
            return None
    if sign == "!=":
        return [_Range(left, None, "(", right, ")"), _Range(left, right, "(", None, ")")]
    closed = "=" in sign
    if sign[0] == "<":
        return [_Range(left, None, "(", right, "]" if closed else ")")]
    return [_Range(left, right, "[" if closed else "(", None, ")")]


def _plain(sides: list[str]) -> list[str]:
    """Sides without the braces of fractions and roots."""
    return [re.sub(r"\\(?:frac|sqrt)(?:\{[^{}]*\})+|\^\{[^{}]*\}", "1", side) for side in sides]


def _is_variable(text: str, bounds: str) -> bool:
    """Whether a text is a name that its bounds hold no rival of."""
    return _NAME.fullmatch(text) is not None and text != "e" and not set(_LETTERS.findall(bounds)) - {"e", "i"}
