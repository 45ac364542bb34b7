import math
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from inward import equivalence, evaluate
from inward.errors import DataError
from inward.evaluate import METRICS, compare, flips, judge, judging, report
from inward.evaluate.quantities import answer_entropy, collision
from inward.stats import Flips
from inward.types import (
    EvalItem,
    FinishReason,
    JudgedTrace,
    Outcome,
    Problem,
    Prompt,
    ScoredGroup,
    ScoredTrace,
    Source,
    Span,
    Trace,
)

RIGHT, WRONG, NONE, UNSCORED = Outcome.CORRECT, Outcome.INCORRECT, Outcome.NO_ANSWER, Outcome.UNSCORED
NEED_SAMPLES = {
    "sampled_accuracy",
    "sampled_accuracy_lenient",
    "majority_accuracy",
    "weighted_majority_accuracy",
    "pass_at_k",
    "ece_sampled",
    "brier_sampled",
    "auroc_sampled",
    "answer_collision",
    "answer_entropy",
    "sequence_logprob",
    "sequence_collision",
}

FURTHER = {f"{key}_{name}" for key in ("ece", "brier", "auroc", "accuracy_at_80") for name in evaluate.FURTHER}
"""Metrics of measures that an answer may have or not."""

SHARPNESS = {"answer_collision", "answer_entropy", "sequence_logprob", "sequence_collision"}

ACCURACIES = (
    "greedy_accuracy",
    "sampled_accuracy",
    "greedy_accuracy_lenient",
    "sampled_accuracy_lenient",
    "majority_accuracy",
    "weighted_majority_accuracy",
    "pass_at_k",
)


def scored(
    index,
    source,
    answer,
    completion=None,
    *,
    probability=0.8,
    disparity=0.6,
    finish=FinishReason.STOP,
    length=3,
    mean_logprob=-0.25,
):
    return ScoredTrace(
        trace=Trace(
            prompt_id="q",
            index=index,
            source=source,
            prompt_ids=(1,),
            completion_ids=(5,) * length,
            completion=f"#### {answer}" if completion is None else completion,
            token_ends=(1,) * length,
            finish_reason=finish,
            policy="test",
        ),
        answer=answer,
        answer_chars=None if answer is None else Span(start=5, end=6),
        answer_tokens=None if answer is None else Span(start=1, end=2),
        measures={
            "answer_probability": probability,
            "answer_disparity": disparity,
            "neg_entropy": -0.5,
            "mean_logprob": mean_logprob,
        },
    )


def group(*traces, prompt_id="q"):
    return ScoredGroup(prompt=Prompt(id=prompt_id, text="?"), traces=traces, confidence="answer_disparity")


def problem(answer, prompt_id="q"):
    return Problem(prompt=Prompt(id=prompt_id, text="?"), answer=answer)


def judged(
    outcome,
    probability=0.0,
    disparity=0.0,
    *,
    lenient=None,
    entropy=1.0,
    length=10,
    truncated=False,
    answer="1",
    logprob=-2.0,
):
    return JudgedTrace(
        index=0,
        answer=None if outcome is NONE else answer,
        canonical=None if outcome is NONE else answer,
        outcome=outcome,
        lenient=outcome if lenient is None else lenient,
        probability=probability,
        disparity=disparity,
        has_span=outcome is not NONE,
        entropy=entropy,
        logprob=logprob,
        length=length,
        truncated=truncated,
    )


def item(prompt_id, greedy, samples=(), majority_outcome=NONE):
    return EvalItem(
        prompt_id=prompt_id,
        gold="1",
        greedy=greedy,
        tokens=greedy.length,
        samples=tuple(samples),
        majority=None if majority_outcome is NONE else "1",
        majority_outcome=majority_outcome,
    )


@pytest.fixture
def four_problems():
    """Greedy: right .95, wrong .91, right .55, none. Two samples each: right share 1, 1/2, 0, 0.

    Samples: a gives 1 twice, b 1 and 2, c 2 twice, d none and 2. p(y) is 1/2 where right, 1/4 where wrong, 1 where
    there is none.

    Read leniently, the two traces of the last problem that have no answer are right.
    """
    yes = judged(RIGHT, 0.8, length=4, entropy=0.2, logprob=-math.log(2))
    no = judged(WRONG, 0.6, length=8, entropy=0.6, answer="2", logprob=-math.log(4))
    return [
        item("a", judged(RIGHT, 0.95, 0.9), [yes, yes], RIGHT),
        item("b", judged(WRONG, 0.91, 0.85), [yes, no], RIGHT),
        item("c", judged(RIGHT, 0.55, -0.2), [no, no], WRONG),
        item(
            "d",
            judged(NONE, lenient=RIGHT),
            [judged(NONE, lenient=RIGHT, length=16, entropy=1.0, truncated=True, logprob=0.0), no],
            WRONG,
        ),
    ]


def values(metrics):
    return {key: estimate.value for key, estimate in metrics.items()}


def test_judge_grades_greedy_samples_and_majority_against_the_gold_answer():
    traces = [
        scored(0, Source.GREEDY, "7", probability=0.9, disparity=0.7),
        scored(1, Source.SAMPLE, "8"),
        scored(2, Source.SAMPLE, "8"),
        scored(3, Source.SAMPLE, "7"),
        scored(4, Source.SAMPLE, None),
    ]
    [judgement] = judge([group(*traces)], [problem("other", "unused"), problem("8")], "number")
    assert judgement.prompt_id == "q" and judgement.gold == "8"
    assert judgement.greedy.outcome is WRONG
    assert [s.outcome for s in judgement.samples] == [RIGHT, RIGHT, WRONG, NONE]
    assert (judgement.majority, judgement.majority_outcome) == ("8", RIGHT)
    greedy = judgement.greedy
    assert (greedy.probability, greedy.disparity, greedy.entropy, greedy.length) == (0.9, 0.7, 0.5, 3)
    # three tokens of -0.25 nats
    assert greedy.logprob == -0.75
    assert greedy.has_span and not greedy.truncated
    assert judgement.samples[3].probability == 0.0 and not judgement.samples[3].has_span


def test_judge_without_samples_has_no_majority():
    [judgement] = judge([group(scored(0, Source.GREEDY, "8"))], [problem("8")], "number")
    assert judgement.samples == ()
    assert (judgement.majority, judgement.majority_outcome) == (None, NONE)


def test_judge_grades_the_answer_of_a_truncated_trace():
    cut = scored(0, Source.GREEDY, "8", finish=FinishReason.LENGTH)
    [judgement] = judge([group(cut)], [problem("8")], "number")
    assert judgement.greedy.truncated and judgement.greedy.outcome is RIGHT


def test_judge_keeps_a_confidence_that_rounding_lifted_above_one_in_range():
    trace = scored(0, Source.GREEDY, "8", probability=1.0000002, disparity=1.0000001)
    [judgement] = judge([group(trace)], [problem("8")], "number")
    assert judgement.greedy.probability == judgement.greedy.disparity == 1.0


@pytest.mark.parametrize(
    ("answer", "completion", "strict", "lenient"),
    [
        pytest.param(None, "3 + 5 = 8", NONE, RIGHT, id="unannounced and right"),
        pytest.param(None, "3 + 5 = 9", NONE, WRONG, id="unannounced and wrong"),
        pytest.param(None, "I do not know", NONE, NONE, id="nothing to read"),
        pytest.param("8", "#### 8", RIGHT, RIGHT, id="announced and right"),
        pytest.param("7", r"\boxed{7}, though 3 + 5 = 8", WRONG, WRONG, id="announced, wrong, then a right number"),
        pytest.param("8", "it is eight", RIGHT, NONE, id="given when asked, unreadable"),
        pytest.param("8", "8, plus 1 makes 9", RIGHT, WRONG, id="given when asked, another one read"),
    ],
)
def test_judge_reads_the_completion_leniently_beside_the_answer_that_counts(answer, completion, strict, lenient):
    traces = [scored(0, Source.GREEDY, answer, completion), scored(1, Source.SAMPLE, answer, completion)]
    [judgement] = judge([group(*traces)], [problem("8")], "number")
    for judged_trace in (judgement.greedy, *judgement.samples):
        assert (judged_trace.answer, judged_trace.outcome, judged_trace.lenient) == (answer, strict, lenient)
    # The vote is on the answers that count.
    assert (judgement.majority, judgement.majority_outcome) == (answer, strict)


def test_judge_cannot_decide_a_lenient_answer_where_the_gold_one_is_no_number():
    traces = [scored(0, Source.GREEDY, None, "3 + 5 = 8"), scored(1, Source.SAMPLE, None, "eight")]
    [judgement] = judge([group(*traces)], [problem("eight")], "number")
    assert (judgement.greedy.outcome, judgement.greedy.lenient) == (NONE, UNSCORED)
    assert judgement.samples[0].lenient is NONE


def test_judge_reads_the_labels_it_is_given():
    groups = [group(scored(0, Source.GREEDY, None, "So I pick (G)"))]
    [lettered] = judge(groups, [problem("G")], "choice", ("F", "G"))
    [default] = judge(groups, [problem("G")], "choice")
    assert (lettered.greedy.lenient, default.greedy.lenient) == (RIGHT, NONE)


def test_judge_grades_each_different_answer_once_however_it_was_read(monkeypatch):
    graded = []

    def grade(answer, gold, kind):
        graded.append(answer)
        return equivalence.grade(answer, gold, kind)

    monkeypatch.setattr(judging, "grade", grade)
    traces = [
        scored(0, Source.GREEDY, "8", "#### 8"),
        scored(1, Source.SAMPLE, "8", "so #### 8"),
        scored(2, Source.SAMPLE, None, "3 + 5 = 8"),
        scored(3, Source.SAMPLE, None, "or 9"),
    ]
    list(judge([group(*traces)], [problem("8")], "number"))
    assert sorted(graded, key=str) == ["8", "9", None]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([group(scored(0, Source.GREEDY, "8"), prompt_id="z")], "No problem has the prompt id 'z'"),
        ([group(scored(0, Source.SAMPLE, "8"))], "has 0 greedy, 1 sampled and 0 other"),
        ([group(*[scored(i, Source.GREEDY, "8") for i in (0, 1)])], "has 2 greedy"),
        ([group(scored(0, Source.GREEDY, "8"), scored(1, Source.BRANCH, "8"))], "1 other"),
        ([group(scored(0, Source.GREEDY, "8"))] * 2, "Two groups have the prompt id 'q'"),
        ([group(replace(scored(0, Source.GREEDY, "8"), measures={"self_certainty": 1.0}))], "lacks the measure"),
    ],
)
def test_judge_refuses_groups_it_cannot_judge(groups, message):
    with pytest.raises(DataError, match=message):
        list(judge(groups, [problem("8")], "number"))


def test_judge_refuses_problems_that_share_an_id():
    with pytest.raises(DataError, match="share a prompt id"):
        list(judge([], [problem("8"), problem("9")], "number"))


def test_report_by_hand(four_problems):
    result = report(four_problems, "arithmetic", "before")
    assert values(result.metrics) == pytest.approx(
        {
            "greedy_accuracy": 2 / 4,
            "sampled_accuracy": 3 / 8,
            # as above, and d
            "greedy_accuracy_lenient": 3 / 4,
            "sampled_accuracy_lenient": 4 / 8,
            "majority_accuracy": 2 / 4,
            # all disparities are 0, so the answer given first has it: a 1, b 1, c 2, d 2
            "weighted_majority_accuracy": 2 / 4,
            "pass_at_k": 2 / 4,
            # bins: d |0 - 0|, c |1 - .55|, a and b |.5 - .93| twice
            "ece": (0.45 + 2 * 0.43) / 4,
            "brier": (0.05**2 + 0.91**2 + 0.45**2 + 0) / 4,
            # right .95 .55, wrong .91 0: three of four pairs
            "auroc": 3 / 4,
            # the surest two are a and the wrong b; the surest 3.2 are these, c and a fifth of the wrong d
            "accuracy_at_50": 1 / 2,
            "accuracy_at_80": 2 / 3.2,
            # disparity .9 .85 (-.2 -> 0) 0; bins: c and d |.5 - 0| twice, a and b |.5 - .875| twice
            "ece_disparity": (2 * 0.5 + 2 * 0.375) / 4,
            "brier_disparity": (0.1**2 + 0.85**2 + 1 + 0) / 4,
            # right .9 0, wrong .85 0: two pairs won, one tied
            "auroc_disparity": 2.5 / 4,
            # a, b, and 1.2 of c and d, of which one is right
            "accuracy_at_80_disparity": (1 + 0.6) / 3.2,
            # three right at .8, four wrong at .6, one none at 0
            "ece_sampled": (3 * 0.2 + 4 * 0.6 + 0) / 8,
            "brier_sampled": (3 * 0.04 + 4 * 0.36) / 8,
            "auroc_sampled": 1.0,
            "ece_answered": (0.45 + 2 * 0.43) / 3,
            # each answer has a bin of its own
            "ece_equal_mass": (0.05 + 0.91 + 0.45 + 0) / 4,
            "confidence": (0.95 + 0.91 + 0.55 + 0) / 4,
            "entropy": (3 * 0.2 + 4 * 0.6 + 1.0) / 8,
            "length": (3 * 4 + 4 * 8 + 16) / 8,
            "tokens_per_answer": 10,
            "answer_rate": 3 / 4,
            "truncated_rate": 1 / 8,
            # a and c agree, b and d do not
            "answer_collision": 2 / 4,
            # b and d: two answers, half each
            "answer_entropy": 2 * math.log(2) / 4,
            # three of log 1/2, four of log 1/4, one of log 1
            "sequence_logprob": -(3 * math.log(2) + 4 * math.log(4)) / 8,
            # a 1/2, b (1/2 + 1/4)/2, c 1/4, d (1 + 1/4)/2
            "sequence_collision": (1 / 2 + 3 / 8 + 1 / 4 + 5 / 8) / 4,
        }
    )
    assert {estimate.n for key, estimate in result.metrics.items() if key != "ece_answered"} == {4}
    assert result.metrics["ece_answered"].n == 3
    assert (result.task, result.checkpoint, result.pass_k, result.num_problems) == (
        "arithmetic",
        "before",
        2,
        4,
    )
    assert (result.num_truncated, result.num_no_answer, result.num_unscored) == (1, 1, 0)


def test_report_holds_three_calibrations_that_agree_with_the_metrics(four_problems):
    result = report(four_problems, "t", "c")
    greedy, disparity, sampled = result.calibration
    assert [(c.measure, c.answers) for c in result.calibration] == [
        ("answer_probability", "greedy"),
        ("answer_disparity", "greedy"),
        ("answer_probability", "sampled"),
    ]
    assert (greedy.ece, disparity.auroc, sampled.brier) == (
        result.metrics["ece"],
        result.metrics["auroc_disparity"],
        result.metrics["brier_sampled"],
    )
    assert [b.count for b in greedy.bins] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    assert [p.risk for p in greedy.risk_coverage] == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert (greedy.num_without_span, disparity.num_without_span, sampled.num_without_span) == (1, 1, 1)
    assert "negative values set to 0" in disparity.mapping


def test_report_does_not_depend_on_the_order_of_problems(four_problems):
    # as text, since empty bins hold NaN, which equals nothing
    assert repr(report(reversed(four_problems), "t", "c")) == repr(report(four_problems, "t", "c"))


def test_undecided_answers_are_left_out_and_counted(four_problems):
    plain = report(four_problems, "t", "c")
    extra = item("e", judged(UNSCORED, 0.9), [judged(UNSCORED, 0.9)] * 2, UNSCORED)
    result = report([*four_problems, extra], "t", "c")
    assert result.num_unscored == 3 and result.num_problems == 5
    described = {"entropy", "length", "tokens_per_answer", "answer_rate", "truncated_rate"}
    unaffected = set(plain.metrics) - described - (NEED_SAMPLES & SHARPNESS)
    for key in unaffected:
        assert result.metrics[key].value == pytest.approx(plain.metrics[key].value), key
        assert result.metrics[key].n == plain.metrics[key].n, key
    assert result.metrics["answer_rate"].value == 4 / 5
    change = compare([*four_problems, extra], [*four_problems, extra])
    assert (change["greedy_accuracy"].n, change["answer_rate"].n) == (4, 5)


def test_an_undecided_sample_leaves_the_pooled_accuracy_right():
    # a: 2 of 2 right; b: 0 of 1 right, its other sample undecided. Pooled 2/3, not 1/2; pass@2 from a alone.
    items = [
        item("a", judged(RIGHT, 0.9), [judged(RIGHT, 0.9)] * 2, RIGHT),
        item("b", judged(WRONG, 0.9), [judged(WRONG, 0.9), judged(UNSCORED, 0.9)], WRONG),
    ]
    metrics = report(items, "t", "c").metrics
    assert metrics["sampled_accuracy"].value == pytest.approx(2 / 3)
    assert (metrics["pass_at_k"].value, metrics["pass_at_k"].n) == (1.0, 1)


def test_an_answer_undecided_only_when_read_leniently_leaves_only_the_lenient_accuracies():
    # b's greedy trace and one of its samples have no answer that counts: wrong. Leniently they are left out:
    # greedy 1 of 1 against 1 of 2, samples 2 of 3 against 2 of 4.
    odd = judged(NONE, lenient=UNSCORED)
    items = [
        item("a", judged(RIGHT, 0.9), [judged(RIGHT, 0.9)] * 2, RIGHT),
        item("b", odd, [judged(WRONG, 0.9), odd], WRONG),
    ]
    result = report(items, "t", "c")
    found = {key: (result.metrics[key].value, result.metrics[key].n) for key in ACCURACIES}
    assert found["greedy_accuracy"] == (1 / 2, 2) and found["greedy_accuracy_lenient"] == (1.0, 1)
    assert found["sampled_accuracy"] == (2 / 4, 2) and found["sampled_accuracy_lenient"] == (pytest.approx(2 / 3), 2)
    assert result.num_unscored == 0


def test_a_gain_in_format_alone_moves_the_plain_accuracies_and_not_the_lenient_ones():
    unannounced, announced = judged(NONE, lenient=RIGHT), judged(RIGHT, 0.9)
    before = [item(str(i), unannounced, [unannounced] * 2) for i in range(8)]
    after = [item(str(i), announced, [announced] * 2, RIGHT) for i in range(8)]
    change = compare(before, after)
    assert {key: change[key].value for key in ACCURACIES} == {
        "greedy_accuracy": 1.0,
        "sampled_accuracy": 1.0,
        "greedy_accuracy_lenient": 0.0,
        "sampled_accuracy_lenient": 0.0,
        "majority_accuracy": 1.0,
        "weighted_majority_accuracy": 1.0,
        "pass_at_k": 1.0,
    }


def test_without_samples_their_metrics_are_undefined_and_the_rest_describes_greedy_traces():
    items = [
        item("a", judged(RIGHT, 0.9, length=4, entropy=0.2)),
        item("b", judged(WRONG, 0.7, length=8, entropy=0.4, truncated=True)),
    ]
    result = report(items, "t", "c")
    assert {key for key, estimate in result.metrics.items() if math.isnan(estimate.value)} == NEED_SAMPLES
    assert all(result.metrics[key].n == 0 for key in NEED_SAMPLES)
    metrics = values(result.metrics)
    assert (metrics["length"], metrics["truncated_rate"]) == (6.0, 0.5)
    assert metrics["entropy"] == pytest.approx(0.3)
    assert result.pass_k == 0 and result.num_truncated == 1
    assert result.calibration[2].risk_coverage == ()


def test_when_everything_is_right_accuracy_still_has_an_interval_and_auroc_is_undefined():
    items = [item(str(i), judged(RIGHT, 0.9), [judged(RIGHT, 0.9)] * 4, RIGHT) for i in range(10)]
    metrics = report(items, "t", "c").metrics
    for key in ACCURACIES:
        # Wilson: 10 / (10 + 1.96^2)
        assert (metrics[key].value, metrics[key].high) == (1.0, 1.0)
        assert metrics[key].low == pytest.approx(0.7225, abs=1e-4)
    assert math.isnan(metrics["auroc"].value) and math.isnan(metrics["auroc_sampled"].low)
    assert metrics["ece"].value == pytest.approx(0.1)


def test_when_nothing_is_answered_confidence_is_zero_and_so_is_ece():
    result = report([item(str(i), judged(NONE, 0.4)) for i in range(3)], "t", "c")
    metrics = values(result.metrics)
    assert metrics["greedy_accuracy"] == metrics["confidence"] == metrics["ece"] == metrics["brier"] == 0.0
    assert metrics["answer_rate"] == 0.0 and result.num_no_answer == 3
    assert math.isnan(metrics["ece_answered"]) and result.metrics["ece_answered"].n == 0
    assert result.calibration[0].num_without_span == 3


def test_flips_count_answers_that_turned_and_leave_out_the_undecided():
    """No answer is wrong: of six decided problems 1 is lost and 3 gained, and p = 2 (1 + 4) / 16."""
    before = [RIGHT, RIGHT, WRONG, WRONG, NONE, NONE, UNSCORED, RIGHT]
    after = [RIGHT, NONE, RIGHT, RIGHT, RIGHT, WRONG, RIGHT, UNSCORED]
    sides = [[item(f"q{n}", judged(outcome)) for n, outcome in enumerate(side)] for side in (before, after)]
    assert flips(*sides) == Flips(lost=1, gained=3, p_value=10 / 16)
    assert flips(sides[0], sides[1][::-1]) == flips(*sides)
    with pytest.raises(DataError, match="1 problems were judged on one side only, 'q0' among them"):
        flips(sides[0], sides[1][1:])


def test_report_and_compare_refuse_what_they_cannot_use(four_problems):
    with pytest.raises(DataError, match="evaluate at least one"):
        report([], "t", "c")
    with pytest.raises(DataError, match="evaluate at least one"):
        compare([], [])
    with pytest.raises(DataError, match="'a' was judged twice"):
        report([*four_problems, four_problems[0]], "t", "c")
    with pytest.raises(DataError, match="2 problems were judged on one side only, 'a' among them"):
        compare(four_problems[1:], four_problems[:-1])


def test_compare_where_every_problem_improves():
    before = [item(str(i), judged(WRONG, 0.9), [judged(WRONG, 0.9)] * 2, WRONG) for i in range(8)]
    after = [item(str(i), judged(RIGHT, 0.9), [judged(RIGHT, 0.9)] * 2, RIGHT) for i in reversed(range(8))]
    change = compare(before, after)
    assert list(change) == [key for key in METRICS if key not in FURTHER]
    for key in ACCURACIES:
        assert (change[key].value, change[key].low, change[key].high, change[key].n) == (1.0, 1.0, 1.0, 8)
    # |0 - .9| before, |1 - .9| after
    assert change["ece"].value == pytest.approx(-0.8)
    assert math.isnan(change["auroc"].value)


def test_compare_is_after_minus_before_of_the_reports_and_pairs_problems_by_id(four_problems):
    swapped = [replace(i, greedy=judged(RIGHT, 0.7, 0.5)) for i in four_problems]
    change = compare(four_problems, swapped[::-1])
    old, new = report(four_problems, "t", "c").metrics, report(swapped, "t", "c").metrics
    for key in change:
        assert change[key].value == pytest.approx(new[key].value - old[key].value, nan_ok=True), key
    # Pairing cancels what the problems share: nothing changed in the samples.
    assert (change["sampled_accuracy"].low, change["sampled_accuracy"].high) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("answers", "agreeing", "entropy"),
    [
        # one answer three times of 4: 3 x 2 of 4 x 3 ordered pairs; 3/4 log 4/3 + 1/4 log 4
        pytest.param("1112", 1 / 2, 0.75 * math.log(4 / 3) + 0.25 * math.log(4), id="three of four"),
        pytest.param("1122", 1 / 3, math.log(2), id="two pairs"),
        pytest.param("1234", 0.0, math.log(4), id="all different"),
        pytest.param("1111", 1.0, 0.0, id="all the same"),
        # no answer agrees with nobody, not even with no answer, but is one way of answering
        pytest.param("11--", 1 / 6, math.log(2), id="two without"),
        pytest.param("----", 0.0, 0.0, id="none"),
    ],
)
def test_agreement_and_entropy_of_four_answers(answers, agreeing, entropy):
    given = [None if answer == "-" else answer for answer in answers]
    assert collision(given) == pytest.approx(agreeing)
    assert answer_entropy(given) == pytest.approx(entropy)


def test_the_estimate_of_agreement_is_unbiased():
    """Three samples of p = (1/2, 1/4), 1/4 without an answer: over all 27 outcomes it averages 1/4 + 1/16."""
    p = {"a": 0.5, "b": 0.25, None: 0.25}
    expected = sum(math.prod(p[one] for one in drawn) * collision(drawn) for drawn in product(p, repeat=3))
    assert expected == pytest.approx(5 / 16)


def test_one_sample_agrees_with_no_other_and_no_sample_has_no_entropy():
    assert math.isnan(collision(["1"])) and answer_entropy(["1"]) == 0.0
    assert math.isnan(collision([])) and math.isnan(answer_entropy([]))
    single = item("a", judged(RIGHT, 0.9), [judged(RIGHT, 0.9, logprob=-1.0)], RIGHT)
    pair = item("b", judged(RIGHT, 0.9), [judged(RIGHT, 0.9, logprob=-3.0)] * 2, RIGHT)
    metrics = report([single, pair], "t", "c").metrics
    assert (metrics["answer_collision"].value, metrics["answer_collision"].n) == (1.0, 1)
    assert (metrics["answer_entropy"].value, metrics["answer_entropy"].n) == (0.0, 2)
    # Samples weigh alike in the one, problems in the other.
    assert metrics["sequence_logprob"].value == pytest.approx(-(1 + 3 + 3) / 3)
    assert metrics["sequence_collision"].value == pytest.approx((math.exp(-1) + math.exp(-3)) / 2)


def test_samples_agree_in_the_form_that_equal_answers_share():
    """1/2, 0.5 and 2/4 agree: 3 of the 6 pairs; the shares are 3/4 and 1/4."""
    given = ["1/2", "0.5", "2/4", "3"]
    traces = [scored(0, Source.GREEDY, "8"), *(scored(i + 1, Source.SAMPLE, one) for i, one in enumerate(given))]
    judgement = list(judge([group(*traces)], [problem("8")], "number"))
    assert [sample.canonical for sample in judgement[0].samples] == ["1/2", "1/2", "1/2", "3"]
    metrics = report(judgement, "t", "c").metrics
    assert metrics["answer_collision"].value == pytest.approx(1 / 2)
    assert metrics["answer_entropy"].value == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))


def test_an_empty_completion_is_certain_and_rounding_lifts_no_other_above_that():
    empty = scored(0, Source.GREEDY, None, "", length=0, mean_logprob=math.nan)
    lifted = scored(1, Source.SAMPLE, "8", mean_logprob=1e-7)
    [judgement] = judge([group(empty, lifted)], [problem("8")], "number")
    assert (judgement.greedy.logprob, judgement.samples[0].logprob) == (0.0, 0.0)


def test_sharpening_moves_agreement_and_likelihood_up_and_entropy_down():
    """Before 1 2 at p = 1/4 each, after 1 1 at p = 1/2: agreement 0 to 1, entropy log 2 to 0, p by 1/4."""
    one, two = (judged(RIGHT, 0.9, answer=a, logprob=-math.log(4)) for a in "12")
    sure = judged(RIGHT, 0.9, logprob=-math.log(2))
    before = [item(str(i), one, [one, two], RIGHT) for i in range(8)]
    change = compare(before, [item(str(i), sure, [sure, sure], RIGHT) for i in range(8)])
    found = {key: change[key].value for key in SHARPNESS}
    assert found == pytest.approx({"answer_collision": 1.0, "answer_entropy": -math.log(2),
                                   "sequence_logprob": math.log(2), "sequence_collision": 0.25})  # fmt: skip


def test_compare_uses_the_smaller_number_of_samples(four_problems):
    fewer = [replace(i, samples=i.samples[:1]) for i in four_problems]
    change = compare(four_problems, fewer)
    # pass@1 of two samples is 1, 1/2, 0, 0; of the first one 1, 1, 0, 0
    assert change["pass_at_k"].value == pytest.approx(2 / 4 - 1.5 / 4)
    none = [replace(i, samples=()) for i in four_problems]
    against_none = compare(four_problems, none)
    assert math.isnan(against_none["sampled_accuracy"].value)
    # Greedy traces on both sides, so no difference in length.
    assert against_none["length"].value == 0.0


def test_the_page_of_metrics_says_what_the_code_says():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    section = page.split("\n## Evaluation\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", section, flags=re.MULTILINE)
    assert {key: tuple(rest) for key, *rest in rows} == METRICS
    assert len(rows) == len(METRICS)
