"""Monitors of a step and the label-free rule by hand, and the page that names what both can say."""

import ast
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inward.diagnose import Decision, Probe, Sight, StopSettings, decide, monitors, support, votes
from inward.diagnose import findings as findings_of
from inward.diagnose.monitors import TRANSITIONS, count_words, repetition, transitional_words, transitions
from inward.diagnose.rule import ABSTAINED
from inward.errors import SettingsError
from inward.types import Severity

ROOT = Path(__file__).parents[2]


def sight(group: str = "a", **values: Any) -> Sight:
    fields: dict[str, Any] = {
        "reward": None,
        "answer": None,
        "entropy": 0.0,
        "self_certainty": 0.0,
        "mean_logprob": 0.0,
        "length": 0,
        "truncated": False,
        "repetition": 0.0,
        "words": 0,
    }
    return Sight(group=group, **{**fields, **values})


TWO_GROUPS = [
    sight("a", reward=1.0, answer="4", entropy=0.5, self_certainty=6.0, mean_logprob=-0.2, length=4, words=10,
          transitions={"but": 1}, kl=0.1),
    sight("a", reward=3.0, answer="4", entropy=1.0, self_certainty=4.0, mean_logprob=-0.4, length=2, words=5),
    sight("a", entropy=2.0, self_certainty=2.0, mean_logprob=-1.0, length=10, words=5, truncated=True, repetition=0.6,
          transitions={"but": 2, "let me check": 1}, kl=0.4),
    sight("b", reward=2.0, answer="7", entropy=0.25, self_certainty=8.0, mean_logprob=-0.1, length=8, words=20,
          transitions={"wait": 1}),
    sight("b", reward=4.0, answer="4", entropy=0.5, self_certainty=5.0, mean_logprob=-0.3, length=6, words=10,
          repetition=0.3),
    sight("b", reward=6.0),
]  # fmt: skip
"""Two groups of three; the third trace has no reward, the third and the sixth no answer, the sixth no token."""


def test_monitors_of_two_groups_by_hand():
    assert monitors(TWO_GROUPS) == pytest.approx(
        {
            "entropy": 29 / 30,  # by tokens: (0.5*4 + 1*2 + 2*10 + 0.25*8 + 0.5*6) / (4 + 2 + 10 + 8 + 6)
            "self_certainty": 5.0,  # by traces that have tokens: (6 + 4 + 2 + 8 + 5) / 5
            "neg_entropy": -0.85,  # -(0.5 + 1 + 2 + 0.25 + 0.5) / 5
            "mean_logprob": -0.4,  # -(0.2 + 0.4 + 1 + 0.1 + 0.3) / 5
            "reward": 3.2,  # (1 + 3 + 2 + 4 + 6) / 5, the unscored trace left out
            "reward_std": (math.sqrt(2) + 2) / 2,  # a: 1, 3 about 2: sqrt(2/1); b: 2, 4, 6 about 4: sqrt(8/2)
            "answer_rate": 4 / 6,
            "agreement": 0.5,  # a: two of three say 4; b: one of three, the one without an answer counted
            "distinct_answers": 1.5,  # a: 4; b: 7 and 4
            "top_answer_share": 0.75,  # 4 is three of the four answers
            "repetition": 0.15,  # (0.6 + 0.3) / 6
            "length": 5.0,  # 30 / 6, the empty one counted
            "truncated_rate": 1 / 6,
            "transitional_ratio": 0.1,  # (1 + 3 + 1) / (10 + 5 + 5 + 20 + 10)
            "kl": 4.4 / 14,  # by tokens of the two measured: (0.1*4 + 0.4*10) / (4 + 10)
            "traces": 6.0,
        }
    )


def test_groups_are_told_by_their_id_whatever_the_order():
    mixed = [TWO_GROUPS[row] for row in (3, 0, 4, 1, 5, 2)]

    assert monitors(mixed) == pytest.approx(monitors(TWO_GROUPS))


def test_transitional_words_are_counted_by_word_with_all_words_beside_them():
    assert transitional_words(TWO_GROUPS) == {"but": 3, "let me check": 1, "wait": 1, "words": 50}
    assert transitional_words([]) == {}


def test_nobody_answers():
    seen = monitors([sight(entropy=1.0, length=3), sight(entropy=2.0, length=1)])

    assert (seen["answer_rate"], seen["agreement"], seen["distinct_answers"]) == (0.0, 0.0, 0.0)
    assert math.isnan(seen["top_answer_share"])
    assert seen["entropy"] == 1.25  # (1*3 + 2*1) / 4
    assert all(math.isnan(seen[key]) for key in ("reward", "reward_std", "kl", "transitional_ratio"))


def test_only_empty_completions_have_no_certainty_but_a_length():
    seen = monitors([sight(reward=1.0), sight(reward=1.0)])

    assert (seen["length"], seen["reward"], seen["reward_std"], seen["repetition"]) == (0.0, 1.0, 0.0, 0.0)
    assert all(math.isnan(seen[key]) for key in ("entropy", "self_certainty", "neg_entropy", "mean_logprob", "kl"))


def test_groups_of_one_reward_have_no_spread():
    seen = monitors([sight("a", reward=1.0), sight("b", reward=5.0), sight("b")])

    assert seen["reward"] == 3.0 and math.isnan(seen["reward_std"])


def test_no_traces_at_all():
    seen = monitors([])

    assert seen.pop("traces") == 0.0
    assert all(math.isnan(value) for value in seen.values())


@pytest.mark.parametrize(
    ("ids", "share"),
    [
        # 1234 2341 3412 4123, then 1234 2341 again: two of six
        ([1, 2, 3, 4, 1, 2, 3, 4, 1], 1 / 3),
        ([7, 7, 7, 7, 7, 7, 7], 0.75),  # four times 7777
        ([7, 7, 7, 7, 7], 0.5),
        ([1, 2, 3, 4, 5], 0.0),
        ([1, 1, 1, 1], 0.0),
        ([1, 1, 1], 0.0),
        ([], 0.0),
    ],
)
def test_repetition_by_hand(ids: list[int], share: float):
    assert repetition(ids) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("Let me check. Let me see.", {"let me check": 1}),
        ("But the butter, BUT the rebuttal: but.", {"but": 3}),
        ("Wait, I was waiting; hmm, await it.", {"wait": 1, "hmm": 1}),
        ("double-check, then let me verify it on second thought", dict.fromkeys(
            ("double-check", "let me verify", "on second thought"), 1)),
        ("3+4=7", {}),
    ],
)  # fmt: skip
def test_transitions_by_hand(text: str, counts: dict[str, int]):
    assert transitions(text) == counts


def test_every_transitional_word_counts_once_as_itself():
    assert transitions("; ".join(TRANSITIONS).upper()) == dict.fromkeys(TRANSITIONS, 1)


@pytest.mark.parametrize(
    ("text", "words"), [("It's a well-known fact: 2+2=4.", 4), ("Ça va, n\u2019est-ce pas?", 4), ("3 + 4 = 7", 0)]
)
def test_words_are_runs_of_letters(text: str, words: int):
    assert count_words(text) == words


def test_votes_count_missing_answers_under_the_empty_text():
    assert votes(["4", None, "4", "7"]) == {"4": 2, "": 1, "7": 1}


def test_support_by_hand():
    start = [{"4": 3, "7": 1}, {"5": 1, "": 3}, {"": 4}, {}, {"4": 3, "7": 1}]
    greedy = ["4", "5", None, "5", "7"]
    samples = [["4", "7", None, "9"], [None, ""], [None, "5"], ["5"], []]

    assert support(start, greedy, samples) == (
        0.5,  # greedy 3/4; samples (3/4 + 1/4 + 0 + 0) / 4 = 1/4
        0.125,  # greedy 1/4; no answer has no support, though three votes had none either
        0.0,
        0.0,
        0.25,  # without samples the greedy answer alone
    )


def test_support_wants_the_same_prompts():
    with pytest.raises(ValueError, match="zip"):
        support([{"4": 1}], ["4", "5"], [[], []])


def probes(*supports: Sequence[float]) -> list[Probe]:
    """Probes of steps 0, 10, 20, ..."""
    return [Probe(step=10 * i, support=tuple(one), metrics={}) for i, one in enumerate(supports)]


RISE_AND_FALL = probes(
    (0.2, 0.4, 0.2, 0.4),
    (0.5, 0.7, 0.5, 0.7),
    (0.4, 0.7, 0.4, 0.7),  # -0.1, 0, -0.1, 0 from the best: -0.05, standard error 0.0577 / 2 = 0.029
    (0.3, 0.5, 0.2, 0.6),  # -0.2, -0.2, -0.3, -0.1: -0.2, standard error 0.0816 / 2 = 0.041
    (0.9, 0.9, 0.9, 0.9),
)


def test_the_rule_fires_where_support_falls_clearly_and_keeps_the_best_before():
    decision = decide(RISE_AND_FALL, StopSettings())

    assert decision == Decision(
        kept_step=10,
        stop_step=30,
        stop_reason="at step 30 the start model's votes support the answers less than at step 10: "
        "0.400 against 0.600, -0.200 with a standard error of 0.041",
    )


def test_a_fall_within_noise_does_not_fire():
    assert decide(RISE_AND_FALL[:3], StopSettings()) == Decision(
        kept_step=10, stop_step=None, stop_reason="support has not fallen clearly below its best, 0.600 at step 10"
    )


def test_the_fall_is_measured_in_standard_errors():
    assert decide(RISE_AND_FALL, StopSettings(fall=1.7)).stop_step == 20  # -0.05 < -1.7 * 0.0289 = -0.049
    assert decide(RISE_AND_FALL, StopSettings(fall=1.8)).stop_step == 30  # -0.05 > -0.052
    assert decide(RISE_AND_FALL[:4], StopSettings(fall=4.8)).stop_step == 30  # -0.2 < -0.196
    assert decide(RISE_AND_FALL[:4], StopSettings(fall=5.0)).stop_step is None  # -0.2 > -0.204


def test_the_order_in_which_probes_come_does_not_matter():
    mixed = [RISE_AND_FALL[i] for i in (3, 0, 4, 2, 1)]

    assert decide(mixed, StopSettings()) == decide(RISE_AND_FALL, StopSettings())


def test_the_start_model_is_kept_where_everything_falls():
    falling = probes((0.5, 0.6, 0.7, 0.8), (0.4, 0.5, 0.6, 0.6), (0.1, 0.1, 0.1, 0.1))

    decision = decide(falling, StopSettings())  # -0.1, -0.1, -0.1, -0.2: -0.125, standard error 0.025

    assert (decision.kept_step, decision.stop_step) == (0, 10)


def test_the_earliest_of_equally_supported_checkpoints_is_kept():
    assert decide(probes((0.25, 0.5), (0.5, 0.75), (0.75, 0.5)), StopSettings()).kept_step == 10


def test_a_fall_that_is_the_same_on_every_prompt_has_no_noise():
    assert decide(probes((0.5, 0.75), (0.25, 0.5)), StopSettings()).stop_step == 10


def test_one_prompt_is_too_few_to_stop_on():
    decision = decide(probes((0.5,), (0.9,), (0.1,)), StopSettings())

    assert (decision.kept_step, decision.stop_step) == (10, None)


@pytest.mark.parametrize("supports", [((0.0, 0.0), (0.0, 0.0), (0.0, 0.0)), ((), (), ())])
def test_the_rule_abstains_without_answers_and_keeps_the_last(supports: Sequence[Sequence[float]]):
    assert decide(probes(*supports), StopSettings()) == Decision(kept_step=20, stop_step=None, stop_reason=ABSTAINED)


def test_without_probes_nothing_is_decided():
    assert decide([], StopSettings()).kept_step == 0
    assert decide(probes((0.5, 0.5)), StopSettings()).kept_step == 0
    assert math.isnan(Probe(step=0, support=(), metrics={}).mean)


@pytest.mark.parametrize(
    ("name", "value"),
    [("prompts", 0), ("start_samples", 0), ("samples", 0), ("batch_rows", -1), ("fall", 0.0), ("fall", math.nan)],
)
def test_settings_out_of_range_are_refused(name: str, value: float):
    with pytest.raises(SettingsError, match=name):
        StopSettings(**{name: value})  # pyright: ignore[reportArgumentType]


def rows(section: str) -> dict[str, list[str]]:
    """The rows of a section of docs/metrics.md, by the name in their first cell."""
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE)
    assert len(dict(found)) == len(found), "a row stands there twice"
    return {name: cells.split(" | ") for name, cells in found}


def test_the_page_of_metrics_has_every_monitor_and_no_other():
    described = rows("Monitors")

    assert described.keys() == {*monitors([]), "engine_mismatch", "engine_weight", "transitional_words", "support"}
    assert all(len(cells) == 3 and all(cells) for cells in described.values())
    assert {better for _, _, better in described.values()} <= {"higher", "lower", "neither"}


def test_the_page_of_metrics_has_every_finding_and_no_other():
    source = ROOT / "src/inward/diagnose/findings.py"
    calls = [node for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Finding"]
    said = [{word.arg: word.value for word in call.keywords} for call in made]
    described = rows("Findings")

    assert findings_of.__module__ == "inward.diagnose.findings" and made
    assert {name: cells[0] for name, cells in described.items()} == {
        ast.literal_eval(words["name"]): Severity[ast.unparse(words["severity"]).rpartition(".")[2]] for words in said
    }
    assert all(len(cells) == 2 and all(cells) for cells in described.values())
