"""Where Ray's actors are that write traces."""

from __future__ import annotations

from dataclasses import dataclass

from inward.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """Where Ray's actors are, and how many."""

    address: str | None = None
    """Of a running cluster, as in `10.0.0.1:6379`, or `auto` for the one that this machine belongs to. None: what
    RAY_ADDRESS names; else Ray is started here, and stopped at the end."""
    actors: int | None = None
    """None: one for each GPU that is free when sampling starts; without GPUs, for as many cores as torch has threads.
    A number: so many, and where devices are missing the run waits for them."""

    def __post_init__(self) -> None:
        if self.actors is not None and self.actors < 1:
            raise SettingsError(f"actors must be at least 1, got {self.actors}")
        if self.address is not None and ("://" in self.address or not self.address.strip()):
            raise SettingsError(
                f"address is HOST:PORT or auto, got {self.address!r}; run the command on a machine of the cluster "
                "rather than through a client"
            )
