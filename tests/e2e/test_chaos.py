"""`scripts/chaos` with one kill and the disasters of RLSF; `docs/reliability.md` has more kills, and SIGTERM."""

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from commands import fork

CHAOS = Path(__file__).parents[2] / "scripts/chaos.py"
SILENT = {"truncated_trainer_checkpoint", "clock_going_back"}
MOUNTED = {"disk_full", "read_only_folder"}


@pytest.mark.slow
def test_killed_and_damaged_runs_end_in_the_bytes_of_one_left_in_peace():
    done = fork(CHAOS, "--kills", "1", "--seed", "3", "--only", "kills", "disasters", "--json").wait(600)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert (result["kills"], result["identical"], result["failed"]) == (1, 1, 0)
    assert sum(result["by_stage"].values()) == 1
    assert len(result["disasters"]) == 8
    for name, one in result["disasters"].items():
        expected = {"identical" if name in SILENT else "clear_error"} | ({"skipped"} if name in MOUNTED else set())
        assert one["outcome"] in expected, name


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ModuleType]]:
    """The script and its parts."""
    names = ("chaos", "chaos_disasters", "chaos_runs")
    monkeypatch.syspath_prepend(str(CHAOS.parent))
    yield [importlib.import_module(name) for name in names]
    for name in names:
        sys.modules.pop(name)


def test_what_ends_in_an_error_has_not_survived(modules: list[ModuleType], tmp_path: Path):
    """A killed run has to go on, and what is refused has to name file and remedy."""
    chaos, disasters, runs = modules
    (tmp_path / "run").mkdir()
    said = "error: out/trainer is damaged; delete it and run the same command again"
    (tmp_path / "run.txt").write_text(said)
    ended = runs.Running(pid=os.getpid(), folder=tmp_path / "run", code=1)
    assert chaos.judged(ended, tmp_path, tmp_path / "run")["outcome"] == "failed"

    damaged = disasters.Disaster(
        finds="nothing", befalls=lambda folder, remount: [], words=("out/trainer is", "delete it")
    )
    assert disasters.outcome(damaged, [ended.error()])["outcome"] == "clear_error"
    for errors in ([], ["something is wrong"], [ended.error(), "out/trainer is damaged"], ["delete it"]):
        assert disasters.outcome(damaged, errors)["outcome"] == "failed"
    silent = disasters.Disaster(finds="nothing", befalls=lambda folder, remount: [])
    assert (
        disasters.outcome(silent, [])["outcome"] == "identical"
        and disasters.outcome(silent, ["no"])["outcome"] == "failed"
    )
