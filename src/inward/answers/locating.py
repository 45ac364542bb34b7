"""Find in a completion the answer that the model gave when asked for it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from inward.answers.numbers import all_numbers, number_value, plain, read_number
from inward.answers.places import (
    LABELS,
    WORD,
    FoundAnswer,
    Range,
    all_boxes,
    answer_at,
    choice_patterns,
    last_group,
    statement,
    trim,
    trim_maths,
)
from inward.answers.reading import find_choice
from inward.types import AnswerKind


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
    start, stop = trim(probe, *statement(probe, 0))
    if kind == "choice":
        return _locate_choice(probe, completion, labels)
    if kind == "number":
        return _locate_number(probe, (start, stop), completion)
    if kind != "text":
        boxes = all_boxes(probe[:stop])
        start, stop = boxes[0] if boxes else trim_maths(probe, start, stop)
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
    return block and dataclasses.replace(answer_at(completion, block, reply), partial=True)


def earliest(found: FoundAnswer, completion: str, kind: AnswerKind) -> FoundAnswer:
    """Move a found answer to where the same answer stands first in the completion (RLSF's code on ties).

    Numbers match by value, anything else as it is written, on word and number boundaries. An answer that is itself part
    of a word, as in _0, stays where it is.
    """
    written = completion[found.chars.start : found.chars.end]
    whole = (0, len(found.answer))
    if kind != "text" and all_numbers(found.answer) == [whole]:
        value = number_value(plain(found.answer, whole))
        for place in all_numbers(completion[: found.chars.start]):
            if number_value(plain(completion, place)) == value:
                return answer_at(completion, place, found.answer)
    first = _whole(written).search(completion)
    if first is None or first.start(1) > found.chars.start:
        return found
    return answer_at(completion, first.span(1), found.answer)


def _locate_number(probe: str, sentence: Range, completion: str) -> FoundAnswer | None:
    numbers = all_numbers(probe)
    if not numbers:
        return None
    answer = plain(probe, read_number(probe, numbers, *sentence) or numbers[0])
    value = number_value(answer)
    for place in reversed(all_numbers(completion)):
        if number_value(plain(completion, place)) == value:
            return answer_at(completion, place, answer)
    return None


def _locate_choice(probe: str, completion: str, labels: Sequence[str]) -> FoundAnswer | None:
    _, _, word = choice_patterns(tuple(labels))
    replied = word.search(probe)
    if replied is None:
        return None
    label = (replied[1],)
    found = find_choice(completion, label)
    if found is None:
        place = last_group(choice_patterns(label)[2], completion)
        found = place and answer_at(completion, place)
    return found


def _locate_whole(reply: str, completion: str) -> FoundAnswer | None:
    if not any(char.isalnum() for char in reply):
        return None
    place = last_group(_whole(reply), completion)
    return place and answer_at(completion, place, reply)


def _whole(text: str) -> re.Pattern[str]:
    """A pattern whose one group is the text on word and number boundaries, whatever its case and white space."""
    before = r"(?<!\w)(?<![0-9][.,])" if text[0].isdigit() else r"(?<!\w)" if text[0].isalpha() else ""
    after = r"(?!\w|[.,][0-9])" if text[-1].isdigit() else r"(?!\w)" if text[-1].isalpha() else ""
    words = r"\s+".join(re.escape(word) for word in text.split())
    return re.compile(f"{before}({words}){after}", re.IGNORECASE)


def _common_block(reply: str, text: str) -> Range | None:
    """Return where the longest run of whole words shared with `reply` stands in `text`, the last on ties."""
    positions: dict[str, list[int]] = {}
    for index, word in enumerate(WORD.finditer(reply)):
        positions.setdefault(word[0].casefold(), []).append(index)
    longest, best = 0, None
    # Runs that end at the previous word of the text: last word in the reply -> (start in the text, letters).
    runs: dict[int, tuple[int, int]] = {}
    for word in WORD.finditer(text):
        folded, extended = word[0].casefold(), dict[int, tuple[int, int]]()
        for index in positions.get(folded, ()):
            start, letters = runs.get(index - 1, (word.start(), 0))
            start = start if letters else word.start()
            extended[index] = (start, letters + len(folded) if folded[0].isalnum() else letters)
            if folded[0].isalnum() and extended[index][1] >= longest:
                longest, best = extended[index][1], (start, word.end())
        runs = extended
    return best
