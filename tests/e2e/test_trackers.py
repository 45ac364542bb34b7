"""`report_to`: what a training logs, in TensorBoard; and nothing imported or begun where a tracker is not there."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from commands import ENVIRONMENT, call

assert entry_points  # imported before the event reader, which warns of an older one

FEW = {
    "rlif": (
        *("optim.steps=2", "optim.save_every=2", "optim.prompts_per_step=4", "optim.batch_rows=32"),
        *("stop.prompts=4", "stop.samples=2", "stop.start_samples=4"),
    ),
    "rlsc": (
        *("optim.steps=2", "optim.save_every=2", "optim.prompts_per_step=4", "optim.group_size=4"),
        *("stop.prompts=4", "stop.samples=2", "stop.start_samples=4"),
    ),
    "rlsf": (
        *("route=reward_model", "sampling.group_size=6", "sampling.num_branches=2", "reward.num_epochs=1"),
        *("policy.steps=2", "policy.prompts_per_step=4", "policy.group_size=4", "policy.batch_rows=16"),
    ),
}


def run(method: str, out: Path, *sets: str):
    model = "embedded:chat" if method == "rlsf" else "embedded:base"
    words = [word for one in ("prompts.limit=16", *FEW[method], *sets) for word in ("--set", one)]
    return call("run", method, "--model", model, "--prompts", "embedded", "--out", out, *words)


def scalars(out: Path) -> dict[str, list[tuple[int, float]]]:
    """By name, steps and values of the only event file."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (out / "trackers").rglob("events.out.*")
    seen = EventAccumulator(str(file)).Reload()
    return {name: [(one.step, one.value) for one in seen.Scalars(name)] for name in seen.Tags()["scalars"]}


@pytest.mark.parametrize("method", ["rlif", "rlsc", "rlsf"])
def test_tensorboard_shows_what_stands_in_the_log(tmp_path: Path, method: str):
    out = tmp_path / "out"
    ended = run(method, out, "report_to=tensorboard")
    assert ended.code == 0, ended.err

    shown = scalars(out)
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    logged = {
        kind: [event for event in events if event["event"] == kind]
        for kind in ("train", "train_reward", "monitor", "probe")
    }
    entropy = [(event["step"], pytest.approx(event["entropy"], rel=1e-6)) for event in logged["monitor"]]
    assert [step for step, _ in entropy] == [0, 1]
    assert shown["train/monitor/entropy"] == entropy
    norms = [(int(event["step"]), pytest.approx(event["grad_norm"], rel=1e-6)) for event in logged["train"][:2]]
    assert shown["train/grad_norm"] == norms
    if method == "rlsf":
        assert len(shown["train/train_reward/loss"]) == sum("loss" in event for event in logged["train_reward"]) > 0
    else:
        supports = [sum(event["support"]) / len(event["support"]) for event in logged["probe"]]
        steps = [event["step"] for event in logged["probe"]]
        assert shown["train/probe/support"] == list(zip(steps, map(pytest.approx, supports), strict=True))


def test_a_folder_goes_on_with_another_tracker(tmp_path: Path):
    out = tmp_path / "out"
    assert run("rlsc", out).code == 0
    assert not (out / "trackers").exists()
    ended = run("rlsc", out, "report_to=[tensorboard]")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("setting", ["report_to=wandb", "report_to=[tensorboard, wandb]", "optim.trl.report_to=wandb"])
def test_a_tracker_that_is_not_installed_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
):
    # What W&B leaves in a working folder looks like a package to Python.
    (tmp_path / "wandb").mkdir()
    monkeypatch.chdir(tmp_path)
    ended = run("rlif", Path("out"), setting)

    assert ended.code == 1
    assert ended.error.endswith("report_to: wandb cannot be imported: `pip install wandb`, or leave it out")
    assert not Path("out").exists()


def test_a_tracker_that_is_unknown_is_refused_with_the_nearest_one(tmp_path: Path):
    ended = run("rlsc", tmp_path / "out", "report_to=[tensorbord]")

    assert (ended.code, ended.error) == (
        1,
        "report_to: Input should be 'tensorboard', 'wandb', 'trackio' or 'mlflow', got ['tensorbord']; "
        "did you mean 'tensorboard'?",
    )


def test_without_a_tracker_nothing_is_imported():
    script = (
        "import sys\nfrom pathlib import Path\nfrom inward.cli.tracking import tracking\n"
        "with tracking((), Path('out'), None) as heard:\n    heard('train', {'step': 1, 'loss': 0.5})\n"
        "print(*{'tensorboard', 'wandb', 'trackio', 'mlflow', 'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "\n"
