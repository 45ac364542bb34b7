"""Checkpoints that can be compared: read from their folders, judged with the same settings, on questions all have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from inward import evaluate
from inward.errors import RunFolderError, SettingsError
from inward.report.fit_page import embedded_config
from inward.report.reading import texts_of
from inward.runs import RunFolder, from_json, to_json
from inward.types import Artifact, EvalItem, EvalReport

NOT_THE_JUDGING = (
    "num_samples", "num_problems", "batch_rows", "decoding", "num_branches", "cot_prompt", "reference"
)  # fmt: skip
"""Evaluation settings that may differ: metrics allow for the first, the hash of the problems covers the second, the
third changes speed alone, and by the others checkpoints are told apart or given a measure more."""
PROBLEMS = "problems.sha256"
"""The name of that hash where settings are listed."""

Question = tuple[str, str]
"""Prompt and gold answer."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One judged checkpoint as it lies in a run folder."""

    folder: RunFolder
    stage: str
    """`before` or `after`."""
    report: EvalReport
    items: Sequence[EvalItem]
    """Of the problems that all checkpoints have been given."""
    judged: Sequence[EvalItem]
    """Of all its problems, but those whose id stands for another question in an earlier checkpoint."""


def has(folder: RunFolder, *stages: str) -> bool:
    """Tell whether checkpoints of the run were judged."""
    return all((folder.path / stage / "report.json").exists() for stage in stages)


def checkpoint(folder: RunFolder, stage: str | None = None) -> Checkpoint:
    """Read the trained checkpoint of a run, or the one that an evaluation judged.

    Raises:
        RunFolderError: It was not judged.
    """
    name = stage or ("before" if folder.manifest.method == "evaluate" else "after")
    if folder.manifest.evaluation is None or not has(folder, name):
        raise RunFolderError(
            f"{folder.path} holds no judged checkpoint ({name}/report.json); run a method with --eval-task or "
            "--eval-data to its end, or judge its checkpoint with inward evaluate"
        )
    report = from_json(EvalReport, folder.read_json(f"{name}/report.json"))
    items = list(folder.records(f"{name}/items", EvalItem))
    return Checkpoint(folder=folder, stage=name, report=report, items=items, judged=items)


def judging(folder: RunFolder, *, everything: bool = False) -> dict[str, object]:
    """What has to be the same for two judgements to be comparable; or all that they were made with."""
    found: dict[str, object] = {PROBLEMS: _problems(folder)}
    for table in ("evaluation", "answer"):
        for key, value in cast("Mapping[str, object]", folder.manifest.settings.get(table, {})).items():
            if everything or key not in NOT_THE_JUDGING:
                found[f"{table}.{key}"] = value
    return found


def alike(judged: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Keep of every checkpoint the problems that all were given; as they come where these are all.

    Raises:
        SettingsError: They were judged with different settings, or share no problem.
    """
    first = judged[0].folder
    for one in judged[1:]:
        if differing := _differing(first, one.folder, but=PROBLEMS):
            raise _refusal(first, one.folder, differing)
    if all(_problems(one.folder) == _problems(first) for one in judged):
        return list(judged)
    asked = [_questions(one) for one in judged]
    shared = {key for key in asked[0] if all(of.get(key) == asked[0][key] for of in asked)}
    if not shared:
        other = next(one.folder for one in judged if _problems(one.folder) != _problems(first))
        raise _refusal(first, other, _differing(first, other))
    meant: dict[str, Question] = {}
    for of in asked:
        meant = of | meant
    return [_narrowed(one, of, shared, meant) for one, of in zip(judged, asked, strict=True)]


def _narrowed(
    one: Checkpoint, asked: Mapping[str, Question], shared: set[str], meant: Mapping[str, Question]
) -> Checkpoint:
    items = [item for item in one.items if item.prompt_id in shared]
    known = one.report
    return dataclasses.replace(
        one,
        items=items,
        judged=[item for item in one.items if asked.get(item.prompt_id) == meant.get(item.prompt_id)],
        report=evaluate.report(items, known.task, known.checkpoint, decoding=cast("evaluate.Decoding", known.decoding)),
    )


def _questions(one: Checkpoint) -> dict[str, Question]:
    ids = {item.prompt_id for item in one.items}
    prompts = {key: texts.prompt for key, texts in texts_of(one.folder, f"{one.stage}/scored", ids)}
    return {item.prompt_id: (prompts[item.prompt_id], item.gold) for item in one.items if item.prompt_id in prompts}


def _problems(folder: RunFolder) -> str:
    return cast(Artifact, folder.manifest.evaluation).sha256


def _differing(first: RunFolder, other: RunFolder, *, but: str = "") -> list[str]:
    here, there = judging(first), judging(other)
    return [name for name in {**here, **there} if here.get(name) != there.get(name) and name != but]


def _refusal(first: RunFolder, other: RunFolder, differing: Sequence[str]) -> SettingsError:
    here, there = judging(first), judging(other)
    shown = [
        f"  {name}: {first.path} has {to_json(here.get(name))}, {other.path} has {to_json(there.get(name))}"
        for name in differing
    ]
    return SettingsError(
        "\n".join(["these checkpoints were not judged alike:", *shown, _remedy(first, other, differing)])
    )


def _remedy(first: RunFolder, other: RunFolder, differing: Sequence[str]) -> str:
    """Say what to run. A checkpoint trained from an embedded model does not say so when it is judged by its path."""
    settings = [name for name in differing if name != PROBLEMS]
    if not settings:
        return "they share no question: judge one again, by inward evaluate with the --task or --data of the other"
    known, again = (other, first) if _shipped(other) and not _shipped(first) else (first, other)
    if _shipped(known) and not _shipped(again):
        asked = f"--config {embedded_config()}"
    else:
        wanted = judging(known)
        asked = " ".join(f"--set {name}={to_json(wanted.get(name))}" for name in settings)
    model = again.manifest.start.name if again.manifest.method == "evaluate" else str(again.path / "checkpoint")
    return (
        f"judge {again.path} again, as {known.path} was, with the same --task or --data:\n"
        f"  inward evaluate --model {model} {asked} --out NEW_FOLDER"
    )


def _shipped(folder: RunFolder) -> bool:
    """Tell whether the judging was set by a recipe that embedded models are given where there is no file."""
    return folder.manifest.recipe.startswith("shipped:") and folder.manifest.recipe.endswith("-embedded")
