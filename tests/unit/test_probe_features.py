"""What a probe measures, worked by hand on a few traces."""

import math
from typing import Any

import numpy as np
import pytest

from inward.answers import AnswerSettings
from inward.diagnose import selection
from inward.diagnose.features import features, paired, spread
from inward.diagnose.pushes import advantages, pushes
from inward.diagnose.seen import SEQUENCE, Seen, SeenGroup, look, voted
from inward.diagnose.selection import Agreement, agreement, gain, surest
from inward.diagnose.ways import boundary, favoured, voters
from inward.types import (
    FinishReason,
    Prompt,
    ScoredGroup,
    ScoredTrace,
    Source,
    Trace,
    TraceSignals,
)

NUMBER = AnswerSettings(kind="number", elicit="never")


def seen(answer: str | None = "4", sure: float = 0.5, **values: Any) -> Seen:
    fields: dict[str, Any] = {
        "announced": answer is not None,
        "length": 4,
        "finish": FinishReason.STOP,
        "repetition": 0.0,
        "entropy": 2.0,
        "logprob": -1.0,
    } | values
    known = ("answer_disparity", "answer_probability", "mean_logprob", "neg_entropy", "self_certainty")
    measures = dict.fromkeys(known, sure) | {SEQUENCE: math.exp(fields["logprob"])}
    return Seen(answer=answer, measures=measures, **fields)


def group(*samples: Seen, greedy: Seen | None = None) -> SeenGroup:
    return SeenGroup(greedy=greedy or seen(), samples=samples)


def picked(picks: Any, greedy: Any, together: list[int], with_greedy: list[int]) -> Agreement:
    columns = {"picks": picks, "greedy": greedy, "together": together, "with_greedy": with_greedy}
    return Agreement(**{name: np.array(rows, float) for name, rows in columns.items()})


def test_a_trace_is_kept_as_numbers():
    signals = TraceSignals(logprob=(-0.5, -1.5), entropy=(0.25, 0.75), self_certainty=(1.0, 1.0), disparity=(0.5, 0.5))
    trace = Trace(
        prompt_id="a", index=0, source=Source.GREEDY, prompt_ids=(1,), completion_ids=(5, 2), completion="#### 4.0",
        token_ends=(8, 8), finish_reason=FinishReason.STOP, policy="m", signals=signals,
    )  # fmt: skip
    scored = ScoredTrace(
        trace=trace, answer="4.0", answer_chars=None, answer_tokens=None, measures={"mean_logprob": -1.0}
    )
    [one] = look([ScoredGroup(prompt=Prompt(id="a", text="2+2?"), traces=(scored, scored), confidence="x")], NUMBER)

    # One answer, which no other sample gives: all of the majority, and no vote to share.
    assert one.samples[0].measures == one.greedy.measures | {"majority_vote": 1.0, "soft_vote": 0.0}
    assert (one.greedy.answer, one.greedy.announced, one.greedy.length) == ("4", True, 2)
    assert (one.greedy.entropy, one.greedy.logprob) == (1.0, -2.0)
    assert one.greedy.measures == {"mean_logprob": -1.0, SEQUENCE: pytest.approx(math.exp(-2))}


def test_the_vote_needs_two_that_agree():
    assert group(seen("1"), seen("2"), seen("2"), seen(None)).voted == "2"
    assert group(seen("1"), seen("2"), seen("3")).voted is None
    assert group(seen(None), seen(None)).voted is None


def test_samples_vote_on_one_another_and_the_greedy_trace_has_no_vote():
    made = voted([seen("1"), seen("2"), seen("2"), seen(None), seen("3"), seen("3")])

    assert [one.measures["majority_vote"] for one in made] == [0, 1 / 2, 1 / 2, 0, 1 / 2, 1 / 2]
    assert [one.measures["soft_vote"] for one in made] == [1 / 6, 1 / 3, 1 / 3, 0, 1 / 3, 1 / 3]
    assert "soft_vote" not in group(*made).greedy.measures


def test_the_surest_trace_is_one_with_an_answer_and_of_equals_the_first():
    assert surest([seen("1", 0.2), seen("2", 0.9), seen(None, 1.0)], "answer_disparity") == "2"
    assert surest([seen("1", 0.9), seen("2", 0.9)], "answer_disparity") == "1"
    assert surest([seen(None, 1.0)], "answer_disparity") is None
    assert surest([seen("1")], "unheard_of") is None


def test_picks_that_agree_with_each_other_and_half_the_time_with_greedy_gain_a_half():
    """Four prompts, different answers to each: chance 0, a = sqrt(1) = 1, g = (2/4) / 1, gain (1 - 1/2)(1 - 0)."""
    picks = np.eye(6)[:4]
    greedy = np.eye(6)[[0, 1, 4, 5]]
    made = gain(picked(picks.tolist(), greedy.tolist(), [1, 1, 1, 1], [1, 1, 0, 0]))

    assert made.value == pytest.approx(0.5)
    assert (made.low, made.n) == (0.0, 4) and made.high == pytest.approx(1.0)


def test_agreement_by_chance_is_taken_off():
    """Picks a, a, b, b: of the 12 ordered pairs of prompts 4 agree, C = 1/3; a^2 = (1 - 1/3) / (2/3) = 1.

    Greedy a, b, b, a: picks and greedy of different prompts agree (2*2 + 2*2 - 2) / 12 = 1/2 of the time, of one prompt
    2/4: no more, so g = 0 and the gain is (1 - 0)(1 - 1/3).
    """
    a, b = [1.0, 0.0], [0.0, 1.0]
    made = gain(picked([a, a, b, b], [a, b, b, a], [1, 1, 1, 1], [1, 0, 1, 0]))

    assert made.value == pytest.approx(2 / 3)


def test_one_answer_to_every_prompt_says_nothing():
    assert math.isnan(gain(picked([[1.0]] * 3, [[1.0]] * 3, [1, 1, 1], [1, 1, 1])).value)


def test_a_greedy_answer_that_agrees_as_picks_do_leaves_nothing_to_gain():
    """a = sqrt(1/2), g = (1/2) / a = a; the picks of the last two prompts differ from half to half."""
    one = np.eye(8)
    picks = [one[0], one[1], (one[2] + one[3]) / 2, (one[4] + one[5]) / 2]
    made = gain(picked(picks, one[[0, 1, 6, 7]], [1, 1, 0, 0], [1, 1, 0, 0]))

    assert made.value == pytest.approx(0.0, abs=1e-12)


def test_halves_are_picked_from_and_compared():
    """Prompt a: all four samples say 1, greedy 2. Prompt b: no answers at all."""
    one = group(*[seen("1")] * 4, greedy=seen("2"))
    other = group(*[seen(None)] * 4, greedy=seen(None))
    made = agreement([one, other], "answer_disparity")

    assert made.picks.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert made.greedy.tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert (made.together.tolist(), made.with_greedy.tolist()) == ([1.0, 0.0], [0.0, 0.0])


def test_the_two_picks_come_from_different_traces(monkeypatch: pytest.MonkeyPatch):
    """Of two samples with different answers the halves hold one each, so their picks never agree."""
    monkeypatch.setattr(selection, "SPLITS", 5)
    made = agreement([group(seen("1"), seen("2"), greedy=seen("1"))], "answer_disparity")

    assert made.together.tolist() == [0.0]
    assert made.picks.tolist() == [pytest.approx([0.5, 0.5])]


def test_advantages_are_rewards_less_their_mean_by_their_spread():
    assert advantages([1.0, 3.0]) == pytest.approx([-1 / math.sqrt(2), 1 / math.sqrt(2)])
    assert advantages([2.0, 2.0, 2.0]) == [0.0, 0.0, 0.0]
    assert advantages([0.0, 0.0]) == [0.0, 0.0]


def test_pushes_of_one_group_by_hand():
    """Rewards 1 and 3: advantages -s and s with s = 1/sqrt 2; log-probabilities -2 and -4 lie 1 above and below -3.

    The surer trace is the longer one and has no answer: its share rises by s/2. Both parts of the covariance are
    -s * 1 / 2, so it is -s: the step makes the less likely trace likelier.
    """
    made = pushes(
        [group(seen("1", 1.0, length=2, logprob=-2.0), seen(None, 3.0, length=6, logprob=-4.0))], "answer_disparity"
    )
    s = 1 / math.sqrt(2)

    assert {key: one.value for key, one in made.items() if key.startswith("share")} == pytest.approx(
        {
            "share/announced": -s / 2, "share/unannounced": s / 2,
            "share/shorter": -s / 2, "share/longer": s / 2,
            "share/voted": 0.0, "share/outvoted": -s / 2, "share/unanswered": s / 2,
        }
    )  # fmt: skip
    assert made["covariance/announced"].value == pytest.approx(-s / 2)
    assert made["covariance/longer"].value == pytest.approx(-s / 2)
    assert made["covariance"].value == pytest.approx(-s)


def test_a_reward_that_is_not_known_pushes_nothing():
    assert pushes([group(seen("1"), seen("2"))], "unheard_of") == {}


FIRST = group(
    seen("1", 0.9), seen("1", 0.8), seen("2", 0.1, finish=FinishReason.LENGTH), seen(None, 0.0, length=8),
    greedy=seen("1"),
)  # fmt: skip
SECOND = group(seen("3", 0.9), seen("3", 0.7), seen("3", 0.6), seen("3", 0.6), greedy=seen("4"))


def test_rates_and_votes_of_two_prompts_by_hand():
    found = {key: one.value for key, one in features([FIRST, SECOND], alpha=math.exp(-1.0)).items()}

    assert found["answer_rate"] == pytest.approx(7 / 8)
    assert found["truncated_rate"] == pytest.approx(1 / 8)
    assert found["entropy"] == pytest.approx((7 * 2 / 4 + 2 / 8) / 8)  # mean of each trace's mean
    assert found["token_entropy"] == pytest.approx(16 / 36)  # 8 traces of 2 nats, 7 * 4 + 8 tokens
    assert found["length"] == pytest.approx(36 / 8)
    assert found["agreement"] == pytest.approx((2 / 4 + 1) / 2)
    assert found["unanimous_rate"] == 0.5
    assert found["distinct_answers"] == 1.5
    assert found["pair_agreement"] == pytest.approx((2 / 12 + 1) / 2)  # 2 of the 12 ordered pairs, and all
    assert found["chance_agreement"] == 0.0
    assert found["agreement_above_chance"] == pytest.approx(7 / 12)
    assert found["top_answer_share"] == pytest.approx(4 / 7)
    assert found["greedy_vote"] == pytest.approx((2 / 4 + 0) / 2)
    assert found["alpha_share"] == pytest.approx(0.5)  # every trace has the probability e^-1, as alpha is
    assert found["chosen_voted/answer_disparity"] == 1.0
    assert found["chosen_greedy/answer_disparity"] == 0.5


def test_auroc_is_against_the_vote_among_answered_traces():
    """Members .9, .8, .9, .7, .6, .6, the one other answer .1: every member is surer."""
    assert features([FIRST, SECOND], alpha=0.1)["auroc/answer_disparity"].value == 1.0
    one = group(seen("1", 0.5), seen("1", 0.1), seen("2", 0.3))
    # Of the pairs (0.5, 0.3) and (0.1, 0.3) one is the right way round.
    assert features([one, one], alpha=0.1)["auroc/answer_disparity"].value == pytest.approx(0.5)


def test_chance_agreement_is_of_different_prompts():
    """Each prompt gives 1 half the time: two samples of different prompts agree 1/4 + 1/4."""
    one = group(seen("1"), seen("1"), seen("2"), seen("2"))
    assert features([one, one], alpha=0.1)["chance_agreement"].value == pytest.approx(0.5)


def test_the_spread_of_agreement():
    made = spread([FIRST, SECOND])

    assert made["quantiles"] == pytest.approx([0.5, 0.55, 0.625, 0.75, 0.875, 0.95, 1.0])
    assert made["histogram"] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1]


def test_another_form_is_compared_prompt_by_prompt():
    """Answers: 3/4 and 4/4 before, 1 and 1 after."""
    better = group(seen("1"), seen("1"))
    made = paired([FIRST, SECOND], [better, better])

    assert made["answer_rate"].value == pytest.approx(1 / 8)
    assert made["truncated_rate"].value == pytest.approx(-1 / 8)
    assert made["answer_rate"].n == 2


def test_lengths_fall_into_two_groups():
    """Of 3, 3, 20, 24 the cut between 3 and 20 leaves no variance below and little above: sqrt(4 * 21) - 1."""
    assert boundary([20, 3, 24, 3]) == pytest.approx(math.sqrt(4 * 21) - 1)
    assert boundary([7, 7]) is None


def two_ways(answers: tuple[str, str], *, sure: float = 0.9) -> SeenGroup:
    """Two guesses of 3 tokens and two workings of 20, the second as sure as said and the first at 0.5."""
    working = [seen(answer, sure, length=20) for answer in answers]
    return group(seen("1", 0.5, length=3), seen("1", 0.5, length=3), *working, greedy=seen("1"))


def test_the_surer_way_is_favoured_however_few_its_traces():
    """Rewards .5, .5, .9, .9: advantages -h, -h, h, h with h = .2 / stdev = .2 / sqrt(.16 / 3); push 2h / 4 = h / 2."""
    way = favoured([two_ways(("4", "4")), two_ways(("5", "5"))], "answer_disparity")

    assert [[trace.answer for trace in one.samples] for one in way.groups] == [["4", "4"], ["5", "5"]]
    assert way.push.value == pytest.approx(0.2 / math.sqrt(0.16 / 3) / 2)
    assert way.share.value == 0.5
    less = favoured([two_ways(("4", "4"), sure=0.1)], "mean_logprob")
    assert [[trace.answer for trace in one.samples] for one in less.groups] == [["1", "1"]]


def test_no_way_is_favoured_where_rewards_do_not_differ_or_lengths_do_not():
    groups = [two_ways(("4", "4"), sure=0.5)]
    assert favoured(groups, "answer_disparity").groups == groups
    alike = [group(seen("1", 0.1), seen("2", 0.9))]
    way = favoured(alike, "answer_disparity")
    assert way.groups == alike and math.isnan(way.push.value) and way.share.value == 1.0


def test_a_gain_is_forecast_from_the_favoured_way_alone():
    """Greedy and half of the samples guess 1 everywhere; the workings agree, prompt by prompt: a = 1, g = 0, C = 0."""
    found = features([two_ways((answer, answer)) for answer in "456789"], alpha=0.1)

    assert found["favoured_share/answer_disparity"].value == 0.5
    assert found["gain/answer_disparity"].value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("sure", "who"),
    [
        ([0.1, 0.2, 0.8, 0.9], [False, False, True, True]),
        ([0.9, 0.8, 0.2, 0.1], [True, True, False, False]),
        ([0.5, 0.5, 0.5, 0.5], [True] * 4),  # sure of all alike
        ([0.9, 0.1, 0.1, 0.9], [True] * 4),  # one surer and one less sure of either length: the pushes cancel
        ([math.nan, 0.2, 0.8, 0.9], [True] * 4),
    ],
)
def test_the_traces_of_the_surer_way_vote(sure: list[float], who: list[bool]):
    assert voters([[3, 3, 20, 24]] * 2, [sure] * 2) == [who] * 2


def test_all_vote_where_there_is_one_way():
    assert voters([[7, 7], [7, 7]], [[0.1, 0.9], [0.9, 0.1]]) == [[True, True], [True, True]]
    assert voters([], []) == []
