"""A whole `inward run`, killed with SIGKILL at any point and run again, ends in the bytes of one never disturbed.

Each run is a process of its own, forked off a server that has imported torch already: that spares seconds a run.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from commands import ADDER_SETTINGS, ENVIRONMENT, sums, write_lines

from inward.cli import main
from inward.runs import RunFolder

NUM_PROMPTS = 70
"""Three shards of traces: 32, 32 and 6 prompts."""

Run = Callable[[Path], ForkServerProcess]


def inward(words: list[str], out: Path) -> None:
    """The body of a process: the command line, what it says kept beside the run folder."""
    # Traces name the checkpoint that wrote them: only under one name for all folders can their bytes agree.
    os.chdir(out.parent)
    sys.argv = ["inward", *words, "--out", out.name]
    with out.with_suffix(".txt").open("a", encoding="utf-8") as file:
        sys.stderr = file
        main()


@pytest.fixture(scope="module")
def start(shared: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Start `inward run rlsf`, with the paper's adapter, on seventy sums."""
    folder = tmp_path_factory.mktemp("inputs")
    settings = ADDER_SETTINGS.replace("num_epochs: 1", "num_epochs: 2")
    (folder / "settings.yaml").write_text(settings, encoding="utf-8")
    words = ["run", "rlsf", "--model", str(shared("models/adder-qwen3-228"))]
    words += ["--prompts", str(write_lines(folder / "prompts.jsonl", sums(NUM_PROMPTS)))]
    words += ["--eval-data", str(write_lines(folder / "problems.jsonl", sums(3, seed=1)))]
    words += ["--config", str(folder / "settings.yaml")]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["inward.cli.pipeline", "inward.report", "trl.trainer.dpo_trainer", "peft"])

    def run(out: Path) -> ForkServerProcess:
        process = context.Process(target=inward, args=(words, out))
        process.start()
        return process

    with mock.patch.dict(os.environ, {**ENVIRONMENT, "TRANSFORMERS_VERBOSITY": "error"}):
        yield run


@pytest.fixture(scope="module")
def undisturbed(start: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    finish(start, out)
    return out


def finish(start: Run, out: Path) -> None:
    process = start(out)
    process.join(60)
    assert process.exitcode == 0, out.with_suffix(".txt").read_text(encoding="utf-8")


def kill_when(
    reached: Callable[[], bool], process: ForkServerProcess, with_signal: signal.Signals = signal.SIGKILL
) -> None:
    """Kill a process as soon as something is there; it must not come to its end before."""
    while process.is_alive() and not reached():
        time.sleep(0.002)
    assert process.pid
    os.kill(process.pid, with_signal)
    process.join(10)
    assert process.exitcode == (130 if with_signal == signal.SIGINT else -with_signal)


def made(out: Path) -> dict[str, bytes]:
    """What must not differ: every shard and the trained model."""
    files = [*out.rglob("*.parquet"), *out.rglob("complete.json"), *(out / "checkpoint").iterdir()]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def whole(out: Path) -> dict[Path, tuple[int, int]]:
    """The files that are finished, each with its inode and the time it was written."""
    kept = [*out.rglob("[0-9]*.parquet"), *out.rglob("complete.json"), out / "manifest.json"]
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in kept}


def events_of_last_session(out: Path) -> list[dict[str, Any]]:
    events = list(RunFolder.read(out).events())
    return events[max(i for i, event in enumerate(events) if event["event"] == "opened") :]


@pytest.mark.parametrize(
    ("pattern", "num"),
    [
        ("before/scored/00000.parquet", 1),
        ("traces/00000.parquet", 1),
        ("scored/00001.parquet", 1),
        ("trainer/checkpoint-*/trainer_state.json", 2),
    ],
)
def test_a_run_killed_at_a_known_point_goes_on_and_ends_in_the_same_bytes(
    start: Run, undisturbed: Path, tmp_path: Path, pattern: str, num: int
):
    out = tmp_path / "out"
    kill_when(lambda: len(list(out.glob(pattern))) >= num, start(out))
    kept = whole(out)
    steps = [int(folder.name.rpartition("-")[2]) for folder in (out / "trainer").glob("checkpoint-*")]
    assert not (out / "checkpoint").exists()

    finish(start, out)

    assert made(out) == made(undisturbed)
    assert whole(out).items() >= kept.items()
    again = {f"{e['stage']}/{e['shard']:05d}.parquet" for e in events_of_last_session(out) if e["event"] == "shard"}
    assert not again & {str(file.relative_to(out)) for file in kept}
    trained = [event["step"] for event in events_of_last_session(out) if event["event"] == "train"]
    # A training goes on after its newest trainer checkpoint, or after the one before where that is torn.
    assert min(trained) - 1 in ({0} if not steps else set(steps))
    assert not (out / "trainer").exists()
    assert not [file for file in out.rglob("*") if ".tmp-" in file.name]


def test_a_run_interrupted_from_the_keyboard_says_how_to_go_on_and_does(start: Run, undisturbed: Path, tmp_path: Path):
    out = tmp_path / "out"
    kill_when(lambda: bool(list(out.glob("trainer/checkpoint-*/trainer_state.json"))), start(out), signal.SIGINT)
    said = out.with_suffix(".txt").read_text(encoding="utf-8")
    assert said.endswith("interrupted; the same command continues where it stopped\n")
    assert "Traceback" not in said
    assert events_of_last_session(out)[-1]["event"] == "stage_stopped"

    finish(start, out)

    assert made(out) == made(undisturbed)


def test_a_run_killed_again_and_again_at_random_times_ends_in_the_same_bytes(
    start: Run, undisturbed: Path, tmp_path: Path
):
    out, kills = tmp_path / "out", 0
    for delay in (random.uniform(0.1, 2.0) for _ in range(5)):
        process = start(out)
        process.join(delay)
        process.kill()
        process.join(10)
        kills += process.exitcode == -9

    finish(start, out)

    assert kills > 0
    assert made(out) == made(undisturbed)
