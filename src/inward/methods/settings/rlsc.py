"""Settings of RLSC."""

from __future__ import annotations

from dataclasses import dataclass

from inward.answers import AnswerSettings
from inward.diagnose import StopSettings
from inward.settings import ModelSettings, SelfConfidenceSettings


@dataclass(frozen=True, kw_only=True)
class Settings:
    """RLSC's settings; the sources of the defaults stand in `SelfConfidenceSettings`."""

    model: ModelSettings = ModelSettings()
    answer: AnswerSettings = AnswerSettings()
    """For the evaluation, the monitors, the stop and `optim.weight=answer`."""
    stop: StopSettings | None = StopSettings()
    """None keeps the last checkpoint and probes none."""
    optim: SelfConfidenceSettings = SelfConfidenceSettings()
