"""Benchmarks: how a row of each becomes a problem, from the hub's columns and from ours, and how questions are put."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from inward.answers import find
from inward.cli import questions
from inward.equivalence import canonical, grade
from inward.errors import DataError, SettingsError
from inward.tasks import BENCHMARKS, NAMES, TASKS, answer_settings
from inward.tasks.files import question_of, read_problems, read_prompts
from inward.tasks.formats import FORMATS, QWEN_BOXED, RLIF
from inward.types import Choice, Message, Outcome, Prompt

HUB: dict[str, tuple[dict[str, Any], str, str]] = {
    "gsm8k": ({"question": "4 + 4?", "answer": "4 + 4 = <<4+4=8>>8\n1,000 + 8\n#### 1,008"}, "4 + 4?", "1008"),
    "math": (
        {"problem": "Half?", "solution": r"First \boxed{2}, so \boxed{\frac{1}{2}}.", "level": "Level 1"},
        "Half?",
        r"\frac{1}{2}",
    ),
    "math500": (
        {"problem": "x?", "answer": "p - q", "solution": r"\boxed{no}", "unique_id": "test/algebra/1.json"},
        "x?",
        "p - q",
    ),
    "aime24": ({"id": 60, "problem": "t?", "answer": "204", "solution": "..."}, "t?", "204"),
    "amc23": ({"id": 0, "question": "miles?", "answer": "27.0", "url": "..."}, "miles?", "27.0"),
    "minerva_math": ({"question": "cm?", "answer": "1.6"}, "cm?", "1.6"),
    "olympiadbench": ({"id": 1, "question": "roots?", "final_answer": ["1", "-1"], "unit": None}, "roots?", "1, -1"),
    "multiarith": ({"question": "candy?", "final_ans": "39"}, "candy?", "39"),
    "svamp": (
        {"ID": "chal-1", "Body": "A pack costs 76 dollars. ", "Question": "What do you pay?", "Answer": "51"},
        "A pack costs 76 dollars. What do you pay?",
        "51",
    ),
    "commonsenseqa": (
        {"id": "1a", "question": "Where?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "B"},
        "Where?",
        "B",
    ),
    "arc_easy": (
        {"id": "M1", "question": "Why?", "choices": {"label": ["1", "2"], "text": ["x", "y"]}, "answerKey": "2"},
        "Why?",
        "2",
    ),
    "arc_challenge": (
        {"id": "M2", "question": "How?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "A"},
        "How?",
        "A",
    ),
    "mmlu_stem": (
        {"question": "What?", "subject": "astronomy", "choices": ["x", "y", "z", "w"], "answer": 2},
        "What?",
        "C",
    ),
}
"""A made-up row with the columns of the hub, its question and its gold answer."""

SETS = {"gsm8k": ("train", "test"), "math": ("train",), "commonsenseqa": ("dev",)} | dict.fromkeys(
    ("math500", "aime24", "amc23", "minerva_math", "olympiadbench", "multiarith", "svamp", "mmlu_stem"), ("test",)
)
SETS |= {"arc_easy": ("train", "test"), "arc_challenge": ("train", "test")}
SIZES = {
    "gsm8k": 1319,
    "math500": 500,
    "aime24": 30,
    "amc23": 40,
    "minerva_math": 272,
    "olympiadbench": 675,
    "multiarith": 600,
    "svamp": 1000,
    "commonsenseqa": 1221,
    "arc_easy": 2376,
    "arc_challenge": 1172,
    "mmlu_stem": 3018,
}


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_every_benchmark_is_tried_here():
    assert set(HUB) == set(SETS) == set(BENCHMARKS)


@pytest.mark.parametrize("name", HUB)
def test_a_row_of_the_hub_becomes_a_problem(tmp_path: Path, name: str):
    row, question, gold = HUB[name]
    (problem,) = read_problems(written(tmp_path / "rows.jsonl", row), shape=BENCHMARKS[name].row)

    assert (question_of(problem), problem.answer) == (question, gold)
    assert problem.prompt.labels == tuple(choice.label for choice in problem.choices)
    assert bool(problem.choices) == (BENCHMARKS[name].kind == "choice")


@pytest.mark.parametrize("name", HUB)
def test_the_common_form_gives_the_same_problem(tmp_path: Path, name: str):
    row, question, gold = HUB[name]
    hub = read_problems(written(tmp_path / "hub.jsonl", row), shape=BENCHMARKS[name].row)
    ours = {"id": hub[0].prompt.id, "question": question, "answer": gold}
    if hub[0].choices:
        ours["choices"] = [{"label": choice.label, "text": choice.text} for choice in hub[0].choices]

    assert read_problems(written(tmp_path / "ours.jsonl", ours), shape=BENCHMARKS[name].row) == hub


@pytest.mark.parametrize("name", HUB)
def test_prompts_of_a_benchmark_need_no_gold_and_keep_none(tmp_path: Path, name: str):
    row, _, _ = HUB[name]
    bare = {key: value for key, value in row.items() if key in ("question", "problem", "Body", "Question", "choices")}
    shape = BENCHMARKS[name].row
    with_gold = read_prompts(written(tmp_path / "a" / "rows.jsonl", bare | {"answer": row.get("answer")}), shape=shape)

    assert read_prompts(written(tmp_path / "b" / "rows.jsonl", bare), shape=shape) == with_gold


def test_what_the_hub_calls_a_row_by_is_its_id(tmp_path: Path):
    ids = {
        name: read_prompts(written(tmp_path / "rows.jsonl", HUB[name][0]), shape=BENCHMARKS[name].row)[0].id
        for name in ("math500", "svamp", "aime24", "gsm8k")
    }
    assert ids == {"math500": "test/algebra/1.json", "svamp": "chal-1", "aime24": "60", "gsm8k": "rows-1"}


def test_subjects_that_are_not_stem_are_left_out_before_the_limit_counts(tmp_path: Path):
    rows = [
        HUB["mmlu_stem"][0] | {"question": text, "subject": subject}
        for text, subject in (("law", "professional_law"), ("stars", "astronomy"), ("cells", "college biology"))
    ]
    source = written(tmp_path / "rows.jsonl", *rows)

    assert [question_of(p) for p in read_problems(source, shape=BENCHMARKS["mmlu_stem"].row)] == ["stars", "cells"]
    assert [question_of(p) for p in read_problems(source, limit=1, shape=BENCHMARKS["mmlu_stem"].row)] == ["stars"]


def test_choices_of_a_parquet_file_from_the_hub_are_read(tmp_path: Path):
    row = HUB["arc_easy"][0]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "rows.parquet")
    (problem,) = read_problems(str(tmp_path / "rows.parquet"), shape=BENCHMARKS["arc_easy"].row)

    assert problem.choices == (Choice(label="1", text="x"), Choice(label="2", text="y"))
    assert problem.answer == "2"


def test_the_default_reading_of_answers_is_the_benchmarks_own():
    assert answer_settings("gsm8k") == {"kind": "number"}
    assert answer_settings("math500") == {"kind": "latex"}
    assert answer_settings("mmlu_stem") == {"kind": "choice", "labels": ("A", "B", "C", "D")}
    assert answer_settings("arithmetic_choice") == {"kind": "choice", "labels": ("A", "B", "C", "D")}
    assert answer_settings("arithmetic") == {}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_a_shared_set_is_read_whole(shared: Callable[[str], Path], name: str, size: int):
    problems = questions.problems_of(name, str(shared(f"data/{name}")), limit=None, seed=1)

    assert len(problems) == size
    assert all(bool(problem.prompt.labels) == (BENCHMARKS[name].kind == "choice") for problem in problems)


@pytest.mark.parametrize(("name", "split"), [(name, split) for name, splits in SETS.items() for split in splits])
def test_every_gold_answer_is_right_against_itself(shared: Callable[[str], Path], name: str, split: str):
    """Read off a completion that announces it in the way of its kind, and graded against the gold as it stands."""
    kind = BENCHMARKS[name].kind
    problems = read_problems(str(shared(f"data/{name}/{split}.jsonl")), shape=BENCHMARKS[name].row)
    wrong: list[tuple[str | None, str]] = []
    for gold, labels in {(problem.answer, problem.prompt.labels or ("A",)) for problem in problems}:
        text = rf"Thus the final answer is $\boxed{{{gold}}}$." if kind == "latex" else f"So the answer is {gold}."
        found = find(text, kind, labels, strict=True)
        answer = found.answer if found else None
        if grade(answer, gold, kind) is not Outcome.CORRECT:
            wrong.append((answer, gold))

    assert wrong == []
    assert len({canonical(problem.answer, kind) for problem in problems}) > 1


def test_a_source_is_a_task_a_benchmark_in_a_place_or_a_place(tmp_path: Path):
    source = written(tmp_path / "rows.jsonl", {"question": "4 + 4?", "answer": "#### 8"})

    def texts(source: str) -> list[str | None]:
        return [p.text for p in questions.prompts_of(source, split="train", limit=2, seed=0, format="plain")]

    assert texts(source) == texts(f"gsm8k:{source}") == ["4 + 4?"]
    made = [problem.prompt.text for problem in TASKS["arithmetic"](2, 0, "train")]
    assert texts("embedded") == texts("arithmetic") == made
    assert texts("arithmetic_choice") == [problem.prompt.text for problem in TASKS["arithmetic_choice"](2, 0, "train")]


def test_gold_answers_of_prompts_stand_with_the_same_ids(tmp_path: Path):
    source = f"gsm8k:{written(tmp_path / 'rows.jsonl', {'question': '4 + 4?', 'answer': '#### 8'})}"
    for name in (source, "arithmetic"):
        prompts = questions.prompts_of(name, split="train", limit=3, seed=4, format="plain")
        problems = questions.training_problems_of(name, split="train", limit=3, seed=4)
        assert [problem.prompt for problem in problems] == prompts


def test_a_folder_gives_the_split_or_its_only_file(tmp_path: Path):
    row = {"question": "4 + 4?", "answer": "8"}
    folder = tmp_path / "gsm8k"
    written(folder / "train.jsonl", row | {"id": "t"})
    (folder / "notes.txt").write_text("no data")
    assert [p.id for p in read_prompts(str(folder), split="test")] == ["t"]

    written(folder / "test.jsonl", row | {"id": "e"})
    assert [p.id for p in read_prompts(str(folder), split="test")] == ["e"]
    assert [p.prompt.id for p in questions.problems_of("gsm8k", str(folder), limit=None, seed=1)] == ["e"]
    with pytest.raises(DataError, match=r"is a folder with test\.jsonl, train\.jsonl; give one .* validation\.jsonl"):
        read_prompts(str(folder), split="validation")


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        ("maths", None, f"task 'maths' is unknown; choose one of {', '.join(NAMES)}, or give a data file"),
        ("arithmetic", "f.jsonl", "the task arithmetic makes its problems: leave out f.jsonl"),
        ("gsm8k", "f.jsonl", "no file f.jsonl"),
    ],
)
def test_what_cannot_be_judged_on_is_refused(task: str, data: str | None, message: str):
    with pytest.raises((SettingsError, DataError)) as raised:
        questions.problems_of(task, data, limit=None, seed=1)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("arithmetic:f.jsonl", "the task arithmetic makes its prompts: leave out :f.jsonl"),
        ("math500", "math500 has no split train on the hub; set prompts.split to test, or give a file"),
    ],
)
def test_prompts_that_a_task_does_not_have_are_refused(source: str, message: str):
    with pytest.raises(SettingsError) as raised:
        questions.prompts_of(source, split="train", limit=None, seed=0, format="plain")
    assert str(raised.value).startswith(message)


def test_without_a_file_the_hub_is_asked_for_the_benchmarks_set(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, str | None, str]] = []

    def load(name: str, config: str | None, *, split: str) -> list[dict[str, Any]]:
        asked.append((name, config, split))
        return [HUB["gsm8k"][0]]

    monkeypatch.setattr("datasets.load_dataset", load)
    (problem,) = questions.problems_of("gsm8k", None, limit=None, seed=1)
    (prompt,) = questions.prompts_of("gsm8k", split="train", limit=None, seed=0, format="plain")

    assert asked == [("openai/gsm8k", "main", "test"), ("openai/gsm8k", "main", "train")]
    assert (problem.prompt, problem.answer) == (prompt, "1008")


def test_a_hub_that_cannot_be_reached_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    def load(name: str, config: str | None, *, split: str) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", load)
    with pytest.raises(DataError, match="no network; a file of it does, too: --prompts gsm8k:FILE, --eval-data FILE"):
        questions.problems_of("gsm8k", None, limit=None, seed=1)


@pytest.mark.parametrize(
    ("name", "system", "user"),
    [
        ("plain", None, "4 + 4?"),
        ("rlsf", None, "4 + 4?"),
        ("cot", None, "4 + 4?\n\nPlease solve the math problem step by step."),
        ("qwen_boxed", QWEN_BOXED, "4 + 4?"),
        ("rlif", RLIF, "4 + 4?"),
    ],
)
def test_a_format_puts_a_question(name: Any, system: str | None, user: str):
    text = FORMATS[name](Prompt(id="q", text="4 + 4?", labels=("A",)))
    said = FORMATS[name](Prompt(id="q", messages=(Message(role="user", content="4 + 4?"),), labels=("A",)))
    turns = (("system", system), ("user", user))
    conversation = tuple(Message(role=role, content=content) for role, content in turns if content)

    assert said == Prompt(id="q", messages=conversation, labels=("A",))
    assert text == (said if system else Prompt(id="q", text=user, labels=("A",)))


def test_every_format_is_tried_here():
    assert set(FORMATS) == {"plain", "rlsf", "cot", "qwen_boxed", "rlif"}
    assert QWEN_BOXED == r"Please reason step by step, and put your final answer within \boxed{}."
    assert RLIF.endswith(r"Please enclose your final answer in the box: \boxed{Your Answer}.")


def test_a_second_system_message_is_refused():
    own = (Message(role="system", content="Be brief."), Message(role="user", content="4 + 4?"))
    with pytest.raises(DataError, match="prompt q has a system message of its own; use the format plain"):
        FORMATS["rlif"](Prompt(id="q", messages=own))
    assert FORMATS["cot"](Prompt(id="q", messages=own)).messages == (
        own[0],
        Message(role="user", content="4 + 4?\n\nPlease solve the math problem step by step."),
    )


def test_problems_are_put_in_the_format_and_keep_their_gold(tmp_path: Path):
    source = written(tmp_path / "rows.jsonl", HUB["gsm8k"][0])
    (problem,) = questions.problems_of("gsm8k", source, limit=None, seed=1, format="qwen_boxed")

    assert problem.prompt.messages == (
        Message(role="system", content=QWEN_BOXED),
        Message(role="user", content="4 + 4?"),
    )
    assert problem.answer == "1008"
    assert question_of(problem) == "4 + 4?"


def test_the_page_on_tasks_says_what_the_code_does():
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `([\w/:.-]+)` \| ([\w, ]+) \| (\w+) \| (\w+) \|", page, re.MULTILINE)
    known = {(name, one.hub, ", ".join(one.splits), one.split, str(one.kind)) for name, one in BENCHMARKS.items()}
    formats = re.findall(r"^\| `(\w+)` \|", page.partition("## Formats")[2], re.MULTILINE)

    assert set(rows) == known
    assert formats == [*FORMATS]
    assert QWEN_BOXED in page
