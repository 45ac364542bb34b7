"""The history of a run folder, from events and from answers that no training and no evaluation made."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import manifest

from inward.diagnose import StopSettings, decide, findings, history
from inward.runs import RunFolder
from inward.types import EvalItem, JudgedTrace, Outcome


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.open(tmp_path / "run", manifest(method="rlif")) as opened:
        yield opened


def test_a_folder_in_which_nothing_was_trained_shows_nothing(folder: RunFolder):
    seen = history(folder)

    assert (list(seen.monitors), list(seen.probes)) == ([], [])


def test_a_step_that_was_logged_twice_counts_as_it_was_logged_last(folder: RunFolder):
    for step, entropy in ((0, 1.0), (2, 0.5), (1, 0.75), (2, 0.25)):
        folder.log("monitor", step=step, entropy=entropy)

    assert history(folder).monitors == [
        {"step": 0.0, "entropy": 1.0},
        {"step": 1.0, "entropy": 0.75},
        {"step": 2.0, "entropy": 0.25},
    ]


def test_numbers_alone_are_kept_and_null_is_nan(folder: RunFolder):
    folder.log("monitor", step=0, traces=4, reward=math.nan, transitional_words={"but": 2, "words": 9})

    [row] = history(folder).monitors

    assert row.keys() == {"step", "traces", "reward"}
    assert row["traces"] == 4.0 and math.isnan(row["reward"])


def test_a_torn_last_line_is_passed_over(folder: RunFolder):
    folder.log("monitor", step=0, entropy=1.0)
    with (folder.path / "log.jsonl").open("a") as log:
        log.write('{"event": "monitor", "time": "2026-01-01T00:00:00", "step": 1, "entr')

    assert history(RunFolder.read(folder.path)).monitors == [{"step": 0.0, "entropy": 1.0}]


def test_the_divergence_that_the_update_measured_goes_to_the_traces_it_was_measured_on(folder: RunFolder):
    for step in range(3):
        folder.log("monitor", step=step, kl=math.nan)
    # The update that follows the traces of step 0 is called step 1; the last line is TRL's on the whole training.
    for line in ({"step": 1.0, "kl": 0.0}, {"step": 2.0, "kl": 0.25}, {"step": 2.0, "train_runtime": 9.0}):
        folder.log("train", **line)

    divergences = [row["kl"] for row in history(folder).monitors]

    assert divergences[:2] == [0.0, 0.25]
    assert math.isnan(divergences[2])


def test_the_engines_mismatch_goes_to_the_traces_that_the_engine_wrote(folder: RunFolder):
    for step in range(2):
        folder.log("monitor", step=step, entropy=1.0)
        folder.log(
            "train", step=step + 1.0, engine_mismatch=0.25 * (step + 1), engine_mismatch_max=9.0, engine_weight=0.75
        )

    rows = [{**row} for row in history(folder).monitors]

    assert [(row["engine_mismatch"], row["engine_weight"]) for row in rows] == [(0.25, 0.75), (0.5, 0.75)]
    [found] = findings(history(folder))
    assert found.name == "engine_mismatch" and "0.500 nats" in found.evidence and "weight of 0.75" in found.evidence


def test_a_divergence_that_was_monitored_stays(folder: RunFolder):
    folder.log("monitor", step=0, kl=0.125)
    folder.log("train", step=1.0, loss=0.5)

    assert history(folder).monitors == [{"step": 0.0, "kl": 0.125}]


def test_probes_come_from_their_events_where_there_are_any(folder: RunFolder):
    judged(folder, "before/items", Q1, Q2)
    for step, share in ((10, 0.25), (0, 1.0), (10, 0.75)):
        folder.log("probe", step=step, support=[share, 0.5], entropy=share, reward=math.nan)

    seen = history(folder)

    assert seen.source == "training prompts"
    assert [(one.step, one.support, one.metrics["entropy"]) for one in seen.probes] == [
        (0, (1.0, 0.5), 1.0),
        (10, (0.75, 0.5), 0.75),
    ]
    assert seen.probes[0].metrics.keys() == {"entropy", "reward"}


def trace(index: int, answer: str | None) -> JudgedTrace:
    return JudgedTrace(
        index=index,
        answer=answer,
        canonical=answer,
        outcome=Outcome.INCORRECT,
        lenient=Outcome.INCORRECT,
        probability=0.5,
        disparity=0.0,
        has_span=answer is not None,
        entropy=0.25 * index,
        logprob=-1.0,
        length=10 * index,
        truncated=answer is None,
    )


def item(prompt_id: str, greedy: str | None, *samples: str | None) -> EvalItem:
    return EvalItem(
        prompt_id=prompt_id,
        gold="4",
        greedy=trace(0, greedy),
        tokens=0,
        samples=tuple(trace(index + 1, answer) for index, answer in enumerate(samples)),
        majority=None,
        majority_outcome=Outcome.NO_ANSWER,
    )


Q1 = item("q1", "4", "4", "4", "7")
Q2 = item("q2", None, "1", None, "1.0")


def judged(folder: RunFolder, stage: str, *items: EvalItem) -> None:
    folder.once(stage, lambda: items, EvalItem)


def judge_all(folder: RunFolder, before: Sequence[EvalItem] = (Q1, Q2)) -> None:
    """Answers at steps 0, 10 and 20; at step 10 the problems come in another order."""
    judged(folder, "before/items", *before)
    judged(folder, "curve/00010/items", item("q2", "1", "1", "1", "9"), item("q1", "4", "4", "4", "4"))
    judged(folder, "after/items", item("q1", "9", "9", "9", "9"), item("q2", None, None, None, None))
    folder.log("trained", steps=30, kept_step=20)


def test_without_probes_the_answers_of_the_evaluation_stand_in_for_them(folder: RunFolder):
    judge_all(folder)

    seen = history(folder)

    assert seen.source == "evaluation answers"
    assert [probe.step for probe in seen.probes] == [0, 10, 20]
    # Votes on q1: 4 twice, 7 once. On q2: 1 twice (1.0 is 1), none once. Sample i is held against the other two.
    assert seen.probes[0].support == pytest.approx(
        (
            (2 / 3 + (1 / 2 + 1 / 2 + 0) / 3) / 2,  # 4 against 4, 7; 4 against 4, 7; 7 against 4, 4
            (0 + (1 / 2 + 0 + 1 / 2) / 3) / 2,  # 1 against none, 1; none; 1 against 1, none
        )
    )
    assert seen.probes[1].support == pytest.approx(
        (
            (2 / 3 + (1 / 2 + 1 / 2 + 1) / 3) / 2,  # 4 against 4, 7; 4 against 4, 7; 4 against 4, 4
            (2 / 3 + (1 / 2 + 1 + 0) / 3) / 2,  # 1 against none, 1; 1 against 1, 1; nobody said 9
        )
    )
    assert seen.probes[2].support == (0.0, 0.0)


def test_the_answers_come_with_metrics_of_the_samples(folder: RunFolder):
    judge_all(folder)

    first, _, last = history(folder).probes

    assert first.metrics == pytest.approx(
        {
            "greedy_answer_rate": 1 / 2,
            "answer_rate": 5 / 6,
            "agreement": 2 / 3,  # two of three say 4, two of three say 1
            "top_answer_share": 2 / 5,  # 4, 4, 7, 1, 1
            "entropy": 0.5,  # 0.25, 0.5, 0.75, twice
            "length": 20.0,
            "truncated_rate": 1 / 6,
        }
    )
    assert (last.metrics["agreement"], last.metrics["top_answer_share"]) == (0.5, 1.0)


def test_an_unchanged_model_has_the_support_of_the_start_model(folder: RunFolder):
    judged(folder, "before/items", Q1, Q2)
    judged(folder, "after/items", Q1, Q2)

    first, last = history(folder).probes

    assert first.support == last.support


def test_the_habit_of_the_start_model_has_no_vote_where_it_is_surer_of_its_working(folder: RunFolder):
    """It guesses 7 twice in two tokens, and says 4 after twenty, surer: the workings alone vote."""

    def asked(name: str, greedy: str) -> EvalItem:
        one = item(name, greedy, "7", "7", "4", "4")
        ways = ((2, 0.25), (2, 0.25), (20, 0.75), (20, 0.75))
        samples = [
            replace(trace, length=length, disparity=sure)
            for trace, (length, sure) in zip(one.samples, ways, strict=True)
        ]
        return replace(one, samples=tuple(samples))

    judged(folder, "before/items", asked("q1", "7"), asked("q2", "7"))
    judged(folder, "after/items", asked("q1", "4"), asked("q2", "4"))

    first, last = history(folder).probes

    # Sampled: 7 has no vote; each 4 has the other's.
    assert first.support == ((0 + (0 + 0 + 1 + 1) / 4) / 2,) * 2
    assert last.support == ((1 + (0 + 0 + 1 + 1) / 4) / 2,) * 2


def test_choices_are_compared_as_choices(tmp_path: Path):
    choices = manifest(method="rlif", settings={"answer": {"kind": "choice"}})
    with RunFolder.open(tmp_path / "choices", choices) as folder:
        judged(folder, "before/items", item("q1", "B", "(B)", "B.", "b"))

        assert history(folder).probes[0].support == ((2 / 3 + (1 / 2 + 1 / 2 + 0) / 3) / 2,)


@pytest.mark.parametrize("samples", [(), ("4",)])
def test_without_two_samples_there_are_no_votes_and_the_rule_abstains(folder: RunFolder, samples: tuple[str, ...]):
    judged(folder, "before/items", item("q1", "4", *samples))
    judged(folder, "after/items", item("q1", "9", *samples))
    folder.log("trained", steps=30)

    seen = history(folder)

    assert [(probe.step, probe.support) for probe in seen.probes] == [(0, ()), (30, ())]
    assert "abstains" in decide(seen.probes, StopSettings()).stop_reason
    assert findings(seen) == []


@pytest.mark.parametrize(
    ("trained", "steps"),
    [
        ({"steps": 30, "kept_step": 20}, [0, 10, 20]),
        ({"steps": 30, "kept_step": 10}, [0, 10]),  # judged already
        ({"steps": 30, "kept_step": 0}, [0, 10]),
        ({"steps": 30}, [0, 10, 30]),
        (None, [0, 10, 11]),
    ],
)
def test_the_trained_model_stands_at_the_step_it_is_from(folder: RunFolder, trained: dict[str, int], steps: list[int]):
    for stage in ("before/items", "curve/00010/items", "after/items"):
        judged(folder, stage, Q1)
    if trained:
        folder.log("trained", **trained)

    assert [probe.step for probe in history(folder).probes] == steps


def test_what_is_not_judged_yet_is_left_out(folder: RunFolder):
    judged(folder, "before/items", Q1)
    judged(folder, "curve/00010/items", Q1)
    judged(folder, "curve/00020/items", Q1)
    (folder.path / "curve/00020/items/complete.json").unlink()

    assert [probe.step for probe in history(folder).probes] == [0, 10]


def test_gold_answers_and_verdicts_change_nothing(folder: RunFolder, tmp_path: Path):
    judge_all(folder)
    with RunFolder.open(tmp_path / "other", manifest(method="rlif")) as other:
        for stage in ("before/items", "curve/00010/items", "after/items"):
            judged(other, stage, *map(_right, folder.records(stage, EvalItem)))
        other.log("trained", steps=30, kept_step=20)

        assert history(other) == history(folder)
        assert findings(history(other)) == findings(history(folder)) != []


def _right(one: EvalItem) -> EvalItem:
    """The same answers under another gold answer, by which all of them are right."""

    def right(trace: JudgedTrace) -> JudgedTrace:
        return replace(trace, outcome=Outcome.CORRECT, lenient=Outcome.CORRECT, probability=1.0, disparity=1.0)

    return replace(
        one,
        gold="9",
        greedy=right(one.greedy),
        samples=tuple(map(right, one.samples)),
        majority="9",
        majority_outcome=Outcome.CORRECT,
    )
