r"""Find the final answer of a completion, and the characters and tokens that write it.

Two ways lead to it. `find` reads the completion. `locate` reads what the model replied when asked for its answer
(`probe_prompt`: the elicitation of RLSF, arXiv:2507.21931, and CoT decoding, arXiv:2402.10200) and looks for it in the
completion, since confidence is taken where the answer was worked out, not where it is repeated. Neither sees a gold
answer. Every search is one pass over the text with bounded look-around, so time grows linearly with its length.

Kinds of answer
    number   the last of, in this order of preference: `#### x`, `\boxed{x}`, "answer is x", any number. A place that
             begins with a number means that number, or the result after the last "=" of its clause; else the last
             number of the sentence is meant. Currency, units and per cent are not part of it. Digits written onto a
             letter or an exponent (x2, H2O, m^2) and versions (3.11.2) are no number. "1 1/2", "3 \times 10^5" and
             "5 million" are one. "not 5" is not meant, and "5 or 6" means none. A box with algebra in it,
             `\boxed{2\sqrt{3}}`, is the answer as a whole.
    latex    the last balanced `\boxed{}` or `\fbox{}`; else what follows the last "answer is" where it is mathematics
             alone, or begins with mathematics between signs of its own; else as number, where no mathematics between
             signs stands after that number.
    choice   the label in the last statement ("answer is (B)", `\boxed{B}`, `#### B`, "B is correct"); else the last
             label standing apart ("(B)", "B.", "**B**", "option B", alone on a line, at the very end). Case counts.
             One of several that are offered, "A or B", is not chosen, nor is one that is taken back, "A is wrong".
    text     what follows the last "answer is", to the end of the sentence or line.
    auto     latex if there is a box; else the number after `####`, or the text after it on the last line; else, after
             the last "answer is", a label, or a number, or the text; else the last "(B)"; else the last number.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from inward.answers.locating import earliest, locate, probe_prompt
from inward.answers.places import LABELS, FoundAnswer
from inward.answers.reading import find
from inward.types import AnswerKind, Prompt, Span

__all__ = ["LABELS", "AnswerSettings", "FoundAnswer", "earliest", "find", "locate", "probe_prompt", "token_span"]


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """What a final answer looks like, and when the model is asked for it."""

    kind: AnswerKind = "auto"
    elicit: Literal["missing", "always", "never"] = "missing"
    """`missing`: ask where no answer can be read off the trace. `always`: RLSF's code."""
    partial: bool = True
    """Where the model's reply stands in the trace only in part, take the longest run of words they share as the span
    (RLSF's code); where false, such a trace has no span."""
    strict: bool = False
    """Only an announced answer counts (`####`, a box, "answer is"): no falling back to the last number or label."""
    occurrence: Literal["last", "first"] = "last"
    """Which one is the span where the answer stands in the trace more than once; RLSF's code takes the first."""
    labels: tuple[str, ...] = LABELS
    """Options of multiple-choice questions that do not bring their own."""

    def for_prompt(self, prompt: Prompt) -> AnswerSettings:
        """These settings with the prompt's own options where it has some; an answer of kind auto is then a choice."""
        if not prompt.labels:
            return self
        return dataclasses.replace(self, labels=prompt.labels, kind="choice" if self.kind == "auto" else self.kind)


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
