"""How a model is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from inward.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """How a model is loaded and how text prompts are shown to it."""

    device: str = "auto"
    """`auto` takes CUDA, then MPS, then CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: the checkpoint's own on an accelerator, float32 on CPU."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    chat_template: Literal["auto", "always", "never"] = "auto"
    """Whether a text prompt becomes a user turn; `auto`: where the tokenizer has a template."""
    allow_pickle: bool = False
    """Load weights that are not safetensors. Unpickling runs code: only for files you trust."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models you trust."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            import torch  # knows the rarer ones

            try:
                torch.device(self.device)
            except RuntimeError as error:
                raise SettingsError(f"device {self.device!r} is unknown: use auto, cpu, cuda, cuda:0 or mps") from error
