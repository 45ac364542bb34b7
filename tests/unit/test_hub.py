"""Benchmarks by name from data sets with the names, configurations, splits, columns and types of the hub's.

`datasets.load_dataset` itself reads them, from folders laid out as the repositories are; only where it looks is ours.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, List, Value

from inward.cli import questions
from inward.tasks import BENCHMARKS
from inward.tasks.files import question_of

TEXT = Value("string")
OPTIONS = {"text": List(TEXT), "label": List(TEXT)}


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A data set on the hub: where it lies, its columns, and one made-up row with what is to be read off it."""

    name: str
    config: str | None = None
    splits: tuple[str, ...] = ("test",)
    features: dict[str, Any]
    row: dict[str, Any]
    question: str
    gold: str
    options: tuple[str, ...] = ()


ARC: dict[str, Any] = {
    "name": "allenai/ai2_arc",
    "splits": ("train", "validation", "test"),
    "features": {"id": TEXT, "question": TEXT, "choices": OPTIONS, "answerKey": TEXT},
    "row": {"id": "M7", "question": "Why?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
    "question": "Why?",
    "gold": "2",
    "options": ("1", "2"),
}
REPOSITORIES = {
    "gsm8k": Repository(
        name="openai/gsm8k",
        config="main",
        splits=("train", "test"),
        features={"question": TEXT, "answer": TEXT},
        row={"question": "How many?", "answer": "One and <<1+1=2>>2.\n#### 1,002"},
        question="How many?",
        gold="1002",
    ),
    "math": Repository(
        name="DigitalLearningGmbH/MATH-lighteval",
        splits=("train", "test"),
        features={"problem": TEXT, "level": TEXT, "type": TEXT, "solution": TEXT},
        row={"problem": "Half?", "level": "Level 1", "type": "Algebra", "solution": r"So $\boxed{\frac{1}{2}}$."},
        question="Half?",
        gold=r"\frac{1}{2}",
    ),
    "math500": Repository(
        name="HuggingFaceH4/MATH-500",
        features=dict.fromkeys(("problem", "solution", "answer", "subject", "unique_id"), TEXT)
        | {"level": Value("int64")},
        row={
            **{"problem": "p?", "solution": r"\boxed{p - q}", "answer": "p - q", "subject": "Algebra", "level": 2},
            "unique_id": "test/algebra/1.json",
        },
        question="p?",
        gold="p - q",
    ),
    "aime24": Repository(
        name="HuggingFaceH4/aime_2024",
        splits=("train",),
        features=dict.fromkeys(("problem", "solution", "answer", "url", "year"), TEXT) | {"id": Value("int64")},
        row={"id": 60, "problem": "t?", "solution": "...", "answer": "025", "url": "u", "year": "2024"},
        question="t?",
        gold="025",
    ),
    "amc23": Repository(
        name="math-ai/amc23",
        features={"id": Value("int64"), "question": TEXT, "answer": TEXT, "url": TEXT},
        row={"id": 0, "question": "miles?", "answer": "27.0", "url": "u"},
        question="miles?",
        gold="27.0",
    ),
    "minerva_math": Repository(
        name="math-ai/minervamath",
        features={"question": TEXT, "answer": TEXT},
        row={"question": "cm?", "answer": "1.6"},
        question="cm?",
        gold="1.6",
    ),
    "olympiadbench": Repository(
        name="math-ai/olympiadbench",
        features={
            **{"id": Value("int64"), "question": TEXT, "solution": List(TEXT), "final_answer": List(TEXT)},
            **{"modality": TEXT, "is_multiple_answer": Value("bool"), "unit": TEXT, "error": TEXT, "subject": TEXT},
        },
        row={
            **{"id": 1606, "question": "roots?", "solution": ["..."], "final_answer": ["1", "-1"], "subject": "Math"},
            **{"modality": "Text-only", "is_multiple_answer": True, "unit": None, "error": None},
        },
        question="roots?",
        gold="1, -1",
    ),
    "multiarith": Repository(
        name="ChilleD/MultiArith",
        splits=("train", "test"),
        features={"question": TEXT, "final_ans": TEXT},
        row={"question": " How much candy? ", "final_ans": "39"},
        question=" How much candy? ",
        gold="39",
    ),
    "svamp": Repository(
        name="ChilleD/SVAMP",
        splits=("train", "test"),
        features=dict.fromkeys(("ID", "Body", "Question", "Equation", "Answer", "Type", "question_concat"), TEXT),
        row={
            **{"ID": "chal-1", "Body": "A pack costs 76. ", "Question": "What is due?", "Equation": "( 76.0 - 25.0 )"},
            **{"Answer": "51", "Type": "Subtraction", "question_concat": "A pack costs 76.  What is due?"},
        },
        question="A pack costs 76. What is due?",
        gold="51",
    ),
    "commonsenseqa": Repository(
        name="tau/commonsense_qa",
        splits=("train", "validation", "test"),
        features={"id": TEXT, "question": TEXT, "question_concept": TEXT, "choices": OPTIONS, "answerKey": TEXT},
        row={
            **{"id": "1a", "question": "Where?", "question_concept": "place", "answerKey": "B"},
            "choices": {"label": ["A", "B"], "text": ["x", "y"]},
        },
        question="Where?",
        gold="B",
        options=("A", "B"),
    ),
    "arc_easy": Repository(**ARC, config="ARC-Easy"),
    "arc_challenge": Repository(**ARC, config="ARC-Challenge"),
    "mmlu_stem": Repository(
        name="cais/mmlu",
        config="all",
        splits=("auxiliary_train", "test", "validation", "dev"),
        features={"question": TEXT, "subject": TEXT, "choices": List(TEXT), "answer": ClassLabel(names=list("ABCD"))},
        row={"question": "What?", "subject": "astronomy", "choices": ["w", "x", "y", "z"], "answer": 2},
        question="What?",
        gold="C",
        options=("A", "B", "C", "D"),
    ),
}


def laid_out(hub: Path, one: Repository) -> None:
    """Write a repository as it lies on the hub: parquet by split, and a card that names configuration and splits."""
    files = [{"split": split, "path": f"data/{split}.parquet"} for split in one.splits]
    for file in files:
        path = hub / one.name / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list([one.row], features=Features(one.features)).to_parquet(path)
    card = {"configs": [{"config_name": one.config or "default", "data_files": files}]}
    (hub / one.name / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n", encoding="utf-8")


def test_every_benchmark_is_tried_here():
    assert set(REPOSITORIES) == set(BENCHMARKS)


@pytest.mark.parametrize("name", REPOSITORIES)
def test_a_benchmark_is_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    one, load, cache = REPOSITORIES[name], datasets.load_dataset, str(tmp_path / "cache")
    laid_out(tmp_path / "hub", one)

    def from_the_hub(name: str, config: str | None, *, split: str) -> Any:
        return load(str(tmp_path / "hub" / name), config, split=split, cache_dir=cache)

    monkeypatch.setattr("datasets.load_dataset", from_the_hub)
    datasets.disable_progress_bars()
    problems = questions.problems_of(name, None, limit=None, seed=1)
    prompts = [
        questions.prompts_of(name, split=split, limit=None, seed=0, format="plain") for split in BENCHMARKS[name].splits
    ]

    assert [(question_of(problem), problem.answer) for problem in problems] == [(one.question, one.gold)]
    assert problems[0].prompt.labels == one.options
    assert prompts == [[problems[0].prompt]] * len(prompts)
