"""Rewards and advantages of loops that are not ours: numbers by hand, and those of our own path and of TRL's GRPO."""

import math

import pytest
import torch
from torch.testing import assert_close

from inward.advantages import at_last_token, group_advantages, intrinsic, token_entropy, trajectory_entropy
from inward.batch import TokenSignals
from inward.errors import DataError, SettingsError
from inward.train import StepTraces, certainty

ENTROPY = torch.tensor([[1.0, 2.0, 9.0], [0.5, 0.5, 0.5], [4.0, 7.0, 2.0], [8.0, 8.0, 8.0]])
LOGPROB = torch.tensor([[-1.0, -3.0, -9.0], [-0.5, -1.5, -1.0], [-2.0, -7.0, -4.0], [-8.0, -8.0, -8.0]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 1], [0, 0, 0]])
"""Two tokens; three; two around a tool's; none."""


def test_token_entropy_by_hand():
    assert_close(token_entropy(ENTROPY, MASK)[:3], torch.tensor([-1.5, -0.5, -3.0]))
    assert_close(token_entropy(ENTROPY, MASK, length_norm="sum")[:3], torch.tensor([-3.0, -1.5, -6.0]))
    assert math.isnan(token_entropy(ENTROPY, MASK)[3])


def test_trajectory_entropy_by_hand():
    assert_close(trajectory_entropy(LOGPROB, MASK)[:3], torch.tensor([-2.0, -1.0, -3.0]))
    assert_close(trajectory_entropy(LOGPROB, MASK, length_norm="sum")[:3], torch.tensor([-4.0, -3.0, -6.0]))
    assert math.isnan(trajectory_entropy(LOGPROB, MASK)[3])


def test_a_number_for_what_is_masked_changes_nothing():
    for broken in (float("nan"), float("inf"), 1e9):
        entropy = ENTROPY.masked_fill(MASK == 0, broken)
        assert_close(token_entropy(entropy, MASK)[:3], torch.tensor([-1.5, -0.5, -3.0]))


@pytest.mark.parametrize("measure", ["neg_entropy", "mean_logprob"])
def test_rewards_are_those_of_rlif(measure: str):
    mask = MASK[:3].bool()
    zeros = torch.zeros_like(ENTROPY[:3])
    signals = TokenSignals(logprob=LOGPROB[:3], entropy=ENTROPY[:3], self_certainty=zeros, disparity=zeros, mask=mask)
    traces = StepTraces(
        step=0,
        prompt_keys=["a"] * 3,
        prompt_ids=[[1]] * 3,
        completion_ids=[[1]] * 3,
        completions=[""] * 3,
        signals=signals,
    )
    ours = intrinsic(measure, logprob=LOGPROB[:3], entropy=ENTROPY[:3], mask=MASK[:3])
    assert ours.tolist() == pytest.approx(certainty(measure)(traces))


def test_other_rewards_need_more():
    with pytest.raises(SettingsError, match="self_certainty"):
        intrinsic("self_certainty", logprob=LOGPROB, entropy=ENTROPY, mask=MASK)


def test_advantages_by_hand():
    """Group a has 1 and 3: mean 2, standard deviation sqrt(2); b has 5 alone; c is equal throughout."""
    rewards = torch.tensor([1.0, 5.0, 3.0, 7.0, 7.0])
    mask = torch.tensor([[1, 0], [1, 1], [0, 1], [1, 1], [1, 0]])
    made = group_advantages(rewards, ["a", "b", "a", "c", "c"], mask, flat=0.0001)
    one = 1 / (math.sqrt(2) + 0.0001)
    assert_close(made, torch.tensor([[-one, 0.0], [0.0, 0.0], [0.0, one], [0.0, 0.0], [0.0, 0.0]]))
    plain = group_advantages(rewards, ["a", "b", "a", "c", "c"], mask, scale=False)
    assert_close(plain, torch.tensor([[-1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]))


def test_a_trace_without_a_reward_has_no_part_in_its_group():
    rewards = torch.tensor([1.0, math.nan, 3.0])
    made = group_advantages(rewards, [7, 7, 7], torch.ones(3, 1), flat=0.0)
    assert_close(made[:, 0], torch.tensor([-1.0, 0.0, 1.0]) / math.sqrt(2))


def test_scores_stand_at_the_last_token_that_the_policy_wrote():
    made = at_last_token(torch.tensor([-1.5, -0.5, -3.0, math.nan]), MASK)
    assert_close(made, torch.tensor([[0.0, -1.5, 0.0], [0.0, 0.0, -0.5], [0.0, 0.0, -3.0], [0.0, 0.0, 0.0]]))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"entropy has the shape \(4, 2\) and the mask \(4, 3\)"):
        token_entropy(ENTROPY[:, :2], MASK)
    with pytest.raises(DataError, match="4 rewards, 1 groups and 4 rows"):
        group_advantages(torch.zeros(4), ["a"], MASK)
