"""Prompts and a reward in, checkpoints out: GRPO or RLOO through TRL's public surface.

The reward sees the traces and the live policy (see `train.reward`). A row of the data set holds a prompt and its id,
and nothing else: no other column can reach a reward.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers.modeling_utils import PreTrainedModel

from inward.errors import ModelError, SettingsError
from inward.models import device_type, evaluating, load_model, load_tokenizer
from inward.settings import GroupPolicySettings, ModelSettings
from inward.train.interruption import fit
from inward.train.processes import num_processes
from inward.train.quantized import check_quantized, full_adapter, full_base, load_base
from inward.train.reward import IntrinsicReward
from inward.train.trainer import (
    check_lora,
    diverged,
    open_defaults,
    peft_config,
    quiet,
    reporter,
    save,
)
from inward.train.vllm import await_server, check_vllm, named
from inward.train.vllm import mode as vllm_mode
from inward.train.whole import refuse_sharding
from inward.types import SECOND_PHRASING, Prompt

AtCheckpoint = Callable[[int, nn.Module, Callable[[Path], None]], bool]
"""Called with the step, the live policy in evaluation mode and a function that writes a plain checkpoint into an empty
folder; whether training is to end here. A step may be told of twice, when a training is resumed from it."""


def check_group_policy(settings: GroupPolicySettings, model: PreTrainedModel, *, device: str | None = None) -> None:
    """Refuse settings that TRL, vLLM or PEFT would refuse, before there is work to lose.

    Args:
        settings: hyper-parameters.
        model: the start model.
        device: type of the device to train on; None: where the model is.

    Raises:
        SettingsError: TRL does not know a field or a value, no module is called as in `lora.target_modules`, or vLLM
            cannot write the traces as it is told to.
    """
    refuse_sharding(settings.estimator.upper())
    with quiet():
        args = config(settings, work=Path("unused"), seed=0, device=model.device.type, processes=num_processes())
    check_lora(settings.lora, model)
    check_quantized(settings.lora, device or model.device.type)
    if settings.lora and settings.lora.quantization and vllm_mode(settings.trl):
        raise SettingsError("lora.quantization=4bit packs weights as vLLM is not sent them: leave out trl.use_vllm")
    check_vllm(
        settings.trl,
        args,
        device=device or model.device.type,
        processes=num_processes(),
        heads=getattr(model.config.get_text_config(), "num_attention_heads", None),
    )


def await_engine(settings: GroupPolicySettings, model: ModelSettings) -> None:
    """Wait for the vLLM server that the settings name, if any; see `vllm.await_server`.

    Raises:
        ServerError: none answers, or it was started without what TRL needs of it.
    """
    if vllm_mode(settings.trl) == "server":
        with quiet():
            await_server(
                config(settings, work=Path("unused"), seed=0, device=device_type(model), processes=num_processes())
            )


def group_policy(
    prompts: Sequence[Prompt],
    reward: IntrinsicReward,
    *,
    start: Path,
    work: Path,
    settings: GroupPolicySettings,
    model: ModelSettings,
    seed: int,
    at_checkpoint: AtCheckpoint,
    progress: Callable[[int, int], None] = lambda done, total: None,
    log: Callable[[dict[str, float]], None] = lambda metrics: None,
) -> int:
    """Train a policy with GRPO or RLOO on a reward, from `start`.

    Args:
        prompts: what to ask; shuffled by `seed`, begun again when used up.
        reward: see `IntrinsicReward`; a reward model's is `IntrinsicReward("model", model_reward(path, model))`.
        start: folder of the start checkpoint, which is also the reference of the KL divergence.
        work: folder for trainer checkpoints; a training that was killed resumes from the newest whole one there.
        settings: hyper-parameters.
        model: how the start checkpoint is loaded.
        seed: of sampling, data order and adapter initialisation.
        at_checkpoint: told every `save_every` steps and at the end; in one process where there are several.
        progress: called with (optimizer steps done, steps in all).
        log: called with the metrics of each step.

    Returns:
        The number of optimizer steps done.

    Raises:
        ModelError: the model has no end-of-sequence token, without which TRL cannot tell where a completion ends; or
            the training has diverged.
        ServerError: as `await_engine`.
    """
    from datasets import Dataset
    from transformers import PrinterCallback

    await_engine(settings, model)
    tokenizer = load_tokenizer(start, model)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{start} has no end-of-sequence token, which GRPO and RLOO need; set one in its tokenizer")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.padding_side = "left"
    rows = [
        {"prompt": _shown(prompt, tokenizer, model), "prompt_id": prompt.id}
        for prompt in in_order(prompts, settings.steps * settings.prompts_per_step, seed)
    ]
    with quiet():
        policy = load_base(start, model, settings.lora)
        trainer = _trainer_class(settings)(
            model=policy,
            reward_funcs=[reward],
            args=config(settings, work=work, seed=seed, device=policy.device.type, processes=num_processes()),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=peft_config(settings.lora, policy) if settings.lora else None,
            callbacks=[
                reporter(progress, lambda metrics: log(named(metrics))),
                reward.callback,
                _keeper(start, model, settings, at_checkpoint),
            ],
        )
        full_adapter(trainer.model, settings.lora)
        trainer.remove_callback(PrinterCallback)
        try:
            fit(trainer, work)
        except RuntimeError as error:
            if "probability tensor contains" not in str(error):  # what torch says where it is to draw from NaN
                raise
            step = trainer.state.global_step
            raise diverged(f"after step {step} the policy gives probabilities that are not finite") from error
    return trainer.state.global_step


def in_order(prompts: Sequence[Prompt], num: int, seed: int) -> list[Prompt]:
    """The first `num` prompts of one seeded shuffle after another, two phrasings of a question side by side.

    All epochs are laid out beforehand: TRL's sampler begins its shuffles anew when a training is resumed, which would
    show a resumed training other prompts.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    seconds = {id_ for id_ in by_id if id_.endswith(SECOND_PHRASING) and id_.removesuffix(SECOND_PHRASING) in by_id}
    units = [
        [prompt, by_id[prompt.id + SECOND_PHRASING]] if prompt.id + SECOND_PHRASING in seconds else [prompt]
        for prompt in prompts
        if prompt.id not in seconds
    ]
    shuffles = random.Random(seed)
    order: list[Prompt] = []
    while len(order) < num:
        order += [prompt for unit in shuffles.sample(units, len(units)) for prompt in unit]
    return order[:num]


def _shown(prompt: Prompt, tokenizer: Any, model: ModelSettings) -> Any:
    """The prompt as TRL tokenises it to the same ids as `models.render`: text, or messages for a chat template."""
    if prompt.messages is not None:
        return [{"role": m.role, "content": m.content} for m in prompt.messages]
    wanted = model.chat_template == "always" or (model.chat_template == "auto" and tokenizer.chat_template)
    return [{"role": "user", "content": prompt.text}] if wanted else prompt.text


def config(settings: GroupPolicySettings, *, work: Path, seed: int, device: str, processes: int = 1) -> Any:
    """TRL's GRPOConfig or RLOOConfig for these settings: the one place that knows both vocabularies.

    `prompts_per_step` is of all processes together; a group may span two of them.

    Raises:
        SettingsError: TRL does not know a field or a value, or a step does not divide among the processes.
    """
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.rloo_config import RLOOConfig

    made = {"grpo": GRPOConfig, "rloo": RLOOConfig}[settings.estimator]
    passes, rest = divmod(settings.prompts_per_step * settings.group_size, settings.batch_rows * processes)
    if rest:
        raise SettingsError(
            f"a step of {settings.prompts_per_step} * {settings.group_size} traces does not divide among "
            f"{processes} processes of batch_rows = {settings.batch_rows}"
        )
    owned: dict[str, Any] = {
        "output_dir": str(work),
        "max_steps": settings.steps,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.lr_scheduler,
        "warmup_steps": settings.warmup_steps,
        "beta": settings.kl,
        "num_generations": settings.group_size,
        "per_device_train_batch_size": settings.batch_rows,
        "gradient_accumulation_steps": passes,
        "num_iterations": 1,
        "temperature": settings.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "max_completion_length": settings.max_completion_tokens,
        "mask_truncated_completions": False,
        "shuffle_dataset": False,
        "seed": seed,
        "use_cpu": device == "cpu",
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": settings.save_every,
    }
    if settings.estimator == "grpo":
        owned["loss_type"] = {"token_mean": "dapo", "trace_mean": "grpo"}[settings.loss]
        owned["scale_rewards"] = "group"
    try:
        return made(**{**open_defaults(device), "disable_dropout": True, **(settings.trl or {}), **owned})
    except (TypeError, ValueError) as error:
        raise SettingsError(f"TRL refuses these settings of {settings.estimator}: {error}") from error


def _trainer_class(settings: GroupPolicySettings) -> Any:
    if settings.estimator == "rloo":
        from trl.trainer.rloo_trainer import RLOOTrainer

        return RLOOTrainer
    from trl.trainer.grpo_trainer import GRPOTrainer

    return GRPOTrainer


def _keeper(start: Path, model: ModelSettings, settings: GroupPolicySettings, at_checkpoint: AtCheckpoint) -> Any:
    """A callback that tells of each checkpoint the trainer wrote, and ends the training where that is asked for."""
    from accelerate.utils import broadcast_object_list
    from peft import PeftModel
    from transformers import TrainerCallback

    def told(args: Any, state: Any, policy: nn.Module) -> bool:
        if state.global_step % settings.save_every and state.global_step < settings.steps:
            return False  # written to resume from, since SIGTERM ended the training here
        written = Path(args.output_dir) / f"checkpoint-{state.global_step}"

        def write(folder: Path) -> None:
            if settings.lora and settings.lora.quantization:
                base = full_base(start, model, cast(Any, policy).dtype)
                plain = PeftModel.from_pretrained(base, str(written))
            elif settings.lora:
                plain = PeftModel.from_pretrained(load_model(start, model), str(written))
            else:
                plain = load_model(written, model, dtype="float32")
            save(plain, start, folder, model)

        answer = [False]
        if state.is_world_process_zero:
            # A resumed training does not come through here, so no random number may be used up.
            forked = torch.random.fork_rng(devices=[args.device] if args.device.type == "cuda" else [])
            with forked, evaluating(policy):
                answer = [at_checkpoint(state.global_step, policy, write)]
        return bool(broadcast_object_list(answer)[0])

    class Keeper(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step:  # a kill may have come between the trainer's checkpoint and the telling
                told(args, state, kwargs["model"])

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if told(args, state, kwargs["model"]):
                control.should_training_stop = True

    return Keeper()
