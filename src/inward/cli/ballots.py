"""Evaluations of a start model beside its runs: their samples vote in `inward choose`, where they are more."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from inward.answers import AnswerSettings
from inward.config import EvaluationSettings
from inward.runs import RunFolder
from inward.types import EvalItem

UNASKED = ("batch_rows", "cot_prompt", "num_branches", "reference")
"""Settings of an evaluation that change no answer of a checkpoint: its speed, and decodings beside the greedy one."""
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
    """Names a start model, the questions that it was asked, however often, and how its answers were read."""
    return f"{folder.manifest.start.sha256} {evaluation(folder, without='num_samples')} {json.dumps(_answer(folder))}"


def evaluation(folder: RunFolder, *, without: str = "") -> str:
    """Names the questions of an evaluation and how they were answered."""
    data = folder.manifest.evaluation
    asked = {key: value for key, value in _settings(folder).items() if key != without}
    return f"{data.sha256 if data else ''} {json.dumps(asked)}"


def samples(folder: RunFolder) -> int:
    """How often an evaluation, or that of a run, sampled each question."""
    return int(_settings(folder).get("num_samples", EvaluationSettings().num_samples))


def unused(name: str, folder: RunFolder, runs: Iterable[tuple[str, RunFolder]], used: Ballot | None) -> str:
    """Why an evaluation votes for no run.

    Args:
        name: of the evaluation.
        folder: the evaluation.
        runs: those that could be weighed.
        used: what votes in its place, on the same questions.
    """
    start = folder.manifest.start
    same = [(run, other) for run, other in runs if other.manifest.start.sha256 == start.sha256]
    if not same:
        return f"an evaluation trains nothing, and it is of {start.name}, of which there is no run here"
    run, other = same[0]
    found = [*_differences("evaluation", _settings(folder), _settings(other), "num_samples")]
    found += _differences("answer", _answer(folder), _answer(other))
    if found:
        return f"an evaluation votes where it was made as the run was judged: {'; '.join(found[:3])} in {run}"
    if evaluation(folder, without="num_samples") != evaluation(other, without="num_samples"):
        return f"an evaluation votes where it was made as the run was judged: {run} was asked other questions"
    if used and used.name != name:
        return f"{used.name} has as many samples of the start model or more, and votes"
    return f"it has {samples(folder)} samples to each question, and the run {samples(other)}"


def advised(folder: RunFolder) -> str | None:
    """The command that samples the start model of a run often enough, on what the run was judged by."""
    judged = folder.manifest.evaluation
    if judged is None:
        return None
    words = ["inward", "evaluate", "--model", folder.manifest.start.name]
    words += ["--data" if Path(judged.name).suffix else "--task", judged.name]
    plain = {**dataclasses.asdict(EvaluationSettings()), "num_samples": None}
    chosen = {"evaluation": {**_settings(folder), "num_samples": ENOUGH}, "answer": _answer(folder)}
    for part, usual in (("evaluation", plain), ("answer", dataclasses.asdict(AnswerSettings()))):
        for key, value in chosen[part].items():
            if json.dumps(value) != json.dumps(usual.get(key)):
                words += ["--set", f"{part}.{key}={json.dumps(value) if not isinstance(value, str) else value}"]
    return shlex.join([*words, "--out", "votes"])


def _settings(folder: RunFolder) -> dict[str, Any]:
    stored = cast("Mapping[str, Any]", folder.manifest.settings.get("evaluation") or {})
    return {key: stored[key] for key in sorted(stored) if key not in UNASKED}


def _answer(folder: RunFolder) -> dict[str, Any]:
    stored = cast("Mapping[str, Any]", folder.manifest.settings.get("answer") or {})
    return {key: stored[key] for key in sorted(stored)}


def _differences(part: str, here: Mapping[str, Any], there: Mapping[str, Any], *but: str) -> Iterator[str]:
    for key in sorted({*here, *there}):
        mine, theirs = (json.dumps(one.get(key)) for one in (here, there))
        if key not in but and mine != theirs:
            yield f"{part}.{key} is {mine} here, {theirs}"
