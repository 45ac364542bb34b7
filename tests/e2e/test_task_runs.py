"""Benchmarks and formats from the command line, on a real model of 260 thousand parameters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from commands import call

from inward.runs import RunFolder
from inward.types import ScoredGroup

SHORT = [f"--set=evaluation.{key}" for key in ("num_problems=2", "num_samples=1", "max_completion_tokens=4")]
ROWS = [
    {
        "id": "two",
        "question": "Which is hot?",
        "choices": {"label": ["1", "2"], "text": ["ice", "fire"]},
        "answerKey": "2",
    },
    {"id": "three", "question": "Which is wet?", "choices": ["sand", "glass", "rain"], "answer": "C"},
]


@pytest.fixture
def stories(shared: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("arc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return shared("models/stories260K")


def test_every_question_is_put_and_read_with_its_own_labels(stories: Path):
    ended = call("evaluate", "--model", stories, "--task", "arc_easy", "--data", "arc.jsonl", "--out", "out", *SHORT)

    assert ended.code == 0, ended.err
    assert "arc_easy, settings: defaults, answer.kind and answer.labels of the task" in ended.err
    folder = RunFolder.read("out")
    prompts = [group.prompt for group in folder.records("before/scored", ScoredGroup)]
    assert [prompt.labels for prompt in prompts] == [("1", "2"), ("A", "B", "C")]
    assert prompts[0].text == "Which is hot?\nSelect one of the following:\n1. ice\n2. fire"
    assert cast("dict[str, Any]", folder.manifest.settings["answer"])["kind"] == "choice"


def test_a_format_reaches_the_prompts_the_manifest_and_the_head_of_the_report(stories: Path):
    words = ("evaluate", "--model", stories, "--task", "arc_easy", "--data", "arc.jsonl", "--out", "out", *SHORT)
    ended = call(*words, "--set", "evaluation.format=cot")

    assert ended.code == 0, ended.err
    folder = RunFolder.read("out")
    texts = [group.prompt.text for group in folder.records("before/scored", ScoredGroup)]
    assert all(str(text).endswith("\n\nPlease solve the math problem step by step.") for text in texts)
    assert cast("dict[str, Any]", folder.manifest.settings["evaluation"])["format"] == "cot"
    assert "<b>arc_easy</b>, questions as <b>cot</b>" in Path("out/report.html").read_text(encoding="utf-8")


def test_a_conversation_needs_a_chat_template(stories: Path):
    words = ("evaluate", "--model", stories, "--task", "arc_easy", "--data", "arc.jsonl", "--out", "out", *SHORT)
    ended = call(*words, "--set", "evaluation.format=qwen_boxed")

    assert ended.error == (
        f"prompt two: {stories} has no chat template; give text prompts in the format plain, "
        "and model.chat_template=never"
    )
    assert not Path("out").exists()


def test_problems_are_put_as_the_prompts_are_and_read_as_the_task_says(stories: Path):
    words = ("run", "rlsf", "--model", stories, "--prompts", "arc_easy:arc.jsonl", "--out", "out", "--dry-run")
    judged = ("--eval-task", "arc_challenge", "--eval-data", "arc.jsonl")
    plain = call(*words, *judged)
    longer = call(*words, *judged, "--set", "prompts.format=cot")

    assert "answer.kind = choice  (default auto)" in plain.out
    sizes = [line for ended in (plain, longer) for line in ended.out.splitlines() if "problems to judge on: 2" in line]
    assert len(set(sizes)) == 2, "the prompts' format was not taken for the problems"


def test_tasks_of_two_kinds_are_refused_before_anything_is_read(stories: Path):
    words = ("run", "rlsf", "--model", stories, "--prompts", "gsm8k:none.jsonl", "--out", "out")
    ended = call(*words, "--eval-task", "arc_easy", "--eval-data", "arc.jsonl")

    assert ended.error == (
        "answers are of different kinds: number of gsm8k, choice of arc_easy; set answer.kind, as in answer.kind=auto"
    )
