"""Processes that compare expressions and can be killed: none is started before it is needed, none outlives this one.

Math-Verify stops itself by a signal that only the main thread can take and that no long power obeys. Here each
comparison runs in a process of its own that imports Math-Verify and nothing else; it is started as a program, not
forked from this process with its threads and its model. A process that takes too long, runs out of memory or crashes
is replaced.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TIME_LIMIT = 5.0
"""Seconds for reading and comparing two expressions."""
START_LIMIT = 120.0
"""Seconds in which a process must be ready: nothing of this counts against a comparison."""

_PROGRAM = Path(__file__).with_name("worker.py")


class WorkerEndedError(Exception):
    """A process ended without a reply."""


@dataclass(eq=False, kw_only=True)
class Worker:
    """A process and what it has written so far."""

    process: subprocess.Popen[bytes]

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request of less than a pipe holds and wait for the reply.

        Raises:
            TimeoutError: it took longer.
            WorkerEndedError: the process ended.
        """
        assert self.process.stdin is not None
        line = json.dumps(request).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self.process.stdin.fileno(), line) :]
        except OSError as error:
            raise WorkerEndedError from error
        return self.reply(seconds)

    def reply(self, seconds: float) -> dict[str, Any]:
        """Wait for one line; raises as `ask`."""
        assert self.process.stdout is not None
        stdout = self.process.stdout.fileno()
        waiting = select.poll()  # not select, which fails where many files are open
        waiting.register(stdout, select.POLLIN)
        line, end = b"", time.monotonic() + seconds
        while not line.endswith(b"\n"):
            if not waiting.poll(max(0.0, end - time.monotonic()) * 1000):
                raise TimeoutError
            written = os.read(stdout, 1 << 16)
            if not written:
                raise WorkerEndedError
            line += written
        return json.loads(line)

    def stop(self) -> None:
        """Kill the process and take its exit status, so that none is left as a zombie."""
        self.process.kill()
        self.process.wait()
        self.drop_pipes()

    def drop_pipes(self) -> None:
        """Close this process's ends of the pipes."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


@dataclass(eq=False, kw_only=True)
class Pool:
    """At most `size` processes for any number of threads."""

    size: int
    free: threading.Semaphore = field(init=False)
    idle: list[Worker] = field(default_factory=list)
    workers: set[Worker] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.free = threading.Semaphore(self.size)

    def same(self, answer: str, gold: str, seconds: float) -> bool | None:
        """Compare two expressions; None where they are undecided, take too long, or crash a process twice."""
        request = {"answer": answer, "gold": gold, "seconds": seconds}
        with self.free:
            for _ in range(2):  # an idle process may have been killed by others
                worker = self._take()
                try:
                    verdict = worker.ask(request, seconds)["same"]
                except TimeoutError:
                    self._discard(worker)
                    return None
                except WorkerEndedError:
                    self._discard(worker)
                except BaseException:  # Ctrl-C: the reply is still to come
                    self._discard(worker)
                    raise
                else:
                    self.idle.append(worker)
                    return verdict
        return None

    def _take(self) -> Worker:
        try:
            return self.idle.pop()
        except IndexError:
            worker = start()
            self.workers.add(worker)
            return worker

    def _discard(self, worker: Worker) -> None:
        self.workers.discard(worker)
        worker.stop()

    def close(self) -> None:
        """End every process."""
        while self.workers:
            self.workers.pop().stop()
        self.idle.clear()

    def forget(self) -> None:
        """Let go of the processes without ending them: after a fork they are the other process's."""
        for worker in self.workers:
            worker.process.returncode = 0  # not ours to wait for
            worker.drop_pipes()


def start() -> Worker:
    """Start a process and wait until it is ready.

    Raises:
        RuntimeError: it did not become ready.
    """
    process = subprocess.Popen(
        # Warnings may be errors in the environment; the folder of the program must not hide modules (-P).
        [sys.executable, "-P", "-W", "ignore", str(_PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,  # buffers have locks, which another thread may hold during a fork
        start_new_session=True,  # Ctrl-C is for this process, which ends the other
    )
    worker = Worker(process=process)
    try:
        worker.reply(START_LIMIT)
    except (WorkerEndedError, TimeoutError) as error:
        worker.stop()
        raise RuntimeError(
            f"the process that compares expressions did not start; `{sys.executable} -c 'import math_verify'` says why"
        ) from error
    except BaseException:
        worker.stop()
        raise
    return worker


def jobs() -> int:
    """How many processes are used at once: the processors this process may use, at most eight."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, available)


_pool = Pool(size=jobs())


def same(answer: str, gold: str, seconds: float) -> bool | None:
    """Compare two expressions in a process of the pool; see `Pool.same`."""
    return _pool.same(answer, gold, seconds)


def close() -> None:
    """End the processes of the pool; the next comparison starts new ones."""
    _pool.close()


def _after_fork() -> None:
    global _pool
    _pool.forget()
    _pool = Pool(size=jobs())


atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
