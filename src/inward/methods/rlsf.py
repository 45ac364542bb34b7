"""RLSF: reinforcement learning from self-feedback, its DPO route.

Paper: van Niekerk et al., arXiv 2507.21931; hyper-parameters from the authors' code, since no table of the paper states
them. A frozen model writes several chain-of-thought traces per question; the confidence of each final answer span
ranks them; the ranking becomes preference pairs; DPO trains the policy on the pairs.

Confidence: c = mean over the answer span of p(x_t) - max_{v != x_t} p(v); 0 where there is no span.
Pairs: every (w, l) of a question with c_w > c_l and c_w >= gamma; margin exp(c_w - c_l) is kept with the pair.
Assumption: among a question's traces, the surer answer is more often the right one. Where that fails (a confident
mode that is wrong), RLSF entrenches the error; where all confidences are near 1, no pair carries information.

Departures from the authors' code:
1. The answer is read off the trace where it can be, and asked for only where it cannot (`answer.elicit`).
2. The span is the last occurrence of that answer, matched on characters, not the earliest longest token block, which
   can hit an intermediate number and fails where tokenisations differ. Only where a free-text answer does not stand in
   the trace as a whole is it the longest run of words they share, as in the code; such spans are counted and warned of.
3. The training text is the trace's own tokens: no brackets around the answer, no extraction sentence, no clean-up.
4. Nothing is cut at 256 tokens; `optim.max_length` leaves out longer pairs and counts them.
5. Pairs of two identical completions are left out.
6. Prompts carry no label and come from the data the user gives; the code's default is the test split.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from inward import models, rank
from inward.answers import AnswerSettings
from inward.models import ModelSettings, Policy
from inward.rank import PairSettings
from inward.runs import Records, RunFolder
from inward.sample import SamplingSettings, probe, sample
from inward.score import check_confidence, score
from inward.train import PreferenceSettings, check_preference, preference
from inward.types import PreferencePair, Prompt, ScoredGroup, TraceGroup

SHARD_PROMPTS = 32
"""Prompts per shard: what a killed run may have to sample again."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """RLSF's settings; defaults are the authors' recipe."""

    model: ModelSettings = ModelSettings()
    sampling: SamplingSettings = SamplingSettings()
    answer: AnswerSettings = AnswerSettings()
    confidence: str = "answer_disparity"
    """The measure that ranks traces; a key of `inward.confidence.CONFIDENCE`."""
    pairs: PairSettings = PairSettings()
    optim: PreferenceSettings = PreferenceSettings()

    def __post_init__(self) -> None:
        check_confidence(self.confidence)


@dataclass(frozen=True)
class Start:
    """The start checkpoint, loaded when it is first needed and at most once."""

    name: str
    path: Path
    settings: ModelSettings

    @cached_property
    def policy(self) -> Policy:
        """The loaded model."""
        return models.load(self.path, self.settings, name=self.name)

    def release(self) -> None:
        """Let go of the loaded model, to make room for a training."""
        self.__dict__.pop("policy", None)


def run(prompts: Sequence[Prompt], start: Start, folder: RunFolder, settings: Settings, *, seed: int) -> Path:
    """Sample, score, rank and train; returns the folder of the trained checkpoint."""
    check(start, settings)
    traces = sample_stage(prompts, start, folder, settings, seed=seed)
    scored = score_stage(traces, folder, settings)
    pairs = rank_stage(scored, folder, settings, seed=seed)
    return train_stage(pairs, start, folder, settings, seed=seed)


def check(start: Start, settings: Settings) -> None:
    """Refuse, before any work, settings that the training would refuse."""
    check_preference(settings.optim, start.policy.model)


def sample_stage(
    prompts: Sequence[Prompt], start: Start, folder: RunFolder, settings: Settings, *, seed: int
) -> Records[TraceGroup]:
    """Traces of every prompt, with the model's own answer where it had to be asked for."""
    rows = settings.sampling.batch_rows

    def make(chunk: Sequence[Prompt]) -> Sequence[TraceGroup]:
        params = settings.sampling.params(start.policy, seed)
        groups = sample(chunk, start.policy, params, batch_rows=rows)
        return list(probe(groups, start.policy, settings.answer, batch_rows=rows))

    return folder.map("traces", prompts, make, TraceGroup, shard_size=SHARD_PROMPTS)


def score_stage(traces: Sequence[TraceGroup], folder: RunFolder, settings: Settings) -> Records[ScoredGroup]:
    """Every measure of every trace."""
    return folder.map(
        "scored",
        traces,
        lambda chunk: score(chunk, settings.answer, confidence=settings.confidence),
        ScoredGroup,
        shard_size=SHARD_PROMPTS,
    )


def rank_stage(
    scored: Sequence[ScoredGroup], folder: RunFolder, settings: Settings, *, seed: int
) -> Records[PreferencePair]:
    """Preference pairs."""
    _warn_of_partial_spans(scored)
    return folder.once("pairs", lambda: rank.pairs(scored, settings.pairs, seed=seed), PreferencePair)


def _warn_of_partial_spans(scored: Sequence[ScoredGroup]) -> None:
    traces = [trace for group in scored for trace in group.traces]
    partial = sum(trace.answer_partial for trace in traces)
    if partial:
        warnings.warn(
            f"{partial} of {len(traces)} traces hold only part of the answer that the model gave when asked; their "
            "confidence is that of the shared words. Set answer.kind to what the answers are, or answer.partial=false",
            stacklevel=2,
        )


def train_stage(
    pairs: Sequence[PreferencePair], start: Start, folder: RunFolder, settings: Settings, *, seed: int
) -> Path:
    """DPO on the pairs; a training that was killed resumes from the newest checkpoint under `trainer/`."""
    work = folder.path / "trainer"

    def train(out: Path) -> None:
        done = preference(
            pairs,
            start=start.path,
            out=out,
            work=work,
            settings=settings.optim,
            model=settings.model,
            seed=seed,
            progress=lambda step, steps: folder.progress("train", step, steps),
            log=lambda metrics: folder.log("train", **metrics),
        )
        folder.log("trained", pairs=done.num_pairs, too_long=done.num_too_long, steps=done.num_steps)

    if not (folder.path / "checkpoint").exists():
        start.release()
        with folder.timed("train"):
            folder.build("checkpoint", train)
    shutil.rmtree(work, ignore_errors=True)
    return folder.path / "checkpoint"
