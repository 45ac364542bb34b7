"""What every trainer here shares: adapters, checkpoints to resume from and to keep, progress, quiet."""

from __future__ import annotations

import math
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from inward.errors import ModelError, SettingsError
from inward.models import copy_tokenizer, load_tokenizer
from inward.parsing import parse_json
from inward.settings import LoraSettings, ModelSettings


def check_lora(lora: LoraSettings | None, model: nn.Module) -> None:
    """Refuse an adapter that cannot be trained on this model.

    Raises:
        SettingsError: the model has no module called as in `target_modules`.
        ModelError: an adapter lies beside its weights, and would neither be trained nor saved with them.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise ModelError(
            "the start model has an adapter beside its weights, and training would save neither with the other: merge "
            "it into them first (merge_and_unload of PEFT), or remove its adapter_config.json"
        )
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    unknown = set(lora.target_modules or () if lora else ()) - names
    if unknown:
        raise SettingsError(f"lora.target_modules: the model has no module called {', '.join(sorted(unknown))}")


def peft_config(lora: LoraSettings, policy: Any, *, task: str = "CAUSAL_LM") -> Any:
    """PEFT's configuration of an adapter for this model; with the task `SEQ_CLS` its head is trained in full."""
    from peft import LoraConfig
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    targets = list(lora.target_modules) if lora.target_modules else None
    if targets is None and policy.config.model_type not in KNOWN:
        targets = "all-linear"
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        use_rslora=lora.rslora,
        target_modules=targets,
        task_type=task,
    )


def open_defaults(device: str) -> dict[str, Any]:
    """Fields of a TRL config that inward sets and the user may set otherwise; `device` is a torch device's type."""
    return {
        "bf16": device == "cuda",
        "gradient_checkpointing": device != "cpu",
        "ddp_find_unused_parameters": False,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "save_total_limit": 2,
        "logging_steps": 1,
        "report_to": "none",
    }


def stand_in_tokenizer(start: Path, model: ModelSettings) -> Any:
    """The tokenizer with the end of sequence and the padding that TRL wants of every one."""
    tokenizer = load_tokenizer(start, model)
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def newest_checkpoint(work: Path) -> str | None:
    """The newest whole trainer checkpoint; transformers writes trainer_state.json last, so a torn one lacks it."""
    for folder in sorted(work.glob("checkpoint-*"), key=_step, reverse=True):
        if _is_whole(folder):
            return str(folder)
        shutil.rmtree(folder)
    return None


def date_by_step(work: Path) -> None:
    """Date the trainer checkpoints in the order of their steps, each before any that is still to come.

    Transformers removes those that are dated first. Where the clock went back, that would be the one just written.
    """
    for folder in work.glob("checkpoint-*"):
        os.utime(folder, (_step(folder), _step(folder)))


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _is_whole(folder: Path) -> bool:
    """Whether every file of a trainer checkpoint has its end, which after a power failure one may lack."""
    try:
        parse_json((folder / "trainer_state.json").read_bytes())
        for file in folder.glob("*.safetensors"):
            with safe_open(file, "pt") as weights:  # compares the length with that in the header
                weights.keys()
    except (OSError, ValueError, SafetensorError):
        return False
    return all(zipfile.is_zipfile(file) for pattern in ("*.pt", "*.pth") for file in folder.glob(pattern))


def save(policy: Any, start: Path, out: Path, model: ModelSettings, *, pad_id: int | None = None) -> None:
    """Save a plain transformers checkpoint: adapter merged, tokenizer and generation config as in `start`.

    `pad_id` takes the place of the padding in the model's config, which is what a scalar head skips.
    """
    from peft import PeftModel
    from transformers import AutoConfig

    if isinstance(policy, PeftModel):
        policy = policy.merge_and_unload()
    original = AutoConfig.from_pretrained(start, trust_remote_code=model.trust_remote_code).get_text_config()
    for token in ("bos_token_id", "eos_token_id", "pad_token_id"):
        # The trainer writes its tokenizer's into the config; a stand-in end of sequence would cut completions short.
        setattr(policy.config.get_text_config(), token, getattr(original, token, None))
    if pad_id is not None:
        policy.config.get_text_config().pad_token_id = pad_id
    policy.save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    copy_tokenizer(start, out)


def refuse_divergence(grad_norm: float, step: int) -> None:
    """Raise ModelError where a gradient is not finite: every weight it reaches would be lost."""
    if not math.isfinite(grad_norm):
        raise diverged(f"the gradient of step {step} is not finite")


def diverged(what: str) -> ModelError:
    """The error of a training that cannot go on, and what to do."""
    return ModelError(
        f"{what}, so the training has diverged: lower its learning_rate or set model.dtype=float32, and use another "
        "--out"
    )


def reporter(progress: Callable[[int, int], None], log: Callable[[dict[str, float]], None]) -> Any:
    """Tell progress and metrics to callbacks of ours."""
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress(state.global_step, state.max_steps)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress(state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            numbers = {key: float(value) for key, value in (logs or {}).items() if isinstance(value, int | float)}
            log({"step": float(state.global_step), **numbers})
            refuse_divergence(numbers.get("grad_norm", 0.0), state.global_step)

    return Reporter()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars of datasets and of TRL's reference pass, and notices of renamed arguments."""
    import datasets

    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        datasets.enable_progress_bars()
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
