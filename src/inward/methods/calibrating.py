"""Recalibration without labels: ask a checkpoint for its greedy answers and its votes, fit, and keep the fit beside it.

`temperature`: one T on the answer tokens, so that the mean confidence of greedy answers is their mean vote share.
`votes`: the vote share itself, which costs `num_votes` samples per answer whenever it is evaluated.
`reference`: the probability of the same answer tokens, after the same trace, under another model.
`distill`: the checkpoint is fine-tuned so that its own probabilities become vote shares; see `methods.distilling`.

Assumption: a model that contradicts itself is less often right. When it fails: a wrong answer given every time, such as
a direct guess, has full votes; there a reference model from before the training that made it sure may tell it.
The mean vote share is not the accuracy: at temperature 1 it tends to lie below that of greedy answers.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from inward.answers import AnswerSettings
from inward.calibration import TEMPERATURES, Confidences, fit_temperature
from inward.errors import DataError, ModelError
from inward.methods.distilling import check_distill, distill
from inward.methods.settings.calibrating import CalibrationSettings, Settings
from inward.methods.start import Start
from inward.models import MODEL_FILES, Policy, check_same_tokens
from inward.recalibrate import MEASURE, Recalibration, answer_confidence, vote_share, write
from inward.runs import Records, RunFolder, from_json, hash_folder
from inward.sample import SamplingSettings, sample
from inward.score import score
from inward.types import Prompt, SamplingParams, ScoredGroup, ScoredTrace, Source

SHARD_PROMPTS = 32
"""Prompts per shard: what a killed run may have to sample again."""

FIT = "fit.json"
"""The fit, in the run folder."""

VOTES_SEED = 1_000_003
"""Added to an evaluation's seed where votes are drawn beside its samples, so that they are other draws."""


def check(start: Start, settings: Settings, reference: Start | None) -> None:
    """Refuse, before any work, what a later step would refuse."""
    _sampling(settings.calibration)
    if reference is not None:
        check_same_tokens(start.policy, reference.policy)
        reference.release()
    if settings.calibration.method == "distill":
        check_distill(settings.distill, start)


def run(
    prompts: Sequence[Prompt],
    start: Start,
    folder: RunFolder,
    settings: Settings,
    *,
    reference: Start | None,
    seed: int,
) -> Recalibration:
    """Sample, fit and write `checkpoint/`, after `check`.

    Returns:
        The fit. For `distill` it is that of `votes`, and `confidence_after` is the mean probability of the new
        checkpoint's own greedy answers to the same prompts.
    """
    num_votes = 0 if reference else settings.calibration.num_votes
    groups = ask(prompts, start, folder, "answers", settings, num_votes=num_votes, seed=seed)
    if not (folder.path / FIT).exists():
        with folder.timed("fit"):
            folder.write_json(FIT, fit(groups, start, settings, reference))
    fitted = from_json(Recalibration, folder.read_json(FIT))
    if settings.calibration.method != "distill":
        folder.build("checkpoint", lambda out: _copy(start, out, fitted))
        return fitted
    distill(groups, start, folder, settings.distill, seed=seed)
    trained = dataclasses.replace(start, name="checkpoint", path=folder.path / "checkpoint")
    after = ask(prompts, trained, folder, "after/answers", settings, num_votes=0, seed=seed)
    own = [group.traces[0].measures["answer_probability"] for group in after if group.traces[0].answer_tokens]
    return dataclasses.replace(fitted, confidence_after=sum(own) / len(own) if own else math.nan)


def ask(
    prompts: Sequence[Prompt],
    start: Start,
    folder: RunFolder,
    name: str,
    settings: Settings,
    *,
    num_votes: int,
    seed: int,
) -> Records[ScoredGroup]:
    """One greedy trace of every prompt, then `num_votes` samples."""
    rows = settings.calibration.batch_rows

    def make(chunk: Sequence[Prompt]) -> Sequence[ScoredGroup]:
        params = _sampling(settings.calibration).params(start.policy, seed)
        params = dataclasses.replace(params, strategy="evaluate", group_size=num_votes)
        groups = sample(chunk, start.policy, params, batch_rows=rows, answer=settings.answer)
        return list(score(groups, settings.answer))

    return folder.map(name, prompts, make, ScoredGroup, shard_size=SHARD_PROMPTS)


def _sampling(settings: CalibrationSettings) -> SamplingSettings:
    return SamplingSettings(
        strategy="greedy",
        temperature=settings.votes_temperature,
        max_completion_tokens=settings.max_completion_tokens,
        batch_rows=settings.batch_rows,
    )


def fit(groups: Sequence[ScoredGroup], start: Start, settings: Settings, reference: Start | None) -> Recalibration:
    """Fit a new confidence to the greedy answers of all groups.

    Raises:
        DataError: No greedy trace has an answer span.
    """
    greedy: list[ScoredTrace] = []
    shares: list[float] = []
    for group in groups:
        first, *votes = group.traces
        if first.answer_tokens is not None:
            greedy.append(first)
            shares.append(vote_share(first.answer, [vote.answer for vote in votes], settings.answer.kind))
    if not greedy:
        raise DataError("no greedy answer could be found in the model's traces; set answer.kind to what answers are")
    own = answer_confidence(greedy, start.policy)
    wanted, chosen, temperature = np.array(shares), settings.calibration, None
    if reference is not None:
        start.release()
        after = answer_confidence(greedy, reference.policy)(1.0)
        reference.release()
    elif chosen.method == "temperature":
        temperature = _temperature(own, wanted, chosen)
        after = own(temperature)
    else:
        after = wanted
    return Recalibration(
        method="votes" if chosen.method == "distill" else chosen.method,
        temperature=temperature,
        objective=None if temperature is None else chosen.objective,
        num_votes=None if reference else chosen.num_votes,
        votes_temperature=None if reference else chosen.votes_temperature,
        reference=_lasting_name(reference) if reference else None,
        reference_sha256=hash_folder(reference.path) if reference else None,
        num_prompts=len(greedy),
        num_without_span=len(groups) - len(greedy),
        confidence_before=float(own(1.0).mean()),
        confidence_after=float(after.mean()),
        vote_share=None if reference else float(wanted.mean()),
    )


def _lasting_name(model: Start) -> str:
    """The name of a model that holds in any working folder."""
    return str(model.path.resolve()) if Path(model.name).expanduser().is_dir() else model.name


def _temperature(
    confidence: Callable[[float], Confidences], shares: Confidences, settings: CalibrationSettings
) -> float:
    temperature = fit_temperature(confidence, shares, settings.objective)
    if not TEMPERATURES[0] * 1.001 < temperature < TEMPERATURES[1] / 1.001:
        warnings.warn(
            f"the fitted temperature is {temperature:g}, an end of the range tried, where the mean confidence is "
            f"{confidence(temperature).mean():.3f} and the mean vote share {shares.mean():.3f}: take another method",
            stacklevel=2,
        )
    return temperature


def _copy(start: Start, out: Path, fitted: Recalibration) -> None:
    """Fill a folder with the model as it is, and the fit."""
    for pattern in MODEL_FILES:
        for file in start.path.glob(pattern):
            shutil.copyfile(file, out / file.name)
    write(fitted, out)


def check_reference(start: Start, recalibration: Recalibration, reference: Start | None) -> None:
    """Refuse a reference model that is not the one a checkpoint was calibrated with.

    Raises:
        ModelError: Its files have changed since, or its tokens are others.
    """
    if reference is None:
        return
    if hash_folder(reference.path) != recalibration.reference_sha256:
        raise ModelError(
            f"{reference.name} is no longer the model that {start.name} was calibrated with: its files have changed; "
            "run `inward calibrate` again"
        )
    check_same_tokens(start.policy, reference.policy)


def recalibrated(
    groups: Sequence[ScoredGroup],
    policy: Policy,
    recalibration: Recalibration,
    answer: AnswerSettings,
    params: SamplingParams,
    *,
    reference: Policy | None = None,
    batch_rows: int = 256,
) -> list[ScoredGroup]:
    """Add the measure `recalibrated` to every trace that is no sample: the greedy one, and branches.

    Votes are the first samples of each group where these were drawn as votes are: at the same temperature, without a
    nucleus, and at least as many. Else they are drawn beside them, from other random streams.

    Args:
        groups: scored traces.
        policy: the model that wrote them.
        recalibration: what lay in its folder.
        answer: how answers are read off the votes.
        params: what the groups were sampled with.
        reference: the loaded model of method `reference`.
        batch_rows: votes decoded at once.
    """
    asked = [[trace for trace in group.traces if trace.trace.source is not Source.SAMPLE] for group in groups]
    if recalibration.method == "votes":
        ballots = _ballots(groups, policy, recalibration, answer, params, batch_rows)
        values = [
            vote_share(trace.answer, votes, answer.kind)
            for traces, votes in zip(asked, ballots, strict=True)
            for trace in traces
        ]
    else:
        confidence = answer_confidence([trace for traces in asked for trace in traces], reference or policy)
        values = confidence(recalibration.temperature or 1.0).tolist()
    made = iter(values)
    return [dataclasses.replace(group, traces=tuple(_with(made, trace) for trace in group.traces)) for group in groups]


def _with(values: Iterator[float], trace: ScoredTrace) -> ScoredTrace:
    """The trace with the next value as its measure, unless it is a sample."""
    if trace.trace.source is Source.SAMPLE:
        return trace
    return dataclasses.replace(trace, measures={**trace.measures, MEASURE: next(values)})


def _ballots(
    groups: Sequence[ScoredGroup],
    policy: Policy,
    recalibration: Recalibration,
    answer: AnswerSettings,
    params: SamplingParams,
    batch_rows: int,
) -> list[list[str | None]]:
    """The answers of each group's votes."""
    num, temperature = recalibration.num_votes, recalibration.votes_temperature
    assert num is not None and temperature is not None
    if (params.temperature, params.top_p) == (temperature, 1.0) and params.group_size >= num:
        return [[t.answer for t in group.traces if t.trace.source is Source.SAMPLE][:num] for group in groups]
    beside = dataclasses.replace(
        params,
        strategy="sample",
        group_size=num,
        num_branches=0,
        temperature=temperature,
        top_p=1.0,
        seed=params.seed + VOTES_SEED,
    )
    drawn = sample([group.prompt for group in groups], policy, beside, batch_rows=batch_rows, answer=answer)
    asked = score(drawn, answer)
    return [[trace.answer for trace in group.traces] for group in asked]
