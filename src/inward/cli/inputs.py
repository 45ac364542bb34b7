"""From what the user typed to what the stages take: models, prompts, problems, manifests."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import transformers

from inward import models, organism
from inward.answers import AnswerSettings, find
from inward.cli import questions
from inward.config import EvaluationSettings, PromptSettings
from inward.equivalence import grade
from inward.errors import DataError, ModelError
from inward.methods.rlif import Gold
from inward.methods.start import Start
from inward.runs import digest, hash_folder
from inward.sample import check_prompts, refuse_long
from inward.settings import ModelSettings
from inward.tasks.formats import FORMATS, Format
from inward.types import Artifact, Manifest, Outcome, Problem, Prompt

VERSIONED = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy")


def start_from(model: str, settings: ModelSettings) -> Start:
    """The start checkpoint: `embedded:<name>`, a folder or a hub id."""
    transformers.utils.logging.disable_progress_bar()  # inward shows its own progress
    refuse_run_folder(model)
    kind, _, name = model.partition(":")
    path = organism.path(name) if kind == "embedded" else models.resolve(model, settings)
    models.check_folder(path, settings)
    return Start(model, path, settings)


def refuse_run_folder(model: str) -> None:
    """Raise ModelError where a run folder is given in place of the checkpoint in it."""
    folder = Path(model).expanduser()
    if (folder / "manifest.json").is_file() and not (folder / "config.json").exists():
        there = (folder / "checkpoint" / "config.json").is_file()
        hint = f"its model is {Path(model) / 'checkpoint'}" if there else "there is no checkpoint in it yet"
        raise ModelError(f"{model} is a run folder and no model: {hint}")


def prompts_from(source: str, settings: PromptSettings, start: Start, seed: int) -> list[Prompt]:
    """Prompts of a task, a file or a hub data set, every one of which the model can take."""
    return usable(read_prompts(source, settings, seed), source, settings, start)


def usable(prompts: Sequence[Prompt], source: str, settings: PromptSettings, start: Start) -> list[Prompt]:
    """Those of the prompts that the model can take.

    Raises:
        DataError: it cannot take one, and `too_long` does not say to leave it out; or it can take none.
    """
    too_long = check_prompts(prompts, start.policy)
    if settings.too_long == "error":
        refuse_long(too_long, start.policy, "shorten them, or set prompts.too_long=drop to leave them out")
    kept = [prompt for prompt in prompts if prompt.id not in set(too_long)]
    if not kept:
        raise DataError(f"every prompt of {source} fills the model's context of {start.policy.context} tokens")
    return kept


def read_prompts(source: str, settings: PromptSettings, seed: int, *, rephrased: bool = False) -> list[Prompt]:
    """As `prompts_from`, whatever the model can take; with `rephrased`, each question in two phrasings."""
    return questions.prompts_of(
        source, split=settings.split, limit=settings.limit, seed=seed, format=settings.format, rephrased=rephrased
    )


def problems_from(
    task: str | None, data: str | None, settings: EvaluationSettings, start: Start, *, format: Format = "plain"
) -> list[Problem]:
    """Problems of a task, a file or both, every one of which the model can take; none where neither is given.

    They are put to the model in `format` where the settings name no other.
    """
    problems = read_problems(task, data, settings, format=format)
    refuse_problems(problems, start)
    return problems


def refuse_problems(problems: Sequence[Problem], start: Start) -> None:
    """Raise DataError where the model cannot take one of the problems."""
    refuse_long(check_prompts([problem.prompt for problem in problems], start.policy), start.policy)


def read_problems(
    task: str | None, data: str | None, settings: EvaluationSettings, *, format: Format = "plain"
) -> list[Problem]:
    """As `problems_from`, whatever the model can take."""
    return questions.problems_of(
        task, data, limit=settings.num_problems, seed=settings.seed, format=settings.format or format
    )


def read_supervised(
    source: str, settings: PromptSettings, seed: int, answer: AnswerSettings
) -> tuple[list[Prompt], Gold]:
    """As `read_prompts`, and what grades completions by their gold answers: the control that uses labels.

    Raises:
        DataError: a prompt has no gold answer.
    """
    problems = questions.training_problems_of(source, split=settings.split, limit=settings.limit, seed=seed)
    by_id = {problem.prompt.id: problem for problem in problems}

    def gold(prompt_id: str, completion: str) -> float | None:
        own = answer.for_prompt(by_id[prompt_id].prompt)
        found = find(completion, own.kind, own.labels, strict=own.strict)
        outcome = grade(found.answer if found else None, by_id[prompt_id].answer, own.kind)
        return None if outcome is Outcome.UNSCORED else float(outcome is Outcome.CORRECT)

    return [FORMATS[settings.format](problem.prompt) for problem in problems], gold


def manifest_for(
    method: str,
    settings: Mapping[str, object],
    recipe: str,
    seed: int,
    start: Start,
    prompts: tuple[str, Sequence[Prompt]] | None,
    problems: tuple[str, Sequence[Problem]] | None,
    *,
    labels_used: bool = False,
) -> Manifest:
    """What this run is, for its folder."""
    return Manifest(
        inward=version("inward"),
        method=method,
        settings=dict(settings),
        recipe=recipe,
        seed=seed,
        start=Artifact(name=start.name, sha256=hash_folder(start.path)),
        data=_artifact(prompts),
        evaluation=_artifact(problems),
        labels_used=labels_used,
        versions={"python": platform.python_version()} | {name: version(name) for name in VERSIONED},
        hardware={
            "system": platform.platform(),
            "processors": str(os.cpu_count()),
            "device": str(models.pick_device(start.settings)),
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _artifact(data: tuple[str, Sequence[Prompt | Problem]] | None) -> Artifact | None:
    if data is None or not data[1]:
        return None
    return Artifact(name=data[0], sha256=digest(data[1]), num_records=len(data[1]))
