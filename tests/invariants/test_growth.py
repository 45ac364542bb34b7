"""Memory does not grow with the number of traces: peaks of Python's own allocations at one and at five times as many.

What pyarrow and torch allocate is not counted here; `benchmarks/growth.py` measures the whole processes.
"""

import dataclasses
import gc
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import synthetic

from inward.rank import PairSettings, each_pair
from inward.report import build
from inward.runs import RunFolder, records
from inward.types import PreferencePair, ScoredGroup

SOME, MANY = 40, 200
"""Prompts of eight traces: the groups between the two numbers would be a megabyte."""


@pytest.fixture(scope="module")
def templates() -> list[ScoredGroup]:
    return synthetic.training(8, group_size=8, length=5)[0]


def scored(templates: Sequence[ScoredGroup], number: int) -> ScoredGroup:
    group = templates[number % len(templates)]
    return dataclasses.replace(group, prompt=dataclasses.replace(group.prompt, id=f"q{number}"))


def peak(work: Callable[[], object]) -> int:
    """Bytes above what was there before, in a second run: the first fills what is cached for good."""
    work()
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def ranked(path: Path, templates: Sequence[ScoredGroup], prompts: int) -> Path:
    with RunFolder.open(path, synthetic.manifest()) as folder:
        groups = folder.map(
            "scored", range(prompts), lambda span: [scored(templates, n) for n in span], ScoredGroup, shard_size=16
        )
        folder.once("pairs", lambda: each_pair(groups, PairSettings(gamma=None), seed=0), PreferencePair)
        folder.write_json("summary.json", {"method": "rlsf", "labels_used": False})
    return path


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BLOCK", 128)


def test_ranking_holds_a_shard_and_a_block_however_many_there_are(tmp_path: Path, templates: list[ScoredGroup]):
    numbers = iter(range(4))
    few, many = (peak(lambda n=n: ranked(tmp_path / str(next(numbers)), templates, n)) for n in (SOME, MANY))
    assert many < few + 200_000


def test_the_report_holds_no_trace_but_those_it_shows(tmp_path: Path, templates: list[ScoredGroup]):
    folders = [ranked(tmp_path / str(n), templates, n) for n in (SOME, MANY)]
    few, many = (peak(partial(build, folder)) for folder in folders)
    # The traces between the two would be a hundred kilobytes of confidences alone.
    assert many < few + 30_000


def test_a_stage_of_shards_holds_one_however_many_there_are(tmp_path: Path, templates: list[ScoredGroup]):
    numbers = iter(range(4))

    def copy(prompts: int) -> None:
        with RunFolder.open(tmp_path / str(next(numbers)), synthetic.manifest()) as folder:
            made = folder.map(
                "traces", range(prompts), lambda span: [scored(templates, n) for n in span], ScoredGroup, shard_size=16
            )
            folder.map("scored", made, list, ScoredGroup, shard_size=16)

    few, many = peak(lambda: copy(SOME)), peak(lambda: copy(MANY))
    assert many < few + 200_000
