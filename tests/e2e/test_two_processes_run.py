"""`torchrun -m inward run` in two processes: one of them writes the run folder, with the results of one process."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from commands import call
from launching import environment, launch, torchrun
from safetensors.torch import load_file

from inward.runs import RunFolder
from inward.types import TraceGroup

RLSF = """
prompts: {limit: 40}
sampling: {max_completion_tokens: 8, num_branches: 4, batch_rows: 64}
answer: {elicit: never}
optim: {num_epochs: 1, batch_size: BATCH, learning_rate: 1.0e-4, lora: null, num_saves: 20}
pairs: {gamma: null, max_pairs: 32}
"""
RLSC = """
prompts: {limit: 12}
evaluation: {num_samples: 2, max_completion_tokens: 8, num_problems: 10}
stop: {prompts: 4, start_samples: 2, samples: 2}
optim: {steps: 2, prompts_per_step: 4, group_size: 2, save_every: 1, max_completion_tokens: 6, learning_rate: 1.0e-3}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(method: str, out: str, settings: str) -> list[str]:
    Path(f"{out}.yaml").write_text(settings, encoding="utf-8")
    return ["run", method, "--model", "embedded:chat", "--prompts", "embedded", "--out", out, "--config", f"{out}.yaml"]


def kill_once(command: list[str], file: str) -> None:
    """Kill launcher and processes at once when a file of this pattern is there."""
    started = subprocess.Popen(
        command, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    until = time.monotonic() + 120
    while not list(Path().glob(file)):
        assert started.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    # The launcher gives each process a session of its own.
    for process in [started.pid, *map(int, children.read_text().split())]:
        os.kill(process, signal.SIGKILL)
    started.wait()


def test_a_killed_rlsf_goes_on_to_the_weights_of_one_process(here: Path):
    assert call(*words("rlsf", "one", RLSF.replace("BATCH", "4"))).code == 0
    command = words("rlsf", "two", RLSF.replace("BATCH", "2"))
    kill_once(torchrun("-m", "inward", *command), "two/trainer/checkpoint-*/trainer_state.json")
    assert not Path("two/checkpoint").exists()
    launch("-m", "inward", *command)

    one, two = RunFolder.read("one"), RunFolder.read("two")
    traces = [[t.completion_ids for g in run.records("traces", TraceGroup) for t in g.traces] for run in (one, two)]
    assert traces[0] == traces[1]
    last, made = load_file("one/checkpoint/model.safetensors"), load_file("two/checkpoint/model.safetensors")
    for name, value in last.items():
        # Eight steps of 1e-4; where a gradient is nearly 0, AdamW makes much of its last bits.
        torch.testing.assert_close(made[name], value, atol=4e-5, rtol=0)
    events = list(two.events())
    assert [event["resumed"] for event in events if event["event"] == "opened"] == [False, True]
    steps = [event["step"] for event in events if event["event"] == "train" and "loss" in event]
    assert sorted(set(steps)) == [*range(1, 9)] and len(steps) < 16


def test_rlsc_logs_and_judges_what_both_processes_sample(here: Path):
    task = ["--eval-task", "arithmetic"]
    assert call(*words("rlsc", "one", RLSC), *task).code == 0
    ended = launch("-m", "inward", *words("rlsc", "two", RLSC), *task)
    assert ended.stderr.count("greedy accuracy") == 1
    told = ("monitor", "probe", "train")
    logs = [
        {(event["event"], event["step"]): event for event in RunFolder.read(run).events() if event["event"] in told}
        for run in ("one", "two")
    ]
    assert logs[0].keys() == logs[1].keys() and len(logs[0]) == 2 + 3 + 2
    for key, event in logs[0].items():
        numbers = {name: value for name, value in event.items() if isinstance(value, float)}
        assert {name: logs[1][key][name] for name in numbers} == pytest.approx(numbers, abs=1e-4), key
    one, two = (json.loads(Path(run, "summary.json").read_text()) for run in ("one", "two"))
    assert one["kept_step"] == two["kept_step"]
    for part in ("before", "after"):
        for name in ("greedy_accuracy", "confidence", "entropy"):
            assert two[part][name]["value"] == pytest.approx(one[part][name]["value"], abs=1e-4)


def test_an_error_is_said_once(here: Path):
    command = [*words("rlsc", "bad", RLSC), "--set", "optim.prompts_per_step=3"]
    ended = subprocess.run(
        torchrun("-m", "inward", *command), env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode != 0
    assert ended.stderr.count("error: optim.prompts_per_step = 3 does not divide among 2 processes") == 1
    assert "inward/cli" not in ended.stderr  # no traceback of ours
    assert not Path("bad").exists()
