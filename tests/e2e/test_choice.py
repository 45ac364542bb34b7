"""RLSF on the embedded multiple-choice model: option disparity from the command line to the report."""

import dataclasses
import json
from pathlib import Path

import pytest
from commands import call

from inward.answers import AnswerSettings
from inward.runs import RunFolder
from inward.types import EvalItem, PreferencePair, ScoredGroup

SMALL = (
    "prompts.limit=24",
    "sampling.group_size=4",
    "sampling.num_branches=3",
    "evaluation.num_problems=24",
    "evaluation.num_samples=2",
    "optim.num_epochs=1",
    "model.device=cpu",
)
MODEL = ("--model", "embedded:choice", "--prompts", "arithmetic_choice")


def settings(*texts: str) -> list[str]:
    return [word for text in (*SMALL, *texts) for word in ("--set", text)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("choice") / "run"
    task = ("--eval-task", "arithmetic_choice")
    ended = call("run", "rlsf", *MODEL, *task, "--out", out, *settings("confidence=option_disparity"))
    assert ended.code == 0, ended.err
    return out


def test_the_task_says_that_answers_are_choices(folder: Path) -> None:
    manifest = RunFolder.read(folder).manifest
    answer = AnswerSettings(kind="choice", labels=("A", "B", "C", "D"), strict=True, elicit="never")
    assert manifest.settings["answer"] == json.loads(json.dumps(dataclasses.asdict(answer)))
    assert (manifest.evaluation.name, manifest.labels_used) == ("arithmetic_choice", False)


def test_traces_are_ranked_by_the_lead_of_their_option(folder: Path) -> None:
    run = RunFolder.read(folder)
    groups = {group.prompt.id: group for group in run.records("scored", ScoredGroup)}
    pairs = run.records("pairs", PreferencePair)
    assert len(groups) == 24 and len(pairs) > 0
    for pair in pairs:
        group = groups[pair.prompt.id]
        measure = {one.trace.index: one.measures["option_disparity"] for one in group.traces}
        assert pair.gap == measure[pair.chosen.index] - measure[pair.rejected.index]


def test_options_lead_by_about_as_much_as_the_letter_leads_all_tokens(folder: Path) -> None:
    """Each label is one token here, and where an answer is due hardly anything but labels is written."""
    for group in RunFolder.read(folder).records("scored", ScoredGroup):
        for one in group.traces:
            if one.answer_tokens is not None:
                assert one.answer in group.prompt.labels
                assert one.answer_tokens.end - one.answer_tokens.start == 1
                lead, share = one.measures["option_disparity"], one.measures["option_probability"]
                assert lead >= one.measures["answer_disparity"] - 1e-5
                assert lead == pytest.approx(one.measures["answer_disparity"], abs=0.1)
                assert share >= one.measures["answer_probability"] - 1e-5


def test_the_answers_are_judged_with_the_lead_of_their_option(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    for side in ("before", "after"):
        assert summary[side]["answer_rate"]["value"] > 0.9
        assert 0.2 < summary[side]["greedy_accuracy"]["value"] < 1.0
        assert 0.0 <= summary[side]["ece_option_disparity"]["value"] <= 1.0
        items = RunFolder.read(folder).records(f"{side}/items", EvalItem)
        assert {item.gold for item in items} == {"A", "B", "C", "D"}


def test_the_stages_by_themselves_score_alike(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "stages"
    assert call("sample", *MODEL, "--out", out, *settings("confidence=option_disparity")).code == 0
    assert call("score", out).code == 0
    first, again = (list(RunFolder.read(one).records("scored", ScoredGroup)) for one in (folder, out))
    assert again == first


def test_options_of_answers_that_are_numbers_are_refused_before_any_work(tmp_path: Path) -> None:
    asked = settings("confidence=option_disparity", "answer.kind=number")
    ended = call("run", "rlsf", *MODEL, "--out", tmp_path / "run", *asked)
    assert ended.code == 1
    assert "answers of kind number have none; set answer.kind=choice" in ended.error
    assert not (tmp_path / "run").exists()
