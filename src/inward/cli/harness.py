"""`inward harness`: calibration of what lm-evaluation-harness logged. No model, no torch."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from inward import evaluate
from inward.cli import console
from inward.cli.summary import working, write_summary
from inward.runs import RunFolder, digest, silent
from inward.tasks.harness import Kind, Logged, Samples, read_samples
from inward.types import (
    Artifact,
    EvalItem,
    EvalReport,
    FinishReason,
    JudgedTrace,
    Manifest,
    Outcome,
    Prompt,
    ScoredGroup,
    ScoredTrace,
    Source,
    Trace,
)

SHARD_PROBLEMS = 256
SHOWN_TASKS = 4
CONFIDENCE: dict[Kind, str] = {
    "options": "the share of the option chosen in the softmax over the options' log-likelihoods",
    "generated": "the vote share of the answer where repeats are logged, else none",
}


def judge_samples(files: Sequence[Path], out: Path, *, filter_name: str | None, metric: str | None) -> None:
    """Report on logged samples as `inward evaluate` does on a model; verdicts are the harness's own.

    Raises:
        SettingsError: A filter or a metric has to be chosen.
        DataError: A line cannot be read; it is named.
    """
    samples = read_samples(files, filter_name=filter_name, metric=metric)
    tasks = list(dict.fromkeys(one.task for one in samples.logged))
    name = ", ".join(tasks) if len(tasks) <= SHOWN_TASKS else f"{len(tasks)} tasks, {tasks[0]} first"
    origin = ", ".join(map(str, files))
    under = "" if samples.filter is None else f" under the filter {samples.filter}"
    console.note(f"{name}: verdicts by {samples.metric}{under}; confidence: {CONFIDENCE[samples.kind]}")
    names = {"before/items": "read the verdicts"}
    with working(out, _manifest(samples, name, origin), names) as (folder, warned):
        judged = _judge(samples, folder, name, origin)
        write_summary(folder, name, origin, judged, None, warned)
    console.show_summary(folder.read_json("summary.json"))
    console.show_places(out)


def _judge(samples: Samples, folder: RunFolder, name: str, origin: str) -> tuple[EvalReport, Sequence[EvalItem]]:
    quiet = dataclasses.replace(folder, progress=silent)
    quiet.map(
        "before/scored",
        samples.logged,
        lambda chunk: (_group(one, origin) for one in chunk),
        ScoredGroup,
        shard_size=SHARD_PROBLEMS,
    )
    items = folder.map(
        "before/items", samples.logged, lambda chunk: map(item_of, chunk), EvalItem, shard_size=SHARD_PROBLEMS
    )
    with folder.timed("before/report"):
        report = evaluate.report(items, name, origin)
        folder.write_json("before/report.json", report)
    return report, items


def item_of(one: Logged) -> EvalItem:
    """The document as a judged problem without samples; what the log does not say is NaN."""
    wrong = Outcome.NO_ANSWER if one.answer is None else Outcome.INCORRECT
    outcome = Outcome.CORRECT if one.correct else wrong
    return EvalItem(
        prompt_id=one.id,
        gold=one.gold,
        greedy=JudgedTrace(
            index=0,
            answer=one.answer,
            canonical=one.answer,
            outcome=outcome,
            lenient=outcome,
            probability=one.probability,
            disparity=one.disparity,
            confidences={} if one.vote_share is None else {"vote_share": one.vote_share},
            has_span=not math.isnan(one.probability),
            entropy=math.nan,
            logprob=one.logprob,
            length=None,
            truncated=False,
        ),
        tokens=None,
        samples=(),
        majority=None,
        majority_outcome=Outcome.NO_ANSWER,
    )


def _group(one: Logged, origin: str) -> ScoredGroup:
    """Prompt and completion for the report, as a trace of which the tokens are not known."""
    trace = Trace(
        prompt_id=one.id,
        index=0,
        source=Source.GREEDY,
        prompt_ids=(),
        completion_ids=(),
        completion=one.completion,
        token_ends=(),
        finish_reason=FinishReason.STOP,
        policy=origin,
    )
    scored = ScoredTrace(trace=trace, answer=one.answer, answer_chars=None, answer_tokens=None, measures={})
    return ScoredGroup(prompt=Prompt(id=one.id, text=one.prompt), traces=(scored,), confidence="")


def _manifest(samples: Samples, name: str, origin: str) -> Manifest:
    problems = [[one.id, one.doc_hash, one.gold] for one in samples.logged]
    return Manifest(
        inward=version("inward"),
        method="evaluate",
        settings={"answer": {}, "evaluation": {"harness_filter": samples.filter, "harness_metric": samples.metric}},
        recipe="verdicts of lm-evaluation-harness",
        seed=0,
        start=Artifact(name=origin, sha256=digest([dataclasses.astuple(one) for one in samples.logged])),
        data=None,
        evaluation=Artifact(name=name, sha256=digest(problems), num_records=len(problems)),
        labels_used=False,
        versions={"python": platform.python_version()},
        hardware={"system": platform.platform(), "processors": str(os.cpu_count()), "device": "none"},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
