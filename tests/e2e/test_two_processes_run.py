"""`torchrun -m inward run` in two processes: one of them writes the run folder, with the results of one process."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import torch
import two_processes_commands
from commands import call
from launching import begin, environment, free_port, launch, torchrun
from safetensors.torch import load_file

from inward.runs import RunFolder
from inward.types import TraceGroup

RLSF = """
prompts: {limit: 40}
sampling: {max_completion_tokens: 8, num_branches: 4, batch_rows: 64}
answer: {elicit: never}
optim: {num_epochs: 2, batch_size: BATCH, learning_rate: 5.0e-5, lora: null, num_saves: 4}
pairs: {gamma: null, max_pairs: 32}
"""
RLSC = """
prompts: {limit: 12}
evaluation: {num_samples: 2, max_completion_tokens: 8, num_problems: 10}
stop: {prompts: 4, start_samples: 2, samples: 2}
optim: {steps: 2, prompts_per_step: 4, group_size: 2, save_every: 1, max_completion_tokens: 6, learning_rate: 1.0e-3}
"""
RLIF = """
prompts: {limit: 12}
evaluation: {num_samples: 2, max_completion_tokens: 8, num_problems: 10}
stop: {prompts: 4, start_samples: 2, samples: 2}
optim: {steps: 2, prompts_per_step: 3, group_size: 4, batch_rows: ROWS, save_every: 1, max_completion_tokens: 6,
  learning_rate: 1.0e-3, lr_scheduler: constant, warmup_steps: 0}
"""
ONLINE = {"rlsc": (RLSC, RLSC), "rlif": (RLIF.replace("ROWS", "12"), RLIF.replace("ROWS", "6"))}
"""Settings of one process, and of each of two."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(method: str, out: str, settings: str) -> list[str]:
    Path(f"{out}.yaml").write_text(settings, encoding="utf-8")
    return ["run", method, "--model", "embedded:chat", "--prompts", "embedded", "--out", out, "--config", f"{out}.yaml"]


def terminate(command: list[str], when: Callable[[], bool]) -> tuple[int, float, str]:
    """Send SIGTERM to a launcher as soon as something is so; its exit code, when that was, and what was said."""
    with tempfile.TemporaryFile("w+") as err:
        started = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=err)
        try:
            until = time.monotonic() + 300
            while not when():
                assert started.poll() is None and time.monotonic() < until
                time.sleep(0.01)
            sent = time.time()
            started.terminate()
            code = started.wait(60)
        finally:
            if started.poll() is None:
                started.terminate()  # and it ends the processes
                started.wait()
        err.seek(0)
        return code, sent, err.read()


def steps(run: str) -> list[list[int]]:
    """Steps that were logged, session by session."""
    sessions: list[list[int]] = []
    for event in RunFolder.read(run).events():
        if event["event"] == "opened":
            sessions.append([])
        elif event["event"] == "train" and "loss" in event:
            sessions[-1].append(int(event["step"]))
    return sessions


@pytest.mark.slow
def test_an_rlsf_that_is_killed_and_then_terminated_goes_on_to_the_weights_of_one_process(here: Path):
    assert call(*words("rlsf", "one", RLSF.replace("BATCH", "4"))).code == 0
    command = words("rlsf", "two", RLSF.replace("BATCH", "2"))
    first, second = begin(*command)
    try:
        first.strike(lambda: bool([*Path().glob("two/trainer/checkpoint-*/trainer_state.json")]))
    finally:
        second.process.kill()
    assert not Path("two/checkpoint").exists()

    launched = torchrun("-m", "inward", *command)
    code, sent, said = terminate(launched, lambda: len(sessions := steps("two")) == 2 and bool(sessions[1]))
    assert code == 1, said  # the launcher's
    assert said.count("terminated; the same command continues where it stopped") == 1
    assert "inward/cli" not in said  # no traceback of ours
    stopped = [event["time"] for event in RunFolder.read("two").events() if event["event"] == "stage_stopped"]
    assert datetime.fromisoformat(stopped[-1]).timestamp() - sent < 10
    assert not Path("two/checkpoint").exists()
    last = steps("two")[1][-1]
    assert Path(f"two/trainer/checkpoint-{last}/trainer_state.json").exists()
    launch(*command)

    one, two = RunFolder.read("one"), RunFolder.read("two")
    traces = [[t.completion_ids for g in run.records("traces", TraceGroup) for t in g.traces] for run in (one, two)]
    assert traces[0] == traces[1]
    assert_same(Path("one/checkpoint"), Path("two/checkpoint"))
    assert [event["resumed"] for event in two.events() if event["event"] == "opened"] == [False, True, True]
    killed, terminated, ending = steps("two")
    assert {*killed, *terminated, *ending} == {*range(1, 17)}
    assert last % 4 and terminated[0] > 1 and ending[0] == last + 1


def assert_same(one: Path, two: Path) -> None:
    """Weights are the same, but for those whose gradient is nearly 0: AdamW makes much of its last bits."""
    wanted, made = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert wanted.keys() == made.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(made[name], value, atol=4e-5, rtol=0)


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Runs of both online methods in one process and in two, as METHOD-one and METHOD-two; what the two wrote."""
    folder = tmp_path_factory.mktemp("online")
    commands: list[str] = []
    for method, settings in ONLINE.items():
        one, two = (
            [*words(method, str(folder / f"{method}-{number}"), text), "--eval-task", "arithmetic"]
            for number, text in zip(("one", "two"), settings, strict=True)
        )
        with two_processes_commands.drawn_by_place():
            ended = call(*one)
        assert ended.code == 0, ended.err
        commands.append(json.dumps([free_port(), two]))
    return folder, "".join(one.err for one in launch(two_processes_commands.__file__, *commands))


def test_every_command_is_told_of_once(online: tuple[Path, str]):
    assert online[1].count("greedy accuracy") == len(ONLINE)


@pytest.mark.parametrize("method", ONLINE)
def test_two_processes_log_judge_and_train_as_one(online: tuple[Path, str], method: str):
    runs = [online[0] / f"{method}-{number}" for number in ("one", "two")]
    told = ("monitor", "probe", "train")
    logs = [
        {
            (event["event"], event["step"]): event
            for event in RunFolder.read(run).events()
            if event["event"] in told and "train_runtime" not in event
        }
        for run in runs
    ]
    assert logs[0].keys() == logs[1].keys() and len(logs[0]) == 2 + 3 + 2
    for key, event in logs[0].items():
        numbers = {name: value for name, value in event.items() if isinstance(value, float) and name != "step_time"}
        assert {name: logs[1][key][name] for name in numbers} == pytest.approx(numbers, rel=1e-4, abs=1e-4), key
    one, two = (json.loads((run / "summary.json").read_text()) for run in runs)
    assert one["kept_step"] == two["kept_step"]
    for part in ("before", "after"):
        for name in ("greedy_accuracy", "confidence", "entropy"):
            assert two[part][name]["value"] == pytest.approx(one[part][name]["value"], abs=1e-4)
    for step in ("00001", "00002"):
        assert_same(*(run / "checkpoints" / step for run in runs))
    start, last = (load_file(runs[0] / "checkpoints" / step / "model.safetensors") for step in ("00001", "00002"))
    assert max(float((last[name] - start[name]).abs().max()) for name in start) > 4e-4


def test_an_error_is_said_once(here: Path):
    command = [*words("rlsc", "bad", RLSC), "--set", "optim.prompts_per_step=3"]
    leader, other = begin(*command)
    ended = leader.wait()
    other.process.kill()  # as the launcher does
    assert ended.code
    said = ended.err + other.wait().err
    assert said.count("error: optim.prompts_per_step = 3 does not divide among 2 processes") == 1
    assert "inward/cli" not in said  # no traceback of ours
    assert not Path("bad").exists()
