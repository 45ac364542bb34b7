r"""Read numbers as people write them, and compare them exactly, without computer algebra.

A number may be signed, have thousands separators, an exponent (1e3, 1 \times 10^{3}), be a fraction, a mixed number or
a repeating decimal, and be followed by per cent or a unit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from inward.equivalence import units
from inward.equivalence.forms import light, visible, without_thousands
from inward.equivalence.units import Unit

PLACES = Fraction(1, 2_000_000)
"""Half a unit of the sixth decimal: how far a decimal may lie from the number it stands for."""

# Numbers of at most so many digits are compared as fractions, longer ones digit by digit: 1e999999999 has no int.
_MAX_DIGITS = 1_000

_DECIMAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_SIGN = re.compile(r"([-+]?) ?((?:(?:US)?\\?[$€£¥₹])?) ?([-+]?) ?")
_FRACTION = re.compile(
    rf"(?:([0-9]{{1,15}})(?: | and |(?=\\frac)))?"
    rf"(?:({_DECIMAL}) ?/ ?({_DECIMAL})|\\frac ?\{{ ?(-?{_DECIMAL}) ?\}} ?\{{ ?(-?{_DECIMAL}) ?\}})(?![0-9.]*[0-9/])"
)
_POWER_OF_TEN = re.compile(
    rf"(?:({_DECIMAL}) ?(?:\\times|\\cdot|\*|x|X) ?)?10 ?(?:\^|\*\*) ?"
    r"(?:\{ ?([-+]?[0-9]{1,15}) ?\}|([-+]?[0-9]{1,15})(?![0-9]))"
)
_REPEATING = re.compile(r"([0-9]*)\.([0-9]*)\\overline ?\{([0-9]+)\}")
_PLAIN = re.compile(r"([0-9]*)(?:\.([0-9]*))?(?:[eE]([-+]?[0-9]{1,15})(?![0-9]))?")
_SPACED = re.compile(r"(?<![0-9.])([1-9][0-9]{0,2}(?: [0-9]{3})+)(?![0-9])")
_PER_CENT = re.compile(r" ?(?:\\?%|per ?cent(?:age points?)?|percentage|pct)")
# Of money: $5M.
_LETTERS = {letter: Fraction(10) ** power for letter, power in (("k", 3), ("m", 6), ("mn", 6), ("b", 9), ("bn", 9))}
_SCALE_LETTER = re.compile(r" ?(k|m|mn|b|bn)[ .]*", re.IGNORECASE)
_MINUS = re.compile(r"\A(?:minus|negative) (?=[0-9.\\$])", re.IGNORECASE)
_PIECES = re.compile(r"(?<=[A-Za-z.]),? (?:and )?(?=[0-9])")
# What is written onto a number is a factor unless it is a known unit: 5a, 5x^2.
_FACTOR = re.compile(r"[A-Za-z](?![A-Za-z])")
_SHORT_HOURS = re.compile(r"([0-9]+) ?h(?:rs?)? ?([0-9]+) ?m(?:ins?)?\b")
_FEET_INCHES = re.compile(r"([0-9]+) ?['′] ?([0-9.]+) ?(?:\"|″|'')?\Z")
_BASE = re.compile(r"\(?([0-9A-Za-z]+)\)?_\{?([0-9]{1,2})\}?")
# A word or several, with powers of units and abbreviations; "x", a factor, is none.
_ANY_UNIT = re.compile(r"(?! ?[xyzn]\Z)(?!.* [-*/] )[^\d+=<>|{}\[\]\\!~&#@_^]{0,60}(?:(?<=[A-Za-z])\^\{?[23]\}?)?")
_WRAPPED_UNIT = re.compile(
    r"(?: ?\\(?:text|textrm|textbf|mathrm|operatorname|mbox) ?"
    r"\{([^{}\\+=<>|]{0,60}(?:\\?%|\^\{?-?[23]\}?)?[^{}\\+=<>|]{0,60})\}(?: ?\^ ?\{?-?[23]\}?)?"
    r"|( [A-Za-z]+(?:[ /][A-Za-z]+){0,4}(?:\^\{?[23]\}?)?)"
    r"|([A-Za-z]{2,15}(?:/[A-Za-z]{1,15})?(?:\^\{?[23]\}?)?| ?[°¢€£¥₹])"
    r"| ?(\^ ?\{? ?\\circ ?\}?|\\degrees?))[ .]*"
)
# "5 or more" is no 5.
_BOUND = re.compile(
    r"\b(?:or|and) (?:more|less|fewer|greater|larger|smaller|higher|lower|above|below|over|under|older|younger|longer"
    r"|shorter|later|earlier|beyond|up)\b(?! than)|\bat (?:least|most)\b"
)
_NO_UNIT = frozenset(["and", "or", "sin", "cos", "tan", "log", "ln", "exp", "mod", "pi", "of", "to", "by", "in"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number as it was written."""

    form: str
    """One way of writing for equal values."""
    value: Fraction | None
    """None where the number is too long for a fraction."""
    decimal: bool
    """Whether it was written with a point, and so may be rounded."""
    percent: bool
    unit: Unit | None
    """The unit, where it is one of `units.UNITS`."""


def read(text: str, *, words: bool) -> Number | None:
    r"""Read a text that is one number and no more.

    Args:
        text: an answer, in LaTeX or plain.
        words: whether any words may follow it, "18 apples". Otherwise only those in \text{}, those after a blank and
            known units.

    Returns:
        None if the text is no single number.
    """
    return _read_short(text, words=words) if len(text) <= _MAX_DIGITS else _read(text, words=words)


@lru_cache(maxsize=2048)
def _read_short(text: str, *, words: bool) -> Number | None:
    return _read(text, words=words)


def _read(text: str, *, words: bool) -> Number | None:
    short = len(text) <= _MAX_DIGITS
    currency = "$" if text.count("$") == 1 else ""
    text = light(text) if short else without_thousands(visible(text))
    if short:
        text = _SPACED.sub(lambda match: match[1].replace(" ", ""), text)
    if text[:1] in "mMnN":
        text = _MINUS.sub("-", text)
    sign = _SIGN.match(text)
    assert sign is not None
    negative = (sign[1] + sign[3]).count("-")
    if negative > 1 or len(sign[1] + sign[3]) > 1:
        return None
    body = _body(text, sign.end(), short=short)
    if body is None:
        return None
    digits, exponent, value, decimal, end = body
    marker = (sign[2] or currency)[-1:]
    letter = _SCALE_LETTER.fullmatch(text, end) if marker else None
    tail = (False, None, _LETTERS[letter[1].lower()]) if letter else _tail(text[end:], words=words)
    if tail is None:
        return _compound(text) if short and words else None
    percent, unit, factor = tail
    if value is None:
        form, value = _written(digits, exponent)
    else:
        form = str(value)
    if factor is not None and value is not None:
        value *= factor
        form = str(value)
    if negative and form != "0":
        form, value = f"-{form}", None if value is None else -value
    if marker and unit is None:
        unit = (units.read(marker + text[end:]) if end < len(text) else None) or units.read(marker)
    return Number(form=form, value=value, decimal=decimal, percent=percent, unit=unit)


_Body = tuple[str, int, Fraction | None, bool, int]


def _body(text: str, start: int, *, short: bool) -> _Body | None:
    """Digits and their exponent, or the value; whether there is a point; where it ends."""
    if short:
        fraction = _FRACTION.match(text, start)
        if fraction:
            numerator, denominator = Fraction(fraction[2] or fraction[4]), Fraction(fraction[3] or fraction[5])
            if not denominator or (fraction[1] and numerator / denominator < 0):
                return None
            return "", 0, int(fraction[1] or 0) + numerator / denominator, False, fraction.end()
        power = _POWER_OF_TEN.match(text, start)
        if power:
            whole, _, decimals = (power[1] or "1").partition(".")
            return whole + decimals, int(power[2] or power[3]) - len(decimals), None, bool(decimals), power.end()
        repeating = _REPEATING.match(text, start)
        if repeating:
            whole, fixed, period = repeating.groups()
            nines = Fraction(int(period), 10 ** len(period) - 1) / 10 ** len(fixed)
            return "", 0, Fraction(int((whole + fixed) or 0), 10 ** len(fixed)) + nines, False, repeating.end()
    number = _PLAIN.match(text, start)
    assert number is not None
    decimals = number[2] or ""
    if not number[1] and not decimals:
        return None
    return number[1] + decimals, int(number[3] or 0) - len(decimals), None, bool(decimals), number.end()


def _tail(text: str, *, words: bool) -> tuple[bool, Unit | None, Fraction | None] | None:
    """Per cent, unit and scale that follow a number; None if something else does."""
    rest = text.strip(" .,;:")
    if not rest:
        return False, None, None
    if _BOUND.search(rest):
        return None
    if words and text == "k":
        return False, None, _LETTERS["k"]
    per_cent = _PER_CENT.match(rest)
    if per_cent and (per_cent.end() == len(rest) or (words and _ANY_UNIT.fullmatch(rest, per_cent.end()))):
        return True, None, None
    wrapped = _WRAPPED_UNIT.fullmatch(text)
    if wrapped:
        inside = next((group for group in wrapped.groups()[:3] if group is not None), "°").strip(" .")
        if wrapped[1] is not None:
            if _PER_CENT.fullmatch(inside):
                return True, None, None
            power = re.search(r"\^ ?\{?(-?[23])", text)
            inside += f"^{power[1]}" if power and "^" not in inside else ""
        elif not words and not _is_unit(inside, after_blank=wrapped[3] is None):
            return None
    elif words and _ANY_UNIT.fullmatch(text) and not (_FACTOR.match(text) and units.read(rest) is None):
        inside = rest
    else:
        return None
    first, _, after = inside.partition(" ")
    factor = units.scale(first)
    return False, units.leading(after if factor else inside), factor


def _compound(text: str) -> Number | None:
    """A quantity in several units: "5 feet 6 inches" is 5.5 feet, "2 hours and 30 minutes" is 2.5 hours."""
    text = _FEET_INCHES.sub(r"\1 feet \2 inches", _SHORT_HOURS.sub(r"\1 hours \2 minutes", text))
    pieces = _PIECES.split(text)
    if not 2 <= len(pieces) <= 4:
        return None
    total, last, found = Fraction(0), None, [read(piece, words=True) for piece in pieces]
    for piece, one in zip(pieces, found, strict=True):
        if one is None or one.value is None or one.unit is None or one.percent:
            return None
        # "5 cm or 50 mm" is no sum.
        if piece is not pieces[-1] and units.read(piece.lstrip("0123456789./ ")) is None:
            return None
        if last is not None and (one.unit[0] != last[0] or one.unit[1] >= last[1] or one.value < 0):
            return None
        last = one.unit
        total += one.value * one.unit[1]
    first = found[0]
    assert first is not None and first.unit is not None
    value = total / first.unit[1]
    decimal = any(one is not None and one.decimal for one in found)
    return Number(form=str(value), value=value, decimal=decimal, percent=False, unit=first.unit)


def _is_unit(text: str, *, after_blank: bool) -> bool:
    """Tell a unit from factors: after a number, "cm" and "apples" are units, "xy" and "sin" are none."""
    first = text.split()[0].split("/")[0]
    if units.read(first) is not None or units.scale(first) is not None or text == "°":
        return after_blank or len(first) > 1 or not first.isalpha()
    return after_blank and len(first) > 3 and first not in _NO_UNIT


def _written(digits: str, exponent: int) -> tuple[str, Fraction | None]:
    """The form of a number of any length, and its value where it is short."""
    significant = digits.rstrip("0")
    exponent += len(digits) - len(significant)
    significant = significant.lstrip("0")
    if not significant:
        return "0", Fraction(0)
    if len(significant) > _MAX_DIGITS or abs(exponent) > _MAX_DIGITS:
        return f"{significant}e{exponent}", None
    value = Fraction(int(significant)) * Fraction(10) ** exponent
    return str(value), value


def equal(left: Number, right: Number) -> bool:
    """Compare two numbers; see the package's docstring for units, per cent and rounding."""
    a, b = left.value, right.value
    if left.unit and right.unit and left.unit != right.unit:
        comparable = units.comparable(left.unit, right.unit)
        if comparable is False or a is None or b is None:
            return False
        if comparable:
            return _near(a * left.unit[1], b * right.unit[1], rounded=left.decimal or right.decimal)
    if left.form == right.form:
        return True
    if a is None or b is None:
        return False
    rounded = left.decimal or right.decimal
    if left.percent != right.percent and (
        _near(a / 100, b, rounded=rounded) if left.percent else _near(a, b / 100, rounded=rounded)
    ):
        return True
    return _near(a, b, rounded=rounded)


def _near(a: Fraction, b: Fraction, *, rounded: bool) -> bool:
    """Equal, or, where one is a decimal, equal to six decimals (to six significant digits below 1)."""
    if a == b:
        return True
    largest = max(abs(a), abs(b))
    if not rounded or (a < 0) != (b < 0):
        return False
    magnitude = 0 if largest >= 1 else math.floor(math.log10(largest.numerator) - math.log10(largest.denominator)) + 1
    return abs(a - b) <= PLACES * Fraction(10) ** min(0, magnitude)


def same_in_base(left: str, right: str) -> bool | None:
    """Compare numbers with a base, such as 101_2; a base left out is taken from the other side. None without a base."""
    first, second = _BASE.fullmatch(left), _BASE.fullmatch(right)
    if first is None and second is None:
        return None
    digits = [match[1] if match else text for match, text in ((first, left), (second, right))]
    if (first is None or second is None or int(first[2]) == int(second[2])) and digits[0].upper() == digits[1].upper():
        return True
    values = [
        _in_base(match[1], int(match[2])) if match else _in_base(text, 10)
        for match, text in ((first, left), (second, right))
    ]
    return None if None in values else values[0] == values[1]


def _in_base(digits: str, base: int) -> int | None:
    try:
        return int(digits, base) if 2 <= base <= 36 and len(digits) <= _MAX_DIGITS else None
    except ValueError:
        return None
