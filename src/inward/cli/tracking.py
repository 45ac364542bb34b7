"""What a training logs, handed on to TensorBoard, Weights & Biases, Trackio or MLflow. Imports nothing unasked."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from inward.runs import Listener, nobody
from inward.types import Manifest

TOLD = ("train", "train_reward", "monitor", "probe")
"""Events of the log that are handed on: those of an optimizer step."""


@contextmanager
def tracking(trackers: Sequence[str], out: Path, manifest: Manifest) -> Iterator[Listener]:
    """Trackers of transformers, by the names of its `report_to`, as a listener to the run folder's log.

    What a tracker writes to disk by itself goes to `trackers/` of the run folder. The settings it shows are the run's.

    Args:
        trackers: such as `tensorboard`; none for no tracker.
        out: the run folder, whose name is the run's.
        manifest: what the run is.
    """
    if not trackers:
        yield nobody
        return
    # Making them resets accelerate's state, so it must be done before a trainer holds on to that.
    about = _arguments(out, manifest)
    begun: list[_Trackers] = []

    def heard(event: str, fields: Mapping[str, object]) -> None:
        numbers = _numbers(event, fields)
        if numbers:
            if not begun:  # with the first number: the folder is open by then, and a run may have none to tell
                begun.append(_Trackers(trackers, about))
            begun[0].tell(int(cast("float", fields["step"])), numbers)

    try:
        yield heard
    finally:
        for one in begun:
            one.end()


def _arguments(out: Path, manifest: Manifest) -> Any:
    """What transformers' callbacks ask of a training: its settings, its name, where to write."""
    from transformers import TrainingArguments

    class Arguments(TrainingArguments):
        def to_dict(self) -> dict[str, Any]:
            about = {"method": manifest.method, "model": manifest.start.name, "seed": manifest.seed}
            return about | dict(_leaves(manifest.settings))

    return Arguments(
        output_dir=str(out / "trackers"),
        run_name=out.resolve().name,
        report_to="none",
        # It chooses the device of this process as a training's own arguments do, so it must choose the same.
        use_cpu=manifest.hardware.get("device") == "cpu",
    )


class _Trackers:
    """Transformers' callbacks, called as its trainer calls them."""

    def __init__(self, names: Sequence[str], about: Any) -> None:
        from transformers import TrainerControl, TrainerState
        from transformers.integrations.integration_utils import get_reporting_integration_callbacks

        self.about = about
        self.state, self.control = TrainerState(), TrainerControl()
        self.made = [tracker() for tracker in get_reporting_integration_callbacks(list(names))]
        for one in self.made:
            one.on_train_begin(self.about, self.state, self.control, model=None)

    def tell(self, step: int, numbers: Mapping[str, float]) -> None:
        self.state.global_step = step
        for one in self.made:
            one.on_log(self.about, self.state, self.control, logs=dict(numbers), model=None)

    def end(self) -> None:
        for one in self.made:
            one.on_train_end(self.about, self.state, self.control, model=None)


def _numbers(event: str, fields: Mapping[str, object]) -> dict[str, float]:
    """Finite numbers of an event; the support of a probe as its mean. `train` names its own as trackers do."""
    if event not in TOLD or "step" not in fields:
        return {}
    prefix = "" if event == "train" else f"{event}/"
    found: dict[str, float] = {}
    for key, value in fields.items():
        if key == "support" and isinstance(value, Sequence) and value:
            value = statistics.fmean(value)
        if key not in ("step", "round") and isinstance(value, int | float) and math.isfinite(value):
            found[prefix + key] = float(value)
    return found


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
