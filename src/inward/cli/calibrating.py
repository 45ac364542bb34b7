"""`inward calibrate`: fit a confidence to a checkpoint without labels, and keep it beside a copy of the checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inward import recalibrate
from inward.cli import console, inputs, questions
from inward.cli.summary import working
from inward.config import calibrate_config
from inward.methods import calibrating
from inward.recalibrate import Recalibration
from inward.runs import RunFolder, hash_folder

SECONDS = {"answers": "sample", "fit": "fit", "train": "train", "after/answers": "sample"}
"""Stages of the log, and the key of summary.json that their seconds go to."""


def calibrate(model: str, prompts: str, out: Path, *, seed: int, config: Path | None, overrides: Sequence[str]) -> None:
    """Recalibrate one checkpoint on prompts alone."""
    cfg, recipe = calibrate_config(model, config, overrides, questions.task_answers(prompts, None))
    chosen = cfg.settings.calibration
    console.note(f"calibrate {model} by {chosen.method}, settings: {recipe}")
    start = inputs.start_from(model, cfg.settings.model)
    if (start.path / recalibrate.FILE).exists():
        console.note(f"{model} was calibrated before: the new fit is made from the model alone and takes its place")
    asked = inputs.prompts_from(prompts, cfg.prompts, start, seed)
    reference = inputs.start_from(chosen.reference, cfg.settings.model) if chosen.reference else None
    calibrating.check(start, cfg.settings, reference)
    settings = cfg.plain() | ({"reference_sha256": hash_folder(reference.path)} if reference else {})
    manifest = inputs.manifest_for("calibrate", settings, recipe, seed, start, (prompts, asked), None)
    with working(out, manifest) as (folder, warned):
        fitted = calibrating.run(asked, start, folder, cfg.settings, reference=reference, seed=seed)
        folder.write_json("summary.json", _summary(folder, chosen.method, fitted, warned))
    _show(folder.read_json("summary.json"), out)


def _summary(folder: RunFolder, method: str, fitted: Recalibration, warned: Sequence[str]) -> dict[str, Any]:
    manifest = folder.manifest
    seconds = dict.fromkeys(SECONDS.values(), 0.0)
    for stage, spent in folder.seconds().items():
        seconds[SECONDS[stage]] = round(seconds[SECONDS[stage]] + spent, 3)
    return {
        "method": manifest.method,
        "model": manifest.start.name,
        "labels_used": manifest.labels_used,
        "seed": manifest.seed,
        "recipe": manifest.recipe,
        "recalibration": dataclasses.asdict(fitted) | {"method": method},
        "seconds": seconds,
        "warnings": list(warned),
    }


def _show(summary: Mapping[str, Any], out: Path) -> None:
    fitted = summary["recalibration"]
    lines = [
        ("method", fitted["method"]),
        ("fitted on", f"{fitted['num_prompts']} greedy answers; {fitted['num_without_span']} without a span left out"),
        ("vote share", _number(fitted["vote_share"])),
        ("temperature", _number(fitted["temperature"])),
        ("reference", fitted["reference"]),
        ("confidence", f"{_number(fitted['confidence_before'])} before, {_number(fitted['confidence_after'])} after"),
        ("numbers", str(out / "summary.json")),
        ("checkpoint", str(out / "checkpoint")),
    ]
    for name, value in lines:
        if value is not None:
            console.note(f"{name:<12}{value}")


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
