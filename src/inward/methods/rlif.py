"""RLIF: reinforcement learning from internal feedback.

Paper: Zhang et al., "No Free Lunch: Rethinking Internal Feedback for LLM Reasoning", arXiv 2506.17219. GRPO in which
the reward of a trace is the policy's own certainty of it, one of

    self_certainty   (1/T) sum_t KL(U || p_t)
    neg_entropy      -(1/T) sum_t H(p_t)              (token entropy)
    mean_logprob     (1/T) sum_t log p_t(y_t)         (trajectory entropy)

with p_t the policy that wrote the trace, T its completion tokens, the end of sequence included. The reward is detached:
it enters as a constant, normalised by mean and standard deviation of its group.
Claims: base models gain early and then fall below where they began; instruction-tuned models hardly gain.
When it fails: certainty is cheap. The policy finds sure text that answers nothing (extra easy steps, repetition), and
accuracy falls while the reward still rises. Keep the checkpoints and look at the curve.

Departures and gaps:
1. No code of the paper is public. Group size, prompts per step and steps are the paper's as read by third parties;
   learning rate, schedule and KL are those of Intuitor's script, whose setup the paper shares; see the settings.
2. The KL term is TRL's (k3 estimator, to the start model). The clip never acts: one update per batch of traces.
3. Signals come from one forward pass of the policy at temperature 1 after sampling, aligned with the tokens they
   generated. The public TRL port of self-certainty takes them one token late.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from inward.answers import AnswerSettings
from inward.batch import collate
from inward.confidence import CONFIDENCE
from inward.errors import ModelError
from inward.methods.rlsf import Start
from inward.models import ModelSettings, render
from inward.runs import RunFolder
from inward.score import sequence_signals
from inward.train import GroupPolicySettings, IntrinsicReward, check_group_policy, group_policy
from inward.types import Prompt

RewardName = Literal["self_certainty", "neg_entropy", "mean_logprob"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """RLIF's settings; the sources of the defaults stand in `GroupPolicySettings`."""

    model: ModelSettings = ModelSettings()
    reward: RewardName = "self_certainty"
    answer: AnswerSettings = AnswerSettings()
    """For the evaluation; the reward reads no answer."""
    optim: GroupPolicySettings = GroupPolicySettings()


def check(start: Start, settings: Settings) -> None:
    """Refuse, before any work, settings that the training would refuse."""
    check_group_policy(settings.optim, start.policy.model)
    if not start.policy.eos_ids:
        raise ModelError(f"{start.name} has no end-of-sequence token, without which GRPO cannot tell completions apart")


def run(prompts: Sequence[Prompt], start: Start, folder: RunFolder, settings: Settings, *, seed: int) -> Path:
    """Train on the policy's own certainty; returns the folder of the last checkpoint.

    Those of every `optim.save_every` steps before it are kept under `checkpoints/`, named by their step.
    """
    check(start, settings)
    policy = start.policy
    reward = IntrinsicReward(
        settings.reward,
        scorer(settings.reward, policy.pad_id),
        {prompt.id: render(prompt, policy) for prompt in prompts},
    )
    work, last = folder.path / "trainer", settings.optim.steps

    def keep(step: int, write: Callable[[Path], None]) -> None:
        if step != last:
            folder.build(f"checkpoints/{step:05d}", write)

    def train(out: Path) -> None:
        steps = group_policy(
            prompts,
            reward,
            start=start.path,
            out=out,
            work=work,
            settings=settings.optim,
            model=settings.model,
            seed=seed,
            keep=keep,
            progress=lambda step, steps: folder.progress("train", step, steps),
            log=lambda metrics: folder.log("train", **metrics),
        )
        folder.log("trained", steps=steps)

    if not (folder.path / "checkpoint").exists():
        start.release()
        with folder.timed("train"):
            folder.build("checkpoint", train)
    shutil.rmtree(work, ignore_errors=True)
    return folder.path / "checkpoint"


Sequences = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Prompt ids and completion ids of some traces."""


def scorer(
    name: str, pad_id: int
) -> Callable[[nn.Module, Sequence[tuple[Sequence[int], Sequence[int]]]], list[float | None]]:
    """The function that scores (prompt, completion) pairs by a certainty measure under a policy.

    Args:
        name: a key of `confidence.CONFIDENCE` that needs no answer span.
        pad_id: fills masked positions.
    """
    measure = CONFIDENCE[name]

    def score(policy: nn.Module, sequences: Sequences) -> list[float | None]:
        signals = collate(sequence_signals(policy, sequences, pad_id))
        values = measure(signals, torch.zeros_like(signals.mask)).tolist()
        return [value if ids else None for value, (_, ids) in zip(values, sequences, strict=True)]

    return score
