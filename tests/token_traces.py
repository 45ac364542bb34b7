"""Traces and pairs that are token ids alone, for trainings: all of the prompt `PROMPT` unless told otherwise."""

from collections.abc import Sequence

from inward.types import FinishReason, PreferencePair, Prompt, Source, Trace

PROMPT = (1, 5, 4)


def trace(ids: Sequence[int], prompt: Sequence[int] = PROMPT, *, index: int = 0) -> Trace:
    """A trace that ended by itself, without signals."""
    return Trace(
        prompt_id="q",
        index=index,
        source=Source.SAMPLE,
        prompt_ids=tuple(prompt),
        completion_ids=tuple(ids),
        completion="",
        token_ends=(0,) * len(ids),
        finish_reason=FinishReason.STOP,
        policy="m",
    )


def pair(chosen: Sequence[int], rejected: Sequence[int], gap: float = 0.5) -> PreferencePair:
    """A pair of two completions without answers."""
    return PreferencePair(
        prompt=Prompt(id="q", text="?"),
        chosen=trace(chosen),
        rejected=trace(rejected, index=1),
        chosen_answer=None,
        rejected_answer=None,
        gap=gap,
    )
