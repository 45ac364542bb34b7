"""`inward run rlif` from the command line, on the embedded base model."""

import json
from pathlib import Path

import pytest
from commands import call, write_lines
from transformers import AutoModelForCausalLM

from inward.tasks import arithmetic

SMALL = (
    *("--set", "optim.prompts_per_step=4", "--set", "optim.batch_rows=32", "--set", "prompts.limit=20"),
    *("--set", "evaluation.num_samples=2"),
)


def run(out: Path, gold: Path, *extra: str):
    return call(
        *("run", "rlif", "--model", "embedded:base", "--prompts", "embedded", "--reward", "self_certainty"),
        *("--steps", "4", "--eval-every", "2", "--eval-data", gold, "--seed", "3", "--out", out),
        *SMALL,
        *extra,
    )


def problems(path: Path, shift: int = 0) -> Path:
    rows = [
        {"id": one.prompt.id, "prompt": one.prompt.text, "answer": str((int(one.answer) + shift) % 10)}
        for one in arithmetic.problems(8, 1)
    ]
    return write_lines(path, rows)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rlif")
    ended = run(folder / "out", problems(folder / "gold.jsonl"))
    assert ended.code == 0, ended.err
    return folder


def test_the_summary_has_the_curve(done: Path):
    summary = json.loads((done / "out/summary.json").read_text())
    curve = summary["curve"]
    assert [point["step"] for point in curve] == [0, 2, 4]
    assert curve[0]["reward"] is None and curve[1]["reward"] > 0
    assert curve[0]["greedy_accuracy"] == summary["before"]["greedy_accuracy"]
    assert curve[-1]["greedy_accuracy"] == summary["after"]["greedy_accuracy"]
    assert {"sampled_accuracy", "entropy", "length", "ece"} <= set(curve[1])
    assert summary["counts"] == {"prompts": 20, "steps": 4}
    assert summary["labels_used"] is False


def test_every_kept_checkpoint_is_plain_and_the_page_is_there(done: Path):
    for name in ("checkpoints/00002", "checkpoint"):
        assert AutoModelForCausalLM.from_pretrained(done / "out" / name).num_parameters() == 335_424
    assert not (done / "out/trainer").exists()
    page = (done / "out/report.html").read_text()
    assert "Along the way" in page
    assert page.count("<svg") > 6


def test_the_same_command_does_nothing_twice(done: Path):
    files = {path: path.stat().st_mtime_ns for path in (done / "out").glob("checkpoint*/**/*.safetensors")}
    assert run(done / "out", done / "gold.jsonl").code == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_gold_answers_do_not_reach_the_training(done: Path):
    assert run(done / "other", problems(done / "shifted.jsonl", shift=1)).code == 0
    for name in ("checkpoints/00002", "checkpoint"):
        weights = [(done / out / name / "model.safetensors").read_bytes() for out in ("out", "other")]
        assert weights[0] == weights[1]


def test_settings_that_training_would_refuse_are_refused_before_any_work(done: Path):
    ended = run(done / "refused", done / "gold.jsonl", "--set", "optim.trl.nonsense=1")
    assert ended.code == 1
    assert "nonsense" in ended.error
    assert not (done / "refused").exists()


def test_options_of_rlif_are_no_options_of_rlsf(tmp_path: Path):
    ended = call(
        *("run", "rlsf", "--model", "embedded:base", "--prompts", "embedded", "--out", tmp_path / "out"),
        *("--reward", "self_certainty"),
    )
    assert ended.code == 1
    assert ended.error.startswith("unknown setting reward")
