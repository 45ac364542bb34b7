"""Settings of GRPO and RLOO, and the fields of their TRL configs that are not to be set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inward.errors import SettingsError
from inward.settings.trainer import LoraSettings, refuse_owned

OWNED = {
    "output_dir": "the run folder",
    "max_steps": "steps",
    "num_train_epochs": "steps",
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "lr_scheduler",
    "warmup_steps": "warmup_steps",
    "beta": "kl",
    "num_generations": "group_size",
    "per_device_train_batch_size": "batch_rows",
    "gradient_accumulation_steps": "prompts_per_step and batch_rows",
    "steps_per_generation": "the method (one update per batch of traces)",
    "generation_batch_size": "the method (one update per batch of traces)",
    "num_iterations": "the method (strictly on-policy)",
    "temperature": "temperature",
    "top_p": "the method (a truncated distribution is not the one that is scored)",
    "top_k": "the method (a truncated distribution is not the one that is scored)",
    "max_completion_length": "max_completion_tokens",
    "mask_truncated_completions": "the method (every completion counts)",
    "vllm_structured_outputs_regex": "the method (a truncated distribution is not the one that is scored)",
    "shuffle_dataset": "the method (prompts are laid out in order beforehand)",
    "seed": "--seed",
    "data_seed": "--seed",
    "use_cpu": "model.device",
    "disable_tqdm": "inward's own progress",
    "save_strategy": "save_every",
    "save_steps": "save_every",
}
"""Fields of both TRL's GRPOConfig and its RLOOConfig that inward sets, and what the user sets instead."""


OWNED_GRPO = {"loss_type": "loss", "scale_rewards": "the method (mean and standard deviation of the group)"}
"""The same of GRPOConfig alone; RLOOConfig has no such fields."""


@dataclass(frozen=True, kw_only=True)
class GroupPolicySettings:
    """GRPO or RLOO. Defaults: RLIF's recipe as far as it is known, the rest from Intuitor, whose setup it shares."""

    estimator: Literal["grpo", "rloo"] = "grpo"
    """`grpo`: advantages are rewards minus the group's mean, divided by its standard deviation, and `kl` weighs a term
    of the loss. `rloo`: rewards minus the mean of the group's other traces, in the reward's own unit; the loss takes
    whole traces, a sum over tokens; the reward is lowered by `kl` times the log-ratio to the start model."""
    steps: int = 80
    """Updates of the policy (RLIF: up to 80)."""
    prompts_per_step: int = 128
    """RLIF: 128."""
    group_size: int = 8
    """Traces per prompt (RLIF: 8)."""
    temperature: float = 1.0
    max_completion_tokens: int = 3072
    """RLIF: 3072 for the Qwen2.5 models."""
    learning_rate: float = 3e-6
    lr_scheduler: str = "cosine"
    warmup_steps: int = 8
    """Intuitor: a tenth of the steps."""
    kl: float = 0.005
    """Weight of the KL divergence to the start model (Intuitor): in the loss of GRPO, in the reward of RLOO."""
    loss: Literal["token_mean", "trace_mean"] = "token_mean"
    """Of GRPO: average over all tokens (Intuitor), or over each trace's tokens first. RLOO does not read it."""
    batch_rows: int = 8
    """Traces in one forward and backward pass; a multiple of nothing but a divisor of prompts_per_step * group_size."""
    save_every: int = 20
    """Steps between checkpoints, which are kept, and can be judged."""
    lora: LoraSettings | None = None
    """None trains every parameter."""
    trl: Mapping[str, Any] | None = None
    """Further fields of TRL's GRPOConfig or RLOOConfig, passed through."""

    def __post_init__(self) -> None:
        for name in ("steps", "prompts_per_step", "batch_rows", "save_every", "max_completion_tokens"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.group_size < 2:
            raise SettingsError(f"group_size must be at least 2 to compare traces, got {self.group_size}")
        if not self.temperature > 0 or not self.learning_rate > 0 or self.kl < 0 or self.warmup_steps < 0:
            raise SettingsError("temperature and learning_rate must be above 0, kl and warmup_steps at least 0")
        if (self.prompts_per_step * self.group_size) % self.batch_rows:
            raise SettingsError(
                f"batch_rows must divide prompts_per_step * group_size = {self.prompts_per_step * self.group_size}, "
                f"got {self.batch_rows}"
            )
        if self.estimator == "rloo" and self.loss != "token_mean":
            raise SettingsError(
                f"loss = {self.loss} does nothing under the estimator rloo: set it to token_mean, its default"
            )
        refuse_owned(self.trl, OWNED | OWNED_GRPO if self.estimator == "grpo" else OWNED)
