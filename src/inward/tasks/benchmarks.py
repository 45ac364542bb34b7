"""Benchmarks by name: where each comes from, what its answers look like, and how a row of it becomes a problem.

A row is read in the form of the data set on the hub or in the common one (`id`, `question`, `choices`, `answer`), so
that a file of either serves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inward.answers.places import all_boxes
from inward.types import AnswerKind

Row = Mapping[str, Any]
Read = Callable[[Row], object]
"""Reads one thing off a row; None where it is not there."""

STEM = frozenset(
    {
        "abstract_algebra",
        "astronomy",
        "college_biology",
        "college_chemistry",
        "college_computer_science",
        "college_mathematics",
        "college_physics",
        "computer_security",
        "conceptual_physics",
        "electrical_engineering",
        "elementary_mathematics",
        "high_school_biology",
        "high_school_chemistry",
        "high_school_computer_science",
        "high_school_mathematics",
        "high_school_physics",
        "high_school_statistics",
        "machine_learning",
    }
)
"""Subjects of MMLU that count as STEM in Minerva (arXiv 2206.14858)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark: its source, its answers and its columns."""

    hub: str
    """Data set on the hub: `owner/name` or `owner/name:config`."""
    splits: tuple[str, ...]
    """Of the data set on the hub."""
    split: str
    """The one that checkpoints are judged on."""
    kind: AnswerKind
    labels: tuple[str, ...] = ()
    """As a rule; a question is read with the labels of its own options."""
    question: Read
    gold: Read
    choices: Read = lambda row: None
    takes: Callable[[Row], bool] = lambda row: True
    """Whether a row belongs to the benchmark."""

    def row(self, raw: Row) -> Row | None:
        """Bring a row into the common form; None for one that is not part of the benchmark."""
        if not self.takes(raw):
            return None
        found = {"id": _id(raw), "question": self.question(raw), "choices": self.choices(raw), "answer": self.gold(raw)}
        return {name: value for name, value in found.items() if value is not None}


def column(*names: str) -> Read:
    """Read the first of these columns that has a value."""
    return lambda row: next((row[name] for name in names if row.get(name) is not None), None)


def after_hashes(row: Row) -> object:
    """GSM8K's gold: what follows the last `####` of the answer; all of it where there is none."""
    answer = row.get("answer")
    return answer.rpartition("####")[2].strip().replace(",", "") if isinstance(answer, str) else answer


def boxed(row: Row) -> object:
    r"""MATH's gold: the column `answer`, or else what the last `\boxed{}` of the solution holds."""
    if row.get("answer") is not None:
        return str(row["answer"]).rstrip(", ")  # one gold of MATH ends in a comma
    solution = str(row.get("solution") or "")
    return next((solution[slice(*place)] for place in reversed(all_boxes(solution))), None)


def all_answers(row: Row) -> object:
    """OlympiadBench's gold: the column `answer`, or else every final answer, separated by commas."""
    listed = row.get("final_answer")
    return ", ".join(map(str, listed)) if row.get("answer") is None and listed else row.get("answer")


def body_and_question(row: Row) -> object:
    """SVAMP's question: its story and what is asked about it."""
    if row.get("Body") is None:
        return row.get("question")
    return f"{str(row['Body']).strip()} {str(row.get('Question') or '').strip()}"


def options(row: Row) -> object:
    """Options as label and text each, from such a list, from parallel lists, or from texts alone (A, B, ...)."""
    given = row.get("choices")
    if isinstance(given, Mapping):
        pairs = zip(given.get("label") or (), given.get("text") or (), strict=False)
        return [{"label": str(label), "text": text} for label, text in pairs]
    if isinstance(given, Sequence) and all(isinstance(one, str) for one in given):
        return [{"label": _letter(index), "text": text} for index, text in enumerate(given)]
    return given


def key(row: Row) -> object:
    """Label of the right option: `answerKey` or `answer`, where a number is a position."""
    answer = row["answerKey"] if row.get("answerKey") is not None else row.get("answer")
    return _letter(answer) if isinstance(answer, int) else answer or None


def _letter(index: int) -> str:
    return chr(ord("A") + index)


def _id(row: Row) -> object:
    return next((row[name] for name in ("id", "unique_id", "ID") if row.get(name) not in (None, "")), None)


def _stem(row: Row) -> bool:
    return row.get("subject") is None or str(row["subject"]).replace(" ", "_") in STEM


BENCHMARKS: dict[str, Benchmark] = {
    "gsm8k": Benchmark(
        hub="openai/gsm8k:main",
        splits=("train", "test"),
        split="test",
        kind="number",
        question=column("question"),
        gold=after_hashes,
    ),
    "math": Benchmark(
        hub="DigitalLearningGmbH/MATH-lighteval",
        splits=("train", "test"),
        split="test",
        kind="latex",
        question=column("question", "problem"),
        gold=boxed,
    ),
    "math500": Benchmark(
        hub="HuggingFaceH4/MATH-500",
        splits=("test",),
        split="test",
        kind="latex",
        question=column("question", "problem"),
        gold=boxed,
    ),
    "aime24": Benchmark(
        hub="HuggingFaceH4/aime_2024",
        splits=("train",),
        split="train",
        kind="number",
        question=column("question", "problem"),
        gold=boxed,
    ),
    "amc23": Benchmark(
        hub="math-ai/amc23",
        splits=("test",),
        split="test",
        kind="number",
        question=column("question", "problem"),
        gold=column("answer"),
    ),
    "minerva_math": Benchmark(
        hub="math-ai/minervamath",
        splits=("test",),
        split="test",
        kind="latex",
        question=column("question", "problem"),
        gold=boxed,
    ),
    "olympiadbench": Benchmark(
        hub="math-ai/olympiadbench",
        splits=("test",),
        split="test",
        kind="latex",
        question=column("question", "problem"),
        gold=all_answers,
    ),
    "multiarith": Benchmark(
        hub="ChilleD/MultiArith",
        splits=("train", "test"),
        split="test",
        kind="number",
        question=column("question"),
        gold=column("answer", "final_ans"),
    ),
    "svamp": Benchmark(
        hub="ChilleD/SVAMP",
        splits=("train", "test"),
        split="test",
        kind="number",
        question=body_and_question,
        gold=column("answer", "Answer"),
    ),
    "commonsenseqa": Benchmark(
        hub="tau/commonsense_qa",
        splits=("train", "validation"),
        split="validation",
        kind="choice",
        labels=("A", "B", "C", "D", "E"),
        question=column("question"),
        gold=key,
        choices=options,
    ),
    "arc_easy": Benchmark(
        hub="allenai/ai2_arc:ARC-Easy",
        splits=("train", "validation", "test"),
        split="test",
        kind="choice",
        labels=("A", "B", "C", "D", "E"),
        question=column("question"),
        gold=key,
        choices=options,
    ),
    "arc_challenge": Benchmark(
        hub="allenai/ai2_arc:ARC-Challenge",
        splits=("train", "validation", "test"),
        split="test",
        kind="choice",
        labels=("A", "B", "C", "D", "E"),
        question=column("question"),
        gold=key,
        choices=options,
    ),
    "mmlu_stem": Benchmark(
        hub="cais/mmlu:all",
        splits=("validation", "test"),
        split="test",
        kind="choice",
        labels=("A", "B", "C", "D"),
        question=column("question"),
        gold=key,
        choices=options,
        takes=_stem,
    ),
}
