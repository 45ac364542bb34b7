"""What every judged run ends with: summary.json and the report. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inward import diagnose, evaluate, report
from inward.cli import console
from inward.cli.diagnosis import diagnosis, trained
from inward.cli.tracking import tracking
from inward.methods.rounds import Round, trainings
from inward.runs import ALONE, Crew, RunFolder
from inward.types import EvalItem, EvalReport, Manifest, PreferencePair, RankingReport, ScoredGroup, Trace

SECONDS = {
    "before/scored": "evaluate_before",
    "before/items": "evaluate_before",
    "before/report": "evaluate_before",
    "traces": "sample",
    "scored": "score",
    "pairs": "rank",
    "surest": "rank",
    "train_reward": "train_reward",
    "train": "train",
    "after/scored": "evaluate_after",
    "after/items": "evaluate_after",
    "after/report": "evaluate_after",
    "compare": "evaluate_after",
}
"""Stages of the log, and the key of summary.json that their seconds go to."""


Judged = tuple[EvalReport, Sequence[EvalItem]]


@contextmanager
def working(
    out: Path,
    manifest: Manifest,
    names: Mapping[str, str] | None = None,
    trackers: Sequence[str] = (),
    crew: Crew = ALONE,
) -> Iterator[tuple[RunFolder, list[str]]]:
    """The run folder with progress on the terminal, and the list of warnings shown so far.

    Args:
        out: the folder.
        manifest: what the run is.
        names: what stages are called on the terminal where that is not their usual name.
        trackers: told of what a training logs; see `tracking`.
        crew: the processes of the run.
    """
    with (
        console.progress(names) as progress,
        console.warnings_shown() as warned,
        tracking(trackers, out, manifest) as listener,
        RunFolder.open(out, manifest, progress=progress, listener=listener, crew=crew) as folder,
    ):
        yield folder, warned


def write_summary(
    folder: RunFolder,
    task: str | None,
    model: str,
    before: Judged | None,
    after: Judged | None,
    warned: Sequence[str],
    curve: Sequence[tuple[int, Judged]] = (),
    reward: Sequence[RankingReport] = (),
) -> None:
    """Write summary.json and the report.

    Args:
        folder: the run folder.
        task: what was judged on.
        model: the start model as the user named it.
        before: the start model judged.
        after: what the run ended with, judged.
        warned: warnings shown.
        curve: what was judged by optimizer step.
        reward: how the reward model and the confidence measures rank judged samples.
    """
    summary = _summary(folder, task, model, before, after, warned)
    summary["reward_model"] = list(reward) or None
    if curve:
        summary["curve"] = _curve(folder, curve)
    if folder.manifest.data is not None and not _decodes_alone(folder):
        summary |= diagnosis(folder)
    folder.write_json("summary.json", summary)
    report.build(folder.path)


def _decodes_alone(folder: RunFolder) -> bool:
    """Whether the run is a baseline that trains nothing."""
    return folder.manifest.settings.get("baseline") in evaluate.DECODINGS


def _curve(folder: RunFolder, judged: Sequence[tuple[int, Judged]]) -> list[dict[str, Any]]:
    """Metrics by optimizer step, with the mean reward that training saw at that step and the start's support."""
    rewards = {
        event["step"]: event["reward"] for event in folder.events() if event["event"] == "train" and "reward" in event
    }
    supports = {probe.step: probe.mean for probe in diagnose.history(folder).probes}
    rounds = {0: 0} | {event["steps"]: number for number, event in trainings(folder).items()}
    of_rounds = len(rounds) > 2
    return [
        {"step": step, **one[0].metrics, "reward": rewards.get(float(step)), "support": supports.get(step)}
        | ({"round": rounds[step]} if of_rounds else {})
        for step, one in judged
    ]


def _summary(
    folder: RunFolder,
    task: str | None,
    model: str,
    before: Judged | None,
    after: Judged | None,
    warned: Sequence[str],
) -> dict[str, Any]:
    difference = None
    if before and after:
        with folder.timed("compare"):
            difference = evaluate.compare(before[1], after[1])
    seconds: dict[str, float] = {}
    for stage, spent in folder.seconds().items():
        stage = re.sub(r"^rounds/\d+/", "", stage)
        key = "evaluate_curve" if stage.startswith("curve/") else SECONDS.get(stage, stage)
        seconds[key] = round(seconds.get(key, 0.0) + spent, 3)
    manifest = folder.manifest
    return {
        "method": manifest.method,
        "task": task,
        "model": model,
        "labels_used": manifest.labels_used,
        "seed": manifest.seed,
        "recipe": manifest.recipe,
        "baseline": manifest.settings.get("baseline"),
        "before": before[0].metrics if before else None,
        "after": after[0].metrics if after else None,
        "difference": difference,
        "pass_k": before[0].pass_k if before else None,
        "throughput": {"before": _throughput(folder, "before", before), "after": _throughput(folder, "after", after)},
        "curve": None,
        "reward_model": None,
        "kept_step": None,
        "stop_step": None,
        "stop_reason": None,
        "findings": [],
        "counts": _counts(folder),
        "seconds": seconds,
        "warnings": list(warned),
    }


def _throughput(folder: RunFolder, name: str, judged: Judged | None) -> float | None:
    """Completion tokens a second while a checkpoint answered, scoring included; None where tokens are not known."""
    seconds = folder.seconds().get(f"{name}/scored", 0.0)
    if judged is None or not seconds:
        return None
    report, items = judged
    tokens = [trace.length for item in items for trace in item.samples]
    if report.decoding != "self_consistency":  # there the samples are what is counted
        tokens += [item.tokens for item in items]
    known = [number for number in tokens if number is not None]
    return round(sum(known) / seconds, 1) if len(known) == len(tokens) else None


_LEAVING_OUT = ("trained", "trained_reward")
COUNTED = ("prompts", "traces", "traces_without_span", "traces_with_partial_span", "traces_truncated")


def _counts(folder: RunFolder) -> dict[str, int]:
    """What the training data came to; nothing for an evaluation."""
    if folder.manifest.data is None:
        return {}
    if folder.manifest.method in ("rlif", "rlsc"):
        return {"prompts": folder.manifest.data.num_records or 0, "steps": trained(folder).get("steps", 0)}
    if _decodes_alone(folder):
        return {"prompts": folder.manifest.data.num_records or 0}
    counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
    rounds = [Round(folder=folder, number=number, seed=0) for number in sorted(trainings(folder)) or [1]]
    for here in rounds:
        for group in folder.records(here.at("scored"), ScoredGroup):
            counts["prompts"] += here.number == 1
            counts["traces"] += len(group.traces)
            counts["traces_without_span"] += sum(t.answer_tokens is None for t in group.traces)
            counts["traces_with_partial_span"] += sum(t.answer_partial for t in group.traces)
            counts["traces_truncated"] += sum(t.trace.finish_reason == "length" for t in group.traces)
    left_out = [event.get("too_long", 0) for kind in _LEAVING_OUT for event in trainings(folder, kind).values()]
    if folder.manifest.settings.get("route") == "sft":
        surest = [len(folder.records(here.at("surest"), Trace)) for here in rounds]
        return {**counts, "surest": sum(surest), "surest_too_long": sum(left_out)}
    counts["pairs"] = counts["prompts_with_pairs"] = 0
    for here in rounds:
        pairs = folder.records(here.at("pairs"), PreferencePair)
        counts["pairs"] += len(pairs)
        counts["prompts_with_pairs"] += len({pair.prompt.id for pair in pairs})
    counts["pairs_too_long"] = sum(left_out)
    return counts
