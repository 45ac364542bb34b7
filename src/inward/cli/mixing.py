"""`inward interpolate`: mix two models at several ratios and judge every mix on the same problems."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inward import evaluate, interpolate, report
from inward.cli import console, inputs, questions
from inward.cli.judge import judge
from inward.cli.summary import working
from inward.config import EvaluateConfig, evaluate_config
from inward.errors import SettingsError
from inward.methods.start import Start
from inward.runs import RunFolder, hash_folder
from inward.types import EvalItem, EvalReport, Problem

Judged = tuple[EvalReport, Sequence[EvalItem]]


def mix_and_judge(
    from_: str,
    to: str,
    ratios: str,
    out: Path,
    *,
    task: str | None,
    data: str | None,
    config: Path | None,
    overrides: Sequence[str],
) -> None:
    """Mixes of two models, each judged; the first ratio is the one the others are compared with."""
    name = task or data
    if not name:
        raise SettingsError("nothing to evaluate on: give a task (--task) or a data file (--data)")
    asked = read_ratios(ratios)
    cfg, recipe = evaluate_config(from_, config, overrides, questions.task_answers(None, task))
    first, second = (inputs.start_from(model, cfg.model) for model in (from_, to))
    interpolate.check(first.path, second.path, trust_remote_code=cfg.model.trust_remote_code)
    problems = inputs.problems_from(task, data, cfg.evaluation, first)
    first.release()
    settings = {"to": {"name": to, "sha256": hash_folder(second.path)}, "ratios": asked, **cfg.plain()}
    manifest = inputs.manifest_for("interpolate", settings, recipe, cfg.evaluation.seed, first, None, (name, problems))
    with working(out, manifest) as (folder, warned):
        mixes = _mixes(first, second, asked, folder, cfg)
        judged = {ratio: _judge(mix, ratio, problems, name, folder, cfg) for ratio, mix in mixes.items()}
        folder.write_json("summary.json", _summary(folder, name, judged, warned))
        report.build(out)
    console.show_curve(folder.read_json("summary.json"))
    console.show_places(out)


def read_ratios(text: str) -> list[float]:
    """Numbers separated by commas, each once and none of them infinite.

    Raises:
        SettingsError: Something else stands there.
    """
    try:
        ratios = [float(part) + 0.0 for part in text.split(",")]  # + 0.0 makes -0 a plain 0
    except ValueError as error:
        raise SettingsError(f"--ratios takes numbers separated by commas, as in 0,0.5,1; got {text!r}") from error
    if not all(map(math.isfinite, ratios)):
        raise SettingsError(f"--ratios takes finite numbers; got {text!r}")
    if len(set(ratios)) < len(ratios):
        raise SettingsError(f"--ratios names a ratio twice: {text!r}")
    return ratios


def label(ratio: float) -> str:
    """The ratio as folders are named: 0, 0.25, 1, -0.5; different ratios have different ones."""
    return str(ratio).removesuffix(".0")


def _mixes(
    first: Start, second: Start, ratios: Sequence[float], folder: RunFolder, cfg: EvaluateConfig
) -> dict[float, Start]:
    """Write the mixes that are not there yet."""
    mixes: dict[float, Start] = {}
    for done, ratio in enumerate(ratios):
        name = f"mixes/{label(ratio)}"
        folder.progress("mixes", done, len(ratios))
        if not (folder.path / name).exists():
            with folder.timed("mixes"):
                folder.build(
                    name,
                    lambda out, ratio=ratio: interpolate.mix(
                        first.path, second.path, ratio, out, trust_remote_code=cfg.model.trust_remote_code
                    ),
                )
        mixes[ratio] = dataclasses.replace(first, name=name, path=folder.path / name)
    folder.progress("mixes", len(ratios), len(ratios))
    return mixes


def _judge(
    mix: Start, ratio: float, problems: Sequence[Problem], task: str, folder: RunFolder, cfg: EvaluateConfig
) -> Judged:
    judged = judge(mix, problems, task, folder, f"judged/{label(ratio)}", cfg.answer, cfg.evaluation)
    mix.release()
    return judged


def _summary(folder: RunFolder, task: str, judged: Mapping[float, Judged], warned: Sequence[str]) -> dict[str, Any]:
    (_, (base, items)), *others = judged.items()
    with folder.timed("compare"):
        differences = [{"ratio": ratio, **evaluate.compare(items, one[1])} for ratio, one in others]
    seconds = {"mix": 0.0, "evaluate": 0.0}
    for stage, spent in folder.seconds().items():
        key = "mix" if stage == "mixes" else "evaluate"
        seconds[key] = round(seconds[key] + spent, 3)
    manifest = folder.manifest
    to: Any = manifest.settings["to"]
    return {
        "method": manifest.method,
        "task": task,
        "model": manifest.start.name,
        "to": to["name"],
        "labels_used": manifest.labels_used,
        "seed": manifest.seed,
        "recipe": manifest.recipe,
        "curve": [{"ratio": ratio, **one[0].metrics} for ratio, one in judged.items()],
        "differences": differences,
        "pass_k": base.pass_k,
        "seconds": seconds,
        "warnings": list(warned),
    }
