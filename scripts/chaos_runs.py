"""The small runs that `scripts/chaos` disturbs: how they are started, watched, ended and compared."""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from inward.cli import main
from inward.runs import RunFolder

STAGES = ("evaluate_before", "sample", "score", "rank", "train", "evaluate", "report")
"""Of `inward run`, in their order; RLIF and RLSC sample, score and rank while they train."""

_JUDGED = ["--eval-task", "arithmetic", "--set", "evaluation.num_problems=12", "--set", "evaluation.num_samples=2"]
_RLSF = {
    "prompts.limit": 36,
    "sampling.group_size": 3,
    "sampling.num_branches": 3,
    "pairs.num_best": 2,
    "pairs.max_pairs": 48,
    "optim.num_epochs": 2,
    "optim.batch_size": 16,
}
_ONLINE = {
    "prompts.limit": 16,
    "optim.steps": 4,
    "optim.save_every": 2,
    "optim.prompts_per_step": 4,
    "optim.group_size": 4,
    "optim.batch_rows": 16,
    "stop.prompts": 4,
    "stop.start_samples": 4,
}


def _command(method: str, settings: Mapping[str, object]) -> list[str]:
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return ["run", method, "--model", "embedded:chat", "--prompts", "embedded", *_JUDGED, *sets, "--out", "out"]


COMMANDS = {
    "rlsf": _command("rlsf", _RLSF),
    "rlif": _command("rlif", _ONLINE | {"optim.trl.save_total_limit": 1}),
    "rlsc": _command("rlsc", _ONLINE),
}


@dataclass(kw_only=True)
class Running:
    """A command under way, in a process forked off this one, which has imported everything already."""

    pid: int
    folder: Path
    code: int | None = None
    """Exit code, or the negative number of the signal."""
    seconds: float = 0.0
    """From the signal to the end."""
    _from: int = field(default=0)

    @property
    def said(self) -> str:
        """What the command wrote to the terminal."""
        return self.folder.with_suffix(".txt").read_text(encoding="utf-8", errors="replace")[self._from :]

    def error(self) -> str:
        """The error that the command ended with, where it is one for users: it names a file or a remedy."""
        _, mark, error = self.said.partition("error: ")
        return " ".join(error.split()) if mark and self.code == 1 and "Traceback" not in self.said else ""

    def ended(self, *, wait: bool = False) -> bool:
        """Whether the process has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, 0 if wait else os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def wait(self) -> None:
        """Wait for the end."""
        self.ended(wait=True)

    def wait_for_event(self, number: int) -> None:
        """Wait until the log holds so many events, or the process has ended."""
        log = self.folder / "out/log.jsonl"
        while not self.ended() and (not log.exists() or log.read_bytes().count(b"\n") < number):
            time.sleep(0.001)

    def kill_after(self, seconds: float, number: signal.Signals) -> None:
        """Send a signal after so many seconds, unless the process ends before, and wait for the end."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until and not self.ended():
            time.sleep(0.001)
        sent = time.perf_counter()
        if not self.ended():
            # Schedulers send SIGTERM to every process of a job; SIGKILL takes one, as where memory is short.
            (os.killpg if number == signal.SIGTERM else os.kill)(self.pid, number)
            self.wait()
            self.seconds = time.perf_counter() - sent


def start(words: Sequence[str], folder: Path, before: Callable[[], object] = lambda: None) -> Running:
    """Start `inward WORDS` in a folder.

    Args:
        words: the command.
        folder: the working folder, since traces name their checkpoint by its path as it was given.
        before: called in the new process first.
    """
    said = folder.with_suffix(".txt")
    known = len(said.read_text(encoding="utf-8", errors="replace")) if said.exists() else 0
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Running(pid=pid, folder=folder, _from=known)
    code = 70
    try:
        code = _inside(words, folder, before)
    finally:
        os._exit(code)


def strike(
    method: str, stage: str, peaceful: Path, folder: Path, number: signal.Signals, *, share: float = 0.5
) -> Running:
    """Start a run and send it a signal once so large a share of a stage is done.

    Runs differ in speed: one that had left the stage by then is done anew, and struck earlier.
    """
    first, length = spans(peaceful)[stage]
    for halved in range(8):
        shutil.rmtree(folder / "out", ignore_errors=True)
        running = start(COMMANDS[method], folder)
        running.wait_for_event(first)
        running.kill_after(share * length / 2**halved, number)
        if running.code and stage_of(folder / "out") == stage:
            return running
    raise AssertionError(f"{method} is too fast in {stage} to be struck there")


def import_all() -> None:
    """Import what a run imports, so that no forked one spends seconds on it."""
    for name in ("inward.cli.pipeline", "inward.report", "peft", "trl.trainer.dpo_trainer", "trl.trainer.grpo_trainer"):
        importlib.import_module(name)


def interrupt(method: str, folder: Path) -> None:
    """Start a run and end it by SIGTERM once its training has written a trainer checkpoint."""
    known, running = len(events(folder / "out")), start(COMMANDS[method], folder)
    written, trained = "checkpoint-*/trainer_state.json", False
    while not running.ended() and not (trained and list((folder / "out/trainer").glob(written))):
        time.sleep(0.01)
        trained = any(event["event"] == "train" for event in events(folder / "out")[known:])
    running.kill_after(0, signal.SIGTERM)
    assert running.code == 128 + signal.SIGTERM and list((folder / "out/trainer").glob(written)), running.said


def _inside(words: Sequence[str], folder: Path, before: Callable[[], object]) -> int:
    """The body of a forked process; returns its exit code."""
    import traceback

    import numpy
    import torch

    os.setsid()  # a group of its own, which alone hears what is sent to it
    os.chdir(folder)
    with folder.with_suffix(".txt").open("a", encoding="utf-8") as file:  # beside the folder, which may be full
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        # What a run draws without a seed of its own must differ between processes, as it does between real ones.
        random.seed()
        numpy.random.seed()
        torch.seed()
        sys.argv = ["inward", *words]
        try:
            before()
            main()
            return 0
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            traceback.print_exc()
            return 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def left_in_peace(method: str, folder: Path) -> Path:
    """A run that nobody disturbs, by the installed command: a process of its own with its own order of hashes."""
    folder.mkdir()
    command = Path(sysconfig.get_path("scripts"), "inward")
    done = subprocess.run([command, *COMMANDS[method]], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the undisturbed run of {method} failed:\n{done.stderr}")
    return folder


def artefacts(out: Path) -> dict[str, bytes]:
    """Every file of a run but its log and its lock, without dates and seconds."""
    found: dict[str, bytes] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = str(path.relative_to(out))
        if name not in ("log.jsonl", "lock"):
            found[name] = _TIMELESS.get(name, bytes)(path.read_bytes())
    return found


def differing(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    """Names of the files that are not the same on both sides."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _without(*keys: str) -> Callable[[bytes], bytes]:
    def strip(data: bytes) -> bytes:
        return json.dumps({name: value for name, value in json.loads(data).items() if name not in keys}).encode()

    return strip


def _page(data: bytes) -> bytes:
    """The report without its date and its section of seconds."""
    data = re.sub(rb"<h3>Time: .*?</div>", b"", data, flags=re.DOTALL)
    return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", b"", data)


_TIMELESS: dict[str, Callable[[bytes], bytes]] = {
    "manifest.json": _without("created"),
    "summary.json": _without("seconds", "throughput"),
    "report.html": _page,
}

_BEGINS = {"before": "evaluate_before", "traces": "sample", "scored": "score", "pairs": "rank", "train": "train"}


def _stage(event: Mapping[str, Any]) -> str | None:
    """The stage that an event begins."""
    if event["event"] == "stage_finished" and event.get("stage") == "compare":
        return "report"
    if event["event"] != "stage_started":
        return None
    name = event["stage"].partition("/")[0]
    return _BEGINS.get(name, "evaluate")


def stage_of(out: Path) -> str:
    """The stage that a run is in, or was in when it was killed."""
    begun = [stage for event in events(out) if (stage := _stage(event))]
    return begun[-1] if begun else STAGES[0]


def spans(peaceful: Path) -> dict[str, tuple[int, float]]:
    """By stage: how many events stand in the log once it has begun, and its seconds."""
    log = events(peaceful / "out")
    times = [datetime.fromisoformat(event["time"]).timestamp() for event in log]
    times.append((peaceful / "out/report.html").stat().st_mtime)
    begun: dict[str, int] = {}
    for number, event in enumerate(log):
        if stage := _stage(event):
            begun.setdefault(stage, number)
    order = sorted(begun.values())
    ends = dict(zip(order, [*order[1:], len(log)], strict=True))
    return {stage: (number + 1, max(0.0, times[ends[number]] - times[number])) for stage, number in begun.items()}


def events(out: Path) -> list[dict[str, Any]]:
    """What the log of a run holds, oldest first."""
    return list(RunFolder.read(out).events()) if (out / "manifest.json").exists() else []
