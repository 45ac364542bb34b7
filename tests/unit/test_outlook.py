"""The rules of the forecast, one number changed at a time."""

import math

import pytest

from inward.diagnose.outlook import RANKED_BY, Features, outlook, recommended
from inward.diagnose.prompting import prompting
from inward.types import Estimate

CLUSTERS = ("unanswered", "longer", "voted")


def about(value: float, width: float = 0.05, n: int = 128) -> Estimate:
    return Estimate(value=value, low=value - width, high=value + width, n=n)


def healthy(**changed: Estimate) -> Features:
    """A model with room to gain: entropy 1, answers everywhere, votes above chance, a gain of 0.2."""
    found = {
        "answer_rate": about(0.98), "announced_rate": about(0.98), "truncated_rate": about(0.0),
        "endless_rate": about(0.0, 0.0), "agreement_above_chance": about(0.3), "pair_agreement": about(0.4),
        "chance_agreement": about(0.1), "entropy": about(1.0), "alpha_share": about(0.5), "length": about(20.0),
        "top_answer_share": about(0.2),
    }  # fmt: skip
    for measure in RANKED_BY.values():
        found |= {f"gain/{measure}": about(0.2), f"auroc/{measure}": about(0.8)}
        found |= {f"push_long/{measure}": about(0.0), f"favoured_share/{measure}": about(1.0)}
        found |= {f"picks_agree/{measure}": about(0.7), f"picks_greedy/{measure}": about(0.5)}
        found |= {f"push/{measure}/share/{cluster}": about(0.0) for cluster in CLUSTERS}
    return found | changed


def verdicts(features: Features) -> dict[str, str]:
    return {one.name: one.verdict for one in outlook(features)}


REWARDS = (
    "self_certainty", "neg_entropy", "mean_logprob", "sequence_probability", "answer_disparity", "majority_vote",
    "soft_vote",
)  # fmt: skip
ALL = ("rlsf", *(f"rlif {reward}" for reward in REWARDS), "rlsc")


def test_room_to_gain_is_tried_and_every_reason_has_its_number():
    made = outlook(healthy())

    assert [one.name for one in made] == list(ALL)
    assert {one.verdict for one in made} == {"try"}
    assert all(any(char.isdigit() for char in reason) for one in made for reason in (*one.reasons, *one.risks))
    assert made[0].reasons[0] == "expected gain +0.17 [+0.13, +0.21]"  # 0.86 of 0.20 [0.15, 0.25]
    assert "+0.20 [+0.15, +0.25], of which trainings by this method attained 0.86" in made[0].reasons[1]


def test_a_method_is_expected_to_attain_what_it_did_elsewhere_and_a_loss_stays_whole():
    mixed = Estimate(value=0.1, low=-0.1, high=0.3, n=128)
    made = {one.name: one.gain for one in outlook(healthy(**{"gain/sequence_probability": mixed}))}

    assert made["rlsc"] == Estimate(value=0.1 * 0.39, low=-0.1, high=0.3 * 0.39, n=128)
    assert made["rlif sequence_probability"] == Estimate(value=0.1 * 0.82, low=-0.1, high=0.3 * 0.82, n=128)


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (about(0.01, 0.03), "do not"),  # 0.04 at most
        (about(0.02, 0.05), "no evidence"),  # 0.07 at most, and the interval holds 0
        (about(0.02, 0.01), "try"),
        (about(math.nan), "no evidence"),
        (about(-0.2, 0.05), "do not"),
        (about(0.2, n=15), "no evidence"),  # the favoured way in 15 prompts alone
    ],
)
def test_the_interval_of_the_gain_decides(gain: Estimate, verdict: str):
    assert verdicts(healthy(**{"gain/answer_disparity": gain}))["rlsf"] == verdict


@pytest.mark.parametrize(
    ("entropy", "against"),
    [
        (about(0.22, 0.05), [f"rlif {reward}" for reward in REWARDS]),
        (about(0.03, 0.01), list(ALL)),
        (about(0.24, 0.05), []),  # the interval reaches 0.29
    ],
)
def test_low_entropy_speaks_against_a_method_where_it_was_measured_to(entropy: Estimate, against: list[str]):
    made = outlook(healthy(entropy=entropy))

    assert [one.name for one in made if one.verdict == "do not"] == against
    assert all("its entropy is low" in one.reasons[0] for one in made if one.name in against)


def test_scattered_votes_say_do_not_whatever_the_gain():
    made = outlook(healthy(agreement_above_chance=about(0.01, 0.02)))

    assert {one.verdict for one in made} == {"do not"}
    assert made[0].reasons[0] == (
        "the votes are scattered: two samples of a prompt agree 0.40 [0.35, 0.45] of the time, samples of different "
        "prompts 0.10 [0.05, 0.15]"
    )


@pytest.mark.parametrize(
    ("changed", "verdict", "word"),
    [
        ({"answer_rate": about(0.4)}, "do not", "answer.kind"),
        ({"truncated_rate": about(0.6)}, "do not", "max_completion_tokens"),
        ({"answer_rate": about(0.98, n=15)}, "no evidence", "15 prompts"),
    ],
)
def test_what_cannot_be_read_is_not_forecast(changed: dict[str, Estimate], verdict: str, word: str):
    made = outlook(healthy(**changed))

    assert {one.verdict for one in made} == {verdict}
    assert all(word in one.reasons[0] for one in made)


def test_a_model_without_an_end_is_not_for_rlif():
    made = verdicts(healthy(endless_rate=about(1.0, 0.0)))
    assert made == dict.fromkeys(ALL, "do not") | {"rlsf": "try", "rlsc": "try"}


def test_a_weight_that_is_all_alpha_is_not_for_rlsc():
    assert verdicts(healthy(alpha_share=about(0.97))) == dict.fromkeys(ALL, "try") | {"rlsc": "do not"}
    assert verdicts(healthy(alpha_share=about(0.94)))["rlsc"] == "try"  # 0.89 at least


def test_steps_towards_no_answer_or_away_from_the_vote_are_a_high_risk():
    risks = {one.name: one.risk for one in outlook(healthy())}
    ruinous = ("self_certainty", "neg_entropy", "answer_disparity", "sequence_probability")
    assert risks == dict.fromkeys(ALL, "medium") | {f"rlif {reward}": "high" for reward in ruinous}
    for cluster, pushed in (("unanswered", 0.1), ("voted", -0.1)):
        made = outlook(healthy(**{f"push/sequence_probability/share/{cluster}": about(pushed)}))
        assert made[-1].risk == "high" and f"{pushed:+.2f}" in made[-1].risks[-1]


def test_a_favoured_way_is_said_with_its_share():
    long = {"push_long/answer_disparity": about(0.3), "favoured_share/answer_disparity": about(0.2)}
    [said] = [one for one in outlook(healthy(**long))[0].reasons if "way of answering" in one]

    assert "the long way of answering, 0.20 [0.15, 0.25] of the samples" in said and "+0.30 [+0.25, +0.35]" in said


def test_a_way_that_is_no_habit_is_reached_by_preferences_alone():
    rare = {f"favoured_share/{measure}": about(0.2) for measure in RANKED_BY.values()}
    assert verdicts(healthy(**rare)) == dict.fromkeys(ALL, "no evidence") | {"rlsf": "try"}


def test_recommended_is_the_surest_gain_of_the_lowest_risk():
    made = outlook(healthy(**{"gain/self_certainty": about(0.5), "gain/mean_logprob": about(0.25)}))

    assert recommended(made).name == "rlif mean_logprob"
    assert recommended(outlook(healthy(answer_rate=about(0.1)))) is None


def test_where_a_measure_is_not_known_nothing_is_said_of_its_risk():
    known = {key: one for key, one in healthy().items() if not key.startswith("push/self_certainty")}
    assert {one.name: one.risk for one in outlook(known)}["rlif self_certainty"] == "no evidence"


def test_another_form_that_shows_answers_is_named():
    more = {"answer_rate": about(0.4, 0.1, n=16)}
    [found] = prompting(healthy(), {"qwen_boxed": more, "cot": {"answer_rate": about(0.05, 0.1)}})

    assert found.name == "form" and "+0.40 [+0.30, +0.50]" in found.evidence and "16 prompts" in found.evidence
    assert found.advice.endswith("prompts.format=qwen_boxed")
    [bare] = prompting(healthy(), {"no_template": more})
    assert bare.advice.endswith("model.chat_template=never")


def test_cut_unannounced_and_same_answers_are_found():
    changed = {"truncated_rate": about(0.2), "announced_rate": about(0.5), "top_answer_share": about(0.6)}
    assert [one.name for one in prompting(healthy(**changed), {})] == ["truncation", "unannounced", "one_answer"]
    assert prompting(healthy(), {}) == []
