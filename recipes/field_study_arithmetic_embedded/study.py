"""Every run of the field study into one folder: `python study.py OUT`.

Nineteen start models, eleven methods and rewards, three seeds, each with the same number of traces and about as many
updates; and of every start model a probe, and an evaluation with as many samples as `inward choose` is to have. The
same command goes on where it was stopped: a run that has its summary is left as it is. Seeds come one after the other,
so a study that is cut short is whole for the first of them. The tables: table.py OUT.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import start_models

SEEDS = (21, 22, 23)
REWARDS = (
    "self_certainty",
    "neg_entropy",
    "mean_logprob",
    "sequence_probability",
    "answer_disparity",
    "majority_vote",
    "soft_vote",
    "co_rewarding",
    "majority_vote+self_certainty",
)
METHODS = ("rlsf", "rlsc", *REWARDS)
ALIKE = ("soft_vote", "co_rewarding", "majority_vote+self_certainty")
"""Rewards that are near to another; with the second and third seed they come last."""
DEVELOPED = ("base", "instruct", "chat", "mix")
"""Start models that the probe's forecast was made up on, or that are mixes of such."""
FRESH, LATER = start_models.FRESH, start_models.LATER
HELD_OUT = tuple(name for name in start_models.NAMES if name not in (*FRESH, *LATER))
STARTS = (*DEVELOPED, *HELD_OUT, *FRESH, *LATER)
RECIPES = Path(__file__).resolve().parents[2] / "src/inward/methods"

STEPS = "--steps 20 --eval-every 10"
STOP = "stop.prompts=64 stop.start_samples=8 stop.samples=2"
# 1,280 traces each: 20 steps of 8 x 8, 20 steps of 4 x 16, and 64 prompts with 10 samples and 10 branches; 20 updates,
# of rlsf about as many.
BUDGET = {
    "rlif": (STEPS, f"{STOP} optim.prompts_per_step=8 optim.batch_rows=64 prompts.limit=160"),
    "rlsc": (STEPS, f"{STOP} optim.prompts_per_step=4 prompts.limit=80"),
    "rlsf": ("", "prompts.limit=64 sampling.group_size=10 sampling.num_branches=10 optim.batch_size=32"),
}
JUDGED = "evaluation.num_samples=2"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command and the file that says it is done."""

    name: str
    arguments: tuple[str, ...]
    done: Path
    log: Path


def main() -> None:
    """Read the command line and run what is missing."""
    parser = argparse.ArgumentParser(description="The field study of all rewards and methods.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, a thread each")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--starts", nargs="+", default=STARTS)
    options = parser.parse_args()
    out: Path = options.out
    for name in start_models.NAMES:
        if name in options.starts:
            start_models.make(name, out / "starts")
    failed = carry_out([mixing(out)], options.jobs)
    probes = [probing(out, start) for start in options.starts]
    votes = [voting(out, start) for start in options.starts]
    trainings = [training(out, *one) for one in runs(options.starts, options.seeds)]
    failed += carry_out([*probes, *votes, *trainings], options.jobs)
    if failed:
        sys.exit("failed: " + ", ".join(str(job.log) for job in failed))


def mixing(out: Path) -> Job:
    """A tenth of the way from base to instruct."""
    words = "interpolate --from embedded:base --to embedded:instruct --ratios 0,0.1 --task arithmetic"
    return _job(out, "mixes", f"{words} --set {JUDGED}", out / "mixes/summary.json")


def probing(out: Path, start: str) -> Job:
    """What the start model shows before any training."""
    words = f"probe --config {RECIPES}/probe-embedded.yaml --model {model(out, start)} --prompts embedded --seed 0"
    return _job(out, f"probe-{start}", words, out / f"probe-{start}/report.html")


def voting(out: Path, start: str) -> Job:
    """The start model on the test questions, sampled more often than a run samples it."""
    words = f"evaluate --config {RECIPES}/evaluate-embedded.yaml --model {model(out, start)} --task arithmetic"
    done = out / f"votes-{start}/summary.json"
    return _job(out, f"votes-{start}", f"{words} --set evaluation.num_samples=16", done)


def training(out: Path, start: str, method: str, seed: int) -> Job:
    """One training, judged before, halfway and after."""
    kind = method if method in ("rlsf", "rlsc") else "rlif"
    options, settings = BUDGET[kind]
    words = (
        f"run {kind} --config {RECIPES}/{kind}-embedded.yaml --model {model(out, start)} --prompts embedded {options}"
    )
    if kind == "rlif":
        words += f" --reward {method}"
    sets = " ".join(f"--set {one}" for one in (*settings.split(), JUDGED))
    name = f"{start}-{method}-{seed}"
    return _job(out, name, f"{words} {sets} --eval-task arithmetic --seed {seed}", out / name / "summary.json")


def model(out: Path, start: str) -> str:
    """Where a start model lies."""
    if start == "mix":
        return str(out / "mixes/mixes/0.1")
    return str(out / "starts" / start) if start in start_models.NAMES else f"embedded:{start}"


def carry_out(jobs: Iterable[Job], at_once: int) -> list[Job]:
    """Run what is not done, each in a process of its own that finds the libraries imported; give what failed."""
    missing = [job for job in jobs if not job.done.exists()]
    context = get_context("forkserver")
    context.set_forkserver_preload(["inward.cli.pipeline", "inward.train.group_policy", "trl"])
    failed: list[Job] = []
    with ProcessPoolExecutor(at_once, mp_context=context, max_tasks_per_child=1) as pool:
        started = {pool.submit(_run, job): job for job in missing}
        for number, future in enumerate(as_completed(started), 1):
            job = started[future]
            print(f"{number}/{len(missing)} {job.name}: {future.result():.0f} s", flush=True)
            if not job.done.exists():
                failed.append(job)
    return failed


def _job(out: Path, name: str, words: str, done: Path) -> Job:
    arguments = (*words.split(), "--out", str(out / name))
    return Job(name=name, arguments=arguments, done=done, log=out / "logs" / f"{name}.txt")


def _run(job: Job) -> float:
    """`inward` with these arguments, its words in the log; seconds."""
    from inward.cli import main as inward

    began = time.monotonic()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.argv = ["inward", *job.arguments]
        with suppress(SystemExit):  # what went wrong stands in the log, and the missing summary says so
            inward()
    return time.monotonic() - began


def runs(starts: Sequence[str], seeds: Sequence[int]) -> list[tuple[str, str, int]]:
    """Start model, method and seed of every training, in the order in which they are made."""
    every = [(start, method, seed) for seed in seeds for start in starts for method in METHODS]
    return sorted(every, key=lambda one: one[1] in ALIKE and one[2] != seeds[0])


if __name__ == "__main__":
    main()
