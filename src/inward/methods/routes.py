"""The ways from a ranking to a checkpoint: DPO, a reward model with a policy trained on it, or fine-tuning.

Each writes into one round of a run folder, resumes after a kill, and returns the folder of the trained checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from inward.answers import AnswerSettings
from inward.errors import ModelError, SettingsError
from inward.methods.rounds import Round
from inward.methods.start import Start
from inward.methods.watching import Monitor, answers_by_prompt
from inward.models import device_type
from inward.train import (
    GroupPolicySettings,
    IntrinsicReward,
    PreferenceSettings,
    RewardModelSettings,
    StepTraces,
    TuningSettings,
    check_group_policy,
    group_policy,
    model_reward,
    preference,
    reward_model,
    tuning,
)
from inward.types import PreferencePair, Prompt, Trace


def by_preference(
    pairs: Sequence[PreferencePair], start: Start, here: Round, settings: PreferenceSettings, reference: Path | None
) -> Path:
    """DPO on pairs; `reference` is the frozen one, None the start."""

    def train(out: Path, work: Path) -> None:
        done = preference(
            pairs,
            start=start.path,
            out=out,
            work=work,
            settings=settings,
            model=start.settings,
            seed=here.drawn,
            reference=reference,
            progress=here.progress("train"),
            log=here.log,
        )
        here.trained(done.num_steps, pairs=done.num_pairs, too_long=done.num_too_long, stopped=done.stopped)

    start.release()
    return here.made("checkpoint", train)


def by_tuning(traces: Sequence[Trace], start: Start, here: Round, settings: TuningSettings) -> Path:
    """Fine-tuning on the surest traces."""

    def train(out: Path, work: Path) -> None:
        done = tuning(
            traces,
            start=start.path,
            out=out,
            work=work,
            settings=settings,
            model=start.settings,
            seed=here.drawn,
            progress=here.progress("train"),
            log=here.log,
        )
        here.trained(done.num_steps, traces=done.num_traces, too_long=done.num_too_long)

    start.release()
    return here.made("checkpoint", train)


def by_reward_model(
    pairs: Sequence[PreferencePair],
    prompts: Sequence[Prompt],
    start: Start,
    here: Round,
    *,
    reward: RewardModelSettings,
    policy: GroupPolicySettings,
    answer: AnswerSettings,
) -> Path:
    """A reward model on the pairs, kept as `reward_model/`, and the policy on its rewards of what the policy writes."""
    eos_ids = start.policy.eos_ids
    start.release()

    def train_reward(out: Path, work: Path) -> None:
        done = reward_model(
            pairs,
            start=start.path,
            out=out,
            work=work,
            settings=reward,
            model=start.settings,
            seed=here.drawn,
            progress=here.progress("train_reward"),
            log=lambda metrics: here.folder.log("train_reward", round=here.number, **metrics),
        )
        here.folder.log(
            "trained_reward", round=here.number, pairs=done.num_pairs, too_long=done.num_too_long, steps=done.num_steps
        )

    judge = here.made("reward_model", train_reward, stage="train_reward")

    monitor = Monitor(
        answers=answers_by_prompt(prompts, answer),
        eos_ids=eos_ids,
        start=None,
        kl_traces=0,
        temperature=policy.temperature,
    )

    def watch(traces: StepTraces, rewards: Sequence[float | None], model: nn.Module) -> None:
        here.folder.log("monitor", step=here.steps_before + traces.step, **monitor(traces, rewards, model))

    def train(out: Path, work: Path) -> None:
        def at_checkpoint(step: int, model: nn.Module, write: Callable[[Path], None]) -> bool:
            if step == policy.steps:
                write(out)
            return False

        steps = group_policy(
            prompts,
            IntrinsicReward("reward_model", model_reward(judge, start.settings), watch=watch),
            start=start.path,
            work=work,
            settings=policy,
            model=start.settings,
            seed=here.drawn,
            at_checkpoint=at_checkpoint,
            progress=here.progress("train"),
            log=here.log,
        )
        here.trained(steps)

    return here.made("checkpoint", train)


def check_policy(settings: GroupPolicySettings, start: Start) -> None:
    """Refuse, before any work, a policy training that could not sample.

    Raises:
        ModelError: the model has no end-of-sequence token.
        SettingsError: TRL or PEFT refuses a setting, or completions leave no room for a prompt.
    """
    check_group_policy(settings, start.policy.model, device=device_type(start.settings))
    if settings.max_completion_tokens >= start.policy.context:
        raise SettingsError(
            f"policy.max_completion_tokens = {settings.max_completion_tokens} leaves no room for a prompt in the "
            f"{start.policy.context} tokens of context of {start.name}; set it below"
        )
    if not start.policy.eos_ids:
        raise ModelError(f"{start.name} has no end-of-sequence token, which route=reward_model needs; use route=dpo")
