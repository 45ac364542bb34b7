"""A stage killed with SIGKILL anywhere and run again ends in the same bytes; nothing whole is made twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from inward.errors import RunFolderError
from inward.runs import RunFolder
from inward.types import Artifact, Choice, Manifest

# Ten inputs in shards of two: shards 0 to 4. Every call of `make` leaves a line in the side file.
TOY = """
import os, signal, sys, time
from pathlib import Path

from inward.runs import RunFolder, files
from inward.types import Artifact, Choice, Manifest

out, calls, point = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
append_line, fsync, replace = files.append_line, os.fsync, os.replace

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def make(inputs):
    with calls.open("a") as file:
        file.write(inputs[0] + "\\n")
    if inputs[0] == "4" and point == "making":
        die()
    if inputs[0] == "4" and point == "sleeping":
        time.sleep(60)
    return [Choice(label=text, text=f"made from {text} " * 50) for text in inputs]

def fill(path):
    (path / "weights").write_text("whole")
    if point == "building":
        die()
    (path / "config").write_text("whole")

def die_half_written(handle):
    if list(out.glob("toy/.00002.parquet.tmp-*")):
        os.ftruncate(handle, 100)
        die()
    fsync(handle)

def die_before_renaming(source, target):
    if Path(target).name in ("00002.parquet" if point == "renaming" else "complete.json"):
        die()
    replace(source, target)

def die_half_logged(path, line):
    if '"shard": 2' in line:
        with path.open("a") as file:
            file.write(line[:20])
        die()
    append_line(path, line)

if point == "writing":
    os.fsync = die_half_written
if point in ("renaming", "completing"):
    os.replace = die_before_renaming
if point == "logging":
    files.append_line = die_half_logged

manifest = Manifest(
    inward="0.1.0", method="toy", settings={}, recipe="defaults", seed=0, start=Artifact(name="m", sha256="1"),
    data=None, evaluation=None, labels_used=False, versions={}, hardware={}, created="2025-01-01T00:00:00Z",
)
with RunFolder.open(out, manifest) as folder:
    records = folder.map("toy", [str(i) for i in range(10)], make, Choice, shard_size=2)
    assert [record.label for record in records] == [str(i) for i in range(10)]
    folder.build("checkpoint", fill)
"""

MANIFEST = Manifest(
    inward="0.1.0",
    method="toy",
    settings={},
    recipe="defaults",
    seed=0,
    start=Artifact(name="m", sha256="1"),
    data=None,
    evaluation=None,
    labels_used=False,
    versions={},
    hardware={},
    created="2025-01-01T00:00:00Z",
)


def start(out: Path, point: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", TOY, str(out), str(out.with_suffix(".calls")), point])


def calls(out: Path) -> str:
    return out.with_suffix(".calls").read_text().replace("\n", "")


def stage_files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "toy").iterdir()}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The stage's files of a run that nobody killed."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    assert start(out, "never").wait() == 0
    assert calls(out) == "02468"
    return stage_files(out)


def test_unbroken_run_writes_every_shard(unbroken: dict[str, bytes]) -> None:
    assert sorted(unbroken) == [*(f"0000{i}.parquet" for i in range(5)), "complete.json"]


@pytest.mark.parametrize(
    ("point", "calls_before", "calls_in_all", "left_behind"),
    [
        ("making", "024", "024468", []),  # shard 2 (inputs 4 and 5) was not there: made twice
        ("writing", "024", "024468", [".00002.parquet.tmp"]),  # 100 bytes of it
        ("renaming", "024", "024468", [".00002.parquet.tmp"]),  # all of it
        ("logging", "024", "02468", []),  # it was there, only its line in the log was torn
        ("completing", "02468", "02468", [".complete.json.tmp"]),  # every shard was there
    ],
)
def test_killed_stage_continues_after_the_last_whole_shard(
    tmp_path: Path,
    unbroken: dict[str, bytes],
    point: str,
    calls_before: str,
    calls_in_all: str,
    left_behind: list[str],
) -> None:
    out = tmp_path / "run"
    assert start(out, point).wait() == -signal.SIGKILL
    assert calls(out) == calls_before
    assert [name.rsplit("-", 1)[0] for name in stage_files(out) if name.startswith(".")] == left_behind
    with pytest.raises(RunFolderError, match="toy is not complete"):
        RunFolder.read(out).records("toy", Choice)

    assert start(out, "never").wait() == 0
    assert calls(out) == calls_in_all
    assert stage_files(out) == unbroken
    assert set(RunFolder.read(out).seconds()) == {"toy"}
    events = [event["event"] for event in RunFolder.read(out).events()]
    assert events.count("opened") == 2
    assert events.count("shard") == (4 if point == "logging" else 5)


def test_folder_killed_while_it_is_built_is_built_anew(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert start(out, "building").wait() == -signal.SIGKILL
    (torn,) = out.glob(".checkpoint.tmp-*")
    assert [path.name for path in torn.iterdir()] == ["weights"]
    assert not (out / "checkpoint").exists()

    assert start(out, "never").wait() == 0
    assert not torn.exists()
    assert sorted(path.name for path in (out / "checkpoint").iterdir()) == ["config", "weights"]


def test_second_process_is_refused_until_the_first_is_killed(tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    first = start(out, "sleeping")
    try:
        deadline = time.monotonic() + 30
        while not (out / "toy/00001.parquet").exists():
            assert time.monotonic() < deadline and first.poll() is None
            time.sleep(0.02)
        with (
            pytest.raises(RunFolderError, match=f"{out} is in use by another process"),
            RunFolder.open(out, MANIFEST),
        ):
            pytest.fail("two processes in one folder")
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()

    with RunFolder.open(out, MANIFEST) as folder:
        made: list[str] = []

        def make(inputs: Sequence[str]) -> list[Choice]:
            made.extend(inputs)
            return [Choice(label=text, text=f"made from {text} " * 50) for text in inputs]

        folder.map("toy", [str(i) for i in range(10)], make, Choice, shard_size=2)
    assert made == ["4", "5", "6", "7", "8", "9"]
    assert stage_files(out) == unbroken
