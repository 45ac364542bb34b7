"""DPO, the reward model and fine-tuning in every process that is started, into FOLDER/WAY for each WAY, full or lora.

Sharded where the launcher says so in the environment.
"""

import os
import signal
import sys
from pathlib import Path

import torch.distributed
from accelerate import DistributedType, PartialState
from accelerate.state import AcceleratorState

from inward.models import ModelSettings
from inward.train import (
    LoraSettings,
    PreferenceSettings,
    RewardModelSettings,
    TuningSettings,
    preference,
    reward_model,
    tuning,
)
from inward.types import FinishReason, PreferencePair, Prompt, Source, Trace

SIZE = int(os.environ.get("WORLD_SIZE", "1"))
RANK = int(os.environ.get("RANK", "0"))
COMMON = {"num_epochs": 2, "batch_size": 4 // SIZE, "learning_rate": 1e-3, "num_saves": 1}


def shard_on_cpu():
    """Have accelerate shard on the CPU as on other devices, which it leaves out; its code and torch's are the same."""
    made = AcceleratorState.__init__

    def sharding(self, *args, fsdp_plugin=None, **kwargs):
        made(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = sharding


def trace(prompt, ids, number):
    return Trace(
        prompt_id=prompt.id,
        index=number,
        prompt_ids=(3, 4, 5),
        completion_ids=tuple(ids),
        completion="",
        token_ends=(0,) * len(ids),
        finish_reason=FinishReason.STOP,
        source=Source.SAMPLE,
        policy="",
    )


def pairs():
    made = []
    for number in range(8):
        prompt = Prompt(id=str(number), text="1+1")
        chosen = trace(prompt, [6 + number, 7, 2], 0)
        rejected = trace(prompt, [8, 9 + number % 3, 10, 2], 1)
        answers = {"chosen_answer": None, "rejected_answer": None}
        made.append(PreferencePair(prompt=prompt, chosen=chosen, rejected=rejected, gap=number / 8, **answers))
    return made


def terminated(step: int, steps: int) -> None:
    """SIGTERM to the last process alone, in the second step."""
    if step == 2 and RANK == SIZE - 1:
        os.kill(os.getpid(), signal.SIGTERM)


def end(number, frame):
    """What the command line does on SIGTERM."""
    raise SystemExit(128 + number)


def main(start: Path, folder: Path, way: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lora = LoraSettings(target_modules=("q_proj", "v_proj")) if way == "lora" else None
    model = ModelSettings(device="cpu")
    rows = pairs()
    for name, train, settings, data in (
        ("preference", preference, PreferenceSettings(lora=lora, **COMMON), rows),
        ("reward_model", reward_model, RewardModelSettings(lora=lora, **COMMON), rows),
        ("tuning", tuning, TuningSettings(lora=lora, **COMMON), [pair.chosen for pair in rows]),
    ):
        for out in (folder / name, folder / f"{name}-resumed")[: 2 if name == "tuning" else 1]:
            out.mkdir(exist_ok=True)
            work = folder / f"{name}-work"
            given = {"start": start, "out": out, "work": work, "settings": settings, "model": model, "seed": 0}
            if out.name == "tuning" and SIZE > 1:
                signal.signal(signal.SIGTERM, end)
                try:
                    train(data, progress=terminated, **given)
                except SystemExit as stop:
                    assert stop.code == 143
                    assert RANK or [one.name for one in work.glob("checkpoint-*")] == ["checkpoint-2"]
                else:
                    raise AssertionError("SIGTERM to one process ended no training")
            train(data, **given)


if __name__ == "__main__":
    if "ACCELERATE_USE_FSDP" in os.environ:
        shard_on_cpu()
    for name in sys.argv[3:]:
        main(Path(sys.argv[1]), Path(sys.argv[2]) / name, name)
    # A process that ends with the group still open can abort in gloo's own threads.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
