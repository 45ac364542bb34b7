"""`inward evaluate --completions`: completions made elsewhere, graded without a model."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from commands import ENVIRONMENT, Ended, call

from inward.runs import RunFolder
from inward.types import EvalItem, Manifest

UNKNOWN = ("ece", "brier", "auroc", "confidence", "entropy", "length", "truncated_rate", "tokens_per_answer")
"""Metrics that need tokens or their probabilities."""


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a command, with three sums in the form of GSM8K."""
    monkeypatch.chdir(tmp_path)
    sums = [("a", "1 + 1?", "2"), ("b", "2 + 2?", "4"), ("c", "3 + 3?", "6")]
    lines(tmp_path / "sums.jsonl", [{"id": i, "question": q, "answer": f"easy\n#### {a}"} for i, q, a in sums])
    return tmp_path


def evaluate(completions: str | Path, *extra: str | Path, data: str | Path = "sums.jsonl") -> Ended:
    return call("evaluate", "--completions", completions, "--task", "gsm8k", "--data", data, "--out", "out", *extra)


def metrics() -> dict[str, Any]:
    found = json.loads(Path("out/summary.json").read_text(encoding="utf-8"))["before"]
    return {key: estimate["value"] for key, estimate in found.items()}


def kind(manifest: Manifest) -> str:
    return cast("dict[str, Any]", manifest.settings["answer"])["kind"]


def items() -> list[EvalItem]:
    return list(RunFolder.read("out").records("before/items", EvalItem))


def test_one_completion_each_by_id_or_question(here: Path):
    rows = [
        {"question": "3 + 3?", "completion": "I think 7, no: the answer is 6."},
        {"id": "a", "completion": "#### 3"},
        {"id": "b", "completion": "I do not know."},
    ]
    ended = evaluate(lines(here / "done.jsonl", rows))

    assert ended.code == 0, ended.err
    found = metrics()
    assert (found["greedy_accuracy"], found["answer_rate"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert {key: found[key] for key in (*UNKNOWN, "pass_at_k")} == dict.fromkeys((*UNKNOWN, "pass_at_k"))
    assert [(item.prompt_id, item.greedy.answer) for item in items()] == [("a", "3"), ("b", None), ("c", "6")]
    assert (here / "out" / "report.html").exists()


def test_of_several_the_first_is_greedy_unless_a_column_says_which(here: Path):
    rows = [
        *({"id": "a", "completion": text} for text in ("#### 2", "#### 2", "#### 5")),
        *({"id": "b", "completion": text, "source": source} for text, source in (("#### 4", "sample"),) * 2),
        {"id": "b", "completion": "#### 9", "source": "greedy"},
        *({"id": "c", "completion": text} for text in ("#### 6", "#### 1", "#### 1")),
    ]
    assert evaluate(lines(here / "done.jsonl", rows)).code == 0

    found = metrics()
    assert found["greedy_accuracy"] == pytest.approx(2 / 3)
    # Of the samples: one of two, both, none.
    assert found["sampled_accuracy"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["pass_at_k"] == pytest.approx(2 / 3)
    # Votes for the greedy answer: one of two for a; none of two for b, and for c.
    assert [item.greedy.confidences for item in items()] == [{"vote_share": 0.5}, {"vote_share": 0}, {"vote_share": 0}]
    assert found["weighted_majority_accuracy"] is None


def test_a_question_is_read_with_the_labels_of_its_own_options(here: Path):
    options = [
        {"label": label, "text": text} for label, text in zip("1234", ("iron", "wood", "ice", "air"), strict=True)
    ]
    rows = [{"id": "a", "question": "Which rusts?", "choices": options, "answerKey": "1"}]
    lines(here / "arc.jsonl", rows)
    lines(here / "done.jsonl", [{"question": "Which rusts?", "completion": "2 and 3 do not; the answer is (1)."}])
    ended = call(
        *("evaluate", "--completions", "done.jsonl", "--task", "arc_easy", "--data", "arc.jsonl", "--out", "out")
    )

    assert ended.code == 0, ended.err
    assert (items()[0].greedy.answer, metrics()["greedy_accuracy"]) == ("1", 1.0)


def test_the_settings_of_the_task_hold_unless_the_user_has_others(here: Path):
    done = lines(here / "done.jsonl", [{"id": name, "completion": r"\boxed{2}"} for name in "abc"])
    assert evaluate(done).code == 0
    manifest = RunFolder.read("out").manifest
    assert kind(manifest) == "number"
    assert (manifest.recipe, manifest.start.num_records) == ("defaults, answer.kind of the task", 3)

    assert evaluate(done, "--set", "answer.kind=latex", "--set", "evaluation.num_problems=1", "--out", "two").code == 0
    assert "questions as <b>" not in Path("two/report.html").read_text(encoding="utf-8")
    manifest = RunFolder.read("two").manifest
    assert (kind(manifest), manifest.recipe) == ("latex", "defaults")
    assert manifest.evaluation.num_records == 1


def test_nothing_is_graded_twice(here: Path):
    rows = [{"id": str(i), "question": f"{i}?", "answer": str(i)} for i in range(150)]
    lines(here / "many.jsonl", rows)
    done = lines(here / "done.jsonl", [{"id": row["id"], "completion": row["answer"]} for row in rows])
    assert evaluate(done, data="many.jsonl").code == 0
    kept = [file.stat().st_mtime_ns for file in sorted(Path("out/before/items").glob("*.parquet"))[:2]]
    for gone in ("summary.json", "before/items/complete.json", "before/items/00002.parquet"):
        Path("out", gone).unlink()
    assert evaluate(done, data="many.jsonl").code == 0

    made = [
        e["shard"] for e in RunFolder.read("out").events() if e["event"] == "shard" and e["stage"] == "before/items"
    ]
    assert made == [0, 1, 2, 2]
    assert [file.stat().st_mtime_ns for file in sorted(Path("out/before/items").glob("*.parquet"))[:2]] == kept
    assert metrics()["greedy_accuracy"] == 1.0

    lines(done, [{"id": row["id"], "completion": "7"} for row in rows])
    assert "start.sha256: this folder has" in evaluate(done, data="many.jsonl").error


GOOD = [{"id": name, "completion": "1"} for name in "abc"]


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (GOOD[1:], "done.jsonl has no completion for 1 of 3 problems, 'a' among them: give one for each"),
        ([*GOOD, {"id": "d", "completion": "1"}], "done.jsonl, line 4: no problem has the id 'd'; grade on the task"),
        ([*GOOD, {"completion": "1"}], "done.jsonl, line 4: neither `id` nor `question` says which problem"),
        ([*GOOD, {"question": "9?", "completion": "1"}], "done.jsonl, line 4: no problem asks '9?'; grade on the task"),
        ([*GOOD, {"id": "a", "completion": None}], "done.jsonl, line 4: no column `completion` with text"),
        ([*GOOD, {"id": "a", "completion": "1", "source": "beam"}], "done.jsonl, line 4: source 'beam' is unknown"),
        ([*GOOD[:2], GOOD[2] | {"source": "sample"}], "problem 'c' has 0 completions with source greedy: give one"),
        ([*GOOD, *[GOOD[0] | {"source": "greedy"}] * 2], "problem 'a' has 2 completions with source greedy"),
    ],
)
def test_completions_that_belong_to_no_problem_are_refused(here: Path, rows: list[dict[str, Any]], error: str):
    lines(here / "done.jsonl", rows)

    assert evaluate("done.jsonl").error.startswith(error)
    assert not (here / "out").exists()


def test_a_question_that_two_problems_ask_needs_an_id(here: Path):
    lines(here / "twice.jsonl", [{"id": name, "question": "1 + 1?", "answer": "2"} for name in "ab"])
    lines(here / "done.jsonl", [{"question": "1 + 1?", "completion": "2"}] * 2)

    assert evaluate("done.jsonl", data="twice.jsonl").error == (
        "done.jsonl, line 1: several problems ask '1 + 1?'; give ids instead"
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "say what to judge: a model (--model) or recorded completions (--completions), one of them"),
        (("--model", "m", "--completions", "c"), "say what to judge: a model (--model) or recorded completions"),
        (("--completions", "none.jsonl"), "nothing to grade against: give a task (--task) or a data file (--data)"),
        (("--completions", "none.jsonl", "--data", "sums.jsonl"), "no file none.jsonl; give JSON lines or parquet"),
    ],
)
def test_what_is_judged_has_to_be_said(here: Path, words: tuple[str, ...], error: str):
    assert call("evaluate", *words, "--out", "out").error.startswith(error)
    assert not (here / "out").exists()


def test_a_whole_benchmark_is_graded_without_loading_torch(shared: Callable[[str], Path], here: Path):
    """Every fourth of 1,319 answers is one too large, so 989 are right."""
    source = shared("data/gsm8k/test.jsonl")
    problems = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    golds = [int(problem["answer"]) + (number % 4 == 0) for number, problem in enumerate(problems)]
    rows = [
        {"question": problem["question"], "completion": f"Step by step.\n#### {gold:,}"}
        for problem, gold in zip(problems, golds, strict=True)
    ]
    lines(here / "done.jsonl", rows)
    words = ["evaluate", "--completions", "done.jsonl", "--task", "gsm8k", "--data", str(source), "--out", "out"]
    script = (
        f"import sys\nfrom inward.cli import main\nsys.argv = ['inward', *{words!r}]\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert metrics()["greedy_accuracy"] == pytest.approx(989 / 1319)
    assert not {"torch", "transformers", "trl"} & {*done.stdout.split()}
