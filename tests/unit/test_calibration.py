import math
from functools import partial

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

from inward import calibration
from inward.calibration import (
    area_under_risk_coverage,
    auroc,
    auroc_statistic,
    brier,
    brier_statistic,
    ece,
    ece_statistic,
    equal_mass_bins,
    equal_width_bins,
    reliability_bins,
    risk_coverage,
    selective_accuracy,
    selective_accuracy_statistic,
)
from inward.errors import DataError
from inward.stats import bootstrap

CONFIDENCE = np.array([0.05, 0.95, 0.91, 0.55])
CORRECT = np.array([False, True, False, True])


@pytest.fixture
def answers():
    """5,120 answers of 320 prompts, with ties and with confidence 0."""
    rng = np.random.default_rng(0)
    confidence = np.round(rng.random(5120), 2)
    return confidence, rng.random(5120) < confidence**2, np.repeat(np.arange(320), 16)


def test_ece_of_four_answers_by_hand():
    # bin (0, .1]: |0 - .05| * 1; bin (.5, .6]: |1 - .55| * 1; bin (.9, 1]: |.5 - .93| * 2
    assert ece(CONFIDENCE, CORRECT) == pytest.approx((0.05 + 0.45 + 2 * 0.43) / 4)


def test_equal_mass_ece_of_four_answers_by_hand():
    # sorted: .05 wrong, .55 right | .91 wrong, .95 right: |.5 - .3| and |.5 - .93|, half each
    value = ece(CONFIDENCE, CORRECT, num_bins=2, binning=equal_mass_bins)
    assert value == pytest.approx((0.2 + 0.43) / 2)


def test_brier_of_four_answers_by_hand():
    assert brier(CONFIDENCE, CORRECT) == pytest.approx((0.05**2 + 0.05**2 + 0.91**2 + 0.45**2) / 4)


def test_auroc_by_hand_with_a_tie():
    # right: .9 and .5; wrong: .5 and .1. Pairs: .9>.5, .9>.1, .5=.5 (half), .5>.1 -> 3.5 of 4
    assert auroc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])) == 3.5 / 4


def test_auroc_is_undefined_when_all_answers_are_right_or_all_are_wrong():
    assert math.isnan(auroc(CONFIDENCE, np.ones(4, dtype=bool)))
    assert math.isnan(auroc(CONFIDENCE, np.zeros(4, dtype=bool)))


def test_bins_hold_their_upper_edge_and_the_first_one_holds_zero():
    edges = np.array([0.0, 0.1, 0.10001, 0.3, 0.6, 0.7, 0.9, 1.0])
    assert equal_width_bins(edges).tolist() == [0, 0, 1, 2, 5, 6, 8, 9]


def test_equal_mass_bins_are_equal_and_keep_ties_together():
    assert equal_mass_bins(np.array([0.1, 0.4, 0.2, 0.3]), 2).tolist() == [0, 1, 0, 1]
    assert np.bincount(equal_mass_bins(np.random.default_rng(0).random(25), 10)).tolist() == [3, 2] * 5
    # all sure: one bin holds them all
    assert equal_mass_bins(np.ones(7), 10).tolist() == [0] * 7


def test_reliability_bins_by_hand():
    bins = reliability_bins(CONFIDENCE, CORRECT)
    assert [b.count for b in bins] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    assert (bins[9].low, bins[9].high) == (0.9, 1.0)
    assert (bins[9].confidence, bins[9].accuracy) == pytest.approx((0.93, 0.5))
    assert math.isnan(bins[1].confidence) and math.isnan(bins[1].accuracy)


def test_risk_coverage_by_hand():
    # surest first: right, wrong, right, wrong
    curve = risk_coverage(CONFIDENCE, CORRECT)
    assert [p.coverage for p in curve] == [0.25, 0.5, 0.75, 1.0]
    assert [p.risk for p in curve] == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert area_under_risk_coverage(CONFIDENCE, CORRECT) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_risk_among_equal_confidences_is_the_expected_one():
    curve = risk_coverage(np.full(4, 0.8), np.array([True, False, False, False]))
    assert [p.risk for p in curve] == pytest.approx([0.75] * 4)


def test_risk_coverage_has_at_most_a_hundred_points_and_ends_at_the_error_rate(answers):
    confidence, correct, _ = answers
    curve = risk_coverage(confidence, correct)
    assert len(curve) == 100
    assert [p.coverage for p in curve] == sorted({p.coverage for p in curve})
    assert curve[-1].coverage == 1.0
    assert curve[-1].risk == pytest.approx(1 - correct.mean())


def test_the_order_of_answers_does_not_matter(answers):
    confidence, correct, _ = answers
    shuffled = np.random.default_rng(1).permutation(confidence.size)
    for measure in (ece, brier, auroc, area_under_risk_coverage):
        assert measure(confidence[shuffled], correct[shuffled]) == pytest.approx(
            measure(confidence, correct), abs=1e-12
        )
    assert ece(confidence[shuffled], correct[shuffled], binning=equal_mass_bins) == pytest.approx(
        ece(confidence, correct, binning=equal_mass_bins), abs=1e-12
    )
    before, after = risk_coverage(confidence, correct), risk_coverage(confidence[shuffled], correct[shuffled])
    assert [p.risk for p in before] == pytest.approx([p.risk for p in after], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torchmetrics(seed):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.beta(3, 1, 700), rng.random(700) < 0.6
    preds, target = torch.tensor(confidence), torch.tensor(correct, dtype=torch.long)
    theirs = binary_calibration_error(preds, target, n_bins=10, norm="l1")
    assert ece(confidence, correct) == pytest.approx(float(theirs), abs=1e-6)
    tied = np.round(confidence, 1)
    assert auroc(tied, correct) == pytest.approx(float(binary_auroc(torch.tensor(tied), target)), abs=1e-6)


def test_auroc_equals_a_count_over_all_pairs(answers):
    confidence, correct = answers[0][:400], answers[1][:400]
    right, wrong = confidence[correct][:, None], confidence[~correct][None, :]
    assert auroc(confidence, correct) == pytest.approx(((right > wrong) + 0.5 * (right == wrong)).mean())


@pytest.mark.parametrize(
    ("coverage", "share"),
    [
        # surest first: .95 right, .91 wrong, .55 right, .05 wrong
        (0.25, 1.0),
        (0.5, 1 / 2),
        (0.75, 2 / 3),
        # 3.2 answers: a fifth of the last one
        (0.8, 2 / 3.2),
        # a tenth of an answer is that answer
        (0.025, 1.0),
        (1.0, 1 / 2),
    ],
)
def test_accuracy_of_the_surest_answers(coverage, share):
    assert selective_accuracy(CONFIDENCE, CORRECT, coverage) == pytest.approx(share)


def test_equal_confidences_are_kept_in_equal_parts():
    # one right at .9, then two of four at .5 of which three are right
    confidence, correct = np.array([0.5, 0.9, 0.5, 0.5, 0.5]), np.array([True, True, False, True, True])
    assert selective_accuracy(confidence, correct, 0.6) == pytest.approx((1 + 2 * 3 / 4) / 3)
    assert selective_accuracy(np.ones(4), CORRECT, 0.8) == pytest.approx(1 / 2)


def test_accuracy_at_a_coverage_is_one_minus_the_risk_there(answers):
    confidence, correct, _ = answers
    for point in risk_coverage(confidence, correct)[9::30]:
        assert selective_accuracy(confidence, correct, point.coverage) == pytest.approx(1 - point.risk)


@pytest.mark.parametrize("coverage", [0.0, 1.1])
def test_a_coverage_is_a_share(coverage):
    with pytest.raises(DataError, match="a coverage of"):
        selective_accuracy(CONFIDENCE, CORRECT, coverage)


@pytest.mark.parametrize(
    "builder",
    [ece_statistic, brier_statistic, auroc_statistic, partial(selective_accuracy_statistic, coverage=0.7)],
)
def test_a_weight_counts_like_repeating_the_prompt(builder, monkeypatch):
    monkeypatch.setattr(calibration, "MAX_ELEMENTS", 80)  # AUROC then takes two resamples at a time
    rng = np.random.default_rng(2)
    confidence, cluster = np.round(rng.random(40), 1), np.repeat(np.arange(8), 5)
    correct = rng.random(40) < confidence
    weights = rng.integers(0, 4, size=(5, 8))
    values = builder(confidence, correct, cluster, 8)(weights.astype(float))
    for row, value in zip(weights, values, strict=True):
        repeated = np.repeat(np.arange(40), row[cluster])
        plain = builder(confidence[repeated], correct[repeated], np.zeros(repeated.size, dtype=int), 1)
        assert value == pytest.approx(plain(np.ones((1, 1)))[0])


def test_auroc_interval_leaves_out_resamples_without_a_wrong_answer():
    confidence, correct = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, True, True, False])
    estimate = bootstrap(auroc_statistic(confidence, correct, np.arange(4), 4), 4)
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)


def test_without_answers_everything_is_undefined():
    none, never = np.zeros(0), np.zeros(0, dtype=bool)
    for measure in (ece, brier, auroc, area_under_risk_coverage):
        assert math.isnan(measure(none, never))
    assert math.isnan(selective_accuracy(none, never, 0.5))
    assert math.isnan(ece(none, never, binning=equal_mass_bins))
    assert risk_coverage(none, never) == ()
    assert [b.count for b in reliability_bins(none, never)] == [0] * 10


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_confidence_outside_the_unit_interval_is_refused(bad):
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        ece(np.array([0.5, bad]), np.array([True, False]))
