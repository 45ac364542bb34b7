"""Settings of fine-tuning, and the fields of its TRL config that are not to be set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inward.errors import SettingsError
from inward.settings.trainer import LoraSettings, refuse_owned

OWNED = {
    "output_dir": "the run folder",
    "learning_rate": "tuning.learning_rate",
    "num_train_epochs": "tuning.num_epochs",
    "max_steps": "tuning.num_epochs",
    "per_device_train_batch_size": "tuning.batch_size",
    "gradient_accumulation_steps": "tuning.gradient_accumulation_steps",
    "lr_scheduler_type": "tuning.lr_scheduler",
    "warmup_steps": "tuning.warmup_steps",
    "max_length": "tuning.max_length",
    "seed": "--seed",
    "data_seed": "--seed",
    "use_cpu": "model.device",
    "packing": "the method (a trace is a row)",
    "padding_free": "the method (a trace is a row)",
    "completion_only_loss": "the method (its labels leave the prompt out)",
    "assistant_only_loss": "the method (its labels leave the prompt out)",
    "dataset_kwargs": "the method (its columns are exact token ids)",
    "disable_tqdm": "inward's own progress",
    "save_strategy": "tuning.num_saves",
    "save_steps": "tuning.num_saves",
}
"""Fields of TRL's SFTConfig that inward sets, and what the user sets instead."""


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """Fine-tuning on the surest traces. No paper states it: the defaults are those of RLSF's reward model."""

    num_best: int = 1
    """Traces per prompt, the surest first."""
    learning_rate: float = 5e-5
    num_epochs: int = 3
    batch_size: int = 4
    gradient_accumulation_steps: int = 1
    lr_scheduler: str = "linear"
    warmup_steps: int = 0
    max_length: int | None = None
    """Most tokens of prompt and completion. Longer traces are left out and counted, never cut. None: no limit."""
    num_saves: int = 10
    """Checkpoints written during training, to resume from."""
    lora: LoraSettings | None = LoraSettings()
    """None trains every parameter."""
    trl: Mapping[str, Any] | None = None
    """Further fields of TRL's SFTConfig, passed through."""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise SettingsError(f"learning_rate must be above 0, got {self.learning_rate}")
        for name in ("num_best", "num_epochs", "batch_size", "gradient_accumulation_steps", "num_saves"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.warmup_steps < 0 or (self.max_length is not None and self.max_length < 2):
            raise SettingsError("warmup_steps must be at least 0 and max_length at least 2")
        refuse_owned(self.trl, OWNED)
