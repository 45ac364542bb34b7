"""Fine-tuning a checkpoint on its own samples, so that the probability of an answer becomes its vote share.

Samples of the model itself teach it nothing: in expectation their gradient is 0 (`target=samples`; arXiv 2603.06604
reports that fine-tuning on own samples after RL restores confidence). So the greedy trace is taught with the answer of
each sample in place of its own (`target=votes`): maximum likelihood draws the probability of an answer after that trace
to the share of samples that give it. No sample is needed for a confidence any more.

When it fails: as with every use of votes, an answer that is wrong every time stays sure. The trace is taught as well as
the answer, so samples come nearer to the greedy one, and votes counted afterwards say less.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from inward.errors import DataError
from inward.methods.settings.calibrating import DistillSettings
from inward.methods.start import Start
from inward.runs import RunFolder
from inward.train import Samples, SelfConfidenceSettings, check_self_confidence, self_confidence
from inward.types import Message, Prompt, ScoredGroup, ScoredTrace

Key = tuple[str | None, tuple[Message, ...] | None]


def check_distill(settings: DistillSettings, start: Start) -> None:
    """Refuse, before any work, settings that the training would refuse."""
    check_self_confidence(_training(settings), start.policy.model)


def distill(
    groups: Sequence[ScoredGroup], start: Start, folder: RunFolder, settings: DistillSettings, *, seed: int
) -> None:
    """Fine-tune on groups of a greedy trace and its samples, and write `checkpoint/`.

    A training that was killed resumes.
    """
    work, training = folder.path / "trainer", _training(settings)
    # By text, since a prompt that comes again within a step has another id.
    parts = {_key(group.prompt): [_parts(one) for one in group.traces] for group in groups}

    def samples(asked: Sequence[Prompt]) -> Samples:
        return _samples([parts[_key(prompt)] for prompt in asked], settings.target)

    def keep(step: int, policy: nn.Module, save: Callable[[Path], None]) -> bool:
        if step == training.steps:
            folder.build("checkpoint", save)
        return False

    if not (folder.path / "checkpoint").exists():
        taught = [group.prompt for group in groups if samples([group.prompt]).completion_ids]
        if not taught:
            raise DataError("no prompt has both a greedy answer and a sampled one: set answer.kind to what answers are")
        start.release()
        with folder.timed("train"):
            self_confidence(
                taught,
                lambda model, asked, step: samples(asked),
                start=start.path,
                work=work,
                settings=training,
                model=start.settings,
                seed=seed,
                at_checkpoint=keep,
                progress=lambda step, steps: folder.progress("train", step, steps),
                log=lambda metrics: folder.log("train", **metrics),
            )
    shutil.rmtree(work, ignore_errors=True)


def _key(prompt: Prompt) -> Key:
    return prompt.text, prompt.messages


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What training needs of a trace; the signals of all would fill the memory."""

    prompt_ids: tuple[int, ...]
    before: tuple[int, ...]
    """Completion tokens up to the answer; all of them where there is none."""
    answer: tuple[int, ...]
    """Empty where there is none."""
    after: tuple[int, ...]


def _parts(scored: ScoredTrace) -> _Parts:
    ids, span = scored.trace.completion_ids, scored.answer_tokens
    start, end = (span.start, span.end) if span else (len(ids), len(ids))
    return _Parts(prompt_ids=scored.trace.prompt_ids, before=ids[:start], answer=ids[start:end], after=ids[end:])


def _samples(groups: Sequence[Sequence[_Parts]], target: str) -> Samples:
    """What is taught of groups of a greedy trace and its samples; of votes, only those that have an answer."""
    taught: list[tuple[_Parts, tuple[int, ...]]] = []
    for first, *others in groups:
        if target == "samples":
            taught += [(one, one.answer) for one in others]
        elif first.answer:
            taught += [(first, one.answer) for one in others if one.answer]
    return Samples(
        prompt_ids=[trace.prompt_ids for trace, _ in taught],
        completion_ids=[(*trace.before, *answer, *trace.after) for trace, answer in taught],
        answer_share=[0.0] * len(taught),
    )


def _training(settings: DistillSettings) -> SelfConfidenceSettings:
    """Fine-tuning in the words of the loop that does it: every sample weighs the same."""
    return SelfConfidenceSettings(
        steps=settings.steps,
        prompts_per_step=settings.prompts_per_step,
        scoring_temperature=settings.scoring_temperature,
        weight="none",
        alpha=1.0,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        batch_rows=settings.batch_rows,
        save_every=max(1, settings.steps // 4),
        lora=settings.lora,
    )
