"""The controls of the trace explorer, and the empty places that its script fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inward.report.markup import clip, esc
from inward.types import Outcome

KINDS = {
    "gained": "wrong → right",
    "lost": "right → wrong",
    "other": "changed, both wrong",
    "ungraded": "changed, not graded",
    "same": "unchanged",
}
"""What became of the answer to a question, from the first checkpoint to the second; in the order of `changed first`."""
MAX_NAME = 80
_MARKS = {
    Outcome.CORRECT: "✓ right",
    Outcome.INCORRECT: "✕ wrong",
    Outcome.NO_ANSWER: "– no answer",
    Outcome.UNSCORED: "? could not be graded",
}


def controls(answer: str, num_sides: int, names: Sequence[str]) -> str:
    """Write the controls.

    Args:
        answer: What the trace that gives a problem's answer is called.
        num_sides: Number of checkpoints.
        names: Of the runs set against each other; empty for the checkpoints of one run.
    """
    both = num_sides > 1
    whole = "Side by side" if names else "Before and after" if both else "By problem"
    views = [("problems", whole), ("traces", "By trace")] if names else [("traces", "By trace"), ("problems", whole)]
    view = "".join(f'<button type="button" data-view="{key}">{word}</button>' for key, word in views)
    ends = ("A", "B") if names else ("before", "after")
    orders = ({"changed": "changed first"} if both else {}) | {
        "given": "as given", "surest": "surest first", "unsure": "least sure first",
        "longest": "longest first", "shortest": "shortest first",
    }  # fmt: skip
    return (
        f'{_pair(names)}<div class="controls" role="search" aria-label="Filter the traces">'
        f'<div class="views" role="group" aria-label="View">{view}</div>'
        '<label class="find">Search <input type="search" name="find" aria-keyshortcuts="/"></label>'
        f"{_select('side', 'Checkpoint', {'': 'both', '0': ends[0], '1': ends[1]}) if both else ''}"
        f"{_select('source', 'Source', {'': 'all', 'greedy': answer, 'sampled': 'samples'})}"
        f"{_select('sort', 'Order', orders)}{_kinds() if both else ''}{_outcomes()}{_confidence()}"
        '<button type="button" data-clear>Clear filters</button></div>'
    )


def _pair(names: Sequence[str]) -> str:
    """Name the two runs that are compared; of more than two, let any two be picked."""
    if not names:
        return ""
    runs = {str(number): esc(clip(name, MAX_NAME)) for number, name in enumerate(names)}
    picks = f"{_select('a', 'A', runs)}{_select('b', 'B', runs)}" if len(names) > 2 else ""
    return f'<div class="controls pair">{picks}<p class="quiet" data-place="pair"></p></div>'


def _kinds() -> str:
    buttons = "".join(f'<button type="button" data-kind="{key}">{word} <b></b></button>' for key, word in KINDS.items())
    return f'<fieldset class="kinds"><legend>Change of the answer</legend>{buttons}</fieldset>'


def _outcomes() -> str:
    boxes = "".join(
        f'<label><input type="checkbox" name="outcome" value="{outcome}">{mark}</label>'
        for outcome, mark in _MARKS.items()
    )
    return f"<fieldset><legend>Outcome</legend>{boxes}</fieldset>"


def _confidence() -> str:
    ends = "".join(
        f'<label>{name} <input type="number" name="{key}" min="0" max="1" step="any" inputmode="decimal"></label>'
        for key, name in (("low", "from"), ("high", "to"))
    )
    return f'<fieldset><legend>Confidence</legend>{ends}<span class="quiet" data-place="interval"></span></fieldset>'


def _select(name: str, label: str, options: Mapping[str, str]) -> str:
    shown = "".join(f'<option value="{value}">{word}</option>' for value, word in options.items())
    return f'<label>{label} <select name="{name}">{shown}</select></label>'


PLACES = (
    '<p class="count" role="status" aria-live="polite" data-place="count"></p>'
    '<div class="rows" role="listbox" tabindex="0" aria-label="Traces" aria-describedby="explorer-keys">'
    '<div role="presentation"></div></div>'
    '<p class="keys quiet" id="explorer-keys"><kbd>/</kbd> search, <kbd>↑</kbd> <kbd>↓</kbd> move, <kbd>Enter</kbd> '
    "read, then <kbd>←</kbd> <kbd>→</kbd> for other problems and <kbd>Esc</kbd> back; <kbd>Esc</kbd> in the list "
    "clears the filters</p>"
    '<div class="reader" role="region" tabindex="-1" aria-label="The problem"></div>'
)
"""The count, the list, its keys and the reader."""
