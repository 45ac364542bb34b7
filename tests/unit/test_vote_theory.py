"""What votes reward in expectation: identities of EMPO (arXiv 2504.05812) and of Theorem 1 of arXiv 2603.08660."""

import itertools
import math
from collections import Counter

import pytest

from inward.equivalence.votes import majority_share, vote_share

PROBABILITIES = {"3": 0.5, "4": 0.3, "5": 0.2}


def groups(size: int):
    """Every group of `size` independent answers, with its probability."""
    for answers in itertools.product(PROBABILITIES, repeat=size):
        yield answers, math.prod(PROBABILITIES[answer] for answer in answers)


def test_a_soft_vote_rewards_in_expectation_the_probability_of_agreement():
    """E of the mean reward = ((G-1) sum p^2 + 1) / G, less 1/G where all differ, since then all get 0.

    G = 3: sum p^2 = .25 + .09 + .04 = .38, so (2 * .38 + 1) / 3; all differ with 6 * .5 * .3 * .2 = .18, each 1/3.
    """
    mean = 0.0
    for answers, probability in groups(3):
        votes: Counter[str | None] = Counter(answers)
        mean += probability * sum(vote_share(votes, answer) for answer in answers) / 3
    assert mean == pytest.approx((2 * 0.38 + 1) / 3 - 0.18 / 3)


def test_a_tied_vote_is_what_a_random_choice_among_the_tied_gives_on_average():
    """So in every group the rewards per answer sum to 1: one vote is given away, whole or in parts."""
    for answers, _ in groups(4):
        votes: Counter[str | None] = Counter(answers)
        assert sum(majority_share(votes, answer) for answer in votes if answer) == pytest.approx(1)


def test_a_unanimous_group_is_left_alone():
    """All rewards are 1: no difference, no advantage. A certainty still orders such a group."""
    votes: Counter[str | None] = Counter({"3": 8})
    assert {majority_share(votes, "3"), vote_share(votes, "3")} == {1.0}


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_the_regularised_optimum_multiplies_the_odds_of_the_majority_and_ends_in_it_right_or_wrong(beta):
    """p+ = p e^(r/beta) / Z with r the majority reward: the odds of 3 grow by e^(1/beta), 1 - p falls as e^(-k/beta).

    Nothing of it depends on whether 3 is right; 4 and 5 keep their odds against each other.
    """
    votes: Counter[str | None] = Counter({"3": 5, "4": 3})
    policy = dict(PROBABILITIES)
    for k in range(1, 9):
        before = policy["3"] / (1 - policy["3"])
        weighed = {one: p * math.exp(majority_share(votes, one) / beta) for one, p in policy.items()}
        policy = {one: weight / sum(weighed.values()) for one, weight in weighed.items()}
        assert policy["3"] / (1 - policy["3"]) == pytest.approx(before * math.exp(1 / beta))
        assert 1 - policy["3"] <= (1 - 0.5) / 0.5 * math.exp(-k / beta) + 1e-12
        assert policy["4"] / policy["5"] == pytest.approx(1.5)
