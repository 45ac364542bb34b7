r"""Find the final answer of a completion, and the characters and tokens that write it.

Two ways lead to it. `find` reads the completion. `locate` reads what the model replied when asked for its answer
(`probe_prompt`: the elicitation of RLSF, arXiv:2507.21931, and CoT decoding, arXiv:2402.10200) and looks for it in the
completion, since confidence is taken where the answer was worked out, not where it is repeated. Neither sees a gold
answer. Every search is one pass over the text with bounded look-around, so time grows linearly with its length.

Kinds of answer
    number   the last of, in this order of preference: `#### x`, `\boxed{x}`, "answer is x", any number. A place that
             begins with a number means that number, or the result after the last "=" of its clause; else the last
             number of the sentence is meant. Currency, units and per cent are not part of it. Digits written onto a
             letter or an exponent (x2, H2O, m^2) and versions (3.11.2) are no number.
    latex    the last balanced `\boxed{}` or `\fbox{}`; else the mathematics right after the last "answer is"; else as
             number.
    choice   the label in the last statement ("answer is (B)", `\boxed{B}`, `#### B`, "B is correct"); else the last
             label standing apart ("(B)", "B.", "**B**", "option B", alone on a line, at the very end). Case counts.
    text     what follows the last "answer is", to the end of the sentence or line.
    auto     latex if there is a box; else the number after `####`, or the text after it on the last line; else, after
             the last "answer is", a label, or a number, or the text; else the last "(B)"; else the last number.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from inward.errors import SettingsError
from inward.types import AnswerKind, Span

LABELS = ("A", "B", "C", "D", "E")


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """What a final answer looks like, and when the model is asked for it."""

    kind: AnswerKind = "auto"
    elicit: Literal["missing", "always", "never"] = "missing"
    """`missing`: ask where no answer can be read off the trace. `always`: RLSF's code."""
    labels: tuple[str, ...] = LABELS
    """Options of multiple-choice questions."""


_Range = tuple[int, int]

# Longest stretch after a marker that is searched for the answer: keeps many markers on one line linear.
_WINDOW = 400

_SEPARATOR = r"(?:,|\{,\}|,\\!|\\,|[\u202f\u2009])"
_FRACTION = r"\\[dtc]?frac\s*(?:\{(-?[0-9]+)\}\s*\{([0-9]+)\}|([0-9])([0-9]))"
_DIGITS = re.compile(
    rf"(?P<latex>{_FRACTION})"
    rf"|(?:(?<![\w.)])\.)?[0-9]+(?:(?:{_SEPARATOR}|[./])[0-9]+)*(?:[eE][-+−]?[0-9]+(?!\w))?"
)
_INTEGER = rf"(?:[1-9][0-9]{{0,2}}(?:{_SEPARATOR}[0-9]{{3}})+|[0-9]+)"
_NUMBER = re.compile(rf"{_INTEGER}/{_INTEGER}|(?:{_INTEGER}(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+−]?[0-9]+)?")
_PLAIN = re.compile(r"[0-9.]+(?:[eE][-+−]?[0-9]+)?")
_ATTACHED = re.compile(r"(?:[A-Za-z]|(?:\^|\w_)\{?[-−]?)\Z")
_MINUS = re.compile(
    r"(?:(?:\A|[^\w\s)\]}%.−–-]|(?:\A|\n|[^0-9\s)\]}%])[ \t]+|\n)(?P<tight>[-−–][$€£¥₹\\]{0,3})"
    r"|=[ ]{0,3}(?P<loose>[-−–][ ]{1,3}[$€£¥₹\\]{0,3}))\Z"
)

_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]*[*$€£¥₹\\(]*(?=[-−–$€£¥₹\\.]*[0-9])(?![0-9]+[.)][ \t]+[A-Za-z])")
_BOX = re.compile(r"\\(?:boxed|fbox)(?:\s*(?P<brace>\{)|[ \t]+(?P<bare>[^\s${}\\]+))")
_IS = r"(?:\b(?:is|(?:would|should|must|will)\s+be)\b(?!\s+not\b)|[:=])"
_GAP = r"(?!\s+(?:choices|options)\b)[^.:=\n0-9]{0,60}?"
_PHRASE = re.compile(rf"\banswer\b{_GAP}{_IS}|\bfinal\s+answer[*_# ]{{0,6}}\n", re.IGNORECASE)
_SENTENCE_END = re.compile(
    r"\n|(?<!\b[A-Z])(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bSt)[.!?](?=[\s\"'”*_)}$]|\Z)|[。！？]"
)
_CLAUSE_END = re.compile(r"[,;](?![0-9])|(?<=\w)\s\(|\b(?:because|since|as|where)\b")
_LEAD = re.compile(
    r"(?:[\s*_`\"'“(\[{$€£¥₹\\:=~≈>]|(?:about|approximately|around|exactly|equal to|a total of|therefore|thus"
    r"|simply|just|text)\b|[A-Za-z]\s?=)*"
)
_MATHS = re.compile(
    r"[^$\\0-9]{0,60}(?:\$\$([^$]{1,400})\$\$|\$(?!\s)([^$\n]{1,400})(?<!\s)\$(?![0-9])"
    r"|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\])",
    re.DOTALL,
)
_WORD = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[぀-ヿ㐀-鿿]|[^\W぀-ヿ㐀-鿿]+|[^\w\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAnswer:
    """A final answer and where it stands: `FoundAnswer(answer="1234", chars=Span(start=4, end=9))`."""

    answer: str
    """Normalised: a number without thousands separators, the inside of a box, the label of a choice."""
    chars: Span
    """The characters of the completion that write it, and no others."""


def find(completion: str, kind: AnswerKind, labels: Sequence[str] = LABELS) -> FoundAnswer | None:
    """Read the final answer off the completion; the module's docstring says how, kind by kind.

    Args:
        completion: the text the model wrote, without special tokens.
        kind: what the answer looks like.
        labels: of the options, for choice and auto.

    Raises:
        SettingsError: if `labels` is empty.
    """
    match kind:
        case "number":
            return _find_number(completion)
        case "latex":
            return _find_latex(completion)
        case "choice":
            return _find_choice(completion, labels)
        case "text":
            return _find_text(completion)
        case "auto":
            return _find_auto(completion, labels)


def probe_prompt(kind: AnswerKind, labels: Sequence[str] = LABELS) -> str:
    """Return what to append to a completion so that the model repeats its answer (strings of RLSF's code)."""
    match kind:
        case "number":
            return "So the answer as a number is"
        case "choice":
            return f"Available options are: {', '.join(labels)}. So the correct option is"
        case "auto" | "latex" | "text":
            return "So the answer is"


def locate(probe: str, completion: str, kind: AnswerKind, labels: Sequence[str] = LABELS) -> FoundAnswer | None:
    """Read the answer off the reply to `probe_prompt` and find it in the completion.

    Of the reply, which goes on to its limit of tokens, only the first sentence or line counts. A number is
    read from it by the rule of `find` (RLSF's code takes the last number of the reply, wrong where it rambles),
    a choice is its first label, any other answer is the sentence itself. It is located where it stands last, on
    word and number boundaries; numbers match by value, labels by the rule of `find`. An answer of kind auto,
    latex or text that does not stand in the completion is located at the last of the longest runs of whole
    words that the two share (RLSF: longest common block of tokens).

    Args:
        probe: what the model wrote after `probe_prompt`.
        completion: the trace in which the answer is looked for.
        kind: what the answer looks like.
        labels: of the options, for choice and auto.

    Returns:
        The answer as replied, with its characters in the completion; None where it does not stand there.

    Raises:
        SettingsError: if `labels` is empty.
    """
    start, stop = _trim(probe, *_statement(probe, 0))
    if kind == "choice":
        return _locate_choice(probe, completion, labels)
    if kind == "number":
        return _locate_number(probe, (start, stop), completion)
    if kind != "text":
        boxes = _boxes(probe[:stop])
        start, stop = boxes[0] if boxes else _trim_maths(probe, start, stop)
    reply = probe[start:stop]
    if kind == "auto" and reply.strip("() ") in labels:
        found = _locate_choice(reply, completion, labels)
    else:
        found = _locate_whole(reply, completion)
    if found is None and kind != "text":
        found = _locate_number(probe, (start, stop), completion)
    if found is not None:
        return found
    block = _common_block(reply, completion)
    return block and _found(completion, block, reply)


def token_span(chars: Span, token_ends: Sequence[int]) -> Span | None:
    """Map characters to the tokens that write at least one of them, in O(log C).

    Tokens that write nothing (special tokens, first bytes of a character) are never at the edges of the span.

    Args:
        chars: a range of characters of the completion.
        token_ends: [C] number of characters written once token t is; non-decreasing.

    Returns:
        The half-open range of tokens; None if no token writes any of the characters.
    """
    if not token_ends or chars.start >= min(chars.end, token_ends[-1]):
        return None
    first = bisect_right(token_ends, chars.start)
    last = bisect_left(token_ends, min(chars.end, token_ends[-1]))
    return Span(start=first, end=last + 1)


def _find_number(text: str) -> FoundAnswer | None:
    numbers = _numbers(text)
    if not numbers:
        return None
    for start, stop in _number_places(text):
        place = _read_number(text, numbers, start, stop)
        if place is not None:
            return _found(text, place, _plain(text, place))
    return _found(text, numbers[-1], _plain(text, numbers[-1]))


def _find_latex(text: str) -> FoundAnswer | None:
    boxes = _boxes(text)
    if boxes:
        return _found(text, boxes[-1])
    for phrase in reversed(list(_PHRASE.finditer(text))):
        maths = _MATHS.match(text, phrase.end())
        if maths and maths.lastindex:
            start, stop = _trim(text, *maths.span(maths.lastindex))
            if start < stop:
                return _found(text, (start, stop))
    return _find_number(text)


def _find_choice(text: str, labels: Sequence[str]) -> FoundAnswer | None:
    stated, apart, _ = _choice_patterns(tuple(labels))
    place = _last_group(stated, text) or _last_group(apart, text)
    return place and _found(text, place)


def _find_text(text: str) -> FoundAnswer | None:
    for phrase in reversed(list(_PHRASE.finditer(text))):
        start, stop = _trim(text, *_statement(text, phrase.end()))
        if start < stop:
            return _found(text, (start, stop), " ".join(text[start:stop].split()))
    return None


def _find_auto(text: str, labels: Sequence[str]) -> FoundAnswer | None:
    if _boxes(text):
        return _find_latex(text)
    if _HASHES.search(text):
        return _find_number(text)
    body = text.rstrip()
    line = body.rfind("\n") + 1
    if body.startswith("####", line) and not body.startswith("#####", line):
        start, stop = _trim(text, line + 4, len(body))
        if start < stop:
            return _found(text, (start, stop))
    stated, _, _ = _choice_patterns(tuple(labels))
    choice, sentence = _last_group(stated, text), _find_text(text)
    if choice and (sentence is None or choice[0] >= sentence.chars.start):
        return _found(text, choice)
    if sentence:
        start, stop = sentence.chars.start, sentence.chars.end
        place = _read_number(text, _numbers(text), start, stop)
        return _found(text, place, _plain(text, place)) if place else sentence
    bracketed = re.compile(rf"\(({'|'.join(map(re.escape, labels))})\)")
    place = _last_group(bracketed, text)
    return _found(text, place) if place else _find_number(text)


def _found(text: str, place: _Range, answer: str | None = None) -> FoundAnswer:
    start, stop = place
    return FoundAnswer(answer=text[start:stop] if answer is None else answer, chars=Span(start=start, end=stop))


def _trim(text: str, start: int, stop: int) -> _Range:
    """Leave white space, markup and closing punctuation out of a range."""
    while start < stop and (text[start].isspace() or text[start] in "*_`\"'“”:>"):
        start += 1
    while stop > start and (text[stop - 1].isspace() or text[stop - 1] in "*_`\"'“”:;,.!?。！？"):
        stop -= 1
    return start, stop


def _statement(text: str, start: int) -> _Range:
    """Return the sentence or line that begins at the first word from `start` on."""
    while start < len(text) and (text[start].isspace() or text[start] in "*_`\"'“:>"):
        start += 1
    limit = min(len(text), start + _WINDOW)
    end = _SENTENCE_END.search(text, start, limit)
    return start, end.start() if end else limit


def _numbers(text: str) -> list[_Range]:
    """Return the range of every number, minus sign included, from left to right."""
    found: list[_Range] = []
    for run in _DIGITS.finditer(text):
        start, stop = run.span()
        if run["latex"] or (run[0].isdigit() and text[max(0, start - 1) : start].isspace()):
            found.append((_with_minus(text, start), stop))
        elif not _ATTACHED.search(text[max(0, start - 4) : start]):
            found.extend((_with_minus(text, start + a), start + b) for a, b in _pieces(run[0]))
    return found


def _pieces(run: str) -> Iterator[_Range]:
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
    before = text[max(0, start - 16) : start]
    minus = _MINUS.search(before) if any(sign in before for sign in "-−–") else None
    return start - len(minus["tight"] or minus["loose"]) if minus else start


def _plain(text: str, place: _Range) -> str:
    """Write the number of a range with digits, ".", "/", "e" and "-" alone."""
    number = re.sub(_FRACTION, lambda f: f"{f[1] or f[3]}/{f[2] or f[4]}", text[slice(*place)])
    number = re.sub(r"[^0-9./eE-]", "", number.replace("−", "-").replace("–", "-"))
    return number.replace("--", "")


def _number_places(text: str) -> Iterator[_Range]:
    """Yield where a final number may be announced, most explicit and latest first."""
    for hashes in reversed(list(_HASHES.finditer(text))):
        line_end = text.find("\n", hashes.end(), hashes.end() + _WINDOW)
        yield hashes.end(), line_end if line_end >= 0 else min(len(text), hashes.end() + _WINDOW)
    yield from reversed(_boxes(text))
    for phrase in reversed(list(_PHRASE.finditer(text))):
        yield _statement(text, phrase.end())


def _read_number(text: str, numbers: list[_Range], start: int, stop: int) -> _Range | None:
    """Choose the number that a statement means; `numbers` are those of the whole text."""
    first, after = bisect_left(numbers, (start, 0)), bisect_left(numbers, (stop, 0))
    if first == after:
        return None
    if not _LEAD.fullmatch(text, start, numbers[first][0]):
        return numbers[after - 1]
    end = numbers[first][1]
    clause = _CLAUSE_END.search(text, end, max(stop, end))
    equals = text.rfind("=", end, clause.start() if clause else stop)
    result = bisect_left(numbers, (equals, 0))
    return numbers[result] if equals >= 0 and result < after else numbers[first]


def _boxes(text: str) -> list[_Range]:
    """Return the inside of every balanced, non-empty box in the order in which they begin."""
    inside: list[_Range] = []
    opened: set[int] = set()
    for box in _BOX.finditer(text):
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
    trimmed = [_trim_maths(text, *place) for place in sorted(inside)]
    return [(start, stop) for start, stop in trimmed if start < stop]


def _trim_maths(text: str, start: int, stop: int) -> _Range:
    """Leave the signs of mathematics out of a range, too."""
    start, stop = _trim(text, start, stop)
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        size = len(opening)
        inside = start + size < stop - size
        if inside and text.startswith(opening, start) and text.startswith(closing, stop - size):
            return _trim(text, start + size, stop - size)
    return start, stop


@lru_cache(maxsize=64)
def _choice_patterns(labels: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a label that is stated, stands apart, is a word; one group of each matches."""
    if not labels:
        raise SettingsError("labels is empty: give the labels of the options, such as ('A', 'B', 'C', 'D')")
    # "A bird" and "I think" are no labels, "A because ..." is one.
    word = r"(?![ \t]+(?!(?:because|since|as|and|or|but|for|which|not|in|is|with|while|due|given|so|by)\b)[a-z])"
    edge = r"(?![\w'’+#-]|\.[0-9]|[ \t]*[=^])"
    ordered = sorted(labels, key=len, reverse=True)
    any_label = "|".join(re.escape(label) for label in ordered)
    label = "|".join(re.escape(x) + edge + (word if x in ("A", "I") else "") for x in ordered)
    # "taller than I." ends in a pronoun.
    loose = "|".join(re.escape(x) for x in ordered if x != "I") or "(?!)"
    text = r"(?:\\(?:text|textbf|mathrm|mathbf)\{[\s(]*)?"
    phrase = rf"(?i:\b(?:answer|option|choice)\b{_GAP}{_IS})"
    stated = re.compile(
        rf"{phrase}[\s*_:(\"'`\[$]*(?:(?i:option|choice|letter)[\s*(\"'`\[]+)?{text}({label})"
        rf"|\\(?:boxed|fbox)\{{[\s(]*{text}((?:{any_label})(?!\w))"
        rf"|(?<!#)####(?!#)[ \t]*[*(]*({label})"
        rf"|(?<!\w)({any_label})\)?\*{{0,2}}\s+is\s+(?:the\s+)?(?:correct|right|best|answer)\b"
    )
    apart = re.compile(
        rf"[*(\"'`\[]({any_label})[*)\"'`\]]"
        rf"|^[ \t]*({any_label})(?:[.)](?=\s)|[ \t]*$)"
        rf"|(?<![\w.'’])({loose})[.)](?=[\s*\"']|\Z)"
        rf"|(?<![\w.'’])({loose})[\s*.)\"']*\Z"
        rf"|\b(?i:option|choice|letter|choose|pick|select)\s+({label})",
        re.MULTILINE,
    )
    return stated, apart, re.compile(rf"(?<![\w'’.+#-])({label})")


def _last_group(pattern: re.Pattern[str], text: str) -> _Range | None:
    """Return where the one group that matched stands in the last match."""
    places = [match.span(match.lastindex or 0) for match in pattern.finditer(text)]
    return places[-1] if places else None


def _locate_number(probe: str, sentence: _Range, completion: str) -> FoundAnswer | None:
    numbers = _numbers(probe)
    if not numbers:
        return None
    answer = _plain(probe, _read_number(probe, numbers, *sentence) or numbers[0])
    value = _value(answer)
    for place in reversed(_numbers(completion)):
        if _value(_plain(completion, place)) == value:
            return _found(completion, place, answer)
    return None


def _value(number: str) -> Fraction | str:
    """Return the exact value of a short number; a long one, or 1/0, stands for itself."""
    _, _, exponent = number.lower().partition("e")
    if len(number) > 200 or len(exponent) > 3:
        return number.lstrip("0")
    try:
        return Fraction(number)
    except ZeroDivisionError:
        return number


def _locate_choice(probe: str, completion: str, labels: Sequence[str]) -> FoundAnswer | None:
    _, _, word = _choice_patterns(tuple(labels))
    replied = word.search(probe)
    if replied is None:
        return None
    label = (replied[1],)
    found = _find_choice(completion, label)
    if found is None:
        place = _last_group(_choice_patterns(label)[2], completion)
        found = place and _found(completion, place)
    return found


def _locate_whole(reply: str, completion: str) -> FoundAnswer | None:
    if not any(char.isalnum() for char in reply):
        return None
    before = r"(?<!\w)(?<![0-9][.,])" if reply[0].isdigit() else r"(?<!\w)" if reply[0].isalpha() else ""
    after = r"(?!\w|[.,][0-9])" if reply[-1].isdigit() else r"(?!\w)" if reply[-1].isalpha() else ""
    words = r"\s+".join(re.escape(word) for word in reply.split())
    place = _last_group(re.compile(f"{before}({words}){after}", re.IGNORECASE), completion)
    return place and _found(completion, place, reply)


def _common_block(reply: str, text: str) -> _Range | None:
    """Return where the longest run of whole words shared with `reply` stands in `text`, the last on ties."""
    positions: dict[str, list[int]] = {}
    for index, word in enumerate(_WORD.finditer(reply)):
        positions.setdefault(word[0].casefold(), []).append(index)
    longest, best = 0, None
    # Runs that end at the previous word of the text: last word in the reply -> (start in the text, letters).
    runs: dict[int, tuple[int, int]] = {}
    for word in _WORD.finditer(text):
        folded, extended = word[0].casefold(), dict[int, tuple[int, int]]()
        for index in positions.get(folded, ()):
            start, letters = runs.get(index - 1, (word.start(), 0))
            start = start if letters else word.start()
            extended[index] = (start, letters + len(folded) if folded[0].isalnum() else letters)
            if folded[0].isalnum() and extended[index][1] >= longest:
                longest, best = extended[index][1], (start, word.end())
        runs = extended
    return best
