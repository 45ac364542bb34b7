"""`inward run`, `inward demo` and `inward evaluate`: compose inputs, method, evaluation and report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inward import diagnose, evaluate, report
from inward.cli import console, dry, inputs
from inward.cli.diagnosis import diagnosis, trained
from inward.cli.judge import judge
from inward.config import RunConfig, evaluate_config, run_config
from inward.errors import SettingsError
from inward.methods import rlif, rlsc, rlsf
from inward.methods.rlsf import Start
from inward.runs import RunFolder
from inward.types import EvalItem, EvalReport, Manifest, PreferencePair, Problem, Prompt, ScoredGroup

SECONDS = {
    "before/scored": "evaluate_before",
    "before/items": "evaluate_before",
    "before/report": "evaluate_before",
    "traces": "sample",
    "scored": "score",
    "pairs": "rank",
    "train": "train",
    "after/scored": "evaluate_after",
    "after/items": "evaluate_after",
    "after/report": "evaluate_after",
    "compare": "evaluate_after",
}
"""Stages of the log, and the key of summary.json that their seconds go to."""


def run(
    method: str,
    model: str,
    prompts: str,
    out: Path,
    *,
    eval_task: str | None,
    eval_data: str | None,
    seed: int,
    config: Path | None,
    overrides: Sequence[str],
    dry_run: bool = False,
) -> None:
    """A method from prompts to checkpoint, judged before and after where problems are given."""
    cfg = run_config(method, model, config, overrides)
    if dry_run:
        dry.show(cfg, model, prompts, eval_task=eval_task, eval_data=eval_data, seed=seed)
        return
    console.note(f"{method} from {model}, settings: {cfg.recipe}")
    start = inputs.start_from(model, cfg.settings.model)
    _check(start, cfg)
    asked = inputs.prompts_from(prompts, cfg.prompts, start, seed)
    problems = inputs.problems_from(eval_task, eval_data, cfg.evaluation, start)
    task = eval_task or eval_data
    supervised = isinstance(cfg.settings, rlif.Settings) and cfg.settings.reward == "gold"
    gold = inputs.gold_from(prompts, cfg.prompts, seed, cfg.settings.answer) if supervised else None
    manifest = inputs.manifest_for(
        method,
        cfg.plain(),
        cfg.recipe,
        seed,
        start,
        (prompts, asked),
        (task, problems) if task else None,
        labels_used=supervised,
    )
    with working(out, manifest) as (folder, warned):
        before = _judge(start, problems, task, folder, "before", cfg)
        _train(asked, start, folder, cfg, seed, gold)
        after = _judge(_kept(out, "checkpoint", cfg), problems, task, folder, "after", cfg)
        curve = _along(before, after, problems, task, folder, cfg)
        write_summary(folder, task, model, before, after, warned, curve)
    summary = folder.read_json("summary.json")
    console.show_summary(summary)
    console.show_kept(summary)
    console.show_places(out, checkpoint=True)


def evaluate_model(
    model: str,
    out: Path,
    *,
    task: str | None,
    data: str | None,
    config: Path | None,
    overrides: Sequence[str],
) -> None:
    """Judge one checkpoint."""
    name = task or data
    if not name:
        raise SettingsError("nothing to evaluate on: give a task (--task) or a data file (--data)")
    cfg, recipe = evaluate_config(model, config, overrides)
    start = inputs.start_from(model, cfg.model)
    problems = inputs.problems_from(task, data, cfg.evaluation, start)
    manifest = inputs.manifest_for("evaluate", cfg.plain(), recipe, cfg.evaluation.seed, start, None, (name, problems))
    with working(out, manifest) as (folder, warned):
        judged = judge(start, problems, name, folder, "before", cfg.answer, cfg.evaluation)
        write_summary(folder, name, model, judged, None, warned)
    console.show_summary(folder.read_json("summary.json"))
    console.show_places(out)


@contextmanager
def working(out: Path, manifest: Manifest) -> Iterator[tuple[RunFolder, list[str]]]:
    """The run folder with progress on the terminal, and the list of warnings shown so far."""
    with (
        console.progress() as progress,
        console.warnings_shown() as warned,
        RunFolder.open(out, manifest, progress=progress) as folder,
    ):
        yield folder, warned


Judged = tuple[EvalReport, Sequence[EvalItem]]


def _check(start: Start, cfg: RunConfig) -> None:
    match cfg.settings:
        case rlsf.Settings():
            rlsf.check(start, cfg.settings)
        case rlif.Settings():
            rlif.check(start, cfg.settings)
        case rlsc.Settings():
            rlsc.check(start, cfg.settings)


def _train(
    prompts: Sequence[Prompt], start: Start, folder: RunFolder, cfg: RunConfig, seed: int, gold: rlif.Gold | None
) -> None:
    match cfg.settings:
        case rlsf.Settings():
            rlsf.run(prompts, start, folder, cfg.settings, seed=seed)
        case rlif.Settings():
            rlif.run(prompts, start, folder, cfg.settings, seed=seed, gold=gold)
        case rlsc.Settings():
            rlsc.run(prompts, start, folder, cfg.settings, seed=seed)


def _kept(out: Path, name: str, cfg: RunConfig) -> Start:
    return Start(name, out / name, cfg.settings.model)


def _along(
    before: Judged | None,
    after: Judged | None,
    problems: Sequence[Problem],
    task: str | None,
    folder: RunFolder,
    cfg: RunConfig,
) -> list[tuple[int, Judged]]:
    """Judge the checkpoints of a method that keeps several, the start model and the kept one standing as they are."""
    kept = trained(folder).get("kept_step")
    if before is None or after is None or kept is None:
        return []
    judged = {kept: after, 0: before}
    for step in sorted(int(path.name) for path in (folder.path / "checkpoints").glob("[0-9]*")):
        if step not in judged:
            one = _kept(folder.path, f"checkpoints/{step:05d}", cfg)
            judged[step] = judge(
                one, problems, task or "", folder, f"curve/{step:05d}", cfg.settings.answer, cfg.evaluation
            )
            one.release()
    return sorted(judged.items())


def _curve(folder: RunFolder, judged: Sequence[tuple[int, Judged]]) -> list[dict[str, Any]]:
    """Metrics by optimizer step, with the mean reward that training saw at that step and the start's support."""
    rewards = {
        event["step"]: event["reward"] for event in folder.events() if event["event"] == "train" and "reward" in event
    }
    supports = {probe.step: probe.mean for probe in diagnose.history(folder).probes}
    return [
        {"step": step, **one[0].metrics, "reward": rewards.get(float(step)), "support": supports.get(step)}
        for step, one in judged
    ]


def _judge(
    start: Start, problems: Sequence[Problem], task: str | None, folder: RunFolder, name: str, cfg: RunConfig
) -> Judged | None:
    if not problems or task is None:
        return None
    judged = judge(start, problems, task, folder, name, cfg.settings.answer, cfg.evaluation)
    start.release()
    return judged


def write_summary(
    folder: RunFolder,
    task: str | None,
    model: str,
    before: Judged | None,
    after: Judged | None,
    warned: Sequence[str],
    curve: Sequence[tuple[int, Judged]] = (),
) -> None:
    """Write summary.json and the report; `curve` holds what was judged by optimizer step."""
    summary = _summary(folder, task, model, before, after, warned)
    if curve:
        summary["curve"] = _curve(folder, curve)
    if folder.manifest.data is not None:
        summary |= diagnosis(folder)
    folder.write_json("summary.json", summary)
    report.build(folder.path)


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
        "before": before[0].metrics if before else None,
        "after": after[0].metrics if after else None,
        "difference": difference,
        "pass_k": before[0].pass_k if before else None,
        "curve": None,
        "kept_step": None,
        "stop_step": None,
        "stop_reason": None,
        "findings": [],
        "counts": _counts(folder),
        "seconds": seconds,
        "warnings": list(warned),
    }


COUNTED = ("prompts", "traces", "traces_without_span", "traces_with_partial_span", "traces_truncated")


def _counts(folder: RunFolder) -> dict[str, int]:
    """What the training data came to; nothing for an evaluation."""
    if folder.manifest.data is None:
        return {}
    if folder.manifest.method in ("rlif", "rlsc"):
        return {"prompts": folder.manifest.data.num_records or 0, "steps": trained(folder).get("steps", 0)}
    counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
    for group in folder.records("scored", ScoredGroup):
        counts["prompts"] += 1
        counts["traces"] += len(group.traces)
        counts["traces_without_span"] += sum(t.answer_tokens is None for t in group.traces)
        counts["traces_with_partial_span"] += sum(t.answer_partial for t in group.traces)
        counts["traces_truncated"] += sum(t.trace.finish_reason == "length" for t in group.traces)
    pairs = folder.records("pairs", PreferencePair)
    counts["pairs"] = len(pairs)
    counts["prompts_with_pairs"] = len({pair.prompt.id for pair in pairs})
    counts["pairs_too_long"] = sum(e["too_long"] for e in folder.events() if e["event"] == "trained")
    return counts
