"""`inward run rlif` from the command line, on the embedded base model."""

import json
from pathlib import Path

import pytest
from commands import call, write_lines
from transformers import AutoModelForCausalLM

from inward.tasks import arithmetic

SMALL = (
    *("--set", "optim.prompts_per_step=4", "--set", "optim.batch_rows=32", "--set", "prompts.limit=20"),
    *("--set", "evaluation.num_samples=2", "--set", "evaluation.max_completion_tokens=24"),
    *("--set", "stop.prompts=12", "--set", "stop.start_samples=8", "--set", "stop.samples=2"),
    *("--set", "optim.max_completion_tokens=24"),
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
    assert {"sampled_accuracy", "entropy", "length", "ece"} <= set(curve[1])
    assert summary["counts"] == {"prompts": 20, "steps": 4}
    assert summary["labels_used"] is False


def test_the_kept_checkpoint_is_the_one_that_the_start_models_votes_support_most(done: Path):
    summary = json.loads((done / "out/summary.json").read_text())
    supports = {point["step"]: point["support"] for point in summary["curve"]}
    assert supports[summary["kept_step"]] == max(supports.values())
    assert summary["stop_reason"]
    kept = next(point for point in summary["curve"] if point["step"] == summary["kept_step"])
    assert kept["greedy_accuracy"] == summary["after"]["greedy_accuracy"]


def test_every_step_is_monitored(done: Path):
    events = [json.loads(line) for line in (done / "out/log.jsonl").read_text().splitlines()]
    seen = [event for event in events if event["event"] == "monitor"]
    assert [event["step"] for event in seen] == [0, 1, 2, 3]
    assert all(event["traces"] == 32 for event in seen)
    assert seen[0]["kl"] == pytest.approx(0, abs=1e-6) and seen[-1]["kl"] > 0
    assert seen[0]["reward"] == pytest.approx(seen[0]["self_certainty"])
    assert [event["step"] for event in events if event["event"] == "probe"] == [0, 2, 4]


def test_every_kept_checkpoint_is_plain_and_the_page_is_there(done: Path):
    for name in ("checkpoints/00002", "checkpoints/00004", "checkpoint"):
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
    assert ended.error == "--reward is an option of rlif, not of rlsf"


def test_two_phrasings_of_a_question_label_each_other(tmp_path: Path):
    """Four prompts a step are two questions in two phrasings; 20 questions are 40 prompts."""
    ended = call(
        *("run", "rlif", "--model", "embedded:base", "--prompts", "embedded", "--reward", "co_rewarding+format"),
        *("--steps", "1", "--set", "stop=null", "--set", "reward_weights=[2,1]", "--out", tmp_path / "out", *SMALL),
    )
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "out/summary.json").read_text())["counts"]["prompts"] == 40
    events = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    (seen,) = [event for event in events if event["event"] == "monitor"]
    assert seen["traces"] == 32
    assert seen["reward"] == pytest.approx(0, abs=1e-5) and seen["reward_std"] > 0


def test_the_rule_ends_a_training_where_it_is_told_to(tmp_path: Path):
    """A learning rate that ruins the model within two steps, so that the rule has something to see."""
    ended = run(
        tmp_path / "out",
        problems(tmp_path / "gold.jsonl"),
        *("--steps", "8", "--set", "stop.action=stop", "--set", "optim.learning_rate=0.05"),
        *("--set", "stop.prompts=40"),
    )
    assert ended.code == 0, ended.err
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["kept_step"] == 0
    assert summary["stop_step"] == 2 == summary["counts"]["steps"]
    assert [point["step"] for point in summary["curve"]] == [0, 2]
    assert summary["after"]["greedy_accuracy"] == summary["before"]["greedy_accuracy"]
    assert summary["curve"][1]["entropy"] != summary["curve"][0]["entropy"], "the last step is judged, too"
    assert "drift" in [finding["name"] for finding in summary["findings"]]


@pytest.mark.parametrize("reward", ["random", "format", "gold"])
def test_controls_run_and_gold_alone_uses_labels(tmp_path: Path, reward: str):
    ended = run(tmp_path / "out", problems(tmp_path / "gold.jsonl"), "--reward", reward, "--steps", "2")
    assert ended.code == 0, ended.err
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["labels_used"] is (reward == "gold")
    events = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    seen = [event for event in events if event["event"] == "monitor"]
    assert all(0 <= event["reward"] <= 1 for event in seen)
    if reward == "format":
        assert seen[0]["reward"] == pytest.approx(seen[0]["answer_rate"])


def test_gold_needs_an_answer_for_every_prompt(tmp_path: Path):
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"prompt": "Q:1+2?\nA:"}])
    ended = call(
        *("run", "rlif", "--model", "embedded:base", "--prompts", prompts, "--reward", "gold"),
        *("--out", tmp_path / "out"),
        *SMALL,
    )
    assert ended.code == 1
    assert "no gold answer" in ended.error
    assert not (tmp_path / "out").exists()
