"""From what the user typed to prompts and problems. No torch.

`NAME` is a task or a benchmark (see `inward.tasks`), `PLACE` a file, a folder or a hub data set. Prompts come from
`NAME`, `NAME:PLACE` or `PLACE`; problems from a task, from data, or from data in the form of a task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from inward.errors import DataError, SettingsError
from inward.tasks import BENCHMARKS, NAMES, TASKS, answer_settings, arithmetic
from inward.tasks.files import read_problems, read_prompts
from inward.tasks.formats import FORMATS, Format
from inward.types import Problem, Prompt

Rows = TypeVar("Rows", Prompt, Problem)

MADE_PROMPTS = 256
MADE_PROBLEMS = 320
"""How many a task makes that is not told how many."""


def prompts_of(
    source: str, *, split: str, limit: int | None, seed: int, format: Format, rephrased: bool = False
) -> list[Prompt]:
    """Prompts to train on.

    Args:
        source: `NAME` (`embedded` is the task `arithmetic`), `NAME:PLACE` or `PLACE`.
        split: of a folder or a hub data set.
        limit: the first so many; None for all.
        seed: of prompts that a task makes.
        format: how they are put to the model.
        rephrased: whether each is followed by the same question in other words, `id~2`: the column `rephrased`.

    Raises:
        DataError: there are none, or a row has no prompt, or none in other words where that is wanted.
    """
    task, place = _named(source)
    if task in TASKS and rephrased:
        prompts = _in_two_phrasings(task, limit or MADE_PROMPTS, seed)
    elif task in TASKS:
        prompts = [problem.prompt for problem in TASKS[task](limit or MADE_PROMPTS, seed, "train")]
    else:
        prompts = _read(partial(read_prompts, rephrased=rephrased), task, place, split, limit)
    return [FORMATS[format](prompt) for prompt in prompts]


def _in_two_phrasings(task: str, num: int, seed: int) -> list[Prompt]:
    if task != "arithmetic":
        raise DataError(f"the task {task} asks its questions in one way only: take arithmetic, or a file")
    return arithmetic.prompts_in_two_phrasings(num, seed)


def training_problems_of(source: str, *, split: str, limit: int | None, seed: int) -> list[Problem]:
    """The same prompts with their gold answers, in no format, for the control that is trained with labels."""
    task, place = _named(source)
    if task in TASKS:
        return TASKS[task](limit or MADE_PROMPTS, seed, "train")
    return _read(read_problems, task, place, split, limit)


def problems_of(
    task: str | None, data: str | None, *, limit: int | None, seed: int, format: Format = "plain"
) -> list[Problem]:
    """Problems to judge on; none where neither a task nor data are given.

    Args:
        task: its name; of a benchmark, with or without data.
        data: a file, a folder or a hub data set: in the form of the benchmark, where one is named.
        limit: the first so many, or how many a task makes.
        seed: of problems that a task makes.
        format: how they are put to the model.

    Raises:
        SettingsError: the task is unknown, or makes its problems and data are given.
        DataError: there are none, or a row has no prompt or gold answer.
    """
    if task is not None and task not in NAMES:
        raise SettingsError(f"task {task!r} is unknown; choose one of {', '.join(NAMES)}, or give a data file")
    if task in TASKS and data is not None:
        raise SettingsError(f"the task {task} makes its problems: leave out {data}, or name the benchmark it holds")
    if task in TASKS:
        problems = TASKS[task](limit or MADE_PROBLEMS, seed)
    elif task is not None or data is not None:
        problems = _read(read_problems, task, data, BENCHMARKS[task].split if task else "test", limit)
    else:
        return []
    return [dataclasses.replace(problem, prompt=FORMATS[format](problem.prompt)) for problem in problems]


def task_answers(prompts: str | None, task: str | None) -> list[tuple[str, Mapping[str, object]]]:
    """What the tasks among what is trained on and what is judged on say of answers; see `config.run_config`."""
    names = dict.fromkeys(name for name in (_named(prompts)[0] if prompts else None, task) if name)
    return [(name, answer_settings(name)) for name in names]


def _named(source: str) -> tuple[str | None, str | None]:
    """The task that a source names, and where its rows are; None for what it does not name."""
    if source == "embedded":
        return "arithmetic", None
    task, _, place = source.partition(":")
    if task not in NAMES:
        return None, source
    if task in TASKS and place:
        raise SettingsError(f"the task {task} makes its prompts: leave out :{place}, or name the benchmark it holds")
    return task, place or None


def _read(
    read: Callable[..., list[Rows]], task: str | None, place: str | None, split: str, limit: int | None
) -> list[Rows]:
    """What `read` makes of a place, or of a benchmark in a place or on the hub."""
    if task is None:
        return read(place, split=split, limit=limit)
    benchmark = BENCHMARKS[task]
    if place is not None:
        return read(place, split=split, limit=limit, shape=benchmark.row)
    if split not in benchmark.splits:
        known = " or ".join(benchmark.splits)
        raise SettingsError(f"{task} has no split {split} on the hub; set prompts.split to {known}, or give a file")
    try:
        return read(benchmark.hub, split=split, limit=limit, shape=benchmark.row)
    except DataError as error:
        raise DataError(f"{error}; a file of it does, too: --prompts {task}:FILE, --eval-data FILE") from error
