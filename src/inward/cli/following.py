"""What a process says that follows another: nothing, as long as the one that leads can say it."""

from __future__ import annotations

import os
import time

PATIENCE = 10.0
"""Seconds that a follower leaves to the leader, whose end makes the launcher end it."""


def follows() -> bool:
    """Whether a launcher such as `torchrun` started this process beside the one that leads."""
    return os.environ.get("RANK", "0") != "0"


def error_label() -> str:
    """What stands before an error: where one process errs, the leader mostly does as well, and is let speak first."""
    if not follows():
        return "error: "
    time.sleep(PATIENCE)
    return f"error in process {os.environ['RANK']}: "
