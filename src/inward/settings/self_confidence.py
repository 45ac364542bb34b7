"""Settings of RLSC's loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inward.errors import SettingsError
from inward.settings.trainer import LoraSettings
from inward.types import WeightKind


@dataclass(frozen=True, kw_only=True)
class SelfConfidenceSettings:
    """RLSC. Defaults: the paper's, where it states them."""

    steps: int = 20
    """Paper: 10 or 20."""
    prompts_per_step: int = 8
    """Paper's algorithm: one; its eight GPUs suggest eight. Reduced like all samples of a step."""
    group_size: int = 16
    """Samples per prompt (paper: 16)."""
    temperature: float = 0.5
    """Of the samples (paper: 0.5)."""
    scoring_temperature: float | None = None
    """Divides the logits that are trained and weighted; None: the sampling temperature, as in the paper's algorithm.
    With equal ones alpha has no gradient in expectation; scored at 1 after sampling at 0.5, alpha pulls the model to
    the sharper distribution it sampled from, which is self-distillation."""
    max_completion_tokens: int = 3072
    """Paper: 3072."""
    loss: Literal["rlsc", "entropy_sum", "entropy_token_mean"] = "rlsc"
    """`entropy_sum` is EM-FT (arXiv 2505.15134), `entropy_token_mean` one-shot EM (arXiv 2505.20282)."""
    alpha: float = 0.1
    """Added to every weight: the paper's L2; 0 is its L1. Pulls up every sample alike, whatever its probability."""
    weight: WeightKind = "sequence"
    """Paper: the probability of the whole completion. The others: see `losses.confidence_weight`."""
    regenerate: bool = True
    """Sample anew at every step, as in the paper's algorithm; false: once, from the start model, so that training is
    on one fixed set."""
    reduction: Literal["mean", "sum"] = "mean"
    """Over the completions of a step; the sum is as many times larger, which AdamW hardly sees but clipping does."""
    learning_rate: float = 1e-5
    """Paper: 1e-5, constant."""
    weight_decay: float = 0.01
    """AdamW's default, for the paper's "standard weight decay"."""
    max_grad_norm: float | None = 1.0
    """The paper states none; 1 for stability. None: no clipping."""
    batch_rows: int = 8
    """Samples in one forward and backward pass; changes speed and memory only."""
    save_every: int = 5
    """Steps between checkpoints, which are kept, and can be judged."""
    lora: LoraSettings | None = None
    """None trains every parameter."""

    def __post_init__(self) -> None:
        for name in ("steps", "prompts_per_step", "group_size", "batch_rows", "save_every", "max_completion_tokens"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}")
        scoring = self.temperature if self.scoring_temperature is None else self.scoring_temperature
        if not min(self.temperature, scoring, self.learning_rate) > 0:
            raise SettingsError("temperature, scoring_temperature and learning_rate must be above 0")
        if self.alpha < 0 or self.weight_decay < 0:
            raise SettingsError(f"alpha and weight_decay must be at least 0, got {self.alpha} and {self.weight_decay}")
        if self.loss != "rlsc" and self.weight != "sequence":
            raise SettingsError(f"weight={self.weight} does nothing under loss={self.loss}: it is of loss=rlsc")
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise SettingsError(f"max_grad_norm must be above 0, or null for none, got {self.max_grad_norm}")
        if self.loss == "rlsc" and self.weight == "none" and self.alpha == 0:
            raise SettingsError("weight=none with alpha=0 gives every sample the weight 0: nothing would be learned")

    @property
    def scored_at(self) -> float:
        """The scoring temperature."""
        return self.temperature if self.scoring_temperature is None else self.scoring_temperature
