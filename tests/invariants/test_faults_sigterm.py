"""SIGTERM from a scheduler: the step under way is kept, the exit code is 143, and the same training goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from inward.models import ModelSettings, load_model
from inward.train import (
    GroupPolicySettings,
    IntrinsicReward,
    Samples,
    SelfConfidenceSettings,
    certainty,
    group_policy,
    self_confidence,
)
from inward.train.interruption import whole_steps
from inward.types import Prompt

CPU = ModelSettings(device="cpu")
PROMPTS = [Prompt(id=f"p{i}", text=f"Q:{i}+2?\nA:") for i in range(6)]
STEPS, SAVE_EVERY = 4, 4

Train = Callable[..., list[int]]


@pytest.fixture
def ending() -> Iterator[None]:
    """A handler as the command line has one."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


def group(start: Path, home: Path, progress: Callable[[int, int], None]) -> list[int]:
    """GRPO; returns the steps at which it told of a checkpoint."""
    settings = GroupPolicySettings(
        steps=STEPS,
        prompts_per_step=2,
        group_size=2,
        batch_rows=4,
        max_completion_tokens=6,
        learning_rate=1e-2,
        lr_scheduler="linear",
        warmup_steps=0,
        kl=0.0,
        loss="trace_mean",
        save_every=SAVE_EVERY,
        trl={"save_total_limit": 1},
    )
    told: list[int] = []
    group_policy(
        PROMPTS,
        IntrinsicReward("self_certainty", certainty("self_certainty")),
        start=start,
        work=home / "work",
        settings=settings,
        model=CPU,
        seed=0,
        at_checkpoint=lambda step, policy, write: bool(told.append(step) or write(made(home))),
        progress=progress,
    )
    return told


def confident(start: Path, home: Path, progress: Callable[[int, int], None]) -> list[int]:
    """The loop of RLSC; returns the same."""
    told: list[int] = []
    self_confidence(
        PROMPTS,
        lambda model, asked, step: Samples(
            prompt_ids=[(1, 12, 13)] * len(asked), completion_ids=[(14 + step, 2)] * len(asked), answer_share=[1.0] * 2
        ),
        start=start,
        work=home / "work",
        settings=SelfConfidenceSettings(steps=STEPS, prompts_per_step=2, learning_rate=1e-2, save_every=SAVE_EVERY),
        model=CPU,
        seed=0,
        at_checkpoint=lambda step, policy, write: bool(told.append(step) or write(made(home))),
        progress=progress,
    )
    return told


def made(home: Path) -> Path:
    (home / "out").mkdir()
    return home / "out"


def weights(home: Path) -> dict[str, Any]:
    return load_model(home / "out", CPU).state_dict()


@pytest.mark.parametrize("train", [group, confident])
@pytest.mark.usefixtures("ending")
def test_the_step_under_way_is_kept_and_the_training_ends_as_if_undisturbed(
    tiny_model: Path, tmp_path: Path, train: Train
):
    peaceful, ended = tmp_path / "peaceful", tmp_path / "ended"
    peaceful.mkdir()
    ended.mkdir()
    train(tiny_model, peaceful, lambda step, steps: None)
    seen: list[int] = []

    def terminated(step: int, steps: int) -> None:
        seen.append(step)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit, match="143"):
        train(tiny_model, ended, terminated)
    assert seen == [0, 1, 2]
    assert [folder.name for folder in (ended / "work").glob("checkpoint-*")] == ["checkpoint-2"]
    assert not (ended / "out").exists()
    tomorrow = time.time() + 86_400  # as where the clock went back
    os.utime(ended / "work/checkpoint-2", (tomorrow, tomorrow))

    assert train(tiny_model, ended, lambda step, steps: seen.append(step)) == [STEPS]
    assert seen == [0, 1, 2, 2, 3, 4]
    assert all(torch.equal(value, weights(ended)[name]) for name, value in weights(peaceful).items())


@pytest.mark.usefixtures("ending")
def test_a_handler_that_returns_ends_the_training_all_the_same():
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    with pytest.raises(SystemExit, match="143"), whole_steps() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked() and not heard
    assert heard == [signal.SIGTERM]


@pytest.fixture
def no_handler() -> Iterator[None]:
    """No handler, whatever libraries in this process have set (Ray sets one)."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("no_handler")
def test_a_process_without_a_handler_dies_of_it_as_before():
    with whole_steps() as asked:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert not asked()


BUSY = """
import os, signal, sys, threading, time
from inward.cli import terminating

terminating.GRACE = float(sys.argv[1])
with terminating.ending_on_sigterm():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    while True:
        try:
            time.sleep(60)
        except SystemExit:
            if sys.argv[2] == "ends":
                raise
"""


@pytest.mark.parametrize(("grace", "what"), [("60", "ends"), ("0.3", "swallows it")])
def test_the_exit_code_is_143_whether_or_not_the_work_lets_go(grace: str, what: str):
    done = subprocess.run([sys.executable, "-c", BUSY, grace, what], timeout=30, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (143, b"")


PARENT = """
import os, signal, time
from inward.cli import terminating

terminating.GRACE = 0.2
with terminating.ending_on_sigterm():
    child = os.fork()
    if not child:
        time.sleep(60)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    time.sleep(1)
print("went on")
"""


def test_a_worker_that_is_terminated_does_not_end_the_command():
    done = subprocess.run([sys.executable, "-c", PARENT], timeout=30, check=False, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"went on\n", b"")


def test_nothing_is_left_behind_in_a_process_that_goes_on():
    from inward.cli.terminating import ending_on_sigterm

    before = signal.getsignal(signal.SIGTERM)
    with ending_on_sigterm():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
