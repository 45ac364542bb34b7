"""Findings on either side of their thresholds."""

import math
from collections.abc import Mapping, Sequence

import pytest

from inward.diagnose import History, Probe, StopSettings, decide, findings

HEALTHY = {
    "entropy": 1.0,
    "length": 20.0,
    "repetition": 0.25,
    "truncated_rate": 0.25,
    "agreement": 0.5,
    "top_answer_share": 0.25,
    "answer_rate": 0.5,
    "reward_std": 1.0,
}
NAN = math.nan


def probes(*supports: Sequence[float], ends: Sequence[Mapping[str, float]] = ({}, {})) -> list[Probe]:
    metrics = [ends[0], *[{} for _ in supports[2:]], ends[1]]
    return [Probe(step=10 * i, support=tuple(one), metrics=metrics[i]) for i, one in enumerate(supports)]


def seen(*changes: Mapping[str, float], of: Sequence[Probe] = ()) -> History:
    """A training whose steps are healthy but for the changes of each."""
    return History(monitors=[HEALTHY | change for change in changes], probes=of, source="training prompts")


def names(history: History) -> list[str]:
    return [finding.name for finding in findings(history)]


DRIFTING = probes((0.5, 0.75), (0.25, 0.5))
RISING = probes((0.25, 0.5), (0.5, 0.75))


@pytest.mark.parametrize(
    ("name", "last", "not_yet"),
    [
        ("entropy_collapse", {"entropy": 0.09}, {"entropy": 0.11}),
        ("length_collapse", {"length": 9.9}, {"length": 10.0}),
        ("length_growth", {"length": 40.1}, {"length": 40.0}),
        ("repetition", {"repetition": 0.36}, {"repetition": 0.34}),
        ("truncation", {"truncated_rate": 0.36}, {"truncated_rate": 0.34}),
        ("suspect_agreement", {"top_answer_share": 0.41}, {"top_answer_share": 0.39}),
        # among those with an answer, agreement is 1 throughout
        ("format_gain_only", {"answer_rate": 0.61, "agreement": 0.61}, {"answer_rate": 0.59, "agreement": 0.59}),
        ("reward_spread_gone", {"reward_std": 0.09}, {"reward_std": 0.11}),
        (
            "engine_mismatch",
            {"engine_mismatch": 0.11, "engine_weight": 1.0},
            {"engine_mismatch": 0.09, "engine_weight": 1.0},
        ),
        (
            "engine_mismatch",
            {"engine_mismatch": 0.01, "engine_weight": 0.49},
            {"engine_mismatch": 0.01, "engine_weight": 0.51},
        ),
    ],
)
def test_a_finding_on_either_side_of_its_threshold(name: str, last: dict[str, float], not_yet: dict[str, float]):
    assert names(seen({}, last)) == [name]
    assert names(seen({}, not_yet)) == []


def test_a_gain_of_format_is_alone_only_where_those_that_answer_agree_no_more():
    # From 0.25/0.5 = 0.5 among those that answer to 0.41/0.75 = 0.547, and to 0.42/0.75 = 0.56.
    first = {"agreement": 0.25}

    assert names(seen(first, {"answer_rate": 0.75, "agreement": 0.41})) == ["format_gain_only"]
    assert names(seen(first, {"answer_rate": 0.75, "agreement": 0.42})) == []


def test_agreement_alone_is_no_harm_but_beside_a_drift_it_is():
    agreed, nearly = {"agreement": 0.9}, {"agreement": 0.89}

    assert names(seen({}, agreed, of=RISING)) == []
    assert names(seen({}, agreed, of=DRIFTING)) == ["drift", "suspect_agreement"]
    assert names(seen({}, nearly, of=DRIFTING)) == ["drift"]


def test_one_answer_to_everything_is_looked_for_in_probes_where_there_are_any():
    ends = ({"top_answer_share": 0.1}, {"top_answer_share": 0.2})
    worse = ({"top_answer_share": 0.1}, {"top_answer_share": 0.3})
    rises = ((0.25, 0.5), (0.5, 0.75))

    assert names(seen({}, {"top_answer_share": 0.6}, of=probes(*rises, ends=ends))) == []
    assert names(seen({}, {}, of=probes(*rises, ends=worse))) == ["suspect_agreement"]


def test_drift_says_what_to_keep_and_why():
    [finding] = findings(seen(of=DRIFTING))

    assert (finding.name, finding.severity) == ("drift", "alarm")
    assert finding.evidence == decide(DRIFTING, StopSettings()).stop_reason
    assert "step 0" in finding.advice


def test_the_settings_of_the_stop_decide_on_drift():
    # 0 and -0.25: -0.125 with a standard error of 0.125, so it takes a fall of less than one.
    falling = seen(of=probes((0.5, 0.5), (0.5, 0.25)))

    assert [one.name for one in findings(falling, StopSettings(fall=0.9))] == ["drift"]
    assert names(falling) == ["no_gain"]


def test_no_gain_is_told_with_the_change_to_the_last_checkpoint():
    [finding] = findings(seen(of=probes((0.5, 0.5), (0.5, 0.25))))

    assert finding.evidence.startswith(
        "support went from 0.500 to 0.375, -0.125 with a standard error of 0.125"  # sqrt(2 * 0.125**2) / sqrt(2)
    )
    assert names(seen(of=probes((0.5, 0.5), (0.5, 0.5)))) == ["no_gain"]
    assert names(seen(of=probes((0.5, 0.5), (0.5, 0.51)))) == []
    assert names(seen(of=probes((0.0, 0.0), (0.0, 0.0)))) == []  # the rule abstains


def test_ends_are_means_over_three_steps():
    spike = {"entropy": 0.01}

    assert names(seen({}, {}, {}, {}, {}, spike)) == []  # (1 + 1 + 0.01) / 3
    assert names(seen({}, {}, {}, spike, spike, spike)) == ["entropy_collapse"]
    assert names(seen({}, {}, spike)) == ["entropy_collapse"]  # three steps: one at either end


def test_what_is_not_defined_is_left_out_of_the_ends_and_finds_nothing():
    assert names(seen({}, {"entropy": NAN}, {}, {"entropy": 0.01}, {"entropy": NAN}, {"entropy": 0.01})) == [
        "entropy_collapse"
    ]
    assert names(seen(dict.fromkeys(HEALTHY, NAN), {"entropy": 0.0, "length": 1.0, "agreement": 1.0})) == []
    assert names(seen({}, dict.fromkeys(HEALTHY, NAN), of=DRIFTING)) == ["drift"]


def test_a_training_that_shows_nothing_but_zeros_divides_by_none():
    nothing = dict.fromkeys(HEALTHY, 0.0)

    assert names(seen(nothing, nothing)) == ["no_answers", "no_reward_spread"]
    # Without an answer at first there is no agreement among answers to compare with.
    assert names(seen({"answer_rate": 0.0, "agreement": 0.0}, {})) == []


def test_too_little_to_compare_finds_nothing():
    assert names(seen()) == []
    assert names(seen({"entropy": 0.0})) == []


def test_probes_stand_in_for_missing_monitors_and_for_a_single_one():
    rising = probes((0.25, 0.5), (0.5, 0.75), ends=(HEALTHY, HEALTHY | {"entropy": 0.01}))

    assert names(seen(of=rising)) == ["entropy_collapse"]
    assert names(seen({}, of=rising)) == ["entropy_collapse"]
    assert names(seen({}, {}, of=rising)) == []


def test_the_most_severe_come_first():
    last = {"answer_rate": 1.0, "agreement": 0.6, "entropy": 0.01, "length": 90.0}

    found = findings(seen({}, last))

    assert [(one.name, one.severity) for one in found] == [
        ("length_growth", "alarm"),
        ("entropy_collapse", "warning"),
        ("format_gain_only", "note"),
    ]


def test_of_a_training_that_was_not_watched_everything_is_a_note():
    judged = probes((0.5, 0.75), (0.25, 0.5), ends=(HEALTHY, HEALTHY | {"length": 90.0}))

    found = findings(History(monitors=(), probes=judged, source="evaluation answers"))

    assert [(one.name, one.severity) for one in found] == [("drift", "note"), ("length_growth", "note")]
    assert "accuracy" in found[0].advice


@pytest.mark.parametrize(
    ("name", "throughout", "not_yet"),
    [
        ("truncation", {"truncated_rate": 0.51}, {"truncated_rate": 0.49}),
        ("no_answers", {"answer_rate": 0.04, "agreement": 0.04}, {"answer_rate": 0.06, "agreement": 0.06}),
        ("no_reward_spread", {"reward_std": 0.0}, {"reward_std": 1e-9}),
    ],
)
def test_what_is_wrong_from_the_start_is_found_without_any_change(
    name: str, throughout: dict[str, float], not_yet: dict[str, float]
):
    assert names(seen(throughout, throughout)) == [name]
    assert names(seen(not_yet, not_yet)) == []


@pytest.mark.parametrize(("shares", "found"), [((0.95, 0.1), True), ((0.9, 0.99), False), ((NAN, NAN), False)])
def test_a_training_on_alpha_from_its_first_step_on_is_called_fine_tuning(shares: tuple[float, float], found: bool):
    assert names(seen(*({"alpha_share": share} for share in shares))) == (["mostly_alpha"] if found else [])
