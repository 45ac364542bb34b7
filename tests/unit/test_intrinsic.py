"""Intrinsic rewards by name: probability, disparity of the answer, and several in one; numbers worked by hand."""

import dataclasses
import math
import random

import pytest
import torch

from inward.answers import AnswerSettings
from inward.batch import TokenSignals
from inward.errors import SettingsError
from inward.methods import rlif
from inward.organism.tokenizer import make_tokenizer
from inward.train import (
    INTRINSIC,
    GroupPolicySettings,
    StepTraces,
    answer_disparity,
    combined,
    intrinsic_reward,
    named_reward,
    names_of,
    sequence_probability,
)
from inward.train.group_policy import in_order
from inward.types import Prompt

NUMBER = AnswerSettings(kind="number", strict=True)


def signals(logprob: list[list[float]], disparity: list[list[float]] | None = None) -> TokenSignals:
    """Rows of different length are padded with 0; the other signals are 0."""
    width = max(map(len, logprob))
    padded = torch.tensor([row + [0.0] * (width - len(row)) for row in logprob])
    spread = torch.tensor([row + [0.0] * (width - len(row)) for row in disparity or logprob])
    return TokenSignals(
        logprob=padded,
        entropy=torch.zeros_like(padded),
        self_certainty=torch.zeros_like(padded),
        disparity=spread,
        mask=torch.arange(width) < torch.tensor([len(row) for row in logprob])[:, None],
    )


def step(keys: list[str], made: TokenSignals, completions: list[str] | None = None) -> StepTraces:
    tokenizer = make_tokenizer()
    texts = completions or [""] * len(keys)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] if text else [3] for text in texts]
    return StepTraces(
        step=0,
        prompt_keys=keys,
        prompt_ids=[[1]] * len(keys),
        completion_ids=ids,
        completions=texts,
        signals=made,
        tokenizer=tokenizer,
    )


def test_a_sequence_probability_is_the_product_whatever_the_length():
    """1/2 * 1/4 = 1/8 and 1/2 * 1/2 * 1/2 = 1/8: longer is no better and no worse; 1/2 alone is more."""
    half, quarter = math.log(0.5), math.log(0.25)
    seen = step(["q"] * 3, signals([[half, quarter], [half, half, half], [half]]))
    assert sequence_probability()(seen) == pytest.approx([0.125, 0.125, 0.5])


def test_an_empty_completion_has_no_probability():
    seen = step(["q"] * 2, signals([[math.log(0.5)], []]))
    seen = dataclasses.replace(seen, completion_ids=[[3], []])
    assert sequence_probability()(seen) == [pytest.approx(0.5), None]


def test_probabilities_too_small_for_grpo_are_warned_of():
    """20 tokens of probability 1/2: 2^-20, about 1e-6, far below the 1e-4 that GRPO adds to the standard deviation."""
    with pytest.warns(UserWarning, match="take mean_logprob, or combine"):
        (reward,) = sequence_probability()(step(["q"], signals([[math.log(0.5)] * 20])))
    assert reward == pytest.approx(2**-20)


def test_answer_disparity_is_the_mean_over_the_tokens_of_the_answer():
    """`9+4=3;####3` is one token a character but for the sign; only the last one, of disparity .7, is the answer.

    Where no answer is announced the reward is 0, and below 0 where the model would rather have said something else.
    """
    tokenizer = make_tokenizer()
    texts = ["9+4=3;####3", "9+4=3;", "####5"]
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    rows = [[0.1] * (lengths[0] - 1) + [0.7], [0.9] * lengths[1], [0.5] * (lengths[2] - 1) + [-0.2]]
    seen = step(["q"] * 3, signals([[-0.1] * length for length in lengths], rows), texts)
    assert answer_disparity(lambda key: NUMBER)(seen) == pytest.approx([0.7, 0.0, -0.2])


def fixed(*values: float | None):
    return lambda traces: list(values)


def test_a_combination_adds_what_is_normalised_within_each_group():
    """Group a: 1, 3 has mean 2 and standard deviation sqrt(2), so -1/sqrt(2) and 1/sqrt(2); 100, 300 gives the same.

    Group b: 5, 5 has no spread and adds 0; 0, 2 gives -1/sqrt(2) and 1/sqrt(2). Weights 1 and 0.5.
    """
    seen = step(["a", "a", "b", "b"], signals([[0.0]] * 4))
    reward = combined([fixed(1.0, 3.0, 5.0, 5.0), fixed(300.0, 100.0, 0.0, 2.0)], [1.0, 0.5])
    unit = 1 / math.sqrt(2)
    assert reward(seen) == pytest.approx([-unit / 2, unit / 2, -unit / 2, unit / 2])


def test_a_unit_does_not_matter_to_a_combination():
    seen = step(["a"] * 3, signals([[0.0]] * 3))
    small, large = fixed(0.001, 0.002, 0.004), fixed(10.0, 20.0, 40.0)
    other = fixed(1.0, 0.0, 0.0)
    assert combined([small, other])(seen) == pytest.approx(combined([large, other])(seen))


def test_a_trace_that_one_reward_cannot_score_has_none_and_stays_out_of_the_statistics():
    """1 and 3 alone give -1/sqrt(2) and 1/sqrt(2); the second reward's 7, 8, 9 gives -1, 0 and 1."""
    seen = step(["a"] * 3, signals([[0.0]] * 3))
    unit = 1 / math.sqrt(2)
    assert combined([fixed(1.0, 3.0, None), fixed(7.0, 8.0, 9.0)])(seen) == [
        pytest.approx(-unit - 1),
        pytest.approx(unit),
        None,
    ]


def test_rounding_is_no_spread():
    """5 and 5.000001 nats are the same in float32's rounding; normalised they would be as far apart as any two."""
    seen = step(["a"] * 2, signals([[0.0]] * 2))
    assert combined([fixed(5.0, 5.000001), fixed(0.0, 0.0)])(seen) == [0.0, 0.0]


def test_every_reward_has_a_name_and_can_be_part_of_a_combination():
    said = ["####3", "####4", "####3", "####3"]
    seen = step(["q", "q", "q~2", "q~2"], signals([[-0.1], [-0.4], [-0.2], [-0.3]]), said)
    for name in INTRINSIC:
        assert len(named_reward(name, lambda key: NUMBER)(seen)) == 4
    made = intrinsic_reward("+".join(INTRINSIC), answer=NUMBER)
    assert all(isinstance(value, float) for value in made.reward(seen))
    assert made.__name__ == "_and_".join(INTRINSIC)


def test_the_certainties_do_not_change_by_being_named():
    seen = step(["q"], signals([[-0.2, -0.4]]))
    assert intrinsic_reward("mean_logprob").reward(seen) == pytest.approx([-0.3])
    assert intrinsic_reward("mean_logprob", length_norm="sum").reward(seen) == pytest.approx([-0.6])


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("majority", None, "'majority' is unknown; choose one of self_certainty, .*did you mean 'majority_vote'"),
        ("soft_vote+soft_vote", None, "names one twice; give it a weight instead"),
        ("soft_vote", [2.0], "one number for each of several rewards: 'soft_vote' has 1, got 1"),
        ("soft_vote+self_certainty", [2.0], "has 2, got 1"),
        ("soft_vote+self_certainty", [1.0, 0.0], "reward_weights must be above 0"),
    ],
)
def test_names_and_weights_that_do_not_fit_are_refused(name, weights, message):
    with pytest.raises(SettingsError, match=message):
        names_of(name, weights=weights)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reward": "gold+co_rewarding"}, "leave out gold"),
        ({"reward": "co_rewarding", "optim": GroupPolicySettings(prompts_per_step=3)}, "prompts_per_step must be even"),
        ({"reward": "soft_vote", "length_norm": "sum"}, "does nothing to the reward soft_vote"),
        ({"reward": "certainty"}, "random, format, gold, or several joined by"),
    ],
)
def test_settings_of_rlif_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        rlif.Settings(**settings)


def test_a_combination_with_gold_answers_counts_as_supervised():
    assert rlif.Settings(reward="gold+self_certainty").supervised
    assert not rlif.Settings(reward="majority_vote+self_certainty").supervised


def test_two_phrasings_of_a_question_stay_side_by_side_in_every_shuffle():
    """Five questions in two phrasings: each step of four prompts holds two whole questions, over epochs, too."""
    prompts = [Prompt(id=name + end, text=name) for end in ("", "~2") for name in "abcde"]
    order = [prompt.id for prompt in in_order(prompts, 24, seed=3)]
    assert order[1::2] == [f"{name}~2" for name in order[::2]]
    assert sorted(order[:10:2]) == list("abcde") and order[:10] != order[10:20]


def test_prompts_in_one_phrasing_are_shuffled_as_they_are():
    prompts = [Prompt(id=name, text=name) for name in "abcd"]
    shuffles = random.Random(3)
    assert in_order(prompts, 8, seed=3) == [*shuffles.sample(prompts, 4), *shuffles.sample(prompts, 4)]
