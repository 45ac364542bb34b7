"""Evaluations of a start model beside its runs: their samples vote in `inward choose`, where they are more."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from inward import tasks
from inward.answers import AnswerSettings
from inward.config import EvaluationSettings
from inward.runs import RunFolder
from inward.settings import ModelSettings
from inward.types import EvalItem

UNASKED = ("batch_rows", "cot_prompt", "num_branches", "reference")
"""Settings of an evaluation that change no answer of a checkpoint: its speed, and decodings beside the greedy one."""
OF_QUESTIONS = ("format", "num_problems")
"""Settings of an evaluation that the hash of its questions stands for."""
ELSEWHERE = ("device", "dtype", "revision", "allow_pickle", "trust_remote_code")
"""Settings of a model that say where it is and how it is loaded, not what it is shown."""
ENOUGH = 16
"""Samples of the start model to each question that are advised."""


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """An evaluation of a start model."""

    name: str
    folder: RunFolder
    votes: int
    """Samples of each question."""

    @cached_property
    def items(self) -> list[EvalItem]:
        """Its answers."""
        return list(self.folder.records("before/items", EvalItem))


def ballots(folders: Mapping[str, RunFolder]) -> dict[str, Ballot]:
    """Of each start model and its questions, the evaluation with the most samples."""
    found: dict[str, Ballot] = {}
    for name, folder in folders.items():
        if folder.manifest.method == "evaluate" and (folder.path / "before/items/complete.json").exists():
            one, key = Ballot(name=name, folder=folder, votes=samples(folder)), electorate(folder)
            found[key] = max(one, found.get(key, one), key=lambda ballot: ballot.votes)
    return found


def electorate(folder: RunFolder) -> str:
    """Names a start model, the questions that it was asked, however often, and how it was asked and understood."""
    return f"{folder.manifest.start.sha256} {evaluation(folder, without=('num_samples',))} {json.dumps(_read(folder))}"


def evaluation(folder: RunFolder, *, without: Collection[str] = ()) -> str:
    """Names the questions of an evaluation and how they were answered."""
    data = folder.manifest.evaluation
    asked = _settings(folder, "evaluation", without=(*UNASKED, *OF_QUESTIONS, *without))
    return f"{data.sha256 if data else ''} {json.dumps(asked)}"


def samples(folder: RunFolder) -> int:
    """How often an evaluation, or that of a run, sampled each question."""
    return int(_settings(folder, "evaluation").get("num_samples", EvaluationSettings().num_samples))


def unused(folder: RunFolder, runs: Iterable[tuple[str, RunFolder]], used: Ballot | None) -> str:
    """Why an evaluation votes for no run.

    Args:
        folder: the evaluation.
        runs: those that could be weighed.
        used: what votes in its place, on the same questions, if anything does.
    """
    start = folder.manifest.start
    same = [(run, other) for run, other in runs if other.manifest.start.sha256 == start.sha256]
    if not same:
        return f"an evaluation trains nothing, and it is of {start.name}, of which there is no run here"
    run, other = same[0]
    made = "an evaluation votes where it was made as the run was judged"
    found = [*_differences("evaluation", folder, other, without=("num_samples", *UNASKED, *OF_QUESTIONS))]
    found += [*_differences("answer", folder, other), *_differences("model", folder, other, without=ELSEWHERE)]
    if found:
        return f"{made}: {'; '.join(found[:3])} in {run}"
    if evaluation(folder, without=("num_samples",)) != evaluation(other, without=("num_samples",)):
        asked = [*_differences("evaluation", folder, other, without={*plain_of("evaluation")} - {*OF_QUESTIONS})]
        return f"{made}: {run} was asked other questions" + "".join(f"; {one} there" for one in asked)
    if used:
        return f"{used.name} has as many samples of the start model or more, and votes"
    return f"it has {samples(folder)} samples to each question, and the run {samples(other)}"


def advised(folder: RunFolder) -> str | None:
    """The command that samples the start model of a run often enough, on what the run was judged by."""
    judged = folder.manifest.evaluation
    if judged is None:
        return None
    words = ["inward", "evaluate", "--model", folder.manifest.start.name]
    words += ["--task" if judged.name in tasks.NAMES else "--data", judged.name]
    asked = _settings(folder, "evaluation", without=UNASKED) | {"num_samples": ENOUGH}
    asked["format"] = asked.get("format") or _settings(folder, "prompts").get("format", "plain")
    chosen = {"evaluation": asked, "answer": _settings(folder, "answer"), "model": _settings(folder, "model")}
    for part, values in chosen.items():
        usual = plain_of(part) | {"num_samples": None, "format": "plain"}
        for key in sorted(values):
            if json.dumps(values[key]) != json.dumps(usual.get(key)):
                words += ["--set", f"{part}.{key}={_plain(values[key])}"]
    needs_file = " (and --data FILE, if the runs had one)" if judged.name in tasks.BENCHMARKS else ""
    return shlex.join([*words, "--out", "votes"]) + needs_file


def plain_of(part: str) -> dict[str, Any]:
    """The defaults of a group of settings."""
    kinds: dict[str, Any] = {"evaluation": EvaluationSettings, "answer": AnswerSettings, "model": ModelSettings}
    return dataclasses.asdict(kinds[part]())


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _read(folder: RunFolder) -> list[dict[str, Any]]:
    return [_settings(folder, "answer"), _settings(folder, "model", without=ELSEWHERE)]


def _settings(folder: RunFolder, part: str, *, without: Collection[str] = ()) -> dict[str, Any]:
    stored = cast("Mapping[str, Any]", folder.manifest.settings.get(part) or {})
    return {key: stored[key] for key in sorted(stored) if key not in without}


def _differences(part: str, here: RunFolder, there: RunFolder, *, without: Collection[str] = ()) -> Iterator[str]:
    ours, theirs = (_settings(one, part, without=without) for one in (here, there))
    for key in sorted({*ours, *theirs}):
        mine, other = json.dumps(ours.get(key)), json.dumps(theirs.get(key))
        if mine != other:
            yield f"{part}.{key} is {mine} here, {other}"
