"""Write the characters that stand for the same as plain ones in one way: ½ as 1/2, 10² as 10^2, ٣ as 3, − as -.

Answers are read and compared in that form, so that no reader needs to know the rest of Unicode.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_DASHES = "\u2212\u2010\u2011\u2012\ufe63"
"""Minus sign and hyphens; – and — are punctuation, too, so readers decide what they are."""


_SIGNS = dict.fromkeys(_DASHES, "-") | {"⁄": "/", "∕": "/", "∶": ":", "٫": ".", "٬": ",", "º": "°", "˚": "°", "∣": "|"}


class _Single(dict[int, str]):
    """One character for one, found when it is first asked for: digits of every script, wide letters, signs."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in _SIGNS:
            plain = _SIGNS[character]
        elif unicodedata.category(character) == "Nd":
            plain = str(unicodedata.decimal(character))
        elif (0xFF01 <= code < 0xFF5F and character not in "！？") or 0x1D400 <= code < 0x1D800:
            letter = unicodedata.normalize("NFKC", character)
            plain = letter if letter.isascii() else character
        else:
            plain = character
        self[code] = plain
        return plain


_SINGLE = _Single()
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎", "0123456789+-=()", strict=True))
_FRACTIONS = {
    character: unicodedata.normalize("NFKC", character).replace("⁄", "/") for character in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
}
_OTHERS = {"℃": "°C", "℉": "°F"}
_WRITTEN_LONGER = frozenset((*_RAISED, *_LOWERED, *_FRACTIONS, *_OTHERS))
_LONGER = re.compile(
    rf"(?P<mixed>(?<=[0-9]) ?)?(?P<fraction>[{''.join(_FRACTIONS)}])|(?P<raised>[{''.join(_RAISED)}]+)"
    rf"|(?P<lowered>[{''.join(_LOWERED)}]+)|(?P<other>[{''.join(_OTHERS)}])"
)


def unified(text: str) -> str:
    """The text with plain characters for all others that mean the same."""
    text, longer = _one_for_one(text)
    return _LONGER.sub(_written, text) if longer else text


def _one_for_one(text: str) -> tuple[str, bool]:
    """The text with plain characters where they are as many, and whether there are others."""
    if text.isascii():
        return text, False
    # Few characters of a long text are not ASCII, and most of them stay: replacing these is faster than a table.
    foreign = [character for character in set(text) if not character.isascii()]
    for character in foreign:
        if _SINGLE[ord(character)] != character:
            text = text.replace(character, _SINGLE[ord(character)])
    return text, any(character in _WRITTEN_LONGER for character in foreign)


def place_in(text: str, start: int, stop: int) -> tuple[int, int]:
    """Where the characters from `start` to `stop` of `unified(text)` come from in the text."""
    text, longer = _one_for_one(text)
    if not longer:
        return start, stop
    changes = list(_changes(text))
    return _before(changes, start, end=False), _before(changes, stop, end=True)


def _changes(text: str) -> Iterator[tuple[int, int, int, int]]:
    """Places whose length changes: from and to in the text, from and to in the unified one."""
    shift = 0
    for match in _LONGER.finditer(text):
        size = len(_written(match))
        yield match.start(), match.end(), match.start() + shift, match.start() + shift + size
        shift += size - (match.end() - match.start())


def _before(changes: list[tuple[int, int, int, int]], position: int, *, end: bool) -> int:
    shift = 0
    for start, stop, first, last in changes:
        if position <= first:
            break
        if position < last:
            return stop if end else start
        shift = last - stop
    return position - shift


def _written(match: re.Match[str]) -> str:
    if match["fraction"]:
        return ("" if match["mixed"] is None else " ") + _FRACTIONS[match["fraction"]]
    if match["other"]:
        return _OTHERS[match["other"]]
    mark, signs, table = ("^", match["raised"], _RAISED) if match["raised"] else ("_", match["lowered"], _LOWERED)
    plain = "".join(table[sign] for sign in signs)
    return f"{mark}{plain}" if len(plain) == 1 else f"{mark}{{{plain}}}"
