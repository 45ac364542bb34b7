"""Settings of DPO, and the fields of its TRL config that are not to be set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inward.errors import SettingsError
from inward.settings.trainer import LoraSettings, refuse_owned

OWNED = {
    "output_dir": "the run folder",
    "beta": "optim.beta",
    "learning_rate": "optim.learning_rate",
    "num_train_epochs": "optim.num_epochs",
    "max_steps": "optim.num_epochs",
    "per_device_train_batch_size": "optim.batch_size",
    "gradient_accumulation_steps": "optim.gradient_accumulation_steps",
    "lr_scheduler_type": "optim.lr_scheduler",
    "warmup_steps": "optim.warmup_steps",
    "max_length": "optim.max_length",
    "seed": "--seed",
    "data_seed": "--seed",
    "loss_type": "optim.loss",
    "loss_weights": "optim.label_smoothing",
    "label_smoothing": "optim.label_smoothing",
    "use_cpu": "model.device",
    "precompute_ref_log_probs": "the method (the reference is frozen)",
    "remove_unused_columns": "the method (exact token ids travel in extra columns)",
    "padding_free": "the method (its collator pads)",
    "disable_tqdm": "inward's own progress",
    "save_strategy": "optim.num_saves",
    "save_steps": "optim.num_saves",
}
"""Fields of TRL's DPOConfig that inward sets, and what the user sets instead."""


@dataclass(frozen=True, kw_only=True)
class PreferenceSettings:
    """DPO. Defaults: RLSF's code, section 1.6 of the notes."""

    beta: float = 0.2
    loss: Literal["sigmoid", "hinge", "ipo", "robust"] = "sigmoid"
    """With d the implicit reward margin, beta * (log-ratio of chosen - log-ratio of rejected): -log sigmoid(d) (DPO and
    RLSF); max(0, 1 - d), which stops pushing a pair once d is 1; IPO, whose target per token is finite; robust DPO,
    unbiased where a share `label_smoothing` of the pairs is the wrong way round."""
    label_smoothing: float = 0.0
    """Share of the pairs believed to be the wrong way round; with `sigmoid` conservative DPO."""
    margin: Literal["none", "gap", "exp_gap"] = "none"
    """What d has to exceed (ODPO): nothing (RLSF), the difference of confidences, or its exp, as in RLSF's reward
    model. The logged rewards are then lower by it."""
    stop_margin: float | None = None
    """End training once the logged `rewards/margins`, averaged over a quarter of an epoch, reach this: before
    confidence saturates, and without a label. None: train all epochs."""
    learning_rate: float = 1e-6
    num_epochs: int = 3
    batch_size: int = 4
    gradient_accumulation_steps: int = 1
    lr_scheduler: str = "linear"
    warmup_steps: int = 0
    max_length: int | None = None
    """Most tokens of prompt and completion (RLSF: 256). Longer pairs are left out and counted, never cut. None: no
    limit."""
    num_saves: int = 10
    """Checkpoints written during training, to resume from."""
    lora: LoraSettings | None = LoraSettings()
    """None trains every parameter."""
    trl: Mapping[str, Any] | None = None
    """Further fields of TRL's DPOConfig, passed through."""

    def __post_init__(self) -> None:
        if self.beta <= 0 or self.learning_rate <= 0:
            raise SettingsError("beta and learning_rate must be above 0")
        for name in ("num_epochs", "batch_size", "gradient_accumulation_steps", "num_saves"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.warmup_steps < 0 or (self.max_length is not None and self.max_length < 2):
            raise SettingsError("warmup_steps must be at least 0 and max_length at least 2")
        self._check_loss()
        refuse_owned(self.trl, OWNED)

    def _check_loss(self) -> None:
        if not 0 <= self.label_smoothing < 0.5:
            raise SettingsError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")
        if self.label_smoothing and self.loss in ("hinge", "ipo"):
            raise SettingsError(f"label_smoothing does nothing with loss={self.loss}; use sigmoid or robust")
        if self.loss == "robust" and not self.label_smoothing:
            raise SettingsError("loss=robust is loss=sigmoid unless label_smoothing is above 0; set it")
        if self.margin != "none" and self.loss == "ipo":
            raise SettingsError("margin does not go with loss=ipo, which divides by the traces' lengths; use sigmoid")
        if self.margin != "none" and (self.trl or {}).get("f_divergence_type", "reverse_kl") != "reverse_kl":
            raise SettingsError("margin goes with TRL's f_divergence_type=reverse_kl alone; leave that out")
