"""Units that are told apart and converted; every other word after a number counts as its unit and is left out."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

Unit = tuple[str, Fraction]
"""What is measured, and how many of that quantity's first unit this one is."""


def _factor(written: str) -> Fraction:
    above, _, below = written.partition("/")
    return Fraction(above) / Fraction(below or 1)


_TABLE: dict[str, tuple[tuple[str, str], ...]] = {
    "length": (
        ("1", "m meter meters metre metres"),
        ("1000", "km kilometer kilometers kilometre kilometres"),
        ("1/100", "cm centimeter centimeters centimetre centimetres"),
        ("1/1000", "mm millimeter millimeters millimetre millimetres"),
        ("0.0254", "inch inches"),
        ("0.3048", "ft foot feet"),
        ("0.9144", "yd yard yards"),
        ("1609.344", "mi mile miles"),
    ),
    "length^2": (("4046.8564224", "acre acres"), ("10000", "hectare hectares")),
    "length/time": (("1609.344/3600", "mph"), ("1000/3600", "kph kmh kmph")),
    "mass": (
        ("1", "g gram grams"),
        ("1000", "kg kilogram kilograms kilo kilos"),
        ("1/1000", "mg milligram milligrams"),
        ("453.59237", "lb lbs pound pounds"),
        ("28.349523125", "oz ounce ounces"),
    ),
    "time": (
        ("1", "s sec secs second seconds"),
        ("60", "min mins minute minutes"),
        ("3600", "h hr hrs hour hours"),
        ("86400", "day days"),
        ("604800", "week weeks"),
    ),
    "months": (("1", "month months"), ("12", "year years"), ("120", "decade decades")),
    "length^3": (
        ("1/1000", "l liter liters litre litres"),
        ("1/1000000", "ml milliliter milliliters millilitre millilitres cc"),
        ("0.003785411784", "gallon gallons"),
        ("0.000946352946", "quart quarts"),
        ("0.000473176473", "pint pints"),
        ("0.0002365882365", "cup cups"),
    ),
    "dollars": (("1", "$ dollar dollars usd"), ("1/100", "¢ cent cents")),
    "euros": (("1", "€ euro euros eur"),),
    "pounds sterling": (("1", "£ gbp"),),
    "yen": (("1", "¥ yen jpy"),),
    "rupees": (("1", "₹ rupee rupees inr"),),
    "degrees": (("1", "° degree degrees deg"),),
    "celsius": (("1", "°c celsius centigrade"),),
    "fahrenheit": (("1", "°f fahrenheit"),),
    "radians": (("1", "radian radians rad"),),
    "": (
        ("1000", "thousand"),
        ("1000000", "million"),
        ("1000000000", "billion"),
        ("1000000000000", "trillion"),
    ),
}
UNITS: dict[str, Unit] = {
    name: (quantity, _factor(factor))
    for quantity, rows in _TABLE.items()
    for factor, names in rows
    for name in names.split()
}
_POWER = re.compile(r"(?:(sq|square|cubic)\.? )?(°[cf]|[a-z]+|[$¢€£¥₹°])\.?(?: (squared|cubed)|\^\{?([23])\}?|([²³]))?")
_PER = re.compile(r" ?/ ?| (?:per|an?|each|every) ")
_IN = re.compile(r"in\.?(?:\^\{?([23])\}?)?|(sq|square|cubic)\.? in\.?")
_RATE = re.compile(r"[/]| (?:per|an?|each|every)\b|^(?:per|an?|each|every)\b")
_DEGREES = re.compile(r"(?:°|degrees?) ?(c|f|celsius|fahrenheit)")
_MONEY = frozenset(["dollars", "euros", "pounds sterling", "yen", "rupees"])
_SAME_WORD = (
    frozenset(["mass", "pounds sterling"]),
    frozenset(["degrees", "celsius"]),
    frozenset(["degrees", "fahrenheit"]),
)
"""Quantities that one word names: "5 pounds" may weigh or cost, "20 degrees" turn or warm."""


@lru_cache(maxsize=1024)
def read(text: str) -> Unit | None:
    """Return the unit that a text names, such as "cm", "square meters", "km/h"; None where it is not known."""
    lowered = text.strip(" .").lower()
    if _PER.search(lowered):
        return _rate(_PER.split(lowered))
    if _IN.fullmatch(lowered):
        lowered = lowered.replace("in.", "in").replace("in", "inch")
    degrees = _DEGREES.fullmatch(lowered)
    if degrees:
        lowered = "°" + degrees[1][0]
    match = _POWER.fullmatch(lowered)
    if match is None or match[2] not in UNITS:
        return None
    quantity, factor = UNITS[match[2]]
    power = (
        {"sq": 2, "square": 2, "cubic": 3}.get(match[1] or "", 1)
        * {"²": 2, "³": 3}.get(match[5] or "", int(match[4] or 1))
        * {"squared": 2, "cubed": 3}.get(match[3] or "", 1)
    )
    return (quantity, factor) if power == 1 else (f"{quantity}^{power}", factor**power)


def _rate(texts: list[str]) -> Unit | None:
    """The quotient of two units, "km" per "h"; None where one is not known."""
    units = [read(text) for text in texts]
    if len(units) != 2 or units[0] is None or units[1] is None or not units[0][0] or not units[1][0]:
        return None
    (over, above), (under, below) = units[0], units[1]
    return f"{over}/{under}", above / below


@lru_cache(maxsize=1024)
def leading(text: str) -> Unit | None:
    """Return the unit that the first words of a text name, "feet" of "feet tall"; None of "feet per story"."""
    words = text.split()[:5]
    for stop in range(len(words), 0, -1):
        unit = read(" ".join(words[:stop]).rstrip(",;:"))
        if unit is not None and (stop == len(words) or words[0] != "in"):
            return None if _RATE.match(f" {words[stop]} " if stop < len(words) else "") else unit
    return None


def comparable(left: Unit, right: Unit) -> bool | None:
    """Whether quantities of two units can be compared; None where only their numbers can, as a word has two meanings.

    What money is paid for may be left out: "$5" and "5 dollars per hour".
    """
    one, other = left[0], right[0]
    if one == other:
        return True
    paid = {one.partition("/")[0], other.partition("/")[0]}
    priced = ("/" in one) != ("/" in other) and len(paid) == 1 and paid <= _MONEY
    if priced or frozenset([one, other]) in _SAME_WORD:
        return None
    return False


def scale(text: str) -> Fraction | None:
    """Return the number that a text names: "million" is 1,000,000."""
    unit = UNITS.get(text.strip(" .").lower())
    return unit[1] if unit is not None and not unit[0] else None
