"""Settings of a reward model, and the fields of its TRL config that are not to be set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inward.errors import SettingsError
from inward.settings.trainer import LoraSettings, refuse_owned

OWNED = {
    "output_dir": "the run folder",
    "learning_rate": "learning_rate",
    "num_train_epochs": "num_epochs",
    "max_steps": "num_epochs",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "lr_scheduler_type": "lr_scheduler",
    "warmup_steps": "warmup_steps",
    "max_length": "max_length",
    "seed": "--seed",
    "data_seed": "--seed",
    "use_cpu": "model.device",
    "model_init_kwargs": "the settings of the model",
    "remove_unused_columns": "the method (its columns are exact token ids)",
    "chat_template_path": "the method (its columns are exact token ids)",
    "eos_token": "the method (its columns are exact token ids)",
    "pad_token": "the method (no trace may end with it)",
    "disable_tqdm": "inward's own progress",
    "save_strategy": "num_saves",
    "save_steps": "num_saves",
}
"""Fields of TRL's RewardConfig that inward sets, and what the user sets instead."""


@dataclass(frozen=True, kw_only=True)
class RewardModelSettings:
    """A reward model. Defaults: RLSF's code, section 1.5 of the notes."""

    learning_rate: float = 5e-5
    num_epochs: int = 3
    batch_size: int = 4
    gradient_accumulation_steps: int = 1
    lr_scheduler: str = "linear"
    warmup_steps: int = 0
    margin: bool = True
    """Whether a chosen trace is to exceed a rejected one by exp(gap); else by anything."""
    max_length: int | None = None
    """Most tokens of prompt and completion (RLSF: 256). Longer pairs are left out and counted, never cut. None: no
    limit."""
    num_saves: int = 10
    """Checkpoints written during training, to resume from."""
    lora: LoraSettings | None = LoraSettings()
    """None trains every parameter; the scalar head is trained in full either way."""
    trl: Mapping[str, Any] | None = None
    """Further fields of TRL's RewardConfig, passed through."""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise SettingsError(f"learning_rate must be above 0, got {self.learning_rate}")
        for name in ("num_epochs", "batch_size", "gradient_accumulation_steps", "num_saves"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.warmup_steps < 0 or (self.max_length is not None and self.max_length < 2):
            raise SettingsError("warmup_steps must be at least 0 and max_length at least 2")
        refuse_owned(self.trl, OWNED)
