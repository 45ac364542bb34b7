import math

import pytest
import torch

from inward.batch import collate, span_mask, spread
from inward.confidence import CERTAINTY, CONFIDENCE, OPTION_CONFIDENCE
from inward.errors import SettingsError
from inward.settings.measures import CERTAINTIES, MEASURES, OPTION_MEASURES, check_confidence
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


def test_the_names_that_settings_know_are_those_of_the_functions():
    assert (*CONFIDENCE,) == MEASURES
    assert (*OPTION_CONFIDENCE,) == OPTION_MEASURES
    assert (*CERTAINTY,) == CERTAINTIES


def test_a_measure_put_beside_ours_is_known(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SettingsError, match="mine"):
        check_confidence("mine")
    monkeypatch.setitem(CONFIDENCE, "mine", CONFIDENCE["mean_logprob"])
    check_confidence("mine")
