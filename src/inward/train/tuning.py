"""Traces in, a checkpoint tuned on them out: supervised fine-tuning (SFT) through TRL's public surface.

`SFTTrainer` takes columns `input_ids` and `labels` as they are (TRL 1.16, pinned in tests/unit/test_tuning.py): nothing
is tokenised or ended. Beyond `max_length` it would cut; that is None here, and too long traces are left out before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.modeling_utils import PreTrainedModel

from inward.errors import DataError, SettingsError
from inward.settings import ModelSettings, TuningSettings
from inward.train.by_length import read_by_length
from inward.train.interruption import fit
from inward.train.processes import steps_per_epoch
from inward.train.quantized import check_quantized, full_adapter, load_base
from inward.train.trainer import (
    check_lora,
    open_defaults,
    peft_config,
    quiet,
    reporter,
    stand_in_tokenizer,
)
from inward.train.whole import save_trained
from inward.types import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a fine-tuning did."""

    num_traces: int
    num_too_long: int
    """Traces left out because they exceed `max_length`."""
    num_steps: int


def tuning(
    traces: Sequence[Trace],
    *,
    start: Path,
    out: Path,
    work: Path,
    settings: TuningSettings,
    model: ModelSettings,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    log: Callable[[dict[str, float]], None] = lambda metrics: None,
) -> Tuned:
    """Fine-tune a policy on completions, from `start`, into the folder `out`.

    The loss is the mean of -log p over the completion tokens of a batch; a prompt's tokens have none.

    Args:
        traces: their token ids are used as they are.
        start: folder of the start checkpoint.
        out: an existing empty folder for the trained checkpoint; plain transformers loads it, LoRA is merged.
        work: folder for trainer checkpoints; a training that was killed resumes from the newest whole one there.
        settings: hyper-parameters; `num_best` is for whoever chooses the traces.
        model: how the start checkpoint is loaded.
        seed: of data order and adapter initialisation.
        progress: called with (optimizer steps done, steps in all).
        log: called with the metrics of each logged step.

    Raises:
        DataError: every trace exceeds `max_length`.
        SettingsError: as `check_tuning`.
    """
    kept = [trace for trace in traces if settings.max_length is None or _length(trace) <= settings.max_length]
    if not kept:
        raise DataError(f"all {len(traces)} traces are longer than tuning.max_length = {settings.max_length}; raise it")
    if len(kept) < len(traces):
        warnings.warn(
            f"{len(traces) - len(kept)} of {len(traces)} traces are longer than tuning.max_length = "
            f"{settings.max_length} and are left out",
            stacklevel=2,
        )
    with quiet():
        trainer = _trainer(kept, start, work, settings, model, seed, progress, log)
        fit(trainer, work)
        save_trained(trainer, start, out, model, settings.lora)
    return Tuned(num_traces=len(kept), num_too_long=len(traces) - len(kept), num_steps=trainer.state.global_step)


def check_tuning(settings: TuningSettings, model: PreTrainedModel, *, device: str | None = None) -> None:
    """Refuse settings that TRL or PEFT would refuse, before there is work to lose.

    Arguments and errors as `preference.check_preference`.
    """
    with quiet():
        config(settings, work=Path("unused"), seed=0, device=model.device.type, num_traces=1)
    check_lora(settings.lora, model)
    check_quantized(settings.lora, device or model.device.type)


def _length(trace: Trace) -> int:
    return len(trace.prompt_ids) + len(trace.completion_ids)


def _trainer(
    traces: Sequence[Trace],
    start: Path,
    work: Path,
    settings: TuningSettings,
    model: ModelSettings,
    seed: int,
    progress: Callable[[int, int], None],
    log: Callable[[dict[str, float]], None],
) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.sft_trainer import SFTTrainer

    rows = [
        {
            "input_ids": [*trace.prompt_ids, *trace.completion_ids],
            "labels": [*(-100 for _ in trace.prompt_ids), *trace.completion_ids],
        }
        for trace in traces
    ]
    # Full fine-tuning keeps float32 weights: small steps vanish in bfloat16.
    policy = load_base(start, model, settings.lora)
    args = config(settings, work=work, seed=seed, device=policy.device.type, num_traces=len(traces))
    read_by_length(policy, args)
    trainer = SFTTrainer(
        model=policy,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=stand_in_tokenizer(start, model),
        peft_config=peft_config(settings.lora, policy) if settings.lora else None,
        callbacks=[reporter(progress, log)],
    )
    full_adapter(trainer.model, settings.lora)
    trainer.remove_callback(PrinterCallback)
    return trainer


def config(settings: TuningSettings, *, work: Path, seed: int, device: str, num_traces: int) -> Any:
    """TRL's SFTConfig for these settings: the one place that knows both vocabularies.

    Raises:
        SettingsError: TRL does not know a field or a value.
    """
    from trl.trainer.sft_config import SFTConfig

    per_epoch = steps_per_epoch(num_traces, settings.batch_size, settings.gradient_accumulation_steps)
    owned: dict[str, Any] = {
        "output_dir": str(work),
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.num_epochs,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "lr_scheduler_type": settings.lr_scheduler,
        "warmup_steps": settings.warmup_steps,
        "max_length": None,
        "seed": seed,
        "use_cpu": device == "cpu",
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": max(1, settings.num_epochs * per_epoch // settings.num_saves),
    }
    try:
        return SFTConfig(**{**open_defaults(device), **(settings.trl or {}), **owned})
    except (TypeError, ValueError) as error:
        raise SettingsError(f"tuning: TRL refuses these settings: {error}") from error
