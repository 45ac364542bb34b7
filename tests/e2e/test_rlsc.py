"""`inward run rlsc` from the command line, on the embedded base model."""

import json
from pathlib import Path

import pytest
from commands import call, fork, forked, write_lines
from transformers import AutoModelForCausalLM

from inward.tasks import arithmetic

SMALL = (
    *("--set", "optim.prompts_per_step=8", "--set", "optim.group_size=4", "--set", "optim.batch_rows=16"),
    *("--set", "prompts.limit=24", "--set", "evaluation.num_samples=2"),
    *("--set", "stop.prompts=8", "--set", "stop.samples=4", "--set", "stop.start_samples=8"),
)


def words(gold: Path, *extra: str) -> list[str]:
    return [
        *("run", "rlsc", "--model", "embedded:base", "--prompts", "embedded"),
        *("--steps", "4", "--eval-every", "2", "--eval-data", str(gold), "--seed", "3"),
        *SMALL,
        *extra,
    ]


def run(out: Path, gold: Path, *extra: str):
    return call(*words(gold, *extra), "--out", out)


def problems(path: Path, shift: int = 0) -> Path:
    rows = [
        {"id": one.prompt.id, "prompt": one.prompt.text, "answer": str((int(one.answer) + shift) % 10)}
        for one in arithmetic.problems(8, 1)
    ]
    return write_lines(path, rows)


def events(out: Path, name: str) -> list[dict]:
    seen = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [event for event in seen if event["event"] == name]


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rlsc")
    ended = run(folder / "out", problems(folder / "gold.jsonl"))
    assert ended.code == 0, ended.err
    return folder


def test_the_summary_has_the_curve_and_what_was_kept(done: Path):
    said = summary(done / "out")
    curve = said["curve"]
    assert [point["step"] for point in curve] == [0, 2, 4]
    assert curve[0]["greedy_accuracy"] == said["before"]["greedy_accuracy"]
    assert {"sampled_accuracy", "entropy", "length", "ece", "support"} <= set(curve[1])
    assert said["counts"] == {"prompts": 24, "steps": 4}
    assert said["labels_used"] is False
    assert said["kept_step"] in (0, 2, 4) and said["stop_reason"]
    kept = next(point for point in curve if point["step"] == said["kept_step"])
    assert kept["greedy_accuracy"] == said["after"]["greedy_accuracy"]
    assert kept["support"] == max(point["support"] for point in curve)


def test_every_step_is_logged_and_monitored(done: Path):
    trained, seen = events(done / "out", "train"), events(done / "out", "monitor")
    assert [event["step"] for event in trained] == [1, 2, 3, 4]
    assert [event["step"] for event in seen] == [0, 1, 2, 3]
    assert all(event["traces"] == 32 for event in seen)
    assert all(0 < event["weight_mean"] <= event["weight_max"] <= 1 for event in trained)
    assert all(0 < event["alpha_share"] < 1 and event["grad_norm"] > 0 for event in trained)
    # Sampled and scored at temperature 1: the monitor's entropy of a trace and the loss's see the same distributions.
    assert [event["train_length"] for event in trained] == pytest.approx([event["length"] for event in seen])
    assert [event["step"] for event in events(done / "out", "probe")] == [0, 2, 4]


def test_every_kept_checkpoint_is_plain_and_the_page_is_there(done: Path):
    for name in ("checkpoints/00002", "checkpoints/00004", "checkpoint"):
        assert AutoModelForCausalLM.from_pretrained(done / "out" / name).num_parameters() == 335_424
    assert not (done / "out/trainer").exists()
    page = (done / "out/report.html").read_text()
    assert "Along the way" in page and page.count("<svg") > 6


def test_the_same_command_does_nothing_twice(done: Path):
    files = {path: path.stat().st_mtime_ns for path in (done / "out").glob("checkpoint*/**/*.safetensors")}
    assert len(files) == 3
    assert run(done / "out", done / "gold.jsonl").code == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert len(events(done / "out", "train")) == 4


def test_gold_answers_do_not_reach_the_training(done: Path):
    assert run(done / "other", problems(done / "shifted.jsonl", shift=1)).code == 0
    for name in ("checkpoints/00002", "checkpoint"):
        weights = [(done / out / name / "model.safetensors").read_bytes() for out in ("out", "other")]
        assert weights[0] == weights[1]


@pytest.mark.parametrize("step", [1, 3])
def test_a_run_killed_in_its_training_goes_on_and_ends_in_the_same_bytes(done: Path, tmp_path: Path, step: int):
    """Killed after step 1, before anything is kept, and after step 3, a step past what is kept."""
    out = tmp_path / "out"
    running = fork(*words(done / "gold.jsonl"), "--out", out)
    running.strike(lambda: (out / "log.jsonl").exists() and len(events_so_far(out)) >= step)
    assert not (out / "checkpoint").exists()

    assert run(out, done / "gold.jsonl").code == 0

    for name in ("checkpoints/00002", "checkpoints/00004", "checkpoint"):
        weights = [(one / name / "model.safetensors").read_bytes() for one in (out, done / "out")]
        assert weights[0] == weights[1]
    assert summary(out)["curve"] == summary(done / "out")["curve"]
    steps = [event["step"] for event in events(out, "train")]
    assert sorted(set(steps)) == [1, 2, 3, 4] and steps[-1] == 4


def events_so_far(out: Path) -> list[str]:
    """Lines of the log about steps of the training, the last of which may be half written."""
    return [line for line in (out / "log.jsonl").read_text().splitlines() if '"event": "train"' in line]


@pytest.mark.parametrize(("temperature", "warned"), [("1.0", False), ("1.5", True)])
def test_weights_that_are_mostly_alpha_are_warned_of(tmp_path: Path, temperature: str, warned: bool):
    """At temperature 1.5 a trace of the base model has a mean probability that alpha buries."""
    # A process of its own: type checks in this one put a frame between the warning and the module it names.
    ended = forked(
        *("run", "rlsc", "--model", "embedded:base", "--prompts", "embedded", "--out", tmp_path / "out"),
        *("--steps", "1", "--seed", "3", *SMALL, "--set", f"optim.temperature={temperature}"),
    )
    assert ended.code == 0, ended.err
    (step,) = events(tmp_path / "out", "train")
    assert (step["alpha_share"] > 0.9) is warned
    said = [one for one in summary(tmp_path / "out")["warnings"] if "comes from alpha" in one]
    assert len(said) == warned
    if warned:
        assert said[0].startswith(f"{step['alpha_share']:.1%} of the weight comes from alpha: samples of ")
        assert f"warning: {said[0]}" in ended.err


def test_other_losses_and_an_adapter_run(done: Path, tmp_path: Path):
    """`answer` reads its weights off the samples; a fixed set is sampled, and monitored, once."""
    extra = (
        "--steps",
        "2",
        "--set",
        "optim.weight=answer",
        "--set",
        "optim.lora.r=4",
        "--set",
        "optim.regenerate=false",
    )
    ended = run(tmp_path / "out", done / "gold.jsonl", *extra)
    assert ended.code == 0, ended.err
    assert [event["step"] for event in events(tmp_path / "out", "monitor")] == [0]
    first, second = events(tmp_path / "out", "train")
    assert 0 < first["weight_mean"] == pytest.approx(second["weight_mean"])
    assert second["logprob_sum"] > first["logprob_sum"]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out/checkpoint").num_parameters() == 335_424


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("optim.weight=none", "optim.alpha=0"), "nothing would be learned"),
        (("optim.weight=best",), "optim.weight"),
        (("optim.lora.target_modules=[nonsense]",), "no module called nonsense"),
        (("optim.scoring_temperature=0",), "above 0"),
    ],
)
def test_settings_that_training_would_refuse_are_refused_before_any_work(
    done: Path, settings: tuple[str, ...], message: str
):
    ended = run(done / "refused", done / "gold.jsonl", *(word for one in settings for word in ("--set", one)))
    assert ended.code == 1
    assert message in ended.error
    assert not (done / "refused").exists()
