"""Units that are told apart and converted; every other word after a number counts as its unit and is left out."""

from __future__ import annotations

import re
from fractions import Fraction

Unit = tuple[str, Fraction]
"""What is measured, and how many of that quantity's first unit this one is."""

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
    "mass": (
        ("1", "g gram grams"),
        ("1000", "kg kilogram kilograms kilo kilos"),
        ("1/1000", "mg milligram milligrams"),
    ),
    "time": (
        ("1", "s sec secs second seconds"),
        ("60", "min mins minute minutes"),
        ("3600", "h hr hrs hour hours"),
        ("86400", "day days"),
        ("604800", "week weeks"),
    ),
    "months": (("1", "month months"), ("12", "year years")),
    "volume": (
        ("1", "l liter liters litre litres"),
        ("1/1000", "ml milliliter milliliters millilitre millilitres"),
    ),
    "dollars": (("1", "$ dollar dollars usd"), ("1/100", "¢ cent cents")),
    "euros": (("1", "€ euro euros eur"),),
    "pounds sterling": (("1", "£ gbp"),),
    "yen": (("1", "¥ yen jpy"),),
    "rupees": (("1", "₹ rupee rupees inr"),),
    "degrees": (("1", "° degree degrees deg"),),
    "radians": (("1", "radian radians rad"),),
    "": (
        ("1000", "thousand"),
        ("1000000", "million"),
        ("1000000000", "billion"),
        ("1000000000000", "trillion"),
    ),
}
UNITS: dict[str, Unit] = {
    name: (quantity, Fraction(factor))
    for quantity, rows in _TABLE.items()
    for factor, names in rows
    for name in names.split()
}
_POWER = re.compile(r"(?:(sq|square|cubic) )?([a-z]+|[$¢€£¥₹°])(?:\^\{?([23])\}?|([²³]))?")


def read(text: str) -> Unit | None:
    """Return the unit that a text names, such as "cm", "square meters" or "cm^2"; None where it is not known."""
    lowered = text.strip(" .").lower()
    match = _POWER.fullmatch(lowered)
    if match is None or match[2] not in UNITS:
        return None
    quantity, factor = UNITS[match[2]]
    power = {"sq": 2, "square": 2, "cubic": 3}.get(match[1] or "", 1) * {"²": 2, "³": 3}.get(
        match[4] or "", int(match[3] or 1)
    )
    return (quantity, factor) if power == 1 else (f"{quantity}^{power}", factor**power)


def scale(text: str) -> Fraction | None:
    """Return the number that a text names: "million" is 1,000,000."""
    unit = UNITS.get(text.strip(" .").lower())
    return unit[1] if unit is not None and not unit[0] else None
