import math

import pytest
import torch

from inward.batch import collate, span_mask, spread
from inward.confidence import CONFIDENCE
from inward.types import Span, TraceSignals

LONG = TraceSignals(
    logprob=(math.log(0.5), math.log(0.25), math.log(0.75)),
    entropy=(1.0, 2.0, 3.0),
    self_certainty=(0.5, 1.0, 3.0),
    disparity=(0.25, -0.25, 0.75),
)
SHORT = TraceSignals(logprob=(math.log(0.5),), entropy=(4.0,), self_certainty=(2.0,), disparity=(0.5,))


def test_measures_worked_by_hand():
    """The answer of the first trace is its tokens 1 and 2; the second has no answer span."""
    signals = collate([LONG, SHORT])
    answer = span_mask([Span(start=1, end=3), None], 3)
    values = {name: measure(signals, answer).tolist() for name, measure in CONFIDENCE.items()}
    assert values["answer_disparity"] == pytest.approx([(-0.25 + 0.75) / 2, 0.0])
    assert values["answer_probability"] == pytest.approx([(0.25 + 0.75) / 2, 0.0])
    assert values["mean_logprob"] == pytest.approx([math.log(0.5 * 0.25 * 0.75) / 3, math.log(0.5)])
    assert values["neg_entropy"] == pytest.approx([-2.0, -4.0])
    assert values["self_certainty"] == pytest.approx([1.5, 2.0])


def test_padding_changes_nothing():
    alone, padded = collate([SHORT]), collate([SHORT, LONG])
    for measure in CONFIDENCE.values():
        one = measure(alone, span_mask([Span(start=0, end=1)], 1))[0]
        assert one == measure(padded, span_mask([Span(start=0, end=1), None], 3))[0]


def test_an_empty_completion_has_no_mean():
    empty = TraceSignals(logprob=(), entropy=(), self_certainty=(), disparity=())
    signals, answer = collate([empty, SHORT]), span_mask([None, None], 1)
    assert CONFIDENCE["answer_disparity"](signals, answer)[0] == 0
    assert torch.isnan(CONFIDENCE["mean_logprob"](signals, answer)[0])


def test_spread_undoes_collate():
    short, long = spread(collate([SHORT, LONG]))
    assert short.disparity == SHORT.disparity
    assert long.entropy == LONG.entropy
