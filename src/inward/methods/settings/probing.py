"""Settings of `inward probe`."""

from __future__ import annotations

from dataclasses import dataclass

from inward.answers import AnswerSettings
from inward.errors import SettingsError
from inward.settings import ModelSettings, SamplingSettings


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How many traces are drawn, and how."""

    num_prompts: int = 128
    """The first so many prompts."""
    num_samples: int = 16
    """Per prompt, beside the greedy trace."""
    temperature: float = 1.0
    """Of the samples. The forecasts take it to be 1, at which methods sample."""
    max_completion_tokens: int | None = None
    """None: the model's own `max_new_tokens`, else 256."""
    batch_rows: int | None = None
    """Traces decoded at once; None: as many as fit. Changes speed and memory only."""
    form_prompts: int = 16
    """Prompts that are put to the model in other forms; 0 for none."""
    form_samples: int = 4
    """Samples of each of them, in each form."""

    def __post_init__(self) -> None:
        if self.num_prompts < 2 or self.form_samples < 1 or self.form_prompts < 0:
            raise SettingsError("num_prompts must be at least 2, form_samples at least 1 and form_prompts at least 0")
        if self.num_samples < 4:
            raise SettingsError(f"num_samples must be at least 4, two halves of two; got {self.num_samples}")
        self.sampling()

    def sampling(self) -> SamplingSettings:
        """The same as settings of the sampler, which refuses what it cannot do."""
        return SamplingSettings(
            strategy="greedy",
            temperature=self.temperature,
            max_completion_tokens=self.max_completion_tokens,
            batch_rows=self.batch_rows,
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of `inward probe`."""

    model: ModelSettings = ModelSettings()
    answer: AnswerSettings = AnswerSettings()
    probe: ProbeSettings = ProbeSettings()
