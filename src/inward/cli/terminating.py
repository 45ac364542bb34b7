"""SIGTERM, by which schedulers announce the end: the command ends with exit code 143 in less than ten seconds."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM
GRACE = 8.0
"""Seconds from SIGTERM to the end at the latest; schedulers kill after ten or more."""


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """End the body by SystemExit where SIGTERM comes; a training finishes and keeps its step first.

    Where that takes longer than `GRACE` the process ends all the same: every file is whole or absent at any moment.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread set a handler
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # The handler waits for native code to return; what is written here is read by a thread at once.
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_see_to_it, args=(reading,), daemon=True).start()
    inside = [True]
    os.register_at_fork(after_in_child=lambda: _forget() if inside else None)
    try:
        yield
    finally:
        inside.clear()
        signal.signal(signal.SIGTERM, before)
        signal.set_wakeup_fd(wakeup)
        os.close(writing)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # asked again, nothing ends sooner
    raise SystemExit(EXIT_CODE)


def _forget() -> None:
    """Let a forked process die of SIGTERM alone: what its handler writes would be read here as sent to this one."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _see_to_it(reading: int) -> None:
    """Wait for SIGTERM, and end the process `GRACE` seconds later."""
    with os.fdopen(reading, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            if number[0] == signal.SIGTERM:
                threading.Event().wait(GRACE)
                os._exit(EXIT_CODE)
