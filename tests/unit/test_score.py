import dataclasses

import pytest

from inward.answers import AnswerSettings
from inward.errors import DataError, SettingsError
from inward.score import score
from inward.types import (
    FinishReason,
    Prompt,
    SamplingParams,
    Source,
    Span,
    Trace,
    TraceGroup,
    TraceSignals,
)

PARAMS = SamplingParams(
    strategy="sample", group_size=1, num_branches=0, temperature=1.0, top_p=1.0, max_completion_tokens=8, seed=0
)
TEXT = "it is 12."


def trace(**changes):
    """`it is 12.` in five tokens and an end of sequence; the answer is the tokens ` 1` and `2`."""
    made = Trace(
        prompt_id="q",
        index=0,
        source=Source.SAMPLE,
        prompt_ids=(1,),
        completion_ids=(4, 5, 6, 7, 8, 2),
        completion=TEXT,
        token_ends=(2, 5, 7, 8, 9, 9),
        finish_reason=FinishReason.STOP,
        policy="m",
        signals=TraceSignals(
            logprob=(0.0,) * 6,
            entropy=(1.0, 1.0, 1.0, 1.0, 1.0, 4.0),
            self_certainty=(2.0,) * 6,
            disparity=(0.0, 0.0, 0.5, 0.75, 0.0, 1.0),
        ),
    )
    return dataclasses.replace(made, **changes)


def one(made, kind="number"):
    group = TraceGroup(prompt=Prompt(id="q", text="?"), traces=(made,), sampling=PARAMS)
    ((scored,),) = ((g.traces) for g in score([group], AnswerSettings(kind=kind)))
    return scored


def test_answer_span_and_its_disparity():
    scored = one(trace())
    assert scored.answer == "12"
    assert TEXT[scored.answer_chars.start : scored.answer_chars.end] == "12"
    assert scored.answer_tokens == Span(start=2, end=4)
    assert scored.measures["answer_disparity"] == pytest.approx((0.5 + 0.75) / 2)
    assert scored.measures["neg_entropy"] == pytest.approx(-(5 + 4) / 6)


def test_no_span_is_confidence_zero_and_no_answer():
    scored = one(trace(completion="it is so", token_ends=(2, 5, 7, 8, 8, 8)))
    assert (scored.answer, scored.answer_chars, scored.answer_tokens) == (None, None, None)
    assert scored.measures["answer_disparity"] == scored.measures["answer_probability"] == 0.0


def test_what_the_model_answered_when_asked_is_located_in_the_trace():
    text = trace(completion="a red fox ran", token_ends=(1, 5, 9, 13, 13, 13))
    scored = one(dataclasses.replace(text, answer_probe=" red fox."), "text")
    assert scored.answer_tokens == Span(start=1, end=3)
    missed = one(dataclasses.replace(text, answer_probe=" blue whale"), "text")
    assert missed.answer_tokens is None


def test_a_reply_that_stands_in_the_trace_only_in_part_is_marked_and_can_be_left_out():
    text = trace(completion="a red fox ran", token_ends=(1, 5, 9, 13, 13, 13), answer_probe=" red dog.")
    scored = one(text, kind="text")
    assert (scored.answer, scored.answer_tokens, scored.answer_partial) == ("red dog", Span(start=1, end=2), True)
    group = TraceGroup(prompt=Prompt(id="q", text="?"), traces=(text,), sampling=PARAMS)
    (strict,) = next(score([group], AnswerSettings(kind="text", partial=False))).traces
    assert strict.answer_tokens is None


@pytest.mark.parametrize("length", [5, 7])
def test_signals_that_are_not_one_for_each_token_are_refused(length: int):
    broken = dataclasses.replace(trace().signals, entropy=(0.5,) * length)
    with pytest.raises(DataError, match="prompt q, trace 0: its signals are not one for each of its 6 tokens"):
        one(trace(signals=broken))


def test_not_a_number_is_refused_with_the_remedy():
    broken = dataclasses.replace(trace().signals, entropy=(float("nan"),) * 6)
    with pytest.raises(DataError, match=r"prompt q, trace 0: neg_entropy is not finite.*model\.dtype=float32"):
        one(trace(signals=broken))


def test_traces_without_signals_need_a_model():
    with pytest.raises(DataError, match="trace 0 has no signals; give a model"):
        one(trace(signals=None))


def test_unknown_measure():
    with pytest.raises(SettingsError, match="confidence 'luck' is unknown"):
        list(score([], AnswerSettings(), confidence="luck"))
