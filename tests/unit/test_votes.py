"""Votes as rewards, worked by hand: who votes, what is one vote, and what ties, silence and discord give."""

import pytest
import torch

from inward.answers import AnswerSettings
from inward.batch import TokenSignals
from inward.errors import DataError
from inward.train import Reward, StepTraces, co_rewarding, majority_vote, soft_vote

NUMBER = AnswerSettings(kind="number", strict=True)


def step(*said: tuple[str, str]) -> StepTraces:
    """Traces of (prompt key, completion); no signal takes part in a vote."""
    keys, completions = zip(*said, strict=True)
    nothing = torch.zeros(len(said), 0)
    return StepTraces(
        step=0,
        prompt_keys=keys,
        prompt_ids=[[1]] * len(said),
        completion_ids=[[2]] * len(said),
        completions=completions,
        signals=TokenSignals(
            logprob=nothing, entropy=nothing, self_certainty=nothing, disparity=nothing, mask=nothing.bool()
        ),
    )


def given(make, *answers: str | None) -> list[float | None]:
    """What a group that gives these answers gets; None is a completion without one."""
    reward: Reward = make(lambda key: NUMBER)
    return list(reward(step(*(("q", "no idea" if one is None else f"so #### {one}") for one in answers))))


def test_the_majority_gets_one_and_all_others_nothing():
    assert given(majority_vote, "3", "4", "3", "5") == [1, 0, 1, 0]


def test_a_trace_without_an_answer_has_no_vote_and_no_reward():
    """Two of five say 3, three say nothing: 3 is the majority of those who answer."""
    assert given(majority_vote, None, "3", None, "3", None) == [0, 1, 0, 1, 0]
    assert given(majority_vote, None, None) == [0, 0]


def test_two_notations_of_a_number_are_one_vote():
    """1/2 and 0.5 outvote 7 and 7.0 together with 0.50: three against two."""
    assert given(majority_vote, "1/2", "7", "0.5", "7.0", "0.50") == [1, 0, 1, 0, 1]
    assert given(soft_vote, "1/2", "7", "0.5", "7.0", "0.50") == [0.6, 0.4, 0.6, 0.4, 0.6]


def test_k_answers_that_tie_get_one_kth_each_whatever_the_order():
    """3 and 4 have two votes each, 5 has one: 1/2, 1/2 and 0."""
    assert given(majority_vote, "3", "4", "5", "4", "3") == [0.5, 0.5, 0, 0.5, 0.5]
    assert given(majority_vote, "4", "3", "5", "3", "4") == [0.5, 0.5, 0, 0.5, 0.5]


def test_a_group_without_agreement_is_a_tie_of_all():
    """Four answers, four votes: 1/4 each, the same for all, so that no advantage is left."""
    assert given(majority_vote, "1", "2", "3", "4") == [0.25] * 4


def test_a_soft_vote_is_the_share_of_the_whole_group():
    """Of eight traces three say 3, two say 4, one says 5, two nothing: 3/8, 2/8, 1/8 and 0."""
    answers = ("3", "4", None, "3", "5", "4", "3", None)
    assert given(soft_vote, *answers) == [0.375, 0.25, 0, 0.375, 0.125, 0.25, 0.375, 0]


def test_soft_votes_that_are_all_different_are_worth_nothing():
    """EMPO: answer entropy log G. With one trace silent it is below log G, and 1/4 for each answer stays."""
    assert given(soft_vote, "1", "2", "3", "4") == [0] * 4
    assert given(soft_vote, "1", "2", "3", None) == [0.25, 0.25, 0.25, 0]


def test_groups_do_not_vote_for_each_other():
    """In a 3 leads, in b 4: whoever says 3 in b gets nothing, though 3 leads over both."""
    traces = step(("a", "#### 3"), ("b", "#### 4"), ("a", "#### 3"), ("b", "#### 4"), ("a", "#### 4"), ("b", "#### 3"))
    assert majority_vote(lambda key: NUMBER)(traces) == [1, 1, 1, 1, 0, 0]


def test_an_answer_is_read_as_its_own_prompt_says():
    kinds = {"a": AnswerSettings(kind="choice", labels=("A", "B")), "b": NUMBER}
    traces = step(("a", "The answer is B."), ("a", "The answer is (B)"), ("a", "#### A"), ("b", "#### 1"))
    assert majority_vote(kinds.__getitem__)(traces) == [1, 1, 0, 1]


def test_the_majority_of_each_phrasing_labels_the_other():
    """q says 3, 3, 4 and q~2 says 4, 4, 3: in q only the 4 is right, in q~2 only the 3."""
    traces = step(
        *(("q", f"#### {one}") for one in (3, 3, 4)),
        *(("q~2", f"#### {one}") for one in (4, 4, 3)),
    )
    assert co_rewarding(lambda key: NUMBER)(traces) == [0, 0, 1, 0, 0, 1]


def test_a_tie_in_the_other_phrasing_is_shared_and_its_silence_rewards_nobody():
    """q~2 is split over 3 and 4: 1/2 each in q. r~2 has no answers: 0 in r, and r has none of r~2's to reward."""
    traces = step(
        *(("q", "#### 3"), ("q", "#### 4"), ("q", "#### 5"), ("q~2", "#### 3"), ("q~2", "#### 4")),
        *(("r", "#### 3"), ("r~2", "no idea")),
    )
    assert co_rewarding(lambda key: NUMBER)(traces) == [0.5, 0.5, 0, pytest.approx(1 / 3), pytest.approx(1 / 3), 0, 0]


def test_a_question_without_its_second_phrasing_is_refused():
    with pytest.raises(DataError, match="co_rewarding needs the prompt q~2 in the same step"):
        co_rewarding(lambda key: NUMBER)(step(("q", "#### 3"), ("r~2", "#### 3")))
