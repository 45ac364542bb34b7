"""Where a training starts from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from inward.settings import ModelSettings

if TYPE_CHECKING:
    from inward.models import Policy


@dataclass(frozen=True)
class Start:
    """The start checkpoint, loaded when it is first needed and at most once."""

    name: str
    path: Path
    settings: ModelSettings

    @cached_property
    def policy(self) -> Policy:
        """The loaded model."""
        from inward import models

        return models.load(self.path, self.settings, name=self.name)

    def release(self) -> None:
        """Let go of the loaded model, to make room for a training."""
        self.__dict__.pop("policy", None)
