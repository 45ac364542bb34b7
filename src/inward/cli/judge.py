"""Judge a checkpoint on problems: sample, score, grade. The only place where prompts meet gold answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from inward import evaluate, recalibrate
from inward.answers import AnswerSettings
from inward.cli import inputs
from inward.config import EvaluationSettings
from inward.errors import DataError, RunFolderError, SettingsError
from inward.methods.calibrating import check_reference, recalibrated
from inward.methods.start import Start
from inward.models import Policy, check_same_tokens
from inward.runs import Records, RunFolder, hash_folder
from inward.sample import SamplingSettings, check_prompts, refuse_long, sample
from inward.score import score
from inward.settings import ModelSettings
from inward.types import (
    EvalItem,
    EvalReport,
    Problem,
    Prompt,
    RankingReport,
    SamplingParams,
    ScoredGroup,
    Source,
    TraceGroup,
)

SHARD_PROBLEMS = 64


def judge(
    start: Start,
    problems: Sequence[Problem],
    task: str,
    folder: RunFolder,
    name: str,
    answer: AnswerSettings,
    settings: EvaluationSettings,
    *,
    reference: Start | None = None,
) -> tuple[EvalReport, Records[EvalItem]]:
    """An answer per problem as `settings.decoding` says, and `num_samples` samples, graded; kept under `name`.

    `reference` is what `check_judging` returned, where it was called before.
    """
    reference = reference or check_judging(start, problems, settings)
    _remember(folder, reference)
    recalibrating = _recalibration(start, answer, settings.batch_rows)

    def make(chunk: Sequence[Prompt]) -> Sequence[ScoredGroup]:
        params = sampling_params(start.policy, settings)
        asked = _traces(chunk, start.policy, params, settings, answer)
        scored = list(score(asked, answer, policy=start.policy))
        if reference is not None:
            scored = _with_reference(scored, reference.policy)
        return recalibrating(scored, params)

    prompts = [problem.prompt for problem in problems]
    scored = folder.map(f"{name}/scored", prompts, make, ScoredGroup, shard_size=SHARD_PROBLEMS)
    items = folder.map(
        f"{name}/items",
        scored,
        lambda chunk: evaluate.judge(chunk, problems, answer.kind, answer.labels, decoding=settings.decoding),
        EvalItem,
        shard_size=SHARD_PROBLEMS,
    )
    with folder.timed(f"{name}/report"):
        report = evaluate.report(items, task, start.name, decoding=settings.decoding)
        folder.write_json(f"{name}/report.json", report)
    return report, items


def check_judging(start: Start, problems: Sequence[Problem], settings: EvaluationSettings) -> Start | None:
    """Refuse, before any work, an evaluation that cannot be made.

    Returns:
        The reference model, where one is asked for.

    Raises:
        SettingsError: The model cannot write `cot_prompt`.
        DataError: A prompt fills the model's context with it.
        ModelError: The reference model has other tokens.
    """
    if settings.decoding == "cot_prompt":
        asked = [_asking(problem.prompt, settings.cot_prompt) for problem in problems]
        try:
            too_long = check_prompts(asked, start.policy)
        except DataError as error:
            raise SettingsError(
                f"the tokenizer of {start.name} cannot write evaluation.cot_prompt, {settings.cot_prompt!r}; set it to "
                "a text that the model can read"
            ) from error
        refuse_long(too_long, start.policy)
    if settings.reference is None:
        return None
    reference = inputs.start_from(settings.reference, start.settings)
    check_same_tokens(start.policy, reference.policy)
    return reference


def sampling_params(policy: Policy, settings: EvaluationSettings) -> SamplingParams:
    """How the traces of a problem are made under `settings.decoding`: the samples are the same under each."""
    source = evaluate.source_of(settings.decoding)
    resolved = SamplingSettings(
        strategy="both" if source is Source.BRANCH else "sample",
        num_branches=settings.num_branches,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_completion_tokens=settings.max_completion_tokens,
    ).params(policy, settings.seed)
    strategy = "evaluate" if source is Source.GREEDY else resolved.strategy
    return dataclasses.replace(resolved, strategy=strategy, group_size=settings.num_samples)


def _traces(
    prompts: Sequence[Prompt],
    policy: Policy,
    params: SamplingParams,
    settings: EvaluationSettings,
    answer: AnswerSettings,
) -> Iterator[TraceGroup]:
    """The traces of each prompt, asked for their answers as `answer` says.

    Under `cot_prompt` the greedy one is that of the prompt with its addition.
    """
    if settings.decoding != "cot_prompt":
        yield from sample(prompts, policy, params, batch_rows=settings.batch_rows, answer=answer)
        return
    asked = [_asking(prompt, settings.cot_prompt) for prompt in prompts]
    alone = dataclasses.replace(params, strategy="greedy", group_size=0)
    drawn = dataclasses.replace(params, strategy="sample")
    greedy = sample(asked, policy, alone, batch_rows=settings.batch_rows, answer=answer)
    samples = sample(prompts, policy, drawn, batch_rows=settings.batch_rows, answer=answer)
    for own, others in zip(greedy, samples, strict=True):
        later = (dataclasses.replace(one, index=one.index + 1) for one in others.traces)
        yield TraceGroup(prompt=others.prompt, traces=(*own.traces, *later), sampling=params)


def _asking(prompt: Prompt, text: str) -> Prompt:
    """The prompt with a text appended as it stands, to the last message of a conversation."""
    if prompt.messages is None:
        return dataclasses.replace(prompt, text=f"{prompt.text}{text}")
    *earlier, last = prompt.messages
    return dataclasses.replace(prompt, messages=(*earlier, dataclasses.replace(last, content=last.content + text)))


def _with_reference(groups: Sequence[ScoredGroup], reference: Policy) -> list[ScoredGroup]:
    """Add the probability of each answer under another model that is given the same prompt and trace."""
    traces = [trace for group in groups for trace in group.traces]
    values = iter(recalibrate.answer_confidence(traces, reference)(1.0).tolist())
    return [
        dataclasses.replace(
            group,
            traces=tuple(
                dataclasses.replace(trace, measures={**trace.measures, "reference_probability": next(values)})
                for trace in group.traces
            ),
        )
        for group in groups
    ]


def _remember(folder: RunFolder, reference: Start | None) -> None:
    """Keep what the reference model is, and refuse to go on with another one of the same name."""
    if reference is None:
        return
    now, file = {"name": reference.name, "sha256": hash_folder(reference.path)}, "reference.json"
    if (folder.path / file).exists() and folder.read_json(file) != now:
        raise RunFolderError(
            f"{folder.path} was judged with another reference model {reference.name}: its files have changed since; "
            "use a new folder"
        )
    folder.write_json(file, now)


def _recalibration(
    start: Start, answer: AnswerSettings, batch_rows: int
) -> Callable[[Sequence[ScoredGroup], SamplingParams], Sequence[ScoredGroup]]:
    """What adds the measure that `inward calibrate` left beside a checkpoint; nothing where it left none."""
    left = recalibrate.read(start.path)
    if left is None:
        return lambda groups, params: groups
    reference = inputs.start_from(left.reference, start.settings) if left.reference else None
    check_reference(start, left, reference)
    return lambda groups, params: recalibrated(
        groups, start.policy, left, answer, params, reference=reference and reference.policy, batch_rows=batch_rows
    )


def judge_reward(reward: Path, folder: RunFolder, name: str, settings: ModelSettings) -> list[RankingReport]:
    """How a reward model ranks the judged samples kept under `name`, beside every confidence measure.

    Args:
        reward: Folder of the reward model.
        folder: Where `judge` kept scored groups and items.
        name: The same as was given to `judge`; pairs are those of one problem.
        settings: How the reward model is loaded.

    Returns:
        One report for `reward_model`, then one for each measure that all samples have; none without samples.
    """
    from inward.train import load_reward_model, sequence_rewards

    items = list(folder.records(f"{name}/items", EvalItem))
    if not any(item.samples for item in items):
        return []
    traces = [
        (group.prompt.id, one.trace)
        for group in folder.records(f"{name}/scored", ScoredGroup)
        for one in group.traces
        if one.trace.source is Source.SAMPLE
    ]
    rewards = sequence_rewards(
        load_reward_model(reward, settings), [(trace.prompt_ids, trace.completion_ids) for _, trace in traces]
    )
    scores: dict[str, list[float]] = {item.prompt_id: [] for item in items}
    for (prompt_id, _), value in zip(traces, rewards, strict=True):
        scores[prompt_id].append(value)
    return [evaluate.ranking(items, scores, "reward_model"), *evaluate.confidence_rankings(items)]
