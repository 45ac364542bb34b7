import math

import numpy as np
import pytest

from inward import stats
from inward.errors import DataError
from inward.stats import Flips, bootstrap, mcnemar, mean_by_cluster, paired_bootstrap, pass_at_k, proportion, ratio


def per_prompt(values):
    return mean_by_cluster(np.array(values, dtype=float), np.arange(len(values)), len(values))


def test_wilson_interval_of_eight_in_ten_and_of_all():
    estimate = proportion(8, 10)
    assert estimate.value == 0.8
    assert (estimate.low, estimate.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert estimate.n == 10
    everything = proportion(10, 10)  # low = 1 / (1 + z^2/10) = 10 / 13.8415
    assert (everything.low, everything.high) == pytest.approx((10 / 13.841459, 1.0), abs=1e-6)
    nothing = proportion(0, 10)
    assert (nothing.low, nothing.high) == pytest.approx((0.0, 3.841459 / 13.841459), abs=1e-6)


def test_wilson_interval_of_nothing_is_undefined_and_impossible_counts_are_refused():
    assert math.isnan(proportion(0, 0).value) and proportion(0, 0).n == 0
    with pytest.raises(DataError, match="0 <= successes <= n"):
        proportion(3, 2)


def test_pass_at_k_by_hand():
    assert pass_at_k(5, 2, 2) == pytest.approx(1 - 3 / 10)  # 1 - C(3,2) / C(5,2)
    assert pass_at_k(5, 2, 1) == pytest.approx(2 / 5)
    assert pass_at_k(5, 2, 4) == 1.0  # only three are wrong
    assert pass_at_k(5, 0, 5) == 0.0
    # C(999, 500) / C(1000, 500) = 1/2, though either number alone has 300 digits
    assert pass_at_k(1000, 1, 500) == pytest.approx(0.5)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, 2, 6), (5, 2, 0), (5, -1, 1)])
def test_pass_at_k_refuses_what_cannot_be(n, c, k):
    with pytest.raises(DataError, match="1 <= k <= n"):
        pass_at_k(n, c, k)


def test_mean_by_cluster_weighs_whole_prompts():
    # prompt 0 holds 1 and 0, prompt 1 holds 1. Drawn (1,1): 2/3; (2,0): 1/2; (0,2): 1.
    statistic = mean_by_cluster(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 1]), 2)
    assert statistic(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])) == pytest.approx([2 / 3, 1 / 2, 1.0])


def test_ratio_is_nan_where_nothing_was_drawn():
    statistic = ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    values = statistic(np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert values[0] == 0.5 and math.isnan(values[1])


def test_bootstrap_value_is_the_plain_mean_and_the_interval_that_of_a_mean():
    values = np.arange(400) % 2  # mean 0.5, standard error 0.5 / 20 = 0.025, so +- 0.049
    estimate = bootstrap(per_prompt(values), 400)
    assert estimate.value == 0.5 and estimate.n == 400
    assert (estimate.low, estimate.high) == pytest.approx((0.451, 0.549), abs=0.006)


def test_bootstrap_draws_prompts_whole():
    # 100 prompts of 16 equal traces each carry the information of 100 traces, not of 1,600.
    values = np.repeat(np.arange(100) % 2, 16).astype(float)
    clustered = bootstrap(mean_by_cluster(values, np.repeat(np.arange(100), 16), 100), 100)
    single = bootstrap(per_prompt(np.arange(100) % 2), 100)
    assert (clustered.low, clustered.high) == pytest.approx((single.low, single.high))


def test_bootstrap_covers_the_truth_on_clustered_data():
    """About 95 of 100 intervals hold the true mean; ignoring the clusters it would be about 65."""
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        chance = rng.beta(0.5, 0.5, size=60)  # mean 1/2
        right = (rng.random((60, 8)) < chance[:, None]).astype(float)
        statistic = mean_by_cluster(right.ravel(), np.repeat(np.arange(60), 8), 60)
        estimate = bootstrap(statistic, 60, num_resamples=400, seed=trial)
        hits += estimate.low <= 0.5 <= estimate.high
    assert 0.90 <= hits / 200 <= 0.98


def test_bootstrap_is_deterministic_and_its_draws_do_not_depend_on_memory_chunks(monkeypatch):
    values = np.random.default_rng(1).random(30)
    whole = bootstrap(per_prompt(values), 30, num_resamples=200, seed=3)
    monkeypatch.setattr(stats, "MAX_ELEMENTS", 30 * 7)
    chunked = bootstrap(per_prompt(values), 30, num_resamples=200, seed=3)
    assert (whole.low, whole.high) == pytest.approx((chunked.low, chunked.high), abs=1e-12)
    assert bootstrap(per_prompt(values), 30, num_resamples=200, seed=4).low != chunked.low


def test_chunks_are_bounded_and_each_resample_draws_as_many_prompts_as_there_are(monkeypatch):
    monkeypatch.setattr(stats, "MAX_ELEMENTS", 25)
    shapes = []

    def statistic(weights):
        shapes.append(weights.shape)
        assert (weights.sum(axis=1) == 10).all()
        return weights[:, 0]

    bootstrap(statistic, 10, num_resamples=5)
    assert shapes == [(1, 10), (2, 10), (2, 10), (1, 10)]


def test_an_undefined_point_value_leaves_nothing_and_undefined_resamples_are_left_out():
    nothing = bootstrap(ratio(np.zeros(3), np.zeros(3)), 3)
    assert all(math.isnan(v) for v in (nothing.value, nothing.low, nothing.high)) and nothing.n == 3
    # Only prompt 0 has a value, and it is 0.25: resamples without it are undefined.
    estimate = bootstrap(ratio(np.array([1.0, 0.0]), np.array([4.0, 0.0])), 2)
    assert (estimate.value, estimate.low, estimate.high) == (0.25, 0.25, 0.25)


def test_a_statistic_undefined_in_every_resample_is_undefined():
    def only_at_ones(weights):
        return np.where((weights == 1).all(axis=1), 1.0, math.nan)

    # Drawing each of 40 prompts exactly once has probability 40!/40^40 < 1e-16.
    assert math.isnan(bootstrap(only_at_ones, 40, num_resamples=10).value)


def test_the_interval_holds_the_value_where_resampling_only_raises_it():
    def distance_from_uniform(weights):
        return np.abs(weights - 1).mean(axis=1)  # 0 on the data, positive in every resample

    estimate = bootstrap(distance_from_uniform, 50)
    assert estimate.value == estimate.low == 0.0 < estimate.high


def test_paired_bootstrap_uses_the_same_resamples():
    # Prompts differ widely but each improves by exactly 0.1.
    before = np.linspace(0.0, 0.9, 40)
    estimate = paired_bootstrap(per_prompt(before), per_prompt(before + 0.1), 40)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.1, 0.1, 0.1))
    assert estimate.n == 40
    alone = bootstrap(per_prompt(before), 40)
    assert alone.high - alone.low > 0.1


def test_n_can_be_given_where_fewer_prompts_are_behind_a_number():
    assert bootstrap(per_prompt([0.0, 1.0]), 2, n=1).n == 1


def test_mcnemar_exact_by_hand():
    # 1 lost, 5 gained of 6: 2 (C(6,0) + C(6,1)) / 2^6 = 14/64
    assert mcnemar(1, 5) == Flips(lost=1, gained=5, p_value=14 / 64)
    assert mcnemar(5, 1).p_value == 14 / 64
    # 0 and 10: 2/1024; 3 and 3: 2 (1 + 6 + 15 + 20) / 64 = 1.3, at most 1; nothing flipped: 1
    assert (mcnemar(0, 10).p_value, mcnemar(3, 3).p_value, mcnemar(0, 0).p_value) == (2 / 1024, 1.0, 1.0)


def test_mcnemar_of_thousands_neither_overflows_nor_underflows():
    # Binomial(4000, 1/2) has sd sqrt(1000): 1900 lies 99.5 / 31.62 = 3.1464 sd off, whose two tails hold 0.00165
    assert mcnemar(1900, 2100).p_value == pytest.approx(0.00165, abs=2e-5)
    assert mcnemar(0, 5000).p_value == 0.0
    with pytest.raises(DataError, match="0 or more"):
        mcnemar(-1, 2)
