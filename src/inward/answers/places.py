"""Places in a text where answers stand: boxes, statements, choices. A place is a half-open range of characters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from inward.errors import SettingsError
from inward.types import Span

Range = tuple[int, int]

LABELS = ("A", "B", "C", "D", "E")

# Longest stretch after a marker that is searched for the answer: keeps many markers on one line linear.
WINDOW = 400
_MAX_PHRASES = 100

THOUGHT = re.compile(r"</think(?:ing)?>|<[|]end_of_thought[|]>")
HASHES = re.compile(
    r"(?<!#)####(?!#)[ \t]*[*$€£¥₹\\(]*(?=[-−–$€£¥₹\\.]*(?:[0-9]|[cdt]?frac))(?![0-9]+[.)][ \t]+[A-Za-z])"
)
BOX = re.compile(r"\\(?:boxed|fbox)(?:\s*(?P<brace>\{)|[ \t]+(?P<bare>[^\s${}\\]+))")
IS = r"(?:\b(?:is|(?:would|should|must|will)\s+be)\b(?!\s+not\b)|[:=])"
GAP = r"(?!\s+(?:choices|options)\b)[^.:=\n0-9]{0,60}?"
PHRASE = re.compile(rf"\banswer\b{GAP}{IS}|\bfinal\s+answer[*_# ]{{0,6}}\n", re.IGNORECASE)
SENTENCE_END = re.compile(
    r"\n|(?<!\b[A-Z])(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bSt)(?<!\b(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec))(?:[.?](?=[\s\"'”*_)}$]|\Z)"
    r"|!(?=[\s\"'”*_)]|\Z))|[。！？]"
)
# Mathematics that a number is only part of.
ALGEBRA = re.compile(
    r"\\(?:sqrt|pi|cdot|times|binom|log|ln|sin|cos|tan|pm|infty)(?![A-Za-z])|[0-9)}]!|[√π±|]"
    r"|(?<![A-Za-z])\^(?!\s?\{?\s?\\circ)|[0-9][a-z](?![A-Za-z])"
)
CONTENT = re.compile(r"\w|\\[a-z{]")
# Words that make mathematics part of a sentence.
PROSE = re.compile(
    r"(?<!\\)\b(?:the|is|are|was|so|we|it|get|have|has|thus|hence|therefore|answer|gives?|equals?|that|this|then|because|which"
    r"|solution|result|value|be|as|for|with|must|of|to|from|my|you|they|there|not|in|on|at|by|if|when|where|while|since"
    r"|found|after|before|about|approximately|exactly|simply|just|given)\b",
    re.IGNORECASE,
)
WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_BETWEEN_SIGNS = (
    r"(?:\$\$([^$]{1,400})\$\$|\$(?!\s)([^$\n]{1,400})(?<!\s)\$(?![0-9])|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\])"
)
MATHS_BETWEEN_SIGNS = re.compile(_BETWEEN_SIGNS, re.DOTALL)
MATHS = re.compile(r"[^$\\0-9]{0,60}" + _BETWEEN_SIGNS, re.DOTALL)
WORD = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[぀-ヿ㐀-鿿]|[^\W぀-ヿ㐀-鿿]+|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAnswer:
    """A final answer and where it stands: `FoundAnswer(answer="1234", chars=Span(start=4, end=9))`."""

    answer: str
    """Normalised: a number without thousands separators, the inside of a box, the label of a choice."""
    chars: Span
    """The characters of the completion that write it, and no others."""
    partial: bool = False
    """Whether those characters are only part of the answer; see `locate`."""


def meant(text: str) -> Range:
    """Return the part of a completion that is its answer: what follows a thought, what stands between answer tags."""
    start, stop = 0, len(text)
    for thought in THOUGHT.finditer(text):
        start = thought.end()
    if not text[start:].strip():
        start = 0
    end = text.rfind("</answer>", start)
    begin = text.rfind("<answer>", start, end) + len("<answer>") if end >= 0 else -1
    return (begin, end) if begin >= len("<answer>") and text[begin:end].strip() else (start, stop)


def phrases(text: str) -> list[re.Match[str]]:
    """The last places that announce an answer in words, the latest first."""
    return list(PHRASE.finditer(text))[: -_MAX_PHRASES - 1 : -1]


def answer_at(text: str, place: Range, answer: str | None = None) -> FoundAnswer:
    """Make the answer that stands at a place; as it is written there unless `answer` says otherwise."""
    start, stop = place
    return FoundAnswer(answer=text[start:stop] if answer is None else answer, chars=Span(start=start, end=stop))


def trim(text: str, start: int, stop: int) -> Range:
    """Leave white space, markup and closing punctuation out of a range."""
    while start < stop and (text[start].isspace() or text[start] in "*_`\"'“”:" or _quotes(text, start)):
        start += 1
    while stop > start and (text[stop - 1].isspace() or text[stop - 1] in "*_`\"'“”:;,.!?。！？"):
        stop -= 1
    return start, stop


def _quotes(text: str, start: int) -> bool:
    """Whether the mark of a quotation stands there; a text that begins with ">" is a relation."""
    return text[start] == ">" and text[start - 1 : start] == "\n"


def statement(text: str, start: int) -> Range:
    """Return the sentence or line that begins at the first word from `start` on."""
    while start < len(text) and (text[start].isspace() or text[start] in "*_`\"'“:" or _quotes(text, start)):
        start += 1
    limit = min(len(text), start + WINDOW)
    for end in SENTENCE_END.finditer(text, start, limit):
        # The "." of \text{12 sq. cm} ends nothing.
        if end[0] == "\n" or text.rfind("{", start, end.start()) <= text.rfind("}", start, end.start()):
            return start, end.start()
    return start, limit


def all_boxes(text: str) -> list[Range]:
    """Return the inside of every balanced, non-empty box in the order in which they begin."""
    inside: list[Range] = []
    opened: set[int] = set()
    for box in BOX.finditer(text):
        if box["brace"]:
            opened.add(box.end())
        else:
            inside.append(box.span("bare"))
    stack: list[int] = []
    for brace in re.finditer(r"\\.|[{}]", text) if opened else ():
        if brace[0] == "{":
            stack.append(brace.end())
        elif brace[0] == "}" and stack:
            start = stack.pop()
            if start in opened:
                inside.append((start, brace.start()))
    trimmed = [trim_maths(text, *place) for place in sorted(inside)]
    return [(start, stop) for start, stop in trimmed if start < stop]


def trim_maths(text: str, start: int, stop: int) -> Range:
    """Leave the signs of mathematics out of a range, too; "!" stays, it is a factorial here."""
    end, inside = stop, True
    while inside:
        start, stop = trim(text, start, stop)
        inside = False
        for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
            size = len(opening)
            if start + size < stop - size and text.startswith(opening, start) and text.startswith(closing, stop - size):
                start, stop = start + size, stop - size
                end, inside = stop, True
                break
    while start < stop < end and text[stop:end].lstrip().startswith("!"):
        stop = text.index("!", stop) + 1
    return start, stop


@lru_cache(maxsize=64)
def choice_patterns(labels: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a label that is stated, stands apart, is a word; one group of each matches."""
    if not labels:
        raise SettingsError("labels is empty: give the labels of the options, such as ('A', 'B', 'C', 'D')")
    # "A bird" and "I think" are no labels, "A because ..." is one.
    word = (
        r"(?![ \t]+(?!(?:because|since|as|and|or|but|for|which|not|in|is|with|while|due|given|so|by"
        r"|rather|instead|though|unlike)\b)[a-z])"
    )
    edge = r"(?![\w'’+#-]|\.[0-9]|[ \t]*[=^])"
    ordered = sorted(labels, key=len, reverse=True)
    any_label = "|".join(re.escape(label) for label in ordered)
    label = "|".join(re.escape(x) + edge + (word if x in ("A", "I") else "") for x in ordered)
    # "taller than I." ends in a pronoun.
    loose = "|".join(re.escape(x) for x in ordered if x != "I") or "(?!)"
    text = r"(?:\\(?:text|textbf|mathrm|mathbf)\{[\s(]*)?"
    phrase = rf"(?i:\b(?:answer|option|choice)\b{GAP}{IS})"
    stated = re.compile(
        rf"{phrase}[\s*_:(\"'`\[$]*(?:(?i:option|choice|letter)[\s*(\"'`\[]+)?{text}({label})"
        rf"|\\(?:boxed|fbox)\{{[\s(]*{text}((?:{any_label})(?!\w))"
        rf"|(?<!#)####(?!#)[ \t]*[*(]*({label})|(?:答案|正解|答え|정답)[是为為はは은：: (]{{0,4}}({label})"
        rf"|(?<!\w)({any_label})\)?\*{{0,2}}\s+is\s+(?:the\s+)?(?:correct|right|best|answer)\b"
    )
    apart = re.compile(
        rf"[*(\"'`\[]({any_label})[*)\"'`\]]"
        rf"|^[ \t]*({any_label})(?:[.)](?=\s)|[ \t]*$)"
        rf"|(?<![\w.'’])({loose})[.)!](?=[\s*\"']|\Z)"
        rf"|\A\s*({loose})(?=\s*[,;(!]|\s?[:–—-]\s|\s+(?:because|since|rather)\b)"
        rf"|(?<![\w.'’])({loose})(?:\)?:?\s+(?:right|correct|true|yes)\b|\s+(?:is|does|fits|works|remains)[.!](?=\s|\Z)"
        r"|\s+(?:is|was)\s+(?:the\s+)?(?:true|better|best|left|only\s+one)\b|\)?:?\s?[✓✔✅])"
        rf"|\b(?<!not\s)(?i:only)\s+(?i:option\s+|choice\s+)?\(?({loose})\b|选择?\s?\(?({loose})(?!\w)"
        rf"|\b(?i:it)(?:\s+(?i:is|must\s+be|should\s+be|has\s+to\s+be)|['’]s)\s+({label})"
        rf"|(?<![\w.'’])({loose})[\s*.)\"']*\Z"
        rf"|\b(?i:option|choice|letter|choose|pick|select|say)\s+({label})",
        re.MULTILINE,
    )
    return stated, apart, re.compile(rf"(?<![\w'’.+#-])({label})")


def last_group(pattern: re.Pattern[str], text: str) -> Range | None:
    """Return where the one group that matched stands in the last match."""
    places = [match.span(match.lastindex or 0) for match in pattern.finditer(text)]
    return places[-1] if places else None
