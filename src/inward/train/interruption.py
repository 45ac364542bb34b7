"""SIGTERM during a training: the step under way is finished and kept, and the process ends after that."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from inward.train.processes import anywhere
from inward.train.trainer import date_by_step, newest_checkpoint


@contextmanager
def whole_steps() -> Iterator[Callable[[], bool]]:
    """Hold SIGTERM back while the body runs; then hand it to the handler that was there, and end by SystemExit.

    A process without a handler of its own dies of SIGTERM as before; its training resumes like a killed one.

    Yields:
        Whether SIGTERM has come to any of the processes that train together; each must ask as often as the others.
    """
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked: list[int] = []  # a list, since a lock could be held by the very thread that a handler interrupts
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))

    def told() -> bool:
        if anywhere(bool(asked)) and not asked:
            asked.append(signal.SIGTERM)
        return bool(asked)

    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
        if asked:
            before(signal.SIGTERM, None)
            raise SystemExit(128 + signal.SIGTERM)  # a handler that returns must not make half a training a whole one


def fit(trainer: Any, work: Path) -> None:
    """Train, or resume from the newest whole trainer checkpoint in `work`; see `whole_steps` for SIGTERM."""
    with whole_steps() as asked:
        trainer.add_callback(_ender(asked, work))
        # One process looks, since looking removes what is torn.
        found = [newest_checkpoint(work) if trainer.is_world_process_zero() else None]
        trainer.train(resume_from_checkpoint=broadcast_object_list(found)[0])


def _ender(asked: Callable[[], bool], work: Path) -> Any:
    """A callback that writes a trainer checkpoint after the step under way, and ends the training."""
    from transformers import TrainerCallback

    class Ender(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if asked():
                control.should_save = control.should_training_stop = True
            if control.should_save and state.is_world_process_zero:
                date_by_step(work)

    return Ender()
