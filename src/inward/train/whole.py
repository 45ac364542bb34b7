"""The trained weights whole again, out of the parts that sharding (FSDP2, DeepSpeed ZeRO) left with each process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from inward.errors import SettingsError
from inward.models import load_model
from inward.settings import LoraSettings, ModelSettings
from inward.train.processes import is_sharded
from inward.train.quantized import unpacked
from inward.train.trainer import peft_config, save


def save_trained(
    trainer: Any,
    start: Path,
    out: Path,
    model: ModelSettings,
    lora: LoraSettings | None,
    *,
    scalar_head: bool = False,
    pad_id: int | None = None,
) -> None:
    """Save what a trainer has trained as `save` does; every process must call, and the first one writes.

    Args:
        trainer: a trainer of transformers, done with its training.
        start: the start checkpoint.
        out: the folder to write into.
        model: how the start checkpoint is loaded.
        lora: the adapter that was trained.
        scalar_head: whether a reward model was trained.
        pad_id: see `save`.
    """
    trained = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        if trainer.is_world_process_zero():
            trained = _plain(start, model, lora, str(trained.dtype).removeprefix("torch."), scalar_head=scalar_head)
            trained.load_state_dict(weights)
    elif lora is not None and lora.quantization is not None and trainer.is_world_process_zero():
        trained = unpacked(trained, start, model, lora, scalar_head=scalar_head)
    if trainer.is_world_process_zero():
        save(trained, start, out, model, pad_id=pad_id)


def _plain(start: Path, model: ModelSettings, lora: LoraSettings | None, dtype: str, *, scalar_head: bool) -> Any:
    """The start checkpoint as its trainer was given it, in the memory of the host."""
    from peft import get_peft_model

    plain = load_model(start, dataclasses.replace(model, device="cpu"), dtype=dtype, scalar_head=scalar_head)
    if lora is None:
        return plain
    return get_peft_model(plain, peft_config(lora, plain, task="SEQ_CLS" if scalar_head else "CAUSAL_LM"))


def refuse_sharding(method: str) -> None:
    """Raise SettingsError where accelerate was told to shard the weights of a policy that samples while it trains."""
    if is_sharded():
        raise SettingsError(
            f"{method} samples from the policy as it trains, which takes whole weights on every device: shard the "
            "weights (FSDP) of rlsf with route=dpo or route=sft alone, and take "
            "recipes/accelerate/ddp_1x8.yaml here, with optim.lora where memory is short"
        )
