"""Read the choice of a completion: by its label, by the text of the option, or by both."""

from __future__ import annotations

import re
from collections.abc import Mapping

from inward.answers import find
from inward.answers.places import WRAPPED, all_boxes
from inward.equivalence import exact
from inward.equivalence.forms import folded, visible

_OPTION = re.compile(r"(?:^|\n|(?<=\s))\(?([A-J])[).:]\s*(\S[^\n]{0,400}?)(?=\s+\(?[A-J][).:]\s|\n|\Z)")
_LABELLED = re.compile(r"\(?(\w{1,2})(?:[).:]|\s+-)\s+(.*)", re.DOTALL)
_DENIED = re.compile(r" (?:not|t|nor|neither|never|cannot|unlike)(?: (?:be|the|a|an|in|it|is|s)){0,3} (\w+)(?= )")
_FIRST_WORDS = re.compile(r"^(?:(?:it|they|he|she|this|that|there|we|a|an|the) )+(?=\w)")
# A number keeps its sign.
_WORD = re.compile(r"(?:(?<![\w)\]}] )(?<![\w)\]}])-(?=[0-9.]))?\w+")
_MAX_QUESTION = 20_000
_MAX_BARE = 300


def options_in(question: str) -> dict[str, str]:
    """Options that stand in the question, "(A) ... (B) ..." or one a line; none unless they are in order from A on."""
    found = {label: text.strip() for label, text in _OPTION.findall(question[-_MAX_QUESTION:])}
    return found if len(found) > 1 and "".join(found) == "ABCDEFGHIJ"[: len(found)] else {}


def bare_label(text: str) -> str:
    """The text without the brackets and markup of a label."""
    return visible(WRAPPED.sub(r"\1", text)).strip(" ()[]{}*.:,$")


def label_of(text: str, options: Mapping[str, str]) -> str | None:
    """The option that a short text names, by label, by its text, or by both."""
    bare = bare_label(text)
    if bare in options:
        return bare
    wanted = folded(WRAPPED.sub(r"\1", text))
    named = [label for label, option in options.items() if option and _same_text(wanted, option)]
    if not named and not _LABELLED.fullmatch(text.strip()):
        named = [label for label, option in options.items() if option and _bare_words(wanted) == _bare_words(option)]
    if len(named) == 1:
        return named[0]
    both = _LABELLED.fullmatch(WRAPPED.sub(r"\1", text).strip())
    if both and both[1] in options and _same_text(folded(both[2]), options[both[1]]):
        return both[1]
    capital = [label for label in options if label.casefold() == bare.casefold()]
    return capital[0] if len(capital) == 1 else None


def _same_text(text: str, option: str) -> bool:
    if text == folded(option):
        return True
    left, right = exact.read(text, words=True), exact.read(option, words=True)
    return left is not None and right is not None and exact.equal(left, right)


def choice(prediction: str, options: Mapping[str, str], *, strict: bool) -> str | None:
    """The label of the option that a completion chooses; None where it chooses none, or leaves it open."""
    labels = tuple(options)
    named = label_of(prediction, options) if len(prediction) <= _MAX_BARE else None
    boxes = all_boxes(prediction)
    if named is None and boxes:
        named = label_of(prediction[slice(*boxes[-1])], options)
    if named is not None:
        return named
    found = find(prediction, "choice", labels, strict=True)
    if found:
        return found.answer
    stated = find(prediction, "text")
    if stated and len(stated.answer) <= _MAX_BARE:
        named = label_of(stated.answer, options)
        if named is not None:
            return named
    if strict:
        return None
    found = find(prediction, "choice", labels)
    return found.answer if found else _mentioned(prediction, options)


def _bare_words(text: str) -> str:
    """Without what a sentence may begin with: "It stays the same" and "stays the same"."""
    return _FIRST_WORDS.sub("", _words(text).strip())


def _mentioned(prediction: str, options: Mapping[str, str]) -> str | None:
    """The one option whose text stands in the completion and is not denied there."""
    words = _DENIED.sub(r" \1_ ", _words(prediction))
    there = [label for label, text in options.items() if _bare_words(text) and f" {_bare_words(text)} " in words]
    return there[0] if len(there) == 1 else None


def _words(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.casefold()))} "
