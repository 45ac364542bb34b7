r"""Write relations of one variable as intervals: "x < 2 or x > 3" as (-\infty, 2) \cup (3, \infty)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from inward.equivalence import exact

_RELATION = re.compile(r"<|>|\\(?:leq|geq|lt|gt|neq|ne)(?![A-Za-z])")
_ANY = re.compile(r"[<>]|\\(?:leq|geq|lt|gt|neq?|in|approx|equiv|sim|mid)(?![A-Za-z])|[=|{}\[\]:]")
_JOINT = re.compile(
    r" ?(?:(?<![A-Za-z\\])(or|and)(?![A-Za-z])|(\\cup|\\lor|\\vee)|(\\cap|\\land|\\wedge)"
    r"|(,)(?: ?(?:or|and)(?![A-Za-z]))?) ?"
)
_BUILT = re.compile(
    r"\\(?:\{|lbrace) ?([A-Za-z])(?: ?\\in ?(?:\\mathbb ?\{?R\}?|R|ℝ))? ?(?:\||\\mid(?![A-Za-z])|:) ?(.*?)"
    r" ?\\(?:\}|rbrace)"
)
_WORDS = tuple(
    (re.compile(pattern), sign)
    for pattern, sign in (
        (r"\\(?:text|textrm|mathrm|mbox) ?\{([a-z ]{2,40})\}", r" \1 "),
        (r"(?<![A-Za-z])(?:is|are|must be|be) (?=at |more |less |fewer |greater |no |not |[<>]|\\[lg])", " "),
        (
            r"(?<![A-Za-z])(?:at least|(?:no|not) (?:less|fewer|smaller|lower) than|(?:greater|more) than or equal to)",
            r"\\geq ",
        ),
        (
            r"(?<![A-Za-z])(?:at most|(?:no|not) (?:more|greater|larger|higher) than|(?:less|fewer) than or equal to"
            r"|up to)",
            r"\\leq ",
        ),
        (r"(?<![A-Za-z])(?:(?:more|greater|larger|higher) than|(?:over|above)(?![A-Za-z]))", ">"),
        (r"(?<![A-Za-z])(?:(?:less|fewer|smaller|lower) than|(?:under|below)(?![A-Za-z]))", "<"),
        (r"^([^<>=]{1,40}?) or (?:more|greater|above|over|higher|larger)$", r"\\geq \1"),
        (r"^([^<>=]{1,40}?) or (?:less|fewer|below|under|lower|smaller)$", r"\\leq \1"),
        (" +", " "),
    )
)
_BOUND = re.compile(r"[<>]|\\[lgn]|than|least|most|more|less|fewer|er\b|above|below|over|under|up to")
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
    """The variable ("" where there is none, "> 5"), and its intervals, of a statement in the form of `forms.light`.

    Returns:
        None where the text is no statement about one variable with bounds that hold none.
    """
    if len(text) > _MAX_LENGTH or not _BOUND.search(text):
        return None
    text = _in_signs(text.strip(" .,;"))
    if not _RELATION.search(text):
        return None
    joints = {_joint(joint) for joint in _JOINT.finditer(text)}
    ranges = [_ranges(piece.strip()) for piece in _JOINT.sub("\n", text).split("\n")]
    if None in ranges or len(joints) > 1:
        return None
    found = [one for several in ranges if several for one in several]
    if len({one.name for one in found}) != 1:
        return None
    if joints in ({"and"}, {","}):
        met = _met(found)
        if met is None and joints == {"and"}:
            return None
        if met is not None and (joints == {"and"} or _holds_some(met)):
            found = [met]
    return found[0].name, " \\cup ".join(one.written() for one in found)


def _in_signs(text: str) -> str:
    r"""Words and sets as relations: "at least 5", "5 or more", "\{x : x > 5\}"."""
    built = _BUILT.fullmatch(text)
    if built:
        text = built[2] if built[1] in built[2] else text
    for words, sign in _WORDS if re.search("[a-z] ", text) else ():
        text = words.sub(sign, text)
    return text.strip()


def _joint(joint: re.Match[str]) -> str:
    return "and" if joint[1] == "and" or joint[3] else "," if joint[4] and joint[0].strip() == "," else "or"


def _holds_some(met: _Range) -> bool:
    """Whether "x > 2, x < 3" leaves anything; of "x > 3, x < 2" either half is meant."""
    low, high = (exact.read(bound or "", words=False) for bound in (met.low, met.high))
    return low is None or high is None or low.value is None or high.value is None or low.value < high.value


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
    unnamed = len(signs) == 1 and not sides[0]
    if (
        not 1 <= len(signs) <= 2
        or not (all(sides) or (unnamed and sides[1]))
        or any(_ANY.search(side) for side in _plain(sides))
    ):
        return None
    if len(signs) == 2:
        low, name, high = sides
        if signs[0][0] != signs[1][0] or signs[0][0] == "!" or not _is_variable(name, low + " " + high):
            return None
        if signs[0][0] == ">":
            low, high, signs = high, low, [sign.replace(">", "<") for sign in signs[::-1]]
        return [_Range(name, low, "[" if "=" in signs[0] else "(", high, "]" if "=" in signs[1] else ")")]
    (left, right), sign = sides, signs[0]
    if not unnamed and not _is_variable(left, right):
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
