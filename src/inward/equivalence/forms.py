r"""Write answers in one way: white space, signs, LaTeX spacing and style. No mathematics."""

from __future__ import annotations

import re

MAX_EXPRESSION = 4_000
"""Most characters of an expression that is looked into; a longer one is only compared as it is written."""

_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+")
_DELIMITER = re.compile(r"\\?\$|(?<!\\)\\[()\[\]]")
_THOUSANDS = re.compile(r"(?<![0-9.])([1-9][0-9]{0,2})((?:(?:\{,\}|,\\!|\\,|[\u202f\u2009])[0-9]{3})+)(?![0-9])")
_COMMAS = re.compile(r"(?<![0-9.])([1-9][0-9]{0,2})((?:,[0-9]{3})+)(?![0-9])")
_BRACKET = re.compile(r"[(\[]|\\\{|\\lbrace")
_NO_DIGIT = re.compile(r"[^0-9]+")
_LIGHT = (
    (re.compile(r"\\(?:left|right|displaystyle|limits)(?![A-Za-z])\.?"), ""),
    (re.compile(r"(?<!\\)\\[,;:! ]|~|\\q?quad(?![A-Za-z])|\\hspace\{[^{}]{0,20}\}"), " "),
    (re.compile(r"\\(?:text|textrm|mathrm|mbox) ?\{[ ,]*(and|or)[ ,]*\}"), r" \1 "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\frac ?([0-9]) ?([0-9])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac ?([0-9]) ?\{"), r"\\frac{\1}{"),
    (re.compile(r"(\\frac\{[^{}]{1,40}\}) ?([0-9])"), r"\1{\2}"),
    (re.compile(r"\\sqrt ?([0-9])"), r"\\sqrt{\1}"),
    (re.compile(r"^ ?(?:\\approx|≈|about|approximately|roughly)(?![A-Za-z]) ?"), ""),
    (re.compile(r"\\(?:le|leqslant)(?![A-Za-z])|≤"), r"\\leq"),
    (re.compile(r"\\(?:ge|geqslant)(?![A-Za-z])|≥"), r"\\geq"),
    (re.compile(r"∞|(?<![A-Za-z\\])(?:inf|infinity|Infinity|oo)(?![A-Za-z])"), r"\\infty"),
    (re.compile(r"∪"), r"\\cup "),
    (re.compile(r"×"), r"\\times "),
    (re.compile(r"·|⋅"), r"\\cdot "),
    (re.compile(r"√ ?([0-9]+|[A-Za-z])"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![A-Za-z\\])sqrt(?=[({])"), r"\\sqrt"),
    (re.compile(r"±"), r"\\pm "),
    (re.compile(r"_ ?\{ ?\\(max|min) ?\}"), r"_{\1}"),
    (re.compile(r"(?<![A-Za-z\\])(?:np\.|math\.)?(?=(?:arc)?(?:sin|cos|tan) ?\(|(?:log|ln|exp) ?\()"), r"\\"),
    (re.compile(r" +"), " "),
)
_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "π": "\\pi ", "％": "%", "，": ",", "²": "^2", "³": "^3", "（": "(", "）": ")", "＄": "$"}
)
_WRAPPER = re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|operatorname|mbox) ?\{([^{}]*)\}")
_STYLE = (
    (re.compile(r"\^ ?\{? ?\\circ ?\}?|\\degrees?(?![A-Za-z])|°|\\?%"), ""),
    (_WRAPPER, r"\1"),
    (re.compile(r" +"), " "),
    (re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])|[.,;]$"), ""),
)
_LABEL = re.compile(r"^\((\w)\)$")
_MATHEMATICS = re.compile(r"[0-9\\^_=+*/<>|{}()\[\]]")
_WORD = re.compile(r"[^\W\d_]{3}|[^\x00-\x7f]")
_NAME = re.compile(r"^[A-Za-z]+$")


def visible(text: str) -> str:
    """Leave out control and direction characters and write every run of white space as one blank."""
    return " ".join(_INVISIBLE.sub("", text).split())


def folded(text: str) -> str:
    """Leave out case, and punctuation at the ends."""
    return visible(text).casefold().strip(" .,;:!?\"'“”*_`")


def without_thousands(text: str) -> str:
    """Write 1,234 and 1{,}234 as 1234; commas between brackets, as in (312,123), separate."""
    for separated in (_THOUSANDS,) if _BRACKET.search(text) else (_THOUSANDS, _COMMAS):
        text = separated.sub(lambda match: match[1] + _NO_DIGIT.sub("", match[2]), text)
    return text


def light(text: str) -> str:
    """Leave out the spacing and the dialects of LaTeX; units, degrees and per cent stay."""
    text = _DELIMITER.sub("", visible(text).translate(_SIGNS))
    text = without_thousands(text)
    for style, plain in _LIGHT:
        text = style.sub(plain, text)
    return text.strip()


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
