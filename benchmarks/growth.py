"""Time and memory of scoring, ranking and reporting by number of traces.

`python benchmarks/growth.py [--traces 1000 10000 100000 1000000] [--folder DIR] [--json]`

Traces that no model wrote, eight to a prompt and 15 tokens each, with the signals that sampling keeps, so that scoring
needs no forward pass. Each stage is the command as a user types it, in a process of its own: seconds of the wall clock
and of the processor, and its peak memory. Pairs are made under RLSF's defaults. The report is that of a run whose
training traces these are; its summary is written here, as no training is part of this.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from inward.config import run_config
from inward.runs import RunFolder
from inward.types import (
    Artifact,
    FinishReason,
    Manifest,
    PreferencePair,
    Prompt,
    SamplingParams,
    ScoredGroup,
    Source,
    Trace,
    TraceGroup,
    TraceSignals,
)

GROUP_SIZE = 8
SHARD_PROMPTS = 32
PIECES = ("so ", "then ", "7+5=12; ", "wait, ", "carry 1; ", "that is ", "again: ", "3+4=7; ")
STEPS = 12
"""Tokens before the answer, which is announced by one token, given by one and ended by one."""
SAMPLING = SamplingParams(
    strategy="sample",
    group_size=GROUP_SIZE,
    num_branches=0,
    temperature=1.0,
    top_p=1.0,
    max_completion_tokens=32,
    seed=0,
)
STAGES = ("score", "rank", "report")
LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""
"""Between this process and the command: a process begins with the peak of the one that started it."""


def main() -> None:
    """Print one row, or one line of JSON, for each number of traces."""
    parser = argparse.ArgumentParser(description="Time and memory of score, rank and report by number of traces.")
    parser.add_argument("--traces", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="Where the run folders lie while they are needed.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for number, traces in enumerate(options.traces):
        with TemporaryDirectory(dir=options.folder) as folder:
            row = measure(Path(folder) / "run", traces)
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        if not number:
            print("  ".join(f"{name:>18}" for name in row))
        print("  ".join(f"{value:>18,.6g}" for value in row.values()), flush=True)


def measure(run: Path, traces: int) -> dict[str, float]:
    """Write a run folder of about so many traces, and take it through the stages."""
    start = time.perf_counter()
    groups = max(1, round(traces / GROUP_SIZE))
    with RunFolder.open(run, manifest()) as folder:
        folder.map("traces", range(groups), made, TraceGroup, shard_size=SHARD_PROMPTS)
    row: dict[str, float] = {"traces": groups * GROUP_SIZE, "write_s": time.perf_counter() - start}
    for stage in STAGES:
        if stage == "report":
            row["pairs"] = summarise(run)
        seconds, cpu, peak = spent([str(Path(sys.executable).with_name("inward")), stage, str(run)])
        row |= {f"{stage}_s": seconds, f"{stage}_cpu_s": cpu, f"{stage}_MiB": peak}
    row["us_per_trace"] = 1e6 * sum(row[f"{stage}_s"] for stage in STAGES) / row["traces"]
    row["page_MB"] = (run / "report.html").stat().st_size / 1e6
    row["folder_MB"] = sum(file.stat().st_size for file in run.rglob("*") if file.is_file()) / 1e6
    row["load_average"] = os.getloadavg()[0]
    return row


def spent(command: Sequence[str]) -> tuple[float, float, float]:
    """Run a command; its seconds by the clock and of the processor, and its peak memory in MiB."""
    done = subprocess.run([sys.executable, "-ISc", LAUNCHER, *command], check=True, stdout=subprocess.PIPE)
    return tuple(json.loads(done.stdout))


def manifest() -> Manifest:
    """Of a run of RLSF under its defaults."""
    config = run_config("rlsf", "synthetic", None, ["answer.kind=number", "model.dtype=float32"], ())
    return Manifest(
        inward="benchmark",
        method="rlsf",
        settings=config.plain(),
        recipe=config.recipe,
        seed=0,
        start=Artifact(name="synthetic", sha256="0" * 64),
        data=Artifact(name="synthetic", sha256="0" * 64),
        evaluation=None,
        labels_used=False,
        versions={},
        hardware={},
        created="2026-01-01T00:00:00Z",
    )


def made(numbers: Sequence[int]) -> Iterator[TraceGroup]:
    """The groups of these numbers, each from a seed of its own."""
    for number in numbers:
        draw = np.random.default_rng(number)
        prompt = Prompt(id=f"q{number:07d}", text=f"Question {number}: what is left of the carry?\nAnswer:")
        words = random.Random(number)
        traces = tuple(trace(prompt.id, index, draw, words) for index in range(GROUP_SIZE))
        yield TraceGroup(prompt=prompt, traces=traces, sampling=SAMPLING)


def trace(prompt_id: str, index: int, draw: np.random.Generator, words: random.Random) -> Trace:
    """Twelve tokens, then `####`, a digit as sure as chance will have it, and the end of the sequence."""
    ids = [words.randrange(len(PIECES)) for _ in range(STEPS)]
    answer = words.randrange(10)
    pieces = [*(PIECES[i] for i in ids), "#### ", str(answer), ""]
    signals = draw.random((4, len(pieces)), dtype=np.float32)
    return Trace(
        prompt_id=prompt_id,
        index=index,
        source=Source.SAMPLE,
        prompt_ids=tuple(range(100, 120)),
        completion_ids=(*ids, 50, 60 + answer, 2),
        completion="".join(pieces),
        token_ends=tuple(np.cumsum([len(piece) for piece in pieces]).tolist()),
        finish_reason=FinishReason.STOP,
        policy="synthetic",
        signals=TraceSignals(
            logprob=tuple((-signals[0]).tolist()),
            entropy=tuple(signals[1].tolist()),
            self_certainty=tuple(signals[2].tolist()),
            disparity=tuple(signals[3].tolist()),
        ),
    )


def summarise(run: Path) -> int:
    """Write the summary of a run that was not judged; the number of pairs."""
    folder = RunFolder.read(run)
    pairs = len(folder.records("pairs", PreferencePair))
    prompts = len(folder.records("scored", ScoredGroup))
    counts = {"prompts": prompts, "traces": prompts * GROUP_SIZE, "pairs": pairs}
    with RunFolder.open(run, manifest()) as folder:
        folder.write_json("summary.json", {"method": "rlsf", "labels_used": False, "counts": counts})
    return pairs


if __name__ == "__main__":
    main()
