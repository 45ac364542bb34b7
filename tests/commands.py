"""The command line as tests call it, in this process or in one of its own, and sums to ask the adder for."""

import gc
import json
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import mkdtemp
from unittest import mock

from inward.cli import main

INWARD = Path(sysconfig.get_path("scripts"), "inward")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}

ADDER_SETTINGS = """
sampling: {max_completion_tokens: 11, num_branches: 4}
answer: {kind: number, elicit: never}
evaluation: {num_samples: 2, max_completion_tokens: 11}
optim: {num_epochs: 1, batch_size: 8, learning_rate: 1e-4}
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """What stands after `error:`; nothing that follows belongs to anything else."""
        assert self.err.count("error: ") == 1 and "Traceback" not in self.err, self.err
        return self.err.partition("error: ")[2].rstrip("\n")


def call(*args: str | Path) -> Ended:
    """Run `inward` in this process, which spares the seconds that importing torch takes."""
    out, err = StringIO(), StringIO()
    with (
        mock.patch.dict(os.environ, ENVIRONMENT),
        mock.patch.object(sys, "argv", ["inward", *map(str, args)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
    return Ended(code=code, out=out.getvalue(), err=err.getvalue())


def spawn(*args: str | Path) -> Ended:
    """Run the installed `inward` as a process of its own."""
    done = subprocess.run([INWARD, *args], env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *("inward.cli.pipeline", "inward.cli.probing", "inward.report", "inward.methods.rlsf", "inward.methods.rlif"),
        *("inward.methods.rlsc", "trl.trainer.dpo_trainer", "trl.trainer.grpo_trainer", "trl.trainer.reward_trainer"),
        *("peft", "transformers.models.llama.modeling_llama", "transformers.models.qwen3.modeling_qwen3"),
    ]
)
"""Starts processes off one that has imported this: what that takes is most of what a small run takes."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A forked process, and the files of what it says."""

    process: ForkServerProcess
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    def wait(self, timeout: float = 120) -> Ended:
        """Its end; it is killed where that does not come."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"no end in {timeout} s; it said: {_text(self.err)}")
        ended = Ended(code=self.process.exitcode, out=_text(self.out), err=_text(self.err))
        shutil.rmtree(self.out.parent)
        return ended

    def strike(self, when: Callable[[], bool], number: signal.Signals = signal.SIGKILL) -> Ended:
        """Send a signal as soon as something is so, which it must not have ended before."""
        until = time.monotonic() + 100
        while not when():
            assert self.process.is_alive() and time.monotonic() < until, _text(self.err)
            time.sleep(0.002)
        os.kill(self.pid, number)
        ended = self.wait(10)
        assert ended.code == (130 if number == signal.SIGINT else -number), ended.err
        return ended


def fork(*words: str | Path, env: Mapping[str, str] = ENVIRONMENT) -> Running:
    """Start `inward` in a process of its own, or the script that the first word names."""
    said = Path(mkdtemp(prefix="inward-said-"))
    out, err = said / "out", said / "err"
    process = FORKS.Process(target=_become, args=([*map(str, words)], dict(env), Path.cwd(), out, err))
    process.start()
    return Running(process=process, out=out, err=err)


def forked(*words: str | Path) -> Ended:
    """Run `inward` to its end, as `fork` does."""
    return fork(*words).wait()


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _become(words: list[str], environment: dict[str, str], folder: Path, out: Path, err: Path) -> None:
    gc.freeze()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, encoding="utf-8", closefd=False) for number in (1, 2))
    if words[0].endswith(".py"):
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")
    else:
        sys.argv = ["inward", *words]
        main()


def sums(num: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Rows for the ten-digit adder: the two numbers reversed and framed by zeros, the gold answer reversed too."""
    numbers = random.Random(seed)
    rows: list[dict[str, str]] = []
    for i in range(num):
        a, b = numbers.randrange(10**10), numbers.randrange(10**10)
        prompt = f"0{f'{a:010d}'[::-1]}00{f'{b:010d}'[::-1]}0"
        rows.append({"id": f"sum-{i}", "prompt": prompt, "answer": f"{a + b:011d}"[::-1]})
    return rows


def write_lines(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
