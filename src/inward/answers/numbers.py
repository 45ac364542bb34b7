"""Read numbers as people write them: signs, separators, decimals, fractions, exponents."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from string import ascii_letters

from inward.answers.doubt import corrected, joined, negated, settled
from inward.answers.places import HASHES, WINDOW, Range, all_boxes, phrases, statement

_SEPARATOR = r"(?:,|\{,\}|,\\!|\\,|['’\u202f\u2009])"
_FRACTION = r"\\[dtc]?frac\s*(?:\{(-?[0-9]+)\}\s*\{([0-9]+)\}|([0-9])([0-9]))"
_DIGITS = re.compile(
    rf"(?P<latex>{_FRACTION})"
    rf"|(?:(?<![\w.)])\.)?[0-9]+(?:(?:{_SEPARATOR}|[./])[0-9]+)*(?:[eE][-+−]?[0-9]+(?!\w))?"
)
# What makes another number of the digits before it: a proper fraction, a power of ten, groups of digits, a scale word.
_GROUPS = re.compile(r"[1-9][0-9]{0,2}(?: [0-9]{3}){2,10}(?![\w.,/]*[0-9])")
_MIXED = re.compile(rf"(?:[ ]|(?=\\))(?:{_FRACTION}|([0-9]{{1,9}})/([0-9]{{1,9}}))(?![\w/.]*[0-9])")
_POWER_OF_TEN = re.compile(
    r"(?:[ ]?(?:\\times|\\cdot|[*×·xX])[ ]?10|(?P<ten>))[ ]?(?:\^|\*\*)[ ]?(?:\{[ ]?(?P<braced>[-+−]?[0-9]{1,3})[ ]?\}"
    r"|(?P<bare>[-+−]?[0-9]{1,3}))(?![0-9.])"
)
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALE = re.compile(rf"(?:[ ]|~|\\[ ,]?)?(?:\\text\{{[ ]?)?({'|'.join(_SCALES)})\b\}}?")
_WIDENING = frozenset("\\^*×·xX~tmb ")
"""What a wider number goes on with, right after the digits or after a blank."""
_INTEGER = rf"(?:[1-9][0-9]{{0,2}}(?:{_SEPARATOR}[0-9]{{3}})+|[0-9]+)"
_NUMBER = re.compile(rf"{_INTEGER}/{_INTEGER}|(?:{_INTEGER}(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+−]?[0-9]+)?")
_PLAIN = re.compile(r"[0-9.]+(?:[eE][-+−]?[0-9]+)?")
_ATTACHED = re.compile(r"(?:[A-Za-z]|(?:\^|\w_)\{?[-−]?)\Z")
_ATTACHING = frozenset(f"{ascii_letters}^_{{-−")
"""How the text ends that `_ATTACHED` finds."""
_MINUS = re.compile(
    r"(?:(?:\A|[^\w\s)\]}%.−–-]|(?:\A|\n|[^0-9\s)\]}%])[ \t]+|\n)(?P<tight>[-−–][$€£¥₹\\]{0,3})"
    r"|=[ ]{0,3}(?P<loose>[-−–][ ]{1,3}[$€£¥₹\\]{0,3}))\Z"
)
_SIGNS = frozenset("-−–")
_MINUS_WORD = re.compile(
    r"(\bnegative[ \t]|(?:(?<=\bis )|(?<=\bof )|(?<=\bto )|(?<=\bbe )|(?<=[:=] )|\A)minus[ \t])\Z", re.IGNORECASE
)

_WORDED = re.compile(r"\A(?:minus|negative)\s", re.IGNORECASE)

_CLAUSE_END = re.compile(r"[,;](?![0-9])|(?<=\w)\s\(|\b(?:because|since|as|where|for|when|if)\b")
_LEAD = re.compile(
    r"(?:[\s*_`\"'“(\[{$€£¥₹\\:=~≈>]|(?:about|approximately|around|exactly|equal to|a total of|therefore|thus"
    r"|simply|just|text|at least|at most|(?:more|less|fewer|greater) than|over|under|up to|above|below|from)\b"
    r"|[<≤≥±]|[A-Za-z]\s?=)*"
)


def all_numbers(text: str) -> list[Range]:
    """Return the range of every number, minus sign included, from left to right."""
    found: list[Range] = []
    for run in _DIGITS.finditer(text):
        start, stop = run.span()
        if run["latex"] or (run[0].isdigit() and text[max(0, start - 1) : start].isspace()):
            found.append((_with_minus(text, start), stop))
        elif text[start - 1 : start] not in _ATTACHING or not _ATTACHED.search(text[max(0, start - 4) : start]):
            found.extend((_with_minus(text, start + a), start + b) for a, b in _pieces(run[0]))
    return _widened(text, found)


def _widened(text: str, found: list[Range]) -> list[Range]:
    r"""Take together what is one number: "1 1/2", "1 000 000", "3 \times 10^5", "5 million"."""
    places: list[Range] = []
    for start, stop in found:
        if not places or start >= places[-1][1]:
            places.append((start, _end(text, start, stop)))
    return places


def _end(text: str, start: int, stop: int) -> int:
    after = text[stop : stop + 2]
    if after[:1] not in _WIDENING or (after[:1] == " " and not (after[1:].isdigit() or after[1:] in _WIDENING)):
        return stop
    digits = _WORDED.sub("", text[start:stop]).lstrip("-−–$€£¥₹\\ ")
    groups = _GROUPS.match(text, stop - len(digits)) if len(digits) <= 3 else None
    if groups:
        stop = groups.end()
    mixed = _MIXED.match(text, stop) if digits.isdecimal() else None
    if mixed and _below_one(mixed):
        stop = mixed.end()
    power = _POWER_OF_TEN.match(text, stop)
    if power and (power["ten"] is None or digits == "10"):
        return power.end()
    scale = _SCALE.match(text, stop)
    return scale.end() if scale else stop


def _below_one(fraction: re.Match[str]) -> bool:
    above, below = (fraction[1] or fraction[3] or fraction[5]), (fraction[2] or fraction[4] or fraction[6])
    return len(above) < 10 and len(below) < 10 and 0 < int(above) < int(below)


def _pieces(run: str) -> Iterator[Range]:
    """Split a run of digits and separators into numbers: "1,234" is one, "1,2" two, "3.11.2" none."""
    if _NUMBER.fullmatch(run):
        yield 0, len(run)
        return
    for part in re.finditer(r"[^/]+", run):
        whole = _NUMBER.fullmatch(part[0]) is not None
        for piece in [part] if whole else _PLAIN.finditer(run, part.start(), part.end()):
            if _NUMBER.fullmatch(piece[0]):
                yield piece.span()


def _with_minus(text: str, start: int) -> int:
    """Return where the number begins that has digits at `start`: a minus sign counts, a hyphen does not."""
    before = text[max(0, start - 24) : start]
    word = _MINUS_WORD.search(before) if before[-6:-1].lower() in ("minus", "ative") else None
    if word:
        return start - len(word[1])
    minus = _MINUS.search(before) if before.rstrip(" $€£¥₹\\")[-1:] in _SIGNS else None
    return start - len(minus["tight"] or minus["loose"]) if minus else start


def plain(text: str, place: Range) -> str:
    """Write the number of a range with digits, ".", "/", "e" and "-" alone."""
    number = text[slice(*place)]
    power, scale = _POWER_OF_TEN.search(number), _SCALE.search(number)
    if power:
        exponent = (power["braced"] or power["bare"]).replace("−", "-").lstrip("+")
        head = number[: power.start()]
        return f"{_digits(head if power['ten'] is None else head.removesuffix('10') + '1')}e{exponent}"
    number = number[: scale.start()] if scale else number
    mixed = _MIXED.search(number)
    whole = _digits(number[: mixed.start()]) if mixed else ""
    if mixed and re.fullmatch("-?[0-9]+", whole):
        value = int(whole.lstrip("-")) + Fraction(_digits(mixed[0]))
        written = f"{'-' if whole[0] == '-' else ''}{value}"
    else:
        written = _digits(number)
    return str(Fraction(written) * 10 ** _SCALES[scale[1]]) if scale and len(written) < 100 else written


def _digits(number: str) -> str:
    number = re.sub(_FRACTION, lambda f: f"{f[1] or f[3]}/{f[2] or f[4]}", number)
    number = re.sub(r"[^0-9./eE-]", "", _WORDED.sub("-", number).replace("−", "-").replace("–", "-"))
    return number.replace("--", "")


def number_places(text: str) -> Iterator[Range]:
    """Yield where a final number may be announced, most explicit and latest first."""
    for hashes in reversed(list(HASHES.finditer(text))):
        line_end = text.find("\n", hashes.end(), hashes.end() + WINDOW)
        yield hashes.end(), line_end if line_end >= 0 else min(len(text), hashes.end() + WINDOW)
    yield from reversed(all_boxes(text))
    for phrase in phrases(text):
        yield statement(text, phrase.end())


def read_number(text: str, numbers: list[Range], start: int, stop: int) -> Range | None:
    """Choose the number that a statement means; `numbers` are those of the whole text."""
    first, after = bisect_left(numbers, (start, 0)), bisect_left(numbers, (stop, 0))
    while first < after and negated(text, numbers[first][0]):
        first += 1
    if first == after:
        return None
    if not _LEAD.fullmatch(text, start, numbers[first][0]) and not negated(text, numbers[first - 1][0] if first else 0):
        while negated(text, numbers[after - 1][0]):
            after -= 1
        return numbers[after - 1]
    end = numbers[first][1]
    clause = _CLAUSE_END.search(text, end, max(stop, end))
    equals = text.rfind("=", end, clause.start() if clause else stop)
    result = bisect_left(numbers, (equals, 0))
    if equals >= 0 and result < after:
        return numbers[result]
    while first + 1 < after and corrected(text, numbers[first], numbers[first + 1]):
        first += 1
    return numbers[first]


def decided(text: str, numbers: list[Range], place: Range) -> Range | None:
    """The number that a choice between several settles on: 6 of "5 or 6, so 6"; None of "5 or 6"."""
    index = bisect_left(numbers, place)
    last = index
    while last + 1 < len(numbers) and _alternatives(text, numbers, last):
        last += 1
    if last > index and last + 1 < len(numbers) and settled(text, numbers[last], numbers[last + 1]):
        return numbers[last + 1]
    return None if last > index or (index and _alternatives(text, numbers, index - 1)) else place


def _alternatives(text: str, numbers: list[Range], index: int) -> bool:
    one, other = numbers[index], numbers[index + 1]
    if other[0] - one[1] > WINDOW or not joined(text, one, other):
        return False
    a, b = number_value(plain(text, one)), number_value(plain(text, other))
    return a != b and not (isinstance(a, Fraction) and isinstance(b, Fraction) and b in (a * 100, a / 100))


def number_value(number: str) -> Fraction | str:
    """Return the exact value of a short number; a long one, or 1/0, stands for itself."""
    _, _, exponent = number.lower().partition("e")
    if len(number) > 200 or len(exponent) > 3:
        return number.lstrip("0")
    try:
        return Fraction(number)
    except ZeroDivisionError:
        return number
