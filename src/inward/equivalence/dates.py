"""Read dates and times of day, which look like sums and ratios: 2020-01-02, 1/2/2020, January 2, 2020, 3:30 pm."""

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
_HALF = r"(?:(?P<half>[ap])\.?\s?m\b\.?|(?P<clock>o['’]clock))"
_TIME = rf"(?P<hour>[01]?[0-9]|2[0-4]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?(?:\s?{_HALF})?"
_TIME_OF_DAY = re.compile(
    rf"{_TIME}|(?P<full>1[0-2]|0?[1-9])\s?{_HALF.replace('half', 'half2').replace('clock', 'clock2')}", re.IGNORECASE
)
_TEXT = re.compile(r"\\(?:text|textrm|mathrm|mbox) ?\{([^{}]*)\}|\\[,;:! ]|~")
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


def time(text: str) -> tuple[int, str] | None:
    """Seconds since midnight or noon, and the half of the day ("a", "p", or ""), of a time of day such as 3:30 pm."""
    if ":" not in text and not text.rstrip(" .$").casefold().endswith(("m", "m}", "clock")):
        return None
    match = _TIME_OF_DAY.fullmatch(" ".join(_TEXT.sub(r" \1", text).split()).strip(" $*"))
    if match is None:
        return None
    hour = int(match["hour"] or match["full"])
    half = (match["half"] or match["half2"] or ("p" if hour > 12 else "")).lower()
    return hour % 12 * 3600 + int(match["minute"] or 0) * 60 + int(match["second"] or 0), half


def same_time(answer: str, gold: str) -> bool | None:
    """Whether two times of day are the same; the half of the day may be left out. None unless one names it."""
    expected = time(gold)
    given = time(answer) if expected else None
    if expected is None or given is None or not (expected[1] or given[1]):
        return False if expected and expected[1] and given is None else None
    return expected[0] == given[0] and (not expected[1] or not given[1] or expected[1] == given[1])


def last_time(text: str) -> str | None:
    """The last time of day that stands in a text."""
    found = [match[0] for match in _TIME_OF_DAY.finditer(text)]
    return found[-1] if found else None
