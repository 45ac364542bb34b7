r"""Write answers in one way: white space, signs, LaTeX spacing and style. No mathematics."""

from __future__ import annotations

import re
from functools import lru_cache

from inward.characters import unified

MAX_EXPRESSION = 4_000
"""Most characters of an expression that is looked into; a longer one is only compared as it is written."""

_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+")
_DELIMITER = re.compile(r"\\?\$|(?<!\\)\\[()\[\]]")
_THOUSANDS = re.compile(r"(?<![0-9.])([1-9][0-9]{0,2})((?:(?:\{,\}|,\\!|\\,|['’\u202f\u2009])[0-9]{3})+)(?![0-9])")
_COMMAS = re.compile(r"(?<![0-9.])([1-9][0-9]{0,2})((?:,[0-9]{3})+)(?![0-9])")
_BRACKET = re.compile(r"[(\[]|\\\{|\\lbrace")
_NO_DIGIT = re.compile(r"[^0-9]+")
# What a text must hold for the pattern to be looked for, the pattern, and what is written for it.
_LIGHT = tuple(
    (needle, re.compile(pattern), written)
    for needle, pattern, written in (
        ("\\", r"\\(?:left|right|displaystyle|limits)(?![A-Za-z])\.?", ""),
        ("\\", r"(?<!\\)\\[,;:! ]|\\q?quad(?![A-Za-z])|\\hspace\{[^{}]{0,20}\}", " "),
        ("~", "~", " "),
        ("\\", r"\\(?:text|textrm|mathrm|mbox) ?\{[ ,]*(and|or|to)[ ,]*\}", r" \1 "),
        ("\\", r"\\(?:large|Large|LARGE|huge|Huge|bf|rm|it|boldmath)(?![A-Za-z]) ?", ""),
        ("\\", r"\\(?:underline|boldsymbol|bm|(?:text)?color ?\{\w{1,20}\}) ?\{([^{}]*)\}", r"\1"),
        ("\\", r"(?<=[0-9.])\\(?:bar|dot)(?= ?\{)", r"\\overline"),
        ("\\circ", r"\^ ?\{? ?\\circ ?\}? ?(?:\\(?:text|mathrm) ?\{)? ?([CF])\b\}?", r"°\1"),
        ("frac", r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (
            "frac",
            r"\\frac ?\{ ?\\(?:text|mathrm) ?\{([A-Za-z ]{1,20})\} ?\}"
            r" ?\{ ?\\(?:text|mathrm) ?\{([A-Za-z ]{1,20})\} ?\}",
            r"\\text{\1/\2}",
        ),
        ("frac", r"\\frac ?([0-9]) ?([0-9])", r"\\frac{\1}{\2}"),
        ("frac", r"\\frac ?([0-9]) ?\{", r"\\frac{\1}{"),
        ("frac", r"(\\frac\{[^{}]{1,40}\}) ?([0-9])", r"\1{\2}"),
        ("sqrt", r"\\sqrt ?([0-9])", r"\\sqrt{\1}"),
        ("a", r"^ ?(?:\\approx|about|approximately|approx\.|around)(?![A-Za-z]) ?", ""),
        ("", r"^ ?(?:\\sim(?:eq)?(?![A-Za-z])|[≈≃∼]|roughly(?![A-Za-z])) ?", ""),
        ("\\l", r"\\(?:le|leqslant)(?![A-Za-z])", r"\\leq"),
        ("\\g", r"\\(?:ge|geqslant)(?![A-Za-z])", r"\\geq"),
        ("<=", r"<=", r"\\leq"),
        (">=", r">=", r"\\geq"),
        ("o", r"(?<![A-Za-z\\])(?:infinity|oo)(?![A-Za-z])", r"\\infty"),
        ("nf", r"(?<![A-Za-z\\])(?:inf|infinity|Infinity)(?![A-Za-z])", r"\\infty"),
        ("\\bigcup", r"\\bigcup(?![A-Za-z])", r"\\cup "),
        ("U", r"(?<=[)\]]) ?U ?(?=[(\[])", r"\\cup "),
        ("\\", r"\\varnothing(?![A-Za-z])|\\\{ ?\\\}", r"\\emptyset"),
        ("\\lor", r" ?\\lor(?![A-Za-z]) ?", " or "),
        ("\\land", r" ?\\land(?![A-Za-z]) ?", " and "),
        ("\\colon", r"\\colon(?![A-Za-z]) ?", ":"),
        (" to ", r"^([0-9.]{1,15}) to ([0-9.]{1,15})$", r"\1:\2"),
        ("√", r"√ ?([0-9]+|[A-Za-z])", r"\\sqrt{\1}"),
        ("√", r"√ ?\(([^()]{1,80})\)", r"\\sqrt{\1}"),
        ("sqrt", r"\\?(?<![A-Za-z])sqrt ?\(([^()]{1,80})\)", r"\\sqrt{\1}"),
        ("sqrt", r"(?<![A-Za-z\\])sqrt(?=\{)", r"\\sqrt"),
        ("_", r"_ ?\{ ?\\(max|min) ?\}", r"_{\1}"),
        ("", r"(?<![A-Za-z\\])(?:np\.|math\.)?(?=(?:arc)?(?:sin|cos|tan) ?\(|(?:log|ln|exp) ?\()", r"\\"),
        ("  ", r" +", " "),
    )
)
_SIGNS = str.maketrans(
    {"–": "-", "π": "\\pi ", "，": ",", "≤": "\\leq ", "⩽": "\\leq ", "≥": "\\geq ", "⩾": "\\geq ", "∞": "\\infty ",
     "∪": "\\cup ", "∅": "\\emptyset ", "∨": " or ", "∧": " and ", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ",
     "±": "\\pm ", "≠": "\\neq ", "∈": "\\in "}
)  # fmt: skip
_WRAPPER = re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|operatorname|mbox) ?\{([^{}]*)\}")
_STYLE = (
    (re.compile(r"\^ ?\{? ?\\circ ?\}?|\\degrees?(?![A-Za-z])|°|\\?%"), ""),
    (_WRAPPER, r"\1"),
    (re.compile(r" +"), " "),
    (re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])|[.,;]$"), ""),
)
_LEADING_WORDS = re.compile(
    r"^(?:(?:there (?:is|are|exists?)|it is|it's|they are)(?: (?:a|an|the))?|the|an?|on|in|at) (?=\w)"
)
_NOTHING = re.compile(r"(?:empty|null|void) set|no (?:possible )?solutions?(?: exists?)?|none exists?")
_LABEL = re.compile(r"^\((\w)\)$")
_MATHEMATICS = re.compile(r"[0-9\\^_=+*/<>|{}()\[\]]")
_WORD = re.compile(r"[^\W\d_]{3}|[^\x00-\x7f]|^ ?(?i:no|ok)[ .!]*$")
_NAME = re.compile(r"^[A-Za-z]+$")


def visible(text: str) -> str:
    """Leave out control and direction characters, unify the others, and write every run of white space as one blank."""
    return " ".join(unified(_INVISIBLE.sub("", text)).split())


def folded(text: str) -> str:
    """Leave out case, and punctuation at the ends."""
    return visible(text).casefold().strip(" .,;:!?\"'“”*_`")


def worded(text: str) -> str:
    """Leave out articles and "there is", too; no solution and the empty set are one."""
    words = _LEADING_WORDS.sub("", folded(text))
    return "\\emptyset" if _NOTHING.fullmatch(words) else words


def without_thousands(text: str) -> str:
    """Write 1,234 and 1{,}234 as 1234; commas between brackets, as in (312,123), separate."""
    for separated in (_THOUSANDS,) if _BRACKET.search(text) else (_THOUSANDS, _COMMAS):
        text = separated.sub(lambda match: match[1] + _NO_DIGIT.sub("", match[2]), text)
    return text


@lru_cache(maxsize=1024)
def light(text: str) -> str:
    """Leave out the spacing and the dialects of LaTeX; units, degrees and per cent stay."""
    text = visible(text)
    if not text.isascii():
        text = text.translate(_SIGNS)
    text = without_thousands(_DELIMITER.sub("", text))
    for needle, style, written in _LIGHT:
        if needle in text:
            text = style.sub(written, text)
    return text.strip()


@lru_cache(maxsize=1024)
def plain(text: str) -> str:
    """Leave out degrees, per cent, wrappers of text and superfluous blanks, too."""
    text = light(text)
    for style, written in _STYLE:
        text = style.sub(written, text)
    return text


def unlabelled(text: str) -> str:
    """Write (B) as B."""
    return _LABEL.sub(r"\1", text)


def is_prose(text: str) -> bool:
    """Tell words from algebra, in which "listen" would equal "silent"."""
    return not _MATHEMATICS.search(text) and _WORD.search(text) is not None
