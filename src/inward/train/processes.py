"""Several processes that train together, as `torchrun` and `accelerate launch` start them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from inward.errors import SettingsError
from inward.models import pick_device
from inward.runs.crew import ALONE, Crew
from inward.settings import ModelSettings

if TYPE_CHECKING:
    from transformers import TrainingArguments

WAIT = timedelta(days=7)
"""For a process that works alone, as where a checkpoint is probed; of one that died the launcher tells the others."""


def num_processes() -> int:
    """Processes that train together, as their launcher tells each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_sharded() -> bool:
    """Whether `accelerate launch` was told to shard weights over the processes, which it says in the environment."""
    zero3 = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"
    return zero3 or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def shards(args: TrainingArguments | None) -> bool:
    """Whether a training with these arguments of transformers' trainer shards weights over the processes."""
    return is_sharded() or bool(getattr(args, "fsdp", None) or getattr(args, "deepspeed", None))


@contextmanager
def planned(devices: int | None, sharding: str | None) -> Iterator[None]:
    """Pretend that a launcher has started so many processes, for a dry run; None leaves things as they are.

    Raises:
        SettingsError: fewer than one device, or an unknown sharding.
    """
    if devices is not None and devices < 1:
        raise SettingsError(f"--devices must be at least 1, got {devices}")
    if sharding not in (None, "none", "full"):
        raise SettingsError(f"--sharding is none or full, got {sharding}")
    asked = {} if devices is None else {"WORLD_SIZE": str(devices)}
    asked |= {} if sharding is None else {"ACCELERATE_USE_FSDP": str(sharding == "full").lower()}
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def steps_per_epoch(num_rows: int, batch_size: int, accumulation: int) -> int:
    """Optimizer steps of a pass over so many rows; `batch_size` is that of one process."""
    return max(1, -(-num_rows // (batch_size * accumulation * num_processes())))


def shared_rows(rows: list[dict[str, Any]], args: Any, folder: Path) -> Any:
    """Rows as a data set; with several processes in files of a folder that they share, where TRL looks for its own.

    Args:
        rows: the same in every process.
        args: the training arguments, which know the processes.
        folder: is written anew.
    """
    from datasets import Dataset, load_from_disk

    if args.world_size == 1:
        return Dataset.from_list(rows)
    with args.main_process_first(local=False):
        if args.process_index == 0:
            shutil.rmtree(folder, ignore_errors=True)
            Dataset.from_list(rows).save_to_disk(folder)
    return load_from_disk(folder)


@contextmanager
def together(settings: ModelSettings) -> Iterator[Crew]:
    """The crew of a run: this process alone, or all that a launcher started, connected until the body has ended.

    Raises:
        SettingsError: the settings give every process the same device, or the launcher's leave it without weights.
    """
    if num_processes() == 1:
        yield ALONE
        return
    if is_sharded() and os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING", "false").lower() == "true":
        raise SettingsError(
            "fsdp_cpu_ram_efficient_loading leaves all processes but one without weights, and each of them samples: "
            "set it to false in accelerate's configuration, as in recipes/accelerate/fsdp2_1x8.yaml"
        )
    if os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3":
        raise SettingsError(
            "DeepSpeed ZeRO 3 leaves the processes waiting for each other when the checkpoint is written: take "
            "recipes/accelerate/fsdp2_1x8.yaml, which shards the weights too, or deepspeed_zero2_1x8.yaml"
        )
    device = pick_device(settings)
    if device.index is not None:
        raise SettingsError(
            f"model.device={settings.device} would put all {num_processes()} processes on one device; set it to "
            f"{device.type}, and each takes its own"
        )
    import torch.distributed as dist
    from accelerate import PartialState

    PartialState(cpu=device.type == "cpu", timeout=WAIT)
    # Records are Python objects and lie on the CPU, whatever the devices are connected by.
    group = cast("dist.ProcessGroup", dist.new_group(backend="gloo", timeout=WAIT))

    def told(value: Any) -> Any:
        held = [value]
        dist.broadcast_object_list(held, src=0, group=group)
        return held[0]

    def gathered(values: list[Any]) -> list[list[Any]]:
        lists: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(values, lists, dst=0, group=group)
        return lists or []

    crew = Crew(rank=dist.get_rank(), size=dist.get_world_size(), told=told, gathered=gathered)
    try:
        yield crew
        crew.agree(lambda: None)  # nobody closes what the leader still needs
    finally:
        # A process that ends with the group still open can abort in gloo's own threads.
        dist.destroy_process_group()


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any of the processes that train together; each must ask."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return flag
    from accelerate.utils import gather_object

    return any(gather_object([flag]))
