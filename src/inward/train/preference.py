"""Preference pairs in, a trained checkpoint out: DPO through TRL's public surface.

Two facts of TRL 1.16 shape this file (pinned in tests/contract):
- `DPOTrainer` tokenises text itself and appends an end of sequence. The traces' own token ids are trained on instead:
  they travel in extra columns, and the collator, a public argument, hands them over. Nothing is re-tokenised.
- Without `ref_model` the reference is reloaded from the path in the model's config. It is passed explicitly here; with
  LoRA the reference is the same model with its adapter off, which is the start checkpoint by construction.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from transformers.modeling_utils import PreTrainedModel

from inward.errors import DataError, SettingsError
from inward.models import ModelSettings, load_model, load_tokenizer
from inward.train.trainer import LoraSettings, check_lora, newest_checkpoint, peft_config, quiet, reporter, save
from inward.types import PreferencePair

OWNED = {
    "output_dir": "the run folder",
    "beta": "optim.beta",
    "learning_rate": "optim.learning_rate",
    "num_train_epochs": "optim.num_epochs",
    "max_steps": "optim.num_epochs",
    "per_device_train_batch_size": "optim.batch_size",
    "gradient_accumulation_steps": "optim.gradient_accumulation_steps",
    "lr_scheduler_type": "optim.lr_scheduler",
    "warmup_steps": "optim.warmup_steps",
    "max_length": "optim.max_length",
    "seed": "--seed",
    "data_seed": "--seed",
    "loss_type": "the method (plain DPO)",
    "use_cpu": "model.device",
    "precompute_ref_log_probs": "the method (the reference is frozen)",
    "remove_unused_columns": "the method (exact token ids travel in extra columns)",
    "padding_free": "the method (its collator pads)",
    "disable_tqdm": "inward's own progress",
    "save_strategy": "optim.num_saves",
    "save_steps": "optim.num_saves",
}
"""Fields of TRL's DPOConfig that inward sets, and what the user sets instead."""


@dataclass(frozen=True, kw_only=True)
class PreferenceSettings:
    """DPO. Defaults: RLSF's code, section 1.6 of the notes."""

    beta: float = 0.2
    learning_rate: float = 1e-6
    num_epochs: int = 3
    batch_size: int = 4
    gradient_accumulation_steps: int = 1
    lr_scheduler: str = "linear"
    warmup_steps: int = 0
    max_length: int | None = None
    """Most tokens of prompt and completion (RLSF: 256). Longer pairs are left out and counted, never cut. None: no
    limit."""
    num_saves: int = 10
    """Checkpoints written during training, to resume from."""
    lora: LoraSettings | None = LoraSettings()
    """None trains every parameter."""
    trl: Mapping[str, Any] | None = None
    """Further fields of TRL's DPOConfig, passed through."""

    def __post_init__(self) -> None:
        if self.beta <= 0 or self.learning_rate <= 0:
            raise SettingsError("beta and learning_rate must be above 0")
        for name in ("num_epochs", "batch_size", "gradient_accumulation_steps", "num_saves"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.warmup_steps < 0 or (self.max_length is not None and self.max_length < 2):
            raise SettingsError("warmup_steps must be at least 0 and max_length at least 2")
        for key in self.trl or {}:
            if key in OWNED:
                raise SettingsError(f"trl.{key} is set by inward: use {OWNED[key]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a training did."""

    num_pairs: int
    num_too_long: int
    """Pairs left out because they exceed `max_length`."""
    num_steps: int


def preference(
    pairs: Sequence[PreferencePair],
    *,
    start: Path,
    out: Path,
    work: Path,
    settings: PreferenceSettings,
    model: ModelSettings,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    log: Callable[[dict[str, float]], None] = lambda metrics: None,
) -> Training:
    """Train a policy on preference pairs with DPO, from `start`, into the folder `out`.

    Args:
        pairs: chosen and rejected traces; their token ids are used as they are.
        start: folder of the start checkpoint, which is also the frozen reference.
        out: an existing empty folder for the trained checkpoint; plain transformers loads it, LoRA is merged.
        work: folder for trainer checkpoints; a training that was killed resumes from the newest whole one there.
        settings: hyper-parameters.
        model: how the start checkpoint is loaded.
        seed: of data order and adapter initialisation.
        progress: called with (optimizer steps done, steps in all).
        log: called with the metrics of each logged step.

    Raises:
        DataError: every pair exceeds `max_length`.
        SettingsError: as `check_preference`.
    """
    kept = [pair for pair in pairs if settings.max_length is None or _length(pair) <= settings.max_length]
    if not kept:
        raise DataError(f"all {len(pairs)} pairs are longer than max_length = {settings.max_length}; raise it")
    if len(kept) < len(pairs):
        warnings.warn(
            f"{len(pairs) - len(kept)} of {len(pairs)} pairs are longer than optim.max_length = {settings.max_length} "
            "and are left out",
            stacklevel=2,
        )
    with quiet():
        trainer = _trainer(kept, start, work, settings, model, seed, progress, log)
        trainer.train(resume_from_checkpoint=newest_checkpoint(work))
        if trainer.is_world_process_zero():
            save(trainer.accelerator.unwrap_model(trainer.model), start, out, model)
    return Training(num_pairs=len(kept), num_too_long=len(pairs) - len(kept), num_steps=trainer.state.global_step)


def check_preference(settings: PreferenceSettings, model: PreTrainedModel) -> None:
    """Refuse settings that TRL or PEFT would refuse, before there is work to lose.

    Raises:
        SettingsError: TRL does not know a field or a value, or no module is called as in `lora.target_modules`.
    """
    with quiet():
        config(settings, work=Path("unused"), seed=0, device=model.device.type, num_pairs=1)
    check_lora(settings.lora, model)


def _length(pair: PreferencePair) -> int:
    longest = max(len(pair.chosen.completion_ids), len(pair.rejected.completion_ids))
    return len(pair.chosen.prompt_ids) + longest


def _trainer(
    pairs: Sequence[PreferencePair],
    start: Path,
    work: Path,
    settings: PreferenceSettings,
    model: ModelSettings,
    seed: int,
    progress: Callable[[int, int], None],
    log: Callable[[dict[str, float]], None],
) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.dpo_trainer import DPOTrainer

    tokenizer = load_tokenizer(start, model)
    # TRL wants both; the text columns below are all that it uses them for, and the saved tokenizer is the original.
    stand_in = tokenizer.convert_ids_to_tokens(0)
    tokenizer.eos_token = tokenizer.eos_token or stand_in
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    rows = [
        {
            "prompt": "",
            "chosen": "",
            "rejected": "",
            "own_prompt_ids": list(pair.chosen.prompt_ids),
            "own_chosen_ids": list(pair.chosen.completion_ids),
            "own_rejected_ids": list(pair.rejected.completion_ids),
        }
        for pair in pairs
    ]
    # Full fine-tuning keeps float32 weights: steps of 1e-6 vanish in bfloat16.
    policy = load_model(start, model, dtype=None if settings.lora else "float32")
    trainer = DPOTrainer(
        model=policy,
        ref_model=None if settings.lora else load_model(start, model, dtype="float32"),
        args=config(settings, work=work, seed=seed, device=policy.device.type, num_pairs=len(pairs)),
        data_collator=exact_ids_collator(cast("int", tokenizer.pad_token_id)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=peft_config(settings.lora, policy) if settings.lora else None,
        callbacks=[reporter(progress, log)],
    )
    trainer.remove_callback(PrinterCallback)  # what transformers puts in place of its progress bar
    return trainer


def config(settings: PreferenceSettings, *, work: Path, seed: int, device: str, num_pairs: int) -> Any:
    """TRL's DPOConfig for these settings: the one place that knows both vocabularies.

    Raises:
        SettingsError: TRL does not know a field or a value.
    """
    from trl.trainer.dpo_config import DPOConfig

    on_accelerator = device != "cpu"
    steps_per_epoch = max(1, -(-num_pairs // (settings.batch_size * settings.gradient_accumulation_steps)))
    owned: dict[str, Any] = {
        "output_dir": str(work),
        "loss_type": ["sigmoid"],
        "beta": settings.beta,
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.num_epochs,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "lr_scheduler_type": settings.lr_scheduler,
        "warmup_steps": settings.warmup_steps,
        "max_length": None,
        "seed": seed,
        "use_cpu": not on_accelerator,
        "precompute_ref_log_probs": True,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": max(1, settings.num_epochs * steps_per_epoch // settings.num_saves),
    }
    open_defaults: dict[str, Any] = {
        "bf16": device == "cuda",
        "gradient_checkpointing": on_accelerator,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "save_total_limit": 2,
        "logging_steps": 1,
        "report_to": "none",
    }
    try:
        return DPOConfig(**{**open_defaults, **(settings.trl or {}), **owned})
    except (TypeError, ValueError) as error:
        raise SettingsError(f"optim: TRL refuses these settings: {error}") from error


def exact_ids_collator(pad_token_id: int) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """TRL's own collator, fed with the traces' token ids instead of re-tokenised text."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    inner = DataCollatorForPreference(pad_token_id=pad_token_id)
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return inner([{**row, **{name: row[f"own_{name}"] for name in columns}} for row in rows])

    return collate
