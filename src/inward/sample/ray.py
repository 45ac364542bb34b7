"""Sample traces on many devices by Ray Data: one actor for each, with the start model and the sampler of `local`.

An actor is given all prompts of a shard at once, which are those that the local engine decodes together, and as many
threads. So the traces are the local engine's to the byte, however many actors there are and whichever comes first.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import pickle
import platform
import signal
import socket
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from inward import models
from inward.answers import AnswerSettings
from inward.errors import InwardError, ModelError, ServerError, SettingsError
from inward.models import Policy
from inward.sample.local import sample
from inward.settings import ModelSettings, RaySettings
from inward.types import Prompt, SamplingParams, TraceGroup

if TYPE_CHECKING:
    import pyarrow
    from ray.data import Dataset

LIVES = 5
"""How often an actor that dies is started again: more often, something is wrong that starting again does not mend."""


HELD_SECONDS = 20.0
"""How long devices may still be held by a run that was killed: the same command, given at once, waits for them."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an actor needs to know to write traces; see `inward.sample.local.sample`."""

    path: Path
    """Folder of the start model, at the same place on every machine."""
    name: str
    model: ModelSettings
    params: SamplingParams
    batch_rows: int | None
    memory_gib: float | None
    answer: AnswerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What comes back of a shard."""

    groups: list[TraceGroup] | InwardError
    warned: list[str]
    place: tuple[str, int]
    """Machine and process."""


class _Sampler:
    """An actor of Ray Data: loads the model once, and takes one shard at a time."""

    def __init__(self, work: Work, threads: int, inward: str) -> None:
        self._work, self._threads, self._inward = work, threads, inward
        self._policy: Policy | None = None

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        return _table(
            [
                (number, pickle.dumps(self._made(pickle.loads(prompts))))
                for number, prompts in zip(table["shard"].to_pylist(), table["content"].to_pylist(), strict=True)
            ]
        )

    def _made(self, prompts: list[Prompt]) -> _Made:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            try:
                groups = list(self._groups(prompts))
            except InwardError as error:
                groups = error
        texts = [str(one.message) for one in warned if one.category is UserWarning and "inward" in one.filename]
        return _Made(groups=groups, warned=texts, place=(platform.node(), os.getpid()))

    def _groups(self, prompts: list[Prompt]) -> Iterator[TraceGroup]:
        work = self._work
        if self._policy is None:
            self._policy = _load(work, self._threads, self._inward)
        return sample(
            prompts,
            self._policy,
            work.params,
            batch_rows=work.batch_rows,
            memory_gib=work.memory_gib,
            answer=work.answer,
        )


def _load(work: Work, threads: int, inward: str) -> Policy:
    node = platform.node()
    if inward != version("inward"):
        raise SettingsError(
            f"inward is {version('inward')} on {node}, and {inward} where the run was started; install the same there"
        )
    if not (work.path / "config.json").is_file():
        raise ModelError(
            f"the model's folder {work.path} is not there on {node}: it must be at the same place on every machine of "
            "the cluster; put it on a file system that they share"
        )
    torch.set_num_threads(threads)  # another number may change the last bits
    return models.load(work.path, work.model, name=work.name)


def check_ray(model: ModelSettings) -> None:
    """Refuse, before any work, what Ray cannot do here.

    Raises:
        SettingsError: Ray is not installed, or `model.device` names one device of several.
    """
    if importlib.util.find_spec("ray") is None:
        raise SettingsError("engine=ray needs Ray, which is not installed: pip install 'inward[ray]'")
    if ":" in model.device:
        raise SettingsError(
            f"model.device={model.device} with engine=ray: Ray gives each actor a device; take auto, cuda or cpu"
        )


def sample_shards(
    shards: Mapping[int, Sequence[Prompt]], work: Work, settings: RaySettings
) -> Generator[tuple[int, list[TraceGroup]], None, None]:
    """The groups of every shard, with its number, in the order in which they are finished.

    Args:
        shards: prompts by the number of their shard.
        work: see `Work`.
        settings: see `RaySettings`.

    Raises:
        ServerError: Ray cannot be started or reached, has no device that is free, or its actors keep dying.
        InwardError: As from sampling here.
    """
    check_ray(work.model)
    from ray.exceptions import RayError, RayTaskError

    if not shards:
        return
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what the model that was loaded here has left is room for an actor's
    with _cluster(settings):
        num, needs = _actors(settings, work, len(shards))
        try:
            yield from _results(_dataset(shards, work, num, needs), num)
        except RayTaskError:
            raise  # a fault of ours, with its traceback
        except RayError as error:
            reason = " ".join(str(error).split())[:300]
            raise ServerError(
                f"Ray gave up ({type(error).__name__}: {reason}). What was sampled is kept: run the same command again "
                "to go on; an actor that is killed each time often lacks memory, see sampling.memory_gib"
            ) from error


def _results(made: Dataset, num: int) -> Iterator[tuple[int, list[TraceGroup]]]:
    places: set[tuple[str, int]] = set()
    table: Any
    for table in made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for number, content in zip(table["shard"].to_pylist(), table["content"].to_pylist(), strict=True):
            one: _Made = pickle.loads(content)
            for text in one.warned:
                warnings.warn(text, stacklevel=2)
            if isinstance(one.groups, InwardError):
                raise one.groups
            places.add(one.place)
            if len(places) == num + 1:
                warnings.warn("an actor of Ray died, and another took over its prompts", stacklevel=2)
            yield number, one.groups


def _dataset(shards: Mapping[int, Sequence[Prompt]], work: Work, num: int, needs: Mapping[str, Any]) -> Dataset:
    from ray.data import ActorPoolStrategy, DataContext, from_arrow

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a shard may take hours, and so may waiting for a device
    with DataContext.current(context):
        rows = [_table([(number, pickle.dumps(list(prompts)))]) for number, prompts in shards.items()]
        return from_arrow(rows).map_batches(
            _Sampler,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_args=(work, torch.get_num_threads(), version("inward")),
            compute=ActorPoolStrategy(size=num, max_tasks_in_flight_per_actor=1),
            max_restarts=LIVES,
            max_task_retries=LIVES,
            **needs,
        )


def _table(rows: Sequence[tuple[int, bytes]]) -> pyarrow.Table:
    import pyarrow as pa

    numbers, contents = zip(*rows, strict=True)
    return pa.table({"shard": pa.array(numbers, pa.int64()), "content": pa.array(contents, pa.large_binary())})


def _actors(settings: RaySettings, work: Work, num_shards: int) -> tuple[int, dict[str, Any]]:
    """How many actors, and what each of them takes of the cluster."""
    import ray

    everything = ray.cluster_resources()
    on_gpu = work.model.device == "cuda" or (work.model.device == "auto" and everything.get("GPU", 0) >= 1)
    what, each = ("GPU", 1) if on_gpu else ("CPU", torch.get_num_threads())
    alone = not on_gpu and models.pick_device(work.model).type == "mps"
    free, end = ray.available_resources(), time.monotonic() + HELD_SECONDS
    while free.get(what, 0) < each <= everything.get(what, 0) and not settings.actors and time.monotonic() < end:
        time.sleep(0.5)
        free = ray.available_resources()
    num = settings.actors or (1 if alone else int(free.get(what, 0) // each))
    if num < 1:
        raise ServerError(
            f"Ray has {everything.get(what, 0):g} {what} in all and {free.get(what, 0):g} free, and an actor takes "
            f"{each}: free some, set ray.actors to wait for them" + ("" if on_gpu else ", or lower OMP_NUM_THREADS")
        )
    return min(num, num_shards), {"num_gpus": 1, "num_cpus": 0} if on_gpu else {"num_cpus": each}


@contextmanager
def _cluster(settings: RaySettings) -> Iterator[None]:
    """A connection to Ray, closed at the end; one that is there already stays as it is."""
    import ray
    import ray.data  # which sets up its logging
    from ray.exceptions import RayError

    if ray.is_initialized():
        yield
        return
    address = settings.address or os.environ.get("RAY_ADDRESS") or "local"
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    started: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    with _own_sigterm(), _silent():
        try:
            _reach(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **started)
        except (OSError, RuntimeError, ValueError, TimeoutError, RayError) as error:
            what = "Ray cannot be started here" if address == "local" else f"no Ray cluster at {address}"
            reason = " ".join(str(error).split())[:300]
            raise ServerError(f"{what}: {reason}; see ray.address, or take engine=local") from error
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)  # its log file keeps everything
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise OSError where nothing listens at HOST:PORT: Ray itself would ask again for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Variables of the environment that are not set yet: no usage report, and nothing of Ray's own on the terminal."""


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what native code writes to the terminal; Ray's says there how much it is going to say."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM, in whose place Ray sets one that exits with the signal's number."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as stop:
        raise SystemExit(128 + signal.SIGTERM if stop.code == signal.SIGTERM else stop.code) from None
    finally:
        signal.signal(signal.SIGTERM, before)
