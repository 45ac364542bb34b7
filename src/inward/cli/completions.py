"""`inward evaluate --completions`: grade completions that were made elsewhere. No model, no torch.

Nothing is known of their tokens, so whatever needs probabilities or lengths is not defined.
"""

from __future__ import annotations

import dataclasses
import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from inward import answers, evaluate
from inward.answers import AnswerSettings
from inward.cli import console, questions
from inward.cli.summary import working, write_summary
from inward.errors import DataError, SettingsError
from inward.runs import RunFolder, digest, silent
from inward.tasks import answer_settings
from inward.tasks.files import question_of, read_rows
from inward.tasks.formats import Format
from inward.types import (
    Artifact,
    EvalItem,
    EvalReport,
    FinishReason,
    Manifest,
    Problem,
    ScoredGroup,
    ScoredTrace,
    Source,
    Trace,
)

SHARD_PROBLEMS = 64
SOURCES = (Source.GREEDY, Source.SAMPLE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradeSettings:
    """The settings of `inward evaluate` that completions leave any use for."""

    answer: AnswerSettings = AnswerSettings()
    num_problems: int | None = None
    seed: int = 1
    """Of the problems that a task makes."""
    format: Format = "plain"


def evaluate_completions(
    file: Path, out: Path, *, task: str | None, data: str | None, config: Path | None, overrides: Sequence[str]
) -> None:
    """Judge the completions in a file of JSON lines or parquet on a task or a data file.

    A row has `completion`, and the `id` or the `question` of its problem. Of several for one problem the first is the
    greedy one and the others are samples, unless a column `source` says `greedy` or `sample`.

    Raises:
        SettingsError: There is nothing to judge on.
        DataError: A row is no completion of a problem, or a problem has none.
    """
    name = task or data
    if not name:
        raise SettingsError("nothing to grade against: give a task (--task) or a data file (--data)")
    settings, recipe = _settings(task, config, overrides)
    console.note(f"grade {file} on {name}, settings: {recipe}")
    problems = questions.problems_of(task, data, limit=None, seed=settings.seed, format=settings.format)
    given = read_completions(file, problems)
    problems = problems[: settings.num_problems]
    _refuse_missing(file, problems, given)
    manifest = _manifest(file, name, settings, recipe, problems, given)
    with working(out, manifest, {"before/items": "grade the completions"}) as (folder, warned):
        judged = _judge(problems, given, folder, name, str(file), settings.answer)
        write_summary(folder, name, str(file), judged, None, warned)
    console.show_summary(folder.read_json("summary.json"))
    console.show_places(out)


Completions = Mapping[str, Sequence[tuple[Source, str]]]
"""By the id of the problem: the greedy one first, then the samples in their order."""


def read_completions(file: Path, problems: Sequence[Problem]) -> Completions:
    """Completions of the problems, each found by `id` or by `question`.

    Raises:
        DataError: The file cannot be read or a row names no problem; the row is named by its line.
    """
    if not file.is_file():
        raise DataError(f"no file {file}; give JSON lines or parquet with `completion` and `id` or `question`")
    ids = {problem.prompt.id for problem in problems}
    asked = _by_question(problems)
    found: dict[str, list[tuple[Source | None, str]]] = {}
    for row, where in read_rows(file):
        completion, source = row.get("completion"), row.get("source")
        if not isinstance(completion, str):
            raise DataError(f"{where}: no column `completion` with text")
        if source is not None and source not in SOURCES:
            raise DataError(f"{where}: source {source!r} is unknown; leave it out, or use greedy or sample")
        found.setdefault(_problem(row, where, ids, asked), []).append((source and Source(source), completion))
    return {name: _ordered(name, several) for name, several in found.items()}


def _by_question(problems: Sequence[Problem]) -> dict[str, str]:
    """Ids by question; no id where two problems ask the same."""
    texts = [(text.strip(), one.prompt.id) for one in problems for text in {question_of(one), one.prompt.text or ""}]
    count = Counter(text for text, _ in texts)
    return {text: name if count[text] == 1 else "" for text, name in texts}


def _problem(row: Mapping[str, Any], where: str, ids: set[str], asked: Mapping[str, str]) -> str:
    if row.get("id") not in (None, ""):
        if str(row["id"]) not in ids:
            raise DataError(f"{where}: no problem has the id {row['id']!r}; grade on the task it was made for")
        return str(row["id"])
    question = row.get("question")
    if not isinstance(question, str):
        raise DataError(f"{where}: neither `id` nor `question` says which problem it belongs to")
    if question.strip() not in asked:
        raise DataError(f"{where}: no problem asks {question[:60]!r}; grade on the task it was made for, or give ids")
    if not asked[question.strip()]:
        raise DataError(f"{where}: several problems ask {question[:60]!r}; give ids instead")
    return asked[question.strip()]


def _ordered(name: str, several: Sequence[tuple[Source | None, str]]) -> list[tuple[Source, str]]:
    marked = [source for source, _ in several].count(Source.GREEDY)
    unmarked = [index for index, (source, _) in enumerate(several) if source is None]
    if marked > 1 or not (marked or unmarked):
        raise DataError(
            f"problem {name!r} has {marked} completions with source greedy: give one, or leave the column out, and the "
            "first stands for it"
        )
    greedy = unmarked[0] if not marked else [source for source, _ in several].index(Source.GREEDY)
    samples = [(Source.SAMPLE, text) for index, (_, text) in enumerate(several) if index != greedy]
    return [(Source.GREEDY, several[greedy][1]), *samples]


def _refuse_missing(file: Path, problems: Sequence[Problem], given: Completions) -> None:
    missing = [problem.prompt.id for problem in problems if problem.prompt.id not in given]
    if missing:
        raise DataError(
            f"{file} has no completion for {len(missing)} of {len(problems)} problems, {missing[0]!r} among them: give "
            "one for each (an empty text where there was none), or grade the first ones with evaluation.num_problems"
        )


def _settings(task: str | None, config: Path | None, overrides: Sequence[str]) -> tuple[GradeSettings, str]:
    """Settings and where they came from; torch is loaded only to read a file or overrides."""
    if config is None and not overrides:
        said: dict[str, Any] = answer_settings(task) if task else {}
        taken = f", answer.{' and answer.'.join(said)} of the task" if said else ""
        return GradeSettings(answer=AnswerSettings(**said)), f"defaults{taken}"
    from inward.config import EvaluationSettings, evaluate_config
    from inward.models import ModelSettings

    cfg, recipe = evaluate_config("", config, overrides, questions.task_answers(None, task))
    asked = cfg.evaluation
    used = EvaluationSettings(num_problems=asked.num_problems, seed=asked.seed, format=asked.format)
    if cfg.model != ModelSettings() or asked != used:
        console.note("completions are graded as they are: settings of the model and of its samples change nothing")
    return GradeSettings(
        answer=cfg.answer, num_problems=asked.num_problems, seed=asked.seed, format=asked.format or "plain"
    ), recipe


def _judge(
    problems: Sequence[Problem],
    given: Completions,
    folder: RunFolder,
    name: str,
    origin: str,
    answer: AnswerSettings,
) -> tuple[EvalReport, Sequence[EvalItem]]:
    def group(problem: Problem) -> ScoredGroup:
        own = answer.for_prompt(problem.prompt)
        traces = (
            _trace(problem.prompt.id, index, *one, origin, own) for index, one in enumerate(given[problem.prompt.id])
        )
        return ScoredGroup(prompt=problem.prompt, traces=tuple(traces), confidence="")

    def grade(chunk: Sequence[ScoredGroup]) -> Iterator[EvalItem]:
        return evaluate.judge(chunk, problems, answer.kind, answer.labels)

    quiet = dataclasses.replace(folder, progress=silent)
    scored = quiet.map(
        "before/scored", problems, lambda chunk: map(group, chunk), ScoredGroup, shard_size=SHARD_PROBLEMS
    )
    items = folder.map("before/items", scored, grade, EvalItem, shard_size=SHARD_PROBLEMS)
    with folder.timed("before/report"):
        report = evaluate.report(items, name, origin)
        folder.write_json("before/report.json", report)
    return report, items


def _trace(
    prompt_id: str, index: int, source: Source, completion: str, origin: str, answer: AnswerSettings
) -> ScoredTrace:
    """The completion with its answer and no measure, as a trace of which the tokens are not known."""
    found = answers.find(completion, answer.kind, answer.labels, strict=answer.strict)
    return ScoredTrace(
        trace=Trace(
            prompt_id=prompt_id,
            index=index,
            source=source,
            prompt_ids=(),
            completion_ids=(),
            completion=completion,
            token_ends=(),
            finish_reason=FinishReason.STOP,
            policy=origin,
        ),
        answer=found.answer if found else None,
        answer_chars=found.chars if found else None,
        answer_tokens=None,
        measures={},
    )


def _manifest(
    file: Path,
    name: str,
    settings: GradeSettings,
    recipe: str,
    problems: Sequence[Problem],
    given: Completions,
) -> Manifest:
    graded = [[problem.prompt.id, *given[problem.prompt.id]] for problem in problems]
    evaluation = {"num_problems": settings.num_problems, "seed": settings.seed, "format": settings.format}
    return Manifest(
        inward=version("inward"),
        method="evaluate",
        settings={"answer": dataclasses.asdict(settings.answer), "evaluation": evaluation},
        recipe=recipe,
        seed=settings.seed,
        start=Artifact(name=str(file), sha256=digest(graded), num_records=sum(len(one) - 1 for one in graded)),
        data=None,
        evaluation=Artifact(name=name, sha256=digest(problems), num_records=len(problems)),
        labels_used=False,
        versions={"python": platform.python_version(), "math-verify": version("math-verify")},
        hardware={"system": platform.platform(), "processors": str(os.cpu_count()), "device": "none"},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
