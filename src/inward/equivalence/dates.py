"""Read dates, which look like sums and fractions: 2020-01-02, 1/2/2020, January 2, 2020."""

from __future__ import annotations

import re

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"([0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR_FIRST = re.compile(r"([0-9]{4})([-/.])(0?[1-9]|1[0-2])\2(0?[1-9]|[12][0-9]|3[01])")
_YEAR_LAST = re.compile(r"(0?[1-9]|[12][0-9]|3[01])([-/.])(0?[1-9]|[12][0-9]|3[01])\2([0-9]{4})")
_MONTH_FIRST = re.compile(rf"{_MONTH} {_DAY},? ([0-9]{{4}})")
_DAY_FIRST = re.compile(rf"{_DAY}(?: of)? {_MONTH},? ([0-9]{{4}})")
_LONGEST = 24
_ANY = re.compile(
    r"(?<![\w/.-])(?:[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}|[A-Za-z]{3,9}\.? [0-9]{1,2}(?:st|nd|rd|th)?,? [0-9]{4}"
    r"|[0-9]{1,2}(?:st|nd|rd|th)?(?: of)? [A-Za-z]{3,9}\.?,? [0-9]{4})(?![\w/-])"
)


def read(text: str) -> tuple[int, ...] | None:
    """Year, month and day of a date; of one such as 1/2/2020, whose order is not known, its numbers as they stand."""
    text = text.strip(" .,;*$")
    if not 8 <= len(text) <= _LONGEST or not text[-1].isdigit():
        return None
    text = text.casefold()
    if match := _YEAR_FIRST.fullmatch(text):
        return int(match[1]), int(match[3]), int(match[4])
    if match := _YEAR_LAST.fullmatch(text):
        return -int(match[1]), int(match[3]), int(match[4])
    if match := _MONTH_FIRST.fullmatch(text):
        return int(match[3]), _MONTHS.index(match[1][:3]) + 1, int(match[2])
    if match := _DAY_FIRST.fullmatch(text):
        return int(match[3]), _MONTHS.index(match[2][:3]) + 1, int(match[1])
    return None


def last(text: str) -> str | None:
    """The last date that stands in a text."""
    found = [match[0] for match in _ANY.finditer(text) if read(match[0]) is not None]
    return found[-1] if found else None
