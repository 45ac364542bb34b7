"""RLIF: reinforcement learning from internal feedback.

Paper: Zhang et al., "No Free Lunch: Rethinking Internal Feedback for LLM Reasoning", arXiv 2506.17219. GRPO in which
the reward of a trace is the policy's own certainty of it, one of

    self_certainty   (1/T) sum_t KL(U || p_t)
    neg_entropy      -(1/T) sum_t H(p_t)              (token entropy)
    mean_logprob     (1/T) sum_t log p_t(y_t)         (trajectory entropy)

with p_t the policy that wrote the trace, T its completion tokens, the end of sequence included; or an intrinsic reward
of another paper, or several in one (`train.intrinsic`). The reward is detached: it enters as a constant, normalised by
mean and standard deviation of its group.
Claims: base models gain early and then fall below where they began; instruction-tuned models hardly gain.
When it fails: certainty is cheap. The policy finds sure text that answers nothing (extra easy steps, repetition), and
accuracy falls while the reward still rises. So every checkpoint answers a few training prompts, and the one is kept
whose answers the start model's own votes support most (`diagnose.rule`); that is ours, not the paper's.

Departures and gaps:
1. No code of the paper is public. Group size, prompts per step and steps are the paper's as read by third parties;
   learning rate, schedule and KL are those of Intuitor's script, whose setup the paper shares; see the settings.
2. The KL term is TRL's (k3 estimator, to the start model). The clip never acts: one update per batch of traces.
3. Signals come from the passes in which the policy samples (where vLLM samples, from one forward pass of the policy
   afterwards), at the sampling temperature (`tempered`), aligned with the tokens they generated. The public TRL port of
   self-certainty takes them one token late.
4. Of the rewards of other papers: answers are one vote where their canonical forms are equal, not where a verifier says
   so; k answers that tie in a vote get 1/k each; `answer_disparity` is 0 without an answer. See `train.votes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from inward.answers import AnswerSettings, find
from inward.errors import DataError, ModelError, SettingsError
from inward.methods.keeping import Keeping, keeping_of
from inward.methods.settings.rlif import REWARDS, Settings
from inward.methods.start import Start
from inward.methods.watching import Monitor, answers_by_prompt
from inward.models import device_type
from inward.runs import RunFolder
from inward.sample import SamplingSettings
from inward.settings.rewards import names_of
from inward.train import (
    IntrinsicReward,
    Reward,
    StepTraces,
    await_engine,
    check_group_policy,
    combined,
    group_policy,
    named_reward,
    other_phrasing,
)
from inward.types import Prompt

Gold = Callable[[str, str], float | None]
"""(prompt id, completion) -> 1 for a right answer, 0 for a wrong one or none, None where it cannot be graded."""


def check(start: Start, settings: Settings) -> None:
    """Refuse, before any work, settings that the training would refuse."""
    check_group_policy(settings.optim, start.policy.model, device=device_type(settings.model))
    if settings.optim.max_completion_tokens >= start.policy.context:
        raise SettingsError(
            f"optim.max_completion_tokens = {settings.optim.max_completion_tokens} leaves no room for a prompt in the "
            f"{start.policy.context} tokens of context of {start.name}; set it below"
        )
    if not start.policy.eos_ids:
        raise ModelError(f"{start.name} has no end-of-sequence token, without which GRPO cannot tell completions apart")


def check_engine(settings: Settings) -> None:
    """Wait for the vLLM server that is to write the traces, if any, before any work."""
    await_engine(settings.optim, settings.model)


def run(
    prompts: Sequence[Prompt],
    start: Start,
    folder: RunFolder,
    settings: Settings,
    *,
    seed: int,
    gold: Gold | None = None,
) -> Path:
    """Train on an intrinsic reward; returns the folder of the checkpoint that was kept.

    Those of every `optim.save_every` steps stay under `checkpoints/`, named by their step; step 0 is the start model.
    Which one is kept is decided without labels, see `diagnose.decide`.

    Args:
        prompts: what to ask.
        start: the start checkpoint.
        folder: the run folder.
        settings: see `Settings`.
        seed: of prompts' order, sampling and probes.
        gold: grades completions for the reward `gold`, and for nothing else.
    """
    check(start, settings)
    if settings.rephrased:
        _refuse_unpaired(prompts)
    keeping = keeping_of(prompts, start, folder, settings.stop, settings.answer, _sampling(settings), seed)
    return keeping.train(lambda: _train(prompts, start, folder, settings, keeping, seed, gold))


def _refuse_unpaired(prompts: Sequence[Prompt]) -> None:
    """Raise DataError where a question has no second phrasing."""
    known = {prompt.id for prompt in prompts}
    alone = [one for one in known if other_phrasing(one) not in known]
    if alone:
        raise DataError(
            f"the reward co_rewarding asks every question in two phrasings, and {len(alone)} of {len(known)} prompts "
            f"have none, the first {min(alone)}: give {other_phrasing(min(alone))}"
        )


def _train(
    prompts: Sequence[Prompt],
    start: Start,
    folder: RunFolder,
    settings: Settings,
    keeping: Keeping,
    seed: int,
    gold: Gold | None,
) -> int:
    """GRPO with monitors; returns the number of updates."""
    # A KL term has TRL keep a reference of its own and log the divergence; an adapter can be switched off.
    measured = settings.kl_traces if settings.optim.kl == 0 else 0
    temperature = settings.optim.temperature if settings.tempered else 1.0
    answers = answers_by_prompt(prompts, settings.answer)
    monitor = Monitor(
        answers=answers,
        eos_ids=start.policy.eos_ids,
        start=start.policy.model if measured and settings.optim.lora is None else None,
        kl_traces=measured,
        temperature=temperature,
    )
    start.release()

    def watch(traces: StepTraces, rewards: Sequence[float | None], policy: nn.Module) -> None:
        folder.log("monitor", step=traces.step, **monitor(traces, rewards, policy))

    return group_policy(
        prompts,
        IntrinsicReward(settings.reward, _reward(settings, answers, gold), temperature=temperature, watch=watch),
        start=start.path,
        work=keeping.work,
        settings=settings.optim,
        model=settings.model,
        seed=seed,
        at_checkpoint=keeping.at_checkpoint,
        progress=lambda step, steps: folder.progress("train", step, steps),
        log=lambda metrics: folder.log("train", **metrics),
    )


def _reward(settings: Settings, answers: Mapping[str, AnswerSettings], gold: Gold | None) -> Reward:
    parts = [_part(name, settings, answers, gold) for name in names_of(settings.reward, REWARDS)]
    return parts[0] if len(parts) == 1 else combined(parts, settings.reward_weights)


def _part(name: str, settings: Settings, answers: Mapping[str, AnswerSettings], gold: Gold | None) -> Reward:
    match name:
        case "random":
            return lambda traces: torch.randint(2, (len(traces.completion_ids),)).float().tolist()
        case "format":
            return lambda traces: [
                float(find(text, answers[key].kind, answers[key].labels, strict=True) is not None)
                for key, text in zip(traces.prompt_keys, traces.completions, strict=True)
            ]
        case "gold":
            if gold is None:
                raise SettingsError("the reward gold needs gold answers for the prompts; the others need none")
            return lambda traces: [gold(*one) for one in zip(traces.prompt_keys, traces.completions, strict=True)]
        case intrinsic:
            return named_reward(intrinsic, answers.__getitem__, length_norm=settings.length_norm)


def _sampling(settings: Settings) -> SamplingSettings:
    """How the probe samples: as the training does."""
    return SamplingSettings(
        strategy="sample",
        temperature=settings.optim.temperature,
        max_completion_tokens=settings.optim.max_completion_tokens,
    )
