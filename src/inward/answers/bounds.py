r"""What makes something else of a number: a bound ("> 5", "at least 5", "5 or more"), a range, a ratio, a tolerance."""

from __future__ import annotations

import re

from inward.answers.places import Range

_NEAR = 48
_OPEN = r"[\s$€£¥₹(*_`\\]{0,6}(?:\\?text[a-z]{0,2}\{)?[\s$€£¥₹(*_`\\]{0,4}"
_RELATION = r"(?:\\(?:leq?|geq?|lt|gt|leqslant|geqslant|ngtr|nless)(?![A-Za-z])|[≤≥⩽⩾])"
# Not the ">" of an arrow, a tag, a shift or <<1+1=2>>.
_SIGN = rf"(?:{_RELATION}|(?<![<>=\-/\w\"'“\n])[<>](?![<>/])=?|(?<=[\w)}}]) ?[<>](?![<>/])=?(?=\s?[-$\\0-9.]))"
_COMPARED = (
    r"(?:(?:no|not)\s)?(?:more|less|fewer|greater|larger|bigger|smaller|higher|lower|older|younger|longer|shorter|above"
    r"|below)(?:\s+than)(?:\s+or\s+equal\s+to)?"
)
_WORDS = rf"(?:\bat\s+(?:least|most)|\b{_COMPARED}|\b(?:over|under|above|below|beyond|exceed(?:s|ing)|up\s+to))"
_BEFORE = re.compile(
    rf"(?:{_SIGN}|(?<![0-9]\s){_WORDS}(?:\s?\}}|\s+(?:about|a\s+total\s+of)\b)?"
    rf"|\bbetween\s{_OPEN}[0-9][^\s]{{0,14}}\s(?:and|to)|(?:\A|\bis|[:=])\s*from\s{_OPEN}[0-9][^\s]{{0,14}}\sto"
    rf"|[0-9]\s?(?:\\pm|±|\+/-|\+-|plus\s+or\s+minus)){_OPEN}\Z|(?<![\w.,/:])[0-9]{{1,9}}(?::|\s:\s)\Z",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[/A-Za-z][^<>]{0,40}>[\s*$]{0,3}\Z|\A[\s*]*<\Z")
_CLOSE = r"[\s$)*_}\\]{0,4}"
_LARGER = (
    r"(?:more|less|fewer|greater|larger|smaller|higher|lower|above|below|over|under|older|younger|longer|shorter|later"
    r"|earlier|beyond|up)"
)
_AFTER = re.compile(
    rf"(?:[\s\\]{{0,2}}(?:text\{{\s?)?[^\W\d]{{1,14}}(?<!to))?\}}?{_CLOSE}(?:\\?text\{{\s?)?"
    rf"(?:\bor\s+{_LARGER}\b(?!\s+than)|\band\s+{_LARGER}(?=\s*(?:[.,;:!)}}$]|\Z))|\bat\s+(?:least|most)\b"
    r"|\bto\s+[$€£¥₹]?[0-9][0-9.,]{0,14})"
    r"|\s?\+(?!\s?[-+0-9A-Za-z$(\\/])"
    r"|\s?(?:\\pm|±|\+/-|\+-|plus\s+or\s+minus)\s?[0-9.]{1,15}"
    r"|[-–][$€£¥₹]?[0-9][0-9.,]{0,14}(?![\w/-])|(?::|\s:\s|\s?\\colon\s?)[0-9]{1,15}(?![\w:])"
    rf"|{_CLOSE}(?:{_RELATION}|[<>](?![<>/|])=?)\s?(?:[A-Za-z](?![A-Za-z])|[-.]?[0-9])[^\s$.]{{0,15}}"
    r"|\^\s?\{?\s?[-0-9xn][^\s$.]{0,15}|_\{?[0-9]{1,3}\}?",
    re.IGNORECASE,
)


def whole(text: str, place: Range) -> Range:
    """Widen the place of a number to what it is part of; the place itself where it stands for itself."""
    start, stop = place
    before = _BEFORE.search(text, max(0, start - _NEAR), start)
    if before and not _TAG.search(text, max(0, start - _NEAR), start):
        start = before.start()
    after = _AFTER.match(text, stop)
    return start, after.end() if after else stop
