"""What distillation teaches: which answers after which traces."""

import pytest

from inward.methods.distilling import _parts, _samples
from inward.types import FinishReason, ScoredTrace, Source, Span, Trace


def scored(completion, span, prompt=(1, 2)):
    trace = Trace(
        prompt_id="q",
        index=0,
        source=Source.SAMPLE,
        prompt_ids=prompt,
        completion_ids=completion,
        completion="",
        token_ends=(0,) * len(completion),
        finish_reason=FinishReason.STOP,
        policy="m",
    )
    return ScoredTrace(trace=trace, answer=None, answer_chars=None, answer_tokens=span, measures={})


GREEDY = scored((5, 6, 7, 9), Span(start=1, end=3))
"""Working 5, answer 6 7, end 9."""
VOTES = (
    scored((4, 4, 8, 9), Span(start=2, end=3)),
    scored((4, 4, 4), None),
    scored((6, 7, 9), Span(start=0, end=2)),
)
"""Answers 8, none, 6 7."""


def test_votes_teach_the_greedy_trace_with_the_answer_of_every_sample_that_has_one():
    made = _samples([[_parts(one) for one in (GREEDY, *VOTES)]], "votes")
    assert made.completion_ids == [(5, 8, 9), (5, 6, 7, 9)]
    assert made.prompt_ids == [(1, 2)] * 2


def test_samples_teach_themselves():
    made = _samples([[_parts(one) for one in (GREEDY, *VOTES)]], "samples")
    assert made.completion_ids == [one.trace.completion_ids for one in VOTES]


@pytest.mark.parametrize("group", [(scored((5, 9), None), *VOTES), (GREEDY, VOTES[1])])
def test_without_a_greedy_answer_or_an_answered_vote_votes_teach_nothing(group):
    assert _samples([[_parts(one) for one in group]], "votes").completion_ids == []


def test_groups_are_taught_one_after_the_other():
    other = (scored((3, 3), Span(start=0, end=1), (7,)), scored((8, 3), Span(start=0, end=1), (7,)))
    made = _samples([[_parts(one) for one in group] for group in ((GREEDY, VOTES[0]), other)], "votes")
    assert made.completion_ids == [(5, 8, 9), (8, 3)]
    assert made.prompt_ids == [(1, 2), (7,)]
    assert len(made.answer_share) == 2
