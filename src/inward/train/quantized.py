"""QLoRA (arXiv 2305.14314): an adapter trained beside frozen weights of 4 bits, merged into those of full precision.

Linear layers but the last are packed as they are loaded: NF4, with the scales quantised once more. The adapter stays in
float32; TRL makes it bfloat16, in which small steps vanish. What is saved is the start checkpoint in its own type with
the adapter merged, so that the error of 4 bits, which the weights that trained have, is in no checkpoint. The adapter
has learned beside that error, so the checkpoint is not exactly the policy that trained.
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.modeling_utils import PreTrainedModel

from inward.errors import SettingsError
from inward.models import load_model, pick_device
from inward.settings import LoraSettings, ModelSettings
from inward.train.processes import is_sharded
from inward.train.trainer import peft_config


def check_quantized(lora: LoraSettings | None, device: str) -> None:
    """Refuse 4 bits where they cannot be had.

    Args:
        lora: the adapter.
        device: type of the device to train on.

    Raises:
        SettingsError: bitsandbytes is missing or does not know the device, or the weights are to be sharded.
    """
    if lora is None or lora.quantization is None:
        return
    if find_spec("bitsandbytes") is None:
        raise SettingsError("lora.quantization=4bit needs bitsandbytes: `pip install 'inward[qlora]'`, or leave it out")
    if device not in ("cuda", "cpu"):
        raise SettingsError(f"lora.quantization=4bit was not tried on {device}: use model.device=cuda or cpu")
    if is_sharded():
        raise SettingsError(
            "lora.quantization=4bit does not go with weights in parts (FSDP, DeepSpeed ZeRO 3): take one of the two; 4 "
            "bits need little on each device, see recipes/accelerate/ddp_1x8.yaml"
        )


def load_base(
    path: Path, model: ModelSettings, lora: LoraSettings | None, dtype: str | None = None, *, scalar_head: bool = False
) -> PreTrainedModel:
    """Load what a training starts from: float32 where every parameter is trained, 4 bits where the adapter says so.

    Args:
        path: folder of the start checkpoint, or of a reference.
        model: how it is loaded.
        lora: the adapter to train; None: all parameters.
        dtype: of an adapter's base, in place of the settings' one.
        scalar_head: see `load_model`.
    """
    if lora is None:
        return load_model(path, model, dtype="float32", scalar_head=scalar_head)
    if lora.quantization is None:
        return load_model(path, model, dtype=dtype, scalar_head=scalar_head)
    return load_model(path, model, dtype=dtype, scalar_head=scalar_head, quantization=_packing(model, scalar_head))


def _packing(model: ModelSettings, scalar_head: bool) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if pick_device(model).type == "cuda" else torch.float32,
        # Without a list transformers leaves out the last layer of a language model, and no scalar head.
        llm_int8_skip_modules=["score"] if scalar_head else None,
    )


def full_adapter(trained: Any, lora: LoraSettings | None) -> None:
    """Undo TRL's rounding of an adapter beside quantised weights to bfloat16; before an optimizer is made."""
    if lora is not None and lora.quantization is not None:
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


def unpacked(trained: Any, start: Path, model: ModelSettings, lora: LoraSettings, *, scalar_head: bool = False) -> Any:
    """The start checkpoint of full precision in the host's memory, with a copy of a trained adapter on it."""
    from peft import get_peft_model

    weights = {name: one.detach().cpu() for name, one in trained.named_parameters() if one.requires_grad}
    plain = full_base(start, model, trained.dtype, scalar_head=scalar_head)
    adapted = get_peft_model(plain, peft_config(lora, plain, task="SEQ_CLS" if scalar_head else "CAUSAL_LM"))
    unknown = adapted.load_state_dict(weights, strict=False).unexpected_keys
    assert not unknown, f"the adapter has weights for which there is no place: {unknown}"
    return adapted


def full_base(start: Path, model: ModelSettings, dtype: Any, *, scalar_head: bool = False) -> PreTrainedModel:
    """The start checkpoint in full precision in the host's memory: the device may have no room for it."""
    host = dataclasses.replace(model, device="cpu")
    return load_model(start, host, dtype=str(dtype).removeprefix("torch."), scalar_head=scalar_head)
