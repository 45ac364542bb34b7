"""Settings of `inward calibrate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inward.answers import AnswerSettings
from inward.errors import SettingsError
from inward.settings import LoraSettings, ModelSettings


@dataclass(frozen=True, kw_only=True)
class DistillSettings:
    """How a checkpoint is fine-tuned on the samples that were counted as votes."""

    target: Literal["votes", "samples"] = "votes"
    """Teach the greedy trace with the answer of every sample, or the samples as they are."""
    scoring_temperature: float = 1.0
    """Divides the logits that are trained. Below the temperature of the samples it flattens every token."""
    steps: int = 20
    prompts_per_step: int = 8
    """Each with all its samples."""
    learning_rate: float = 1e-5
    weight_decay: float = 0.0
    batch_rows: int = 8
    """Samples in one forward and backward pass; changes speed and memory only."""
    lora: LoraSettings | None = None
    """None trains every parameter."""


@dataclass(frozen=True, kw_only=True)
class CalibrationSettings:
    """What is fitted, and to which votes."""

    method: Literal["temperature", "votes", "reference", "distill"] = "temperature"
    reference: str | None = None
    """The other model of `reference`: a folder, a hub id or embedded:NAME."""
    objective: Literal["mean", "brier"] = "mean"
    """The temperature makes the mean confidence the mean vote share, or their squared difference least."""
    num_votes: int = 16
    """Samples per prompt whose answers are counted."""
    votes_temperature: float = 1.0
    """They are sampled at; lower ones agree more, which raises the confidence that is fitted."""
    max_completion_tokens: int | None = None
    """None: the model's own `max_new_tokens`, else 256."""
    batch_rows: int = 256
    """Traces decoded at once; changes speed and memory only."""

    def __post_init__(self) -> None:
        if self.num_votes < 2:
            raise SettingsError(f"num_votes must be at least 2, got {self.num_votes}")
        if (self.method == "reference") != (self.reference is not None):
            raise SettingsError("method=reference and a reference model (--reference MODEL) go together")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of `inward calibrate`."""

    model: ModelSettings = ModelSettings()
    answer: AnswerSettings = AnswerSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    distill: DistillSettings = DistillSettings()
