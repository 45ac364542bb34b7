import math

import pytest

from inward.errors import NoPairsError, SettingsError
from inward.rank import PairSettings, pairs
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
    with pytest.raises(NoPairsError, match=r"2 of 2 traces \(100.0%\) of 1 prompts reach gamma = 0.9"):
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
