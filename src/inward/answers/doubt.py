"""What a completion takes back or leaves open: "not A", "B is wrong", "5 or 6", "A, no, B"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from inward.answers.places import BOX, PHRASE, Range, all_boxes

_NOT = (
    r"(?:\bnot\b(?!\s+only\b)|n['’]t\b|\bnever\b|\bneither\b|\bnor\b|\bcannot\b|\brather\s+than\b|\binstead\s+of\b"
    r"|\bunlike\b|\bdoubt(?:s|ed|ful)?\b|\bunsure\b|\bexcept\b|\bwithout\b|\b(?:anything|all|everything|any)\s+but\b"
    r"|\b(?:rul(?:e|es|ed|ing)|eliminat\w{1,3}|exclud\w{1,3}|discard\w{0,3}|reject\w{0,3}|dismiss\w{0,3})(?:\s+out)?\b"
    r"|\\neq?(?![a-z])|≠)"
)
_TOWARDS = (
    r"(?:[\s(\[*_\"'“`$]|(?:be|been|is|it|it['’]s|that|this|the|an?|option|choice|letter|answer|number|value|equals?|to"
    r"|correct|right|sure|certain|clear|whether|if|choose|pick|select|say|think|believe|exactly|both|either|text)\b|\\){0,12}"
)
_MAYBE = (
    r"(?:(?:maybe|perhaps|possibly|probably|even|rather|else|it|is|it['’]s|could|might|may|be|the|answer|option|choice"
    r"|letter|about|approximately|just|only|also|then)\b[\s,]{1,3}){0,4}"
)
_CLOSE, _OPEN = r"[\s)\]}$*\"'”`]{0,6}", r"[\s(\[$*\"'“`]{0,6}(?:\\boxed\{\s?)?(?:\\text\{[\s(]?)?"
_WRONG = r"(?:wrong|incorrect|false|untrue|impossible|invalid|eliminated|ruled\s+out|excluded|rejected|out\b)"
_RIGHT = (
    r"(?:(?:the|a|an|our)\s+)?(?:correct|right|true|possible|valid|best|answer|solution|fit|work|match|it\b)"
    r"|(?=\s*(?:[.,;!\n]|\Z))"
)
_CORRECTING = (
    r"[\s,.;:!?—–…-]{0,6}(?:\b(?:no|nope|wait|hmm|actually|sorry|oops|correction|i\s+mean|make\s+that|scratch\s+that"
    r"|or\s+rather)\b[\s,.;:!—–…-]{1,6}){1,4}"
    r"(?:(?:it|it['’]s|that['’]s|that|is|should|be|must|the|answer|option)\b\s{1,3}){0,5}"
)

_NEGATED = re.compile(rf"{_NOT}{_TOWARDS}\Z", re.IGNORECASE)
_OR = re.compile(
    rf"(?P<unit>(?:[ \t]{{0,2}}[^\W\d_]{{1,14}}){{0,2}})[\s,$*)}}%\\]{{0,4}}\bor\b[\s,]{{1,3}}{_MAYBE}"
    r"[$€£¥₹(*\\]{0,4}(?:boxed\{)?",
    re.IGNORECASE,
)
_CORRECTED = re.compile(rf"(?:[ \t]{{0,2}}[^\W\d_]{{1,14}}){{0,2}}{_CORRECTING}[$€£¥₹(*\\]{{0,4}}", re.IGNORECASE)
_SETTLED = re.compile(
    r"[\s,;.—–-]{1,4}(?:so|but|thus|hence|therefore|probably|likely|most likely"
    r"|i(?:['’]d| would)? (?:say|pick|choose))\b[^.\n0-9]{0,20}",
    re.IGNORECASE,
)
_FOLLOWING = re.compile(r"[\s$*)\\%]{0,3}([^\W\d_]{1,14})")
_NEAR = 64
# The first letter stands before the rest so that a search skips to it.
_ANEW = re.compile(
    r"(?:[NnWwAaSsOoHhCc](?<!\w.)(?i:(?<=n)o|(?<=w)ait|(?<=a)ctually|(?<=s)orry|(?<=o)ops|(?<=h)mm|(?<=c)orrection"
    r"|(?<=s)cratch\s+that)\b[\s,.;:!—–-]{1,4}){1,4}"
)
_ALL_BACK = re.compile(
    rf"{_ANEW.pattern}(?:that|this|it|which)(?:['’]s|\s+is|\s+was)\s+(?:{_WRONG}|not\s+(?:right|correct)|a\s+mistake)[\s.!]*\Z",
    re.IGNORECASE,
)
_CALLED_WRONG = re.compile(
    rf"[\s}})$*\\]{{1,6}}(?:is|was|would\s+be)\s+(?:{_WRONG}|not\s+(?:right|correct|(?:the|our|my)\s+answer))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class LabelPatterns:
    """What takes labels back or leaves them open."""

    taken_back: re.Pattern[str]
    """Group `before`: labels after a negation; `after`: a label called wrong; `brief`: a label before "no"."""
    label: re.Pattern[str]
    offered_before: re.Pattern[str]
    """What ends right before a label that is one of several: "A or "."""
    offered_after: re.Pattern[str]
    """What begins right after a label that is one of several: " or B"."""
    corrected: re.Pattern[str]
    """What begins right after a label that is replaced by the one in the group: ", no, B"."""


@lru_cache(maxsize=64)
def label_patterns(labels: tuple[str, ...]) -> LabelPatterns:
    """Return the patterns of these labels; digits and "I" are never taken back, they mean too much else."""
    ordered = sorted(labels, key=len, reverse=True)
    any_label = "|".join(map(re.escape, ordered))
    loose = "|".join(re.escape(label) for label in ordered if label.isalpha() and label != "I") or "(?!)"
    alone = r"(?![\w'’])"
    one = rf"(?:{loose}){alone}"
    several = rf"{one}(?:(?:,\s*{_OPEN}{one}{_CLOSE}){{0,6}},?\s*(?:or|nor)\s{_OPEN}{one})?"
    gap = (
        rf"(?:\s+(?!(?:{any_label})\b|(?:because|since|as|while|so|and|but|or|if|which|that|when|answer|option|the|is)\b)"
        r"[^\s.,;:?!]{1,20}){0,4}?"
    )
    called = (
        rf"(?:is|are|was|seems?|looks?|must\s+be|would\s+be|can\s+be|has\s+to\s+be)\s+(?:\w{{1,12}}ly\s+|also\s+|just\s+)?"
        rf"(?:{_WRONG}|not\s*(?:{_RIGHT}))"
        rf"|(?:is|was|are)n['’]t\s*(?:{_RIGHT})"
        rf"|(?:can|could|does|do|would|will|wo|ca)\s?(?:not|n['’]t)\s+(?:be\s+)?(?:{_RIGHT})"
    )
    taken_back = re.compile(
        rf"(?i:{_NOT}{_TOWARDS})(?P<before>{several})"
        rf"|(?<![\w'’])(?P<after>{loose}){alone}[)\]*\"'”`]{{0,4}}(?:\s?\([^()\n]{{1,40}}\))?{gap}\s+(?i:{called})"
        rf"|(?<![\w'’])(?P<brief>{loose}){alone}[)\]*\"'”`]{{0,4}}\s?(?:[:?(—–-]\s?|(?<=\))\s?)"
        rf"(?i:no|nope|wrong|incorrect|false)\b(?!\s+\w)"
    )
    listed = rf"(?:{_CLOSE},\s*{_OPEN}(?:{any_label}){alone}){{0,8}}"
    offered_after = re.compile(
        rf"{listed}{_CLOSE},?\s{{0,2}}(?:\b(?:or|and)\b|[/&])[\s,]{{0,3}}{_MAYBE}{_OPEN}(?:{any_label}){alone}"
        rf"|(?:{_CLOSE},\s*{_OPEN}(?:{any_label}){alone}){{1,8}}{_CLOSE}[.}}$]{{0,3}}\s*(?:\n|\Z)"
        rf"|{_CLOSE}[,;]?\s*(?:maybe|perhaps|possibly)\s+{_MAYBE}{_OPEN}(?:{any_label}){alone}"
        rf"|(?:(?!(?<!\w)(?:{any_label}){alone})[^.\n]){{0,40}}?\bor\s+{_MAYBE}{_OPEN}(?:{any_label}){alone}"
    )
    offered_before = re.compile(
        rf"(?<![\w'’])(?:{any_label}){_CLOSE}(?:\band\b|[/&]){_OPEN}\Z"
        rf"|(?:\bor\b|[,;]\s*(?:maybe|perhaps|possibly)\b)[\s,]{{0,3}}{_MAYBE}{_OPEN}\Z"
        rf"|(?:\A|[\n:(]|\b(?:is|are)\s){_OPEN}(?:(?:{any_label}){_CLOSE},\s*){{1,8}}{_OPEN}\Z|\bbut\s+also\s+{_OPEN}\Z"
    )
    return LabelPatterns(
        taken_back=taken_back,
        label=re.compile(rf"(?<![\w'’])(?:{loose}){alone}"),
        offered_before=offered_before,
        offered_after=offered_after,
        corrected=re.compile(
            rf"{_CLOSE}(?i:{_CORRECTING}){_OPEN}({any_label}){alone}(?!\s+(?:is|was)\s+(?!correct|right))"
        ),
    )


def taken_back(text: str, labels: tuple[str, ...], *, brief: bool, start: int = 0) -> dict[str, int]:
    """Where each label is last called wrong from `start` on; `brief` counts "C: no", which may also be an option."""
    patterns = label_patterns(labels)
    last: dict[str, int] = {}
    for match in patterns.taken_back.finditer(text, start):
        if match["before"]:
            for label in patterns.label.finditer(text, *match.span("before")):
                last[label[0]] = label.start()
        elif match["after"] or brief:
            last[match["after"] or match["brief"]] = match.start("after" if match["after"] else "brief")
    return last


def denied(text: str, place: Range) -> bool:
    """Whether what stands there is denied before it or after it: "not 5", "5 is wrong"."""
    return negated(text, place[0]) or _CALLED_WRONG.match(text, place[1]) is not None


def negated(text: str, start: int) -> bool:
    """Whether what begins at `start` is denied: "not 5", "isn't 5"."""
    return _NEGATED.search(text[max(0, start - _NEAR) : start]) is not None


def standing(text: str) -> str | None:
    """What a completion holds on to: without the boxes it denies, and from where it answers anew.

    None where it ends by taking everything back: "The answer is 3. No wait, that is wrong."
    """
    if _ALL_BACK.search(text[-4 * _NEAR :]):
        return None
    kept: list[str] = []
    end = 0
    for start, stop in all_boxes(text):
        begin = text.rfind("\\", end, start)
        if begin >= 0 and (negated(text, begin) or _CALLED_WRONG.match(text, stop)):
            kept.append(text[end:begin])
            end = text.find("}", stop) + 1 or stop
    text = "".join((*kept, text[end:]))
    announced = max((match.start() for one in (PHRASE, BOX) for match in one.finditer(text)), default=0)
    anew = [match.end() for match in _ANEW.finditer(text, 0, announced)]
    return text[anew[-1] :] if anew else text


def joined(text: str, place: Range, following: Range) -> bool:
    """Whether two neighbouring numbers are alternatives, "5 or 6", and not one quantity twice, "60 s or 1 minute"."""
    between = _OR.fullmatch(text, place[1], following[0])
    if between is None:
        return False
    first, second = between["unit"].split()[:1], _FOLLOWING.match(text, following[1])
    return not first or second is None or first[0].casefold() == second[1].casefold()


def corrected(text: str, place: Range, following: Range) -> bool:
    """Whether the second of two neighbouring numbers takes the place of the first: "5, no, 6"."""
    return following[0] - place[1] <= _NEAR and _CORRECTED.fullmatch(text, place[1], following[0]) is not None


def settled(text: str, place: Range, following: Range) -> bool:
    """Whether the second of two neighbouring numbers decides between those before it: "5 or 6, so 6"."""
    return following[0] - place[1] <= _NEAR and _SETTLED.fullmatch(text, place[1], following[0]) is not None
