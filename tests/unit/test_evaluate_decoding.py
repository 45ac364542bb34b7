"""Which trace gives the answer under each decoding, what that costs, and what is kept of its confidence."""

import math
from dataclasses import replace

import pytest

from inward.errors import DataError
from inward.evaluate import DECODINGS, judge, report
from inward.evaluate.decoding import choose, vote
from inward.types import (
    FinishReason,
    Outcome,
    Problem,
    Prompt,
    ScoredGroup,
    ScoredTrace,
    Source,
    Span,
    Trace,
)

RIGHT, WRONG, NONE = Outcome.CORRECT, Outcome.INCORRECT, Outcome.NO_ANSWER


def scored(index, source, answer, *, disparity=0.5, length=3, mean_logprob=-1.0, **measures):
    """A trace of so many tokens; its probability is (1 + disparity) / 2."""
    has = answer is not None
    return ScoredTrace(
        trace=Trace(
            prompt_id="q", index=index, source=source, prompt_ids=(1,), completion_ids=(5,) * length,
            completion=f"#### {answer}", token_ends=(1,) * length, finish_reason=FinishReason.STOP, policy="test",
        ),
        answer=answer, answer_chars=Span(start=5, end=6) if has else None,
        answer_tokens=Span(start=1, end=2) if has else None,
        measures={
            "answer_probability": (1 + disparity) / 2 if has else 0.0, "answer_disparity": disparity if has else 0.0,
            "neg_entropy": -0.5, "mean_logprob": mean_logprob, **measures,
        },
    )  # fmt: skip


def judged(*traces, decoding="greedy", gold="8", labels=()):
    group = ScoredGroup(prompt=Prompt(id="q", text="?", labels=labels), traces=traces, confidence="answer_disparity")
    kind = "choice" if labels else "number"
    return next(judge([group], [Problem(prompt=group.prompt, answer=gold)], kind, decoding=decoding))


def branches(*answers):
    """Branches with an answer, a disparity and a length each."""
    return [
        scored(i, Source.BRANCH, answer, disparity=disparity, length=length)
        for i, (answer, disparity, length) in enumerate(answers)
    ]


def samples(*answers, first=0):
    return [scored(first + i, Source.SAMPLE, answer, length=2) for i, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("decoding", "forms", "disparities", "chosen"),
    [
        # sums: 7 has .9, 8 has .6 + .5
        ("cot_decoding", "787", [0.5, 0.9, 0.6], 1),
        ("cot_decoding_sum", "878", [0.5, 0.9, 0.6], 2),
        ("self_consistency", "878", [0.5, 0.9, 0.6], 0),
        ("cot_decoding", "-7-", [0.0, -0.2, 0.0], 1),
        ("cot_decoding", "77", [0.4, 0.4], 0),
        # 7 would have .3 - .9 < 0, but counts .3 + 0 against .2
        ("cot_decoding_sum", "778", [0.3, -0.9, 0.2], 0),
        ("cot_decoding_sum", "78", [0.0, 0.0], 0),
        ("self_consistency", "-788", [0.0, 0.9, 0.1, 0.1], 2),
        ("self_consistency", "7887", [0.1, 0.9, 0.9, 0.1], 0),
        *((one, "--", [0.0, 0.0], 0) for one in DECODINGS if one != "greedy"),
    ],
)
def test_the_trace_that_a_decoding_chooses(decoding, forms, disparities, chosen):
    given = [None if form == "-" else form for form in forms]
    assert choose(given, disparities, decoding) == chosen


def test_a_weighted_vote_sums_by_answer_and_ties_go_to_the_first():
    # a .9, b .5 + .5
    assert vote(["a", "b", "b"], [0.9, 0.5, 0.5]) == 1
    assert vote(["a", None, "b"], [0.5, 9.0, 0.5]) == 0
    assert vote([None], [1.0]) is None and vote([], []) is None


def test_cot_decoding_answers_from_the_surest_branch_and_pays_for_all_of_them():
    made = [*samples("7", "7"), *branches(("7", 0.2, 4), ("8", 0.9, 6), ("9", 0.4, 5))]
    item = judged(*made, decoding="cot_decoding")
    assert (item.greedy.answer, item.greedy.outcome, item.greedy.disparity) == ("8", RIGHT, 0.9)
    assert item.tokens == 4 + 6 + 5
    assert [s.answer for s in item.samples] == ["7", "7"] and item.majority_outcome is WRONG


def test_the_sum_outvotes_the_surest_branch():
    made = branches(("7", 0.9, 4), ("8", 0.4, 5), ("8.0", 0.6, 5))
    item = judged(*made, decoding="cot_decoding_sum")
    # 8: .4 + .6 against .9; the surest branch with that answer stands for it
    assert (item.greedy.answer, item.greedy.disparity, item.tokens) == ("8.0", 0.6, 14)
    assert judged(*made, decoding="cot_decoding").greedy.answer == "7"


def test_self_consistency_answers_with_the_majority_and_its_confidence_is_the_vote_share():
    item = judged(*samples("7", "8", None, "8"), decoding="self_consistency")
    assert (item.greedy.answer, item.greedy.index, item.tokens) == ("8", 1, 8)
    assert item.greedy.confidences["vote_share"] == 2 / 4
    assert item.greedy.outcome is item.majority_outcome is RIGHT
    # one problem: right with a confidence of 1/2
    metrics = report([item], "t", "c", decoding="self_consistency").metrics
    assert metrics["ece_vote_share"].value == 0.5 and metrics["brier_vote_share"].value == 0.25
    assert metrics["greedy_accuracy"].value == metrics["majority_accuracy"].value == 1.0
    assert metrics["tokens_per_answer"].value == 8


@pytest.mark.parametrize("decoding", ["greedy", "cot_prompt"])
def test_one_greedy_trace_costs_its_own_tokens(decoding):
    item = judged(scored(0, Source.GREEDY, "8", length=7), *samples("8", "9", first=1), decoding=decoding)
    assert (item.greedy.answer, item.tokens) == ("8", 7)


@pytest.mark.parametrize(
    ("decoding", "traces", "message"),
    [
        ("greedy", branches(("8", 0.5, 3)), "0 greedy, 0 sampled and 1 other traces: for greedy"),
        ("cot_decoding", [scored(0, Source.GREEDY, "8"), *branches(("8", 0.5, 3))], "1 greedy.* and 1 other"),
        ("cot_decoding_sum", samples("8"), "evaluate groups of branches and any number of samples"),
        ("self_consistency", [scored(0, Source.GREEDY, "8"), *samples("8")], "evaluate groups of one sample or more"),
    ],
)
def test_a_decoding_refuses_groups_without_its_traces(decoding, traces, message):
    with pytest.raises(DataError, match=message):
        judged(*traces, decoding=decoding)


def test_every_measure_of_an_answer_is_kept():
    greedy = scored(
        0, Source.GREEDY, "8", mean_logprob=-math.log(2), reference_probability=0.3, recalibrated=0.7,
        option_disparity=-0.4, other=5.0,
    )  # fmt: skip
    item = judged(greedy, *samples("8", "8.0", "9", None, first=1))
    assert item.greedy.confidences == pytest.approx(
        {
            "sequence_probability": 1 / 2,
            # two of four: no answer counts in the total
            "vote_share": 2 / 4,
            "reference_probability": 0.3,
            "recalibrated": 0.7,
            # -.4 is no lead
            "option_disparity": 0.0,
        }
    )
    assert item.samples[2].confidences == pytest.approx({"sequence_probability": math.exp(-1), "vote_share": 1 / 4})


def test_without_an_answer_every_measure_is_zero_and_without_samples_there_is_no_vote():
    silent = scored(0, Source.GREEDY, None, reference_probability=0.9, recalibrated=0.2)
    assert set(judged(silent, *samples("8", None, first=1)).greedy.confidences.values()) == {0.0}
    assert set(judged(silent).greedy.confidences) == {"sequence_probability", "reference_probability", "recalibrated"}


def test_the_measures_side_by_side_by_hand():
    """Two right answers and a wrong one; the reference is sure of the wrong one, the votes are not.

    reference .2 .4 | .9; votes 1 .5 | .5, of two samples each.
    """
    items = []
    for name, answer, reference, votes in (("a", "8", 0.2, "88"), ("b", "8", 0.4, "87"), ("c", "7", 0.9, "78")):
        traces = [scored(0, Source.GREEDY, answer, reference_probability=reference), *samples(*votes, first=1)]
        group = ScoredGroup(prompt=Prompt(id=name, text="?"), traces=tuple(traces), confidence="answer_disparity")
        items += judge([group], [Problem(prompt=group.prompt, answer="8")], "number")
    result = report(items, "t", "c")
    found = {key: one.value for key, one in result.metrics.items()}
    # each answer in a bin of its own
    assert found["ece_reference_probability"] == pytest.approx((0.8 + 0.6 + 0.9) / 3)
    assert found["brier_reference_probability"] == pytest.approx((0.8**2 + 0.6**2 + 0.9**2) / 3)
    assert found["auroc_reference_probability"] == 0.0
    # of the surest 2.4: the wrong one, b, and .4 of a
    assert found["accuracy_at_80_reference_probability"] == pytest.approx(1.4 / 2.4)
    # 1 is right; of the two at .5 one is right
    assert found["ece_vote_share"] == pytest.approx(0.0)
    assert found["brier_vote_share"] == pytest.approx((0 + 0.25 + 0.25) / 3)
    # a beats c, b ties with it
    assert found["auroc_vote_share"] == pytest.approx(1.5 / 2)
    # a, and 1.4 of the two ties, of which half are right
    assert found["accuracy_at_80_vote_share"] == pytest.approx(1.7 / 2.4)
    # all completions alike: e^-1 each, nothing told apart
    assert found["ece_sequence_probability"] == pytest.approx(2 / 3 - math.exp(-1))
    assert found["auroc_sequence_probability"] == 0.5
    assert "ece_recalibrated" not in found
    shown = {one.measure: one for one in result.calibration if one.answers == "greedy"}
    assert list(shown)[2:] == ["sequence_probability", "vote_share", "reference_probability"]
    assert shown["vote_share"].accuracy_at_50.value == pytest.approx((1 + 0.25) / 1.5)
    assert [one.count for one in shown["vote_share"].bins] == [0, 0, 0, 0, 2, 0, 0, 0, 0, 1]


def test_votes_weigh_as_much_as_they_are_sure():
    # 7 twice at .2, 8 once at .5: the count says 7, the weights say 8
    drawn = [("7", 0.2), ("7", 0.2), ("8", 0.5)]
    made = [scored(i + 1, Source.SAMPLE, answer, disparity=sure) for i, (answer, sure) in enumerate(drawn)]
    metrics = report([judged(scored(0, Source.GREEDY, "8"), *made)], "t", "c").metrics
    assert metrics["majority_accuracy"].value == 0.0
    assert metrics["weighted_majority_accuracy"].value == 1.0


def test_a_completion_made_elsewhere_is_graded_and_has_no_confidence():
    known = scored(0, Source.GREEDY, "8")
    text = replace(known, trace=replace(known.trace, completion_ids=(), token_ends=()), answer_tokens=None, measures={})
    item = judged(text)
    assert item.greedy.outcome is RIGHT and item.greedy.lenient is RIGHT
    assert item.tokens is item.greedy.length is None and item.greedy.confidences == {}
    result = report([item, replace(item, prompt_id="r", greedy=replace(item.greedy, outcome=NONE))], "t", "c")
    assert result.metrics["greedy_accuracy"].value == 0.5 and result.metrics["answer_rate"].value == 0.5
    unknown = {"ece", "brier", "auroc", "confidence", "entropy", "length", "tokens_per_answer", "accuracy_at_80"}
    assert all(math.isnan(result.metrics[key].value) and result.metrics[key].n == 0 for key in unknown)


def test_completions_made_elsewhere_vote_by_count_alone():
    known = [scored(0, Source.GREEDY, "8"), *samples("8", "8", "9", first=1)]
    metrics = report([judged(*(replace(one, measures={}) for one in known))], "t", "c").metrics
    assert metrics["majority_accuracy"].value == metrics["pass_at_k"].value == 1.0
    assert metrics["ece_vote_share"].value == pytest.approx(1 / 3)
    assert math.isnan(metrics["weighted_majority_accuracy"].value)


def test_a_prompts_own_labels_are_read_leniently():
    silent = scored(0, Source.GREEDY, None)
    silent = replace(silent, trace=replace(silent.trace, completion="So I pick (G)"))
    assert judged(silent, gold="G", labels=("F", "G")).greedy.lenient is RIGHT
