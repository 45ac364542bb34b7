"""The rounds of a run: where each keeps its files, its seed, and what the log says of its training. No torch."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inward.runs import RunFolder


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a run: the first lies in the run folder itself, the later ones under `rounds/NN`."""

    folder: RunFolder
    number: int
    seed: int
    """Of the run; `drawn` is the round's own."""

    def at(self, name: str) -> str:
        """A name in the run folder."""
        return name if self.number == 1 else f"rounds/{self.number:02d}/{name}"

    def path(self, name: str) -> Path:
        """The same as a path."""
        return self.folder.path / self.at(name)

    @property
    def drawn(self) -> int:
        """The seed of this round: the run's own in the first."""
        return self.seed if self.number == 1 else random.Random(f"{self.seed}:{self.number}").getrandbits(31)

    @property
    def steps_before(self) -> int:
        """Optimizer steps of the earlier rounds, from the log."""
        return trainings(self.folder)[self.number - 1]["steps"] if self.number > 1 else 0

    def trained(self, steps: int, **fields: object) -> None:
        """Log that the round's training has ended, after so many steps of its own."""
        self.folder.log("trained", round=self.number, steps=self.steps_before + steps, **fields)

    def log(self, metrics: dict[str, float]) -> None:
        """Log a step of the policy's training, counted over all rounds."""
        self.folder.log("train", **{**metrics, "step": metrics["step"] + self.steps_before})

    def progress(self, name: str) -> Callable[[int, int], None]:
        """Tell the run's progress of a training."""
        return lambda step, steps: self.folder.progress(self.at(name), step, steps)

    def made(self, name: str, train: Callable[[Path, Path], None], *, stage: str = "train") -> Path:
        """Build a folder by a training.

        Args:
            name: the folder to be.
            train: fills an empty folder; its trainer keeps its checkpoints in the second one until all is done.
            stage: what its seconds go to.
        """
        work = self.path("trainer" if stage == "train" else f"trainer_{name}")
        crew = self.folder.crew
        if not crew.agree(self.path(name).exists):
            with self.folder.timed(self.at(stage)):
                if crew.leads:
                    self.folder.build(self.at(name), lambda out: train(out, work))
                else:
                    train(self.path(name), work)  # in step with the leader, which alone writes
                crew.agree(lambda: None)
        if crew.leads:
            shutil.rmtree(work, ignore_errors=True)
        return self.path(name)


def trainings(folder: RunFolder, event: str = "trained") -> dict[int, dict[str, Any]]:
    """By round, what the log says of a training that has ended; the last word counts where it was killed at its end."""
    return {one.get("round", 1): one for one in folder.events() if one["event"] == event}
