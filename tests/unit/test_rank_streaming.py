"""Pairs and traces one after the other: what is asked of the groups, and the same as all at once."""

from collections.abc import Iterator

import pytest
import synthetic

from inward.errors import NoPairsError
from inward.rank import PairSettings, each_pair, each_surest, pairs, surest
from inward.types import ScoredGroup

GROUPS = synthetic.training(20, group_size=8, length=3)[0]


def counting(asked: list[str]) -> Iterator[ScoredGroup]:
    for group in GROUPS:
        asked.append(group.prompt.id)
        yield group


def test_a_pair_is_given_before_the_next_group_is_asked_for():
    asked: list[str] = []
    first = next(each_pair(counting(asked), PairSettings(gamma=None), seed=0))
    assert asked == [first.prompt.id] == ["q0"]


def test_a_trace_is_given_before_the_next_group_is_asked_for():
    asked: list[str] = []
    first = next(each_surest(counting(asked), PairSettings(gamma=None), num=1, seed=0))
    assert asked == [first.prompt_id] == ["q0"]


@pytest.mark.parametrize("source", ["confidence", "majority", "random"])
@pytest.mark.parametrize("most", [None, 1, 7, 10_000])
def test_the_pairs_are_those_made_all_at_once(source: str, most: int | None):
    settings = PairSettings(source=source, gamma=None, max_pairs=most)
    made = list(each_pair(GROUPS, settings, seed=3))
    assert made == pairs(iter(GROUPS), settings, seed=3)
    every = pairs(GROUPS, PairSettings(source=source, gamma=None), seed=3)
    assert len(made) == min(len(every), most or len(every))
    places = [every.index(one) for one in made]
    assert places == sorted(set(places))


def test_the_surest_are_those_made_all_at_once():
    settings = PairSettings(gamma=0.5)
    assert list(each_surest(GROUPS, settings, num=2, seed=3)) == surest(GROUPS, settings, num=2, seed=3)


def test_nothing_left_is_said_after_the_last_group():
    asked: list[str] = []
    settings = PairSettings(gamma=1.0, keep_truncated=False, min_gap=2.0)
    with pytest.raises(NoPairsError, match="of 20 prompts"):
        list(each_pair(counting(asked), settings, seed=0))
    assert len(asked) == 20
    with pytest.raises(NoPairsError, match="of 20 prompts"):
        list(each_pair(GROUPS, PairSettings(min_gap=2.0, max_pairs=3), seed=0))
