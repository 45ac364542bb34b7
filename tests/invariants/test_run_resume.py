"""A whole `inward run`, killed with SIGKILL at any point and run again, ends in the bytes of one never disturbed."""

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import ADDER_SETTINGS, ENVIRONMENT, Running, fork, sums, write_lines

from inward.runs import RunFolder

NUM_PROMPTS = 70
"""Three shards of traces: 32, 32 and 6 prompts."""

Run = Callable[[Path], Running]


@pytest.fixture(scope="module")
def start(shared: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Start `inward run rlsf`, with the paper's adapter, on seventy sums."""
    folder = tmp_path_factory.mktemp("inputs")
    settings = ADDER_SETTINGS.replace("num_epochs: 1", "num_epochs: 2")
    (folder / "settings.yaml").write_text(settings, encoding="utf-8")
    words = ["run", "rlsf", "--model", str(shared("models/adder-qwen3-228"))]
    words += ["--prompts", str(write_lines(folder / "prompts.jsonl", sums(NUM_PROMPTS)))]
    words += ["--eval-data", str(write_lines(folder / "problems.jsonl", sums(3, seed=1)))]
    words += ["--config", str(folder / "settings.yaml")]

    def run(out: Path) -> Running:
        with pytest.MonkeyPatch.context() as patch:
            # Traces name the checkpoint that wrote them: only under one name for all folders can their bytes agree.
            patch.chdir(out.parent)
            return fork(*words, "--out", out.name, env={**ENVIRONMENT, "TRANSFORMERS_VERBOSITY": "error"})

    return run


@pytest.fixture(scope="module")
def undisturbed(start: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    finish(start, out)
    return out


def finish(start: Run, out: Path) -> None:
    ended = start(out).wait()
    assert ended.code == 0, ended.err


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
    start(out).strike(lambda: len(list(out.glob(pattern))) >= num)
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
    said = start(out).strike(lambda: bool([*out.glob("trainer/checkpoint-*/trainer_state.json")]), signal.SIGINT).err
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
        process = start(out).process
        process.join(delay)
        process.kill()
        process.join(10)
        kills += process.exitcode == -9

    finish(start, out)

    assert kills > 0
    assert made(out) == made(undisturbed)
