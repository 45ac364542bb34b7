"""Judge a checkpoint on problems: sample, score, grade. The only place where prompts meet gold answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from inward import evaluate
from inward.answers import AnswerSettings
from inward.config import EvaluationSettings
from inward.methods.rlsf import Start
from inward.runs import Records, RunFolder
from inward.sample import SamplingSettings, probe, sample
from inward.score import score
from inward.types import EvalItem, EvalReport, Problem, Prompt, ScoredGroup

SHARD_PROBLEMS = 64


def judge(
    start: Start,
    problems: Sequence[Problem],
    task: str,
    folder: RunFolder,
    name: str,
    answer: AnswerSettings,
    settings: EvaluationSettings,
) -> tuple[EvalReport, Records[EvalItem]]:
    """One greedy trace and `num_samples` samples per problem, graded; kept under `name` in the run folder."""

    def make(chunk: Sequence[Prompt]) -> Sequence[ScoredGroup]:
        wanted = SamplingSettings(
            strategy="sample",
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_completion_tokens=settings.max_completion_tokens,
        )
        params = dataclasses.replace(
            wanted.params(start.policy, settings.seed), strategy="evaluate", group_size=settings.num_samples
        )
        groups = sample(chunk, start.policy, params, batch_rows=settings.batch_rows)
        return list(score(probe(groups, start.policy, answer, batch_rows=settings.batch_rows), answer))

    prompts = [problem.prompt for problem in problems]
    scored = folder.map(f"{name}/scored", prompts, make, ScoredGroup, shard_size=SHARD_PROBLEMS)
    items = folder.map(
        f"{name}/items",
        scored,
        lambda chunk: evaluate.judge(chunk, problems, answer.kind, answer.labels),
        EvalItem,
        shard_size=SHARD_PROBLEMS,
    )
    with folder.timed(f"{name}/report"):
        report = evaluate.report(items, task, start.name)
        folder.write_json(f"{name}/report.json", report)
    return report, items
