"""How well scores tell a problem's right samples from its wrong ones, by hand."""

import math

import pytest

from inward.errors import DataError
from inward.evaluate import confidence_rankings, ranking
from inward.types import EvalItem, JudgedTrace, Outcome

OUTCOMES = {"+": Outcome.CORRECT, "-": Outcome.INCORRECT, "0": Outcome.NO_ANSWER, "?": Outcome.UNSCORED}


def item(prompt_id: str, outcomes: str, probabilities: tuple[float, ...] = (), **further: float) -> EvalItem:
    """A problem with a sample for each sign: right, wrong, without an answer, undecided."""
    samples = tuple(
        JudgedTrace(
            index=i, answer="1", canonical="1", outcome=OUTCOMES[sign], lenient=OUTCOMES[sign],
            probability=probabilities[i] if probabilities else 0.5, disparity=0.0, confidences=further,
            has_span=True, entropy=0.0, logprob=-1.0, length=2, truncated=False,
        )
        for i, sign in enumerate(outcomes)
    )  # fmt: skip
    return EvalItem(
        prompt_id=prompt_id, gold="1", greedy=samples[0], tokens=2, samples=samples, majority=None,
        majority_outcome=Outcome.NO_ANSWER,
    )  # fmt: skip


def sigmoid(gap: float) -> float:
    return 1 / (1 + math.exp(-gap))


def test_pairs_of_one_problem_are_ranked_and_no_others():
    """a: + 2, - 1, 0 2: one pair won, one tied. b: - 5, + 1: lost. c has no wrong sample. 1.5 of 3 pairs."""
    items = [item("a", "+-0"), item("b", "-+"), item("c", "++")]
    found = ranking(items, {"a": [2.0, 1.0, 2.0], "b": [5.0, 1.0], "c": [9.0, 9.0]}, "reward_model")
    assert found.accuracy.value == pytest.approx(1.5 / 3)
    assert (found.score, found.num_pairs, found.num_problems) == ("reward_model", 3, 2)
    assert found.accuracy.n == 2
    # a by itself 3/4, b by itself 0
    assert (found.accuracy.low, found.accuracy.high) == (0.0, 0.75)


def test_the_sigmoid_of_the_difference_is_held_against_the_outcome():
    """Differences 1 (won), 0 (tied) and 4 (lost): sure by .731, .5 and .982; the tie is right half the time."""
    found = ranking([item("a", "+-0"), item("b", "-+")], {"a": [2.0, 1.0, 2.0], "b": [5.0, 1.0]}, "r")
    assert found.ece.value == pytest.approx(((1 - sigmoid(1)) + 0 + sigmoid(4)) / 3)
    assert found.brier.value == pytest.approx(((1 - sigmoid(1)) ** 2 + 0.25 + sigmoid(4) ** 2) / 3)


def test_a_score_that_knows_is_always_right_and_one_that_says_nothing_half_the_time():
    items = [item(name, "++--") for name in "abc"]
    knows = ranking(items, {name: [9.0, 9.0, -9.0, -9.0] for name in "abc"}, "r")
    same = ranking(items, {name: [1.0] * 4 for name in "abc"}, "r")
    assert (knows.accuracy.value, knows.accuracy.low) == (1.0, 1.0)
    assert knows.ece.value == pytest.approx(1 - sigmoid(18))
    assert (same.accuracy.value, same.ece.value, same.brier.value) == (0.5, 0.0, 0.25)


def test_undecided_samples_are_in_no_pair():
    found = ranking([item("a", "+?-")], {"a": [1.0, 9.0, 0.0]}, "r")
    assert (found.accuracy.value, found.num_pairs) == (1.0, 1)


def test_without_a_pair_nothing_is_known():
    found = ranking([item("a", "++")], {"a": [1.0, 2.0]}, "r")
    assert math.isnan(found.accuracy.value) and math.isnan(found.ece.value) and math.isnan(found.brier.value)
    assert (found.num_pairs, found.num_problems) == (0, 0)


def test_the_measures_of_the_samples_are_ranked_alike():
    """a: .9 right over .2 wrong. b: .4 right under .8 wrong. Votes tie: half."""
    items = [item("a", "+-", (0.9, 0.2), vote_share=0.5), item("b", "+-", (0.4, 0.8), vote_share=0.5)]
    found = {one.score: one for one in confidence_rankings(items)}
    assert list(found) == ["answer_probability", "answer_disparity", "vote_share"]
    assert found["answer_probability"].accuracy.value == found["vote_share"].accuracy.value == 0.5
    # .67 and right, .60 and wrong, in bins of their own
    assert found["answer_probability"].ece.value == pytest.approx((1 - sigmoid(0.7) + sigmoid(0.4)) / 2)


def test_measures_that_a_sample_lacks_are_left_out():
    items = [item("a", "+-", vote_share=0.5), item("b", "+-")]
    assert [one.score for one in confidence_rankings(items)] == ["answer_probability", "answer_disparity"]
    assert [one.score for one in confidence_rankings([item("a", "+-", (math.nan, 0.5))])] == ["answer_disparity"]


@pytest.mark.parametrize("scores", [{}, {"a": [1.0]}, {"a": [1.0, math.nan]}, {"a": [1.0, math.inf]}])
def test_every_sample_needs_a_finite_score(scores: dict[str, list[float]]):
    with pytest.raises(DataError, match="one finite score per sample"):
        ranking([item("a", "+-")], scores, "r")


def test_there_must_be_problems():
    with pytest.raises(DataError, match="evaluate at least one"):
        ranking([], {}, "r")
