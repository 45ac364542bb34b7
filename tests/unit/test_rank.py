import math

import pytest

from inward.errors import NoPairsError, SettingsError
from inward.rank import PairSettings, pairs, surest
from inward.types import FinishReason, Prompt, ScoredGroup, ScoredTrace, Source, Trace


def scored(index, confidence, *, answer=None, ids=None, finish=FinishReason.STOP):
    trace = Trace(
        prompt_id="q",
        index=index,
        source=Source.SAMPLE,
        prompt_ids=(1,),
        completion_ids=ids or (index,),
        completion=str(index),
        token_ends=(1,),
        finish_reason=finish,
        policy="m",
    )
    return ScoredTrace(
        trace=trace, answer=answer, answer_chars=None, answer_tokens=None, measures={"answer_disparity": confidence}
    )


def group(*traces):
    return ScoredGroup(prompt=Prompt(id="q", text="?"), traces=traces, confidence="answer_disparity")


def indices(made):
    return [(pair.chosen.index, pair.rejected.index) for pair in made]


def test_all_ordered_pairs_whose_chosen_reaches_gamma():
    made = pairs([group(scored(0, 0.95), scored(1, 0.2), scored(2, 0.9), scored(3, 0.89))], PairSettings(), seed=0)
    assert indices(made) == [(0, 2), (0, 3), (0, 1), (2, 3), (2, 1)]


def test_gap_and_margin():
    (made,) = pairs([group(scored(0, 0.9), scored(1, -0.1))], PairSettings(), seed=0)
    assert made.gap == pytest.approx(1.0)
    assert made.margin == pytest.approx(math.e)


def test_ties_give_no_pair():
    with pytest.raises(
        NoPairsError, match=r"2 of 2 traces \(100.0%\) of 1 prompts reach gamma = 0.9 as their confidence"
    ):
        pairs([group(scored(0, 0.95), scored(1, 0.95))], PairSettings(), seed=0)


def test_nothing_above_gamma_says_what_survived_and_what_to_change():
    with pytest.raises(NoPairsError, match=r"0 of 2 traces \(0.0%\).*the surest has 0.500. Lower pairs.gamma"):
        pairs([group(scored(0, 0.5), scored(1, 0.1))], PairSettings(), seed=0)


def test_best_against_worst_one_to_one_and_at_most_half_the_group():
    rule = PairSettings(rule="best_worst", num_best=4, gamma=None)
    made = pairs([group(*(scored(i, i / 10) for i in range(5)))], rule, seed=0)
    assert indices(made) == [(4, 0), (3, 1)]


def test_least_gap_is_exclusive():
    rule = PairSettings(gamma=None, min_gap=0.5)
    made = pairs([group(scored(0, 1.0), scored(1, 0.5), scored(2, 0.25))], rule, seed=0)
    assert indices(made) == [(0, 2)]


def test_different_answers_only():
    rule = PairSettings(gamma=None, different_answers=True)
    made = pairs(
        [group(scored(0, 0.9, answer="4"), scored(1, 0.5, answer="4"), scored(2, 0.1, answer="5"))], rule, seed=0
    )
    assert indices(made) == [(0, 2), (1, 2)]


def test_equal_completions_make_no_pair():
    with pytest.raises(NoPairsError):
        pairs([group(scored(0, 0.95, ids=(7,)), scored(1, 0.1, ids=(7,)))], PairSettings(), seed=0)


def test_truncated_traces_can_be_kept_out_of_chosen():
    cut = scored(0, 0.99, finish=FinishReason.LENGTH)
    traces = group(cut, scored(1, 0.95), scored(2, 0.5))
    assert indices(pairs([traces], PairSettings(), seed=0)) == [(0, 1), (0, 2), (1, 2)]
    assert indices(pairs([traces], PairSettings(keep_truncated=False), seed=0)) == [(1, 2)]


def test_cap_per_prompt_keeps_the_largest_gaps():
    rule = PairSettings(gamma=None, max_pairs_per_prompt=1)
    assert indices(pairs([group(scored(0, 1.0), scored(1, 0.9), scored(2, 0.0))], rule, seed=0)) == [(0, 2)]


def test_cap_on_all_pairs_is_a_seeded_subset_in_order():
    traces = [group(*(scored(i, i / 10) for i in range(8)))]
    everything = indices(pairs(traces, PairSettings(gamma=None), seed=0))
    capped = [indices(pairs(traces, PairSettings(gamma=None, max_pairs=5), seed=seed)) for seed in (0, 0, 1)]
    assert capped[0] == capped[1] != capped[2]
    assert [pair for pair in everything if pair in capped[0]] == capped[0]
    assert len(capped[0]) == 5


@pytest.mark.parametrize(
    "wrong", [{"gamma": 1.5}, {"gamma": -2.0}, {"min_gap": -0.1}, {"num_best": 0}, {"max_pairs": 0}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        PairSettings(**wrong)


VOTED = (
    scored(0, 0.1, answer="7"),
    scored(1, 0.9, answer="8"),
    scored(2, 0.2, answer="7.0"),
    scored(3, 0.8, answer=None),
    scored(4, 0.3, answer="7"),
)
"""Votes of numbers: three of five for 7, one for 8; indices 0, 2 and 4 are the majority, whatever their confidence."""


def test_the_majority_against_every_other_by_shares_of_the_votes():
    made = pairs([group(*VOTED)], PairSettings(source="majority", gamma=None), seed=0, kind="number")
    assert sorted(indices(made)) == [(0, 1), (0, 3), (2, 1), (2, 3), (4, 1), (4, 3)]
    assert {pair.rejected.index: pair.gap for pair in made} == pytest.approx({1: 0.6 - 0.2, 3: 0.6})


def test_gamma_and_least_gap_of_the_majority_are_of_shares():
    rule = PairSettings(source="majority", gamma=0.6, min_gap=0.5)
    assert {pair[1] for pair in indices(pairs([group(*VOTED)], rule, seed=0, kind="number"))} == {3}
    with pytest.raises(NoPairsError, match=r"0 of 5 traces .* reach gamma = 0.7 as their share of votes, .* 0.600"):
        pairs([group(*VOTED)], PairSettings(source="majority", gamma=0.7), seed=0, kind="number")


def test_a_tie_of_votes_gives_no_pair_between_its_answers():
    tied = group(*(scored(i, 0.5, answer=answer) for i, answer in enumerate("11223")))
    made = pairs([tied], PairSettings(source="majority", gamma=None), seed=0, kind="number")
    assert sorted(indices(made)) == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_ties_of_the_majority_are_drawn_by_seed_and_not_by_index():
    many = group(*(scored(i, 0.5, answer="1" if i < 6 else "2") for i in range(10)))
    rule = PairSettings(source="majority", rule="best_worst", num_best=2, gamma=None)
    made = [indices(pairs([many], rule, seed=seed, kind="number")) for seed in range(20)]
    assert made[0] == indices(pairs([many], rule, seed=0, kind="number"))
    assert {chosen for one in made for chosen, _ in one} == {0, 1, 2, 3, 4, 5}
    assert {rejected for one in made for _, rejected in one} == {6, 7, 8, 9}


def test_random_pairs_are_as_many_as_confidences_would_give_in_every_group():
    """The first group has (0, 2), (0, 3), (0, 1), (2, 3) and (2, 1); the second, below gamma, none."""
    first = group(scored(0, 0.95), scored(1, 0.2), scored(2, 0.9), scored(3, 0.89))
    made = [pairs([first, group(scored(0, 0.5), scored(1, 0.1))], PairSettings(source="random"), seed=s)
            for s in range(40)]  # fmt: skip
    assert {len(one) for one in made} == {5}
    assert indices(made[0]) == indices(pairs([first], PairSettings(source="random"), seed=0))
    assert all(0 < pair.gap < 1 for one in made for pair in one)
    upwards = sum(pair.chosen.index < pair.rejected.index for one in made for pair in one)
    assert 70 < upwards < 130  # half of 200 either way: no order of the traces shows


def test_random_pairs_keep_what_a_pair_has_to_be():
    cut = scored(0, 0.99, answer="1", finish=FinishReason.LENGTH)
    traces = group(cut, scored(1, 0.95, answer="2"), scored(2, 0.5, answer="2"), scored(3, 0.4, answer="3"))
    rule = PairSettings(source="random", gamma=None, keep_truncated=False, different_answers=True)
    found = {pair for seed in range(40) for pair in indices(pairs([traces], rule, seed=seed))}
    assert found == {(1, 0), (2, 0), (3, 0), (1, 3), (2, 3), (3, 1), (3, 2)}


def taken(traces, num, rule=PairSettings(gamma=None), **further):  # noqa: B008 - frozen
    return [trace.index for trace in surest([group(*traces)], rule, num=num, seed=0, **further)]


def test_the_surest_traces_of_a_group():
    assert taken(VOTED, 2) == [1, 3]
    assert taken(VOTED, 9, PairSettings(gamma=0.85)) == [1]
    twice = (scored(0, 0.9, ids=(7,)), scored(1, 0.8, ids=(7,)), scored(2, 0.7, ids=(8,)))
    assert taken(twice, 2) == [0, 2]
    cut = (scored(0, 0.9, finish=FinishReason.LENGTH), scored(1, 0.8))
    assert taken(cut, 1, PairSettings(gamma=None, keep_truncated=False)) == [1]
    assert taken(cut, 1) == [0]


def test_the_surest_by_votes_and_at_random():
    majority = PairSettings(source="majority", gamma=0.5)
    assert sorted(taken(VOTED, 5, majority, kind="number")) == [0, 2, 4]
    drawn = {
        surest([group(*VOTED)], PairSettings(source="random", gamma=None), num=1, seed=seed)[0].index
        for seed in range(40)
    }
    assert drawn == {0, 1, 2, 3, 4}


def test_no_trace_to_tune_on():
    with pytest.raises(NoPairsError, match=r"none reaches pairs\.gamma"):
        taken(VOTED, 1, PairSettings(gamma=0.95))


def test_a_setting_that_would_do_nothing():
    with pytest.raises(SettingsError, match="different_answers does nothing with source=majority"):
        PairSettings(source="majority", different_answers=True)
