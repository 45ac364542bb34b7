"""What the settings of several trainers share: adapters, trackers, fields of TRL that are passed through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

from inward.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """A low-rank adapter (RLSF's code: r 8, alpha 16, rsLoRA; its dropout of 0.1 is switched off by TRL in DPO)."""

    r: int = 8
    alpha: int = 16
    rslora: bool = True
    target_modules: tuple[str, ...] | None = None
    """None: PEFT's default for the architecture, or every linear layer where PEFT knows none."""
    quantization: Literal["4bit"] | None = None
    """`4bit` holds the frozen weights in 4 bits while the adapter trains (QLoRA); see `train.quantized`."""

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha < 1:
            raise SettingsError(f"r and alpha must be at least 1, got {self.r} and {self.alpha}")


Tracker = Literal["tensorboard", "wandb", "trackio", "mlflow"]
"""By the names of transformers' `report_to`, which are those of their packages."""


def check_trackers(names: Sequence[str], setting: str = "report_to") -> None:
    """Raise SettingsError where the package of a tracker is not installed; nothing is imported."""

    def installed(name: str) -> bool:
        found = find_spec(name)
        # A folder that a tracker keeps here, such as `wandb`, is found too, as a package without a file.
        return found is not None and found.origin is not None

    missing = [name for name in names if name in get_args(Tracker) and not installed(name)]
    if missing:
        raise SettingsError(
            f"{setting}: {' and '.join(missing)} cannot be imported: `pip install {' '.join(missing)}`, or leave it out"
        )


SECRETS = ("hub_token", "push_to_hub_token")
"""Fields of TRL that hold keys; settings are written into the run folder."""


def refuse_owned(trl: Mapping[str, Any] | None, owned: Mapping[str, str]) -> None:
    """Refuse further fields of TRL that cannot be passed through.

    Raises:
        SettingsError: inward sets one of them, and `owned` says what to set instead; or a tracker is not installed.
    """
    for key in trl or {}:
        if key in SECRETS:
            raise SettingsError(f"trl.{key} would stand in the manifest for all to read: set HF_TOKEN instead")
        if key in owned:
            raise SettingsError(f"trl.{key} is set by inward: use {owned[key]}")
    trackers = (trl or {}).get("report_to")
    named = trackers if isinstance(trackers, list | tuple) else [trackers]
    check_trackers([one for one in named if isinstance(one, str)], "trl.report_to")  # TRL refuses the others
