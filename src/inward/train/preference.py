"""Preference pairs in, a trained checkpoint out: DPO through TRL's public surface.

Facts of TRL 1.16 that shape this file (pinned in tests/contract):
- `DPOTrainer` tokenises text itself and appends an end of sequence. The traces' own token ids are trained on instead:
  they travel in extra columns, and the collator, a public argument, hands them over. Nothing is re-tokenised.
- Without `ref_model` the reference is reloaded from the path in the model's config. It is passed explicitly here; with
  LoRA the reference is the same model with its adapter off, which is the start checkpoint by construction.
- Its sigmoid loss leaves `label_smoothing` out, its robust one does not: conservative DPO is a weighted sum of both.
- The collator also hands over the reference's log-probabilities once they are known. Lowering the chosen trace's by
  margin / beta asks for a margin (ODPO, arXiv 2402.10571) without a loss of our own; the logged `rewards/chosen` and
  `rewards/margins` are then lower by the margin, and `rewards/accuracies` counts the pairs that exceed it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from transformers.modeling_utils import PreTrainedModel

from inward.errors import DataError, SettingsError
from inward.settings import ModelSettings, PreferenceSettings
from inward.train.by_length import read_by_length
from inward.train.interruption import fit
from inward.train.processes import shared_rows, steps_per_epoch
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
from inward.types import PreferencePair

STOP_WINDOW = 0.25
"""Share of an epoch that the margin of `stop_margin` is averaged over."""

MARGINS: Mapping[str, Callable[[PreferencePair], float]] = {
    "none": lambda pair: 0.0,
    "gap": lambda pair: pair.gap,
    "exp_gap": lambda pair: pair.margin,
}
"""What `PreferenceSettings.margin` asks for, by its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a training did."""

    num_pairs: int
    num_too_long: int
    """Pairs left out because they exceed `max_length`."""
    num_steps: int
    stopped: bool = False
    """Whether `stop_margin` ended it."""


def preference(
    pairs: Sequence[PreferencePair],
    *,
    start: Path,
    out: Path,
    work: Path,
    settings: PreferenceSettings,
    model: ModelSettings,
    seed: int,
    reference: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    log: Callable[[dict[str, float]], None] = lambda metrics: None,
) -> Training:
    """Train a policy on preference pairs with DPO, from `start`, into the folder `out`.

    Args:
        pairs: chosen and rejected traces; their token ids are used as they are.
        start: folder of the start checkpoint.
        out: an existing empty folder for the trained checkpoint; plain transformers loads it, LoRA is merged.
        work: folder for trainer checkpoints; a training that was killed resumes from the newest whole one there.
        settings: hyper-parameters.
        model: how the start checkpoint is loaded.
        seed: of data order and adapter initialisation.
        reference: folder of the frozen reference; None: `start`.
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
        trainer = _trainer(kept, start, reference or start, work, settings, model, seed, progress, log)
        fit(trainer, work)
        save_trained(trainer, start, out, model, settings.lora)
    return Training(
        num_pairs=len(kept),
        num_too_long=len(pairs) - len(kept),
        num_steps=trainer.state.global_step,
        stopped=trainer.state.global_step < trainer.state.max_steps,
    )


def check_preference(settings: PreferenceSettings, model: PreTrainedModel, *, device: str | None = None) -> None:
    """Refuse settings that TRL or PEFT would refuse, before there is work to lose.

    Args:
        settings: hyper-parameters.
        model: the start model.
        device: type of the device to train on; None: where the model is.

    Raises:
        SettingsError: TRL does not know a field or a value, no module is called as in `lora.target_modules`, or its
            quantisation cannot be had.
    """
    with quiet():
        config(settings, work=Path("unused"), seed=0, device=model.device.type, num_pairs=1)
    check_lora(settings.lora, model)
    check_quantized(settings.lora, device or model.device.type)


def _length(pair: PreferencePair) -> int:
    longest = max(len(pair.chosen.completion_ids), len(pair.rejected.completion_ids))
    return len(pair.chosen.prompt_ids) + longest


def _trainer(
    pairs: Sequence[PreferencePair],
    start: Path,
    reference: Path,
    work: Path,
    settings: PreferenceSettings,
    model: ModelSettings,
    seed: int,
    progress: Callable[[int, int], None],
    log: Callable[[dict[str, float]], None],
) -> Any:
    from transformers import PrinterCallback
    from trl.trainer.dpo_trainer import DPOTrainer

    # The text columns below are all that TRL uses the tokenizer for, and the saved one is the original.
    tokenizer = stand_in_tokenizer(start, model)
    rows = [
        {
            "prompt": "",
            "chosen": "",
            "rejected": "",
            "own_prompt_ids": list(pair.chosen.prompt_ids),
            "own_chosen_ids": list(pair.chosen.completion_ids),
            "own_rejected_ids": list(pair.rejected.completion_ids),
            "own_margin": MARGINS[settings.margin](pair) / settings.beta,
        }
        for pair in pairs
    ]
    # Full fine-tuning keeps float32 weights: steps of 1e-6 vanish in bfloat16.
    policy = load_base(start, model, settings.lora)
    args = config(settings, work=work, seed=seed, device=policy.device.type, num_pairs=len(pairs))
    read_by_length(policy, args)
    adapter_off = settings.lora is not None and reference == start
    frozen = None if adapter_off else load_base(reference, model, settings.lora)
    if frozen is not None:
        read_by_length(frozen, args)
    stoppers = [] if settings.stop_margin is None else [_stopper(settings.stop_margin)]
    trainer = DPOTrainer(
        model=policy,
        ref_model=frozen,
        args=args,
        data_collator=exact_ids_collator(cast("int", tokenizer.pad_token_id)),
        train_dataset=shared_rows(rows, args, work / "pairs"),
        processing_class=tokenizer,
        peft_config=peft_config(settings.lora, policy) if settings.lora else None,
        callbacks=[reporter(progress, log), *stoppers],
    )
    full_adapter(trainer.model, settings.lora)
    trainer.remove_callback(PrinterCallback)  # what transformers puts in place of its progress bar
    return trainer


def config(settings: PreferenceSettings, *, work: Path, seed: int, device: str, num_pairs: int) -> Any:
    """TRL's DPOConfig for these settings: the one place that knows both vocabularies.

    Raises:
        SettingsError: TRL does not know a field or a value.
    """
    from trl.trainer.dpo_config import DPOConfig

    # Conservative DPO, (1 - e) L + e L', from the two losses of TRL: 2 (1 - e) L - (1 - 2 e) [(1 - e) L - e L'] /
    # (1 - 2 e), the bracket with its divisor being the robust one; L' is L of the pair the other way round.
    smoothed = settings.loss == "sigmoid" and settings.label_smoothing > 0
    per_epoch = steps_per_epoch(num_pairs, settings.batch_size, settings.gradient_accumulation_steps)
    owned: dict[str, Any] = {
        "output_dir": str(work),
        "loss_type": ["sigmoid", "robust"] if smoothed else [settings.loss],
        "loss_weights": [2 - 2 * settings.label_smoothing, 2 * settings.label_smoothing - 1] if smoothed else None,
        "label_smoothing": settings.label_smoothing,
        "beta": settings.beta,
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.num_epochs,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "lr_scheduler_type": settings.lr_scheduler,
        "warmup_steps": settings.warmup_steps,
        "max_length": None,
        "seed": seed,
        "use_cpu": device == "cpu",
        "precompute_ref_log_probs": True,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": max(1, settings.num_epochs * per_epoch // settings.num_saves),
    }
    try:
        return DPOConfig(**{**open_defaults(device), **(settings.trl or {}), **owned})
    except (TypeError, ValueError) as error:
        raise SettingsError(f"optim: TRL refuses these settings: {error}") from error


def _stopper(stop_margin: float) -> Any:
    """A callback that ends a training whose mean logged margin has reached `stop_margin`."""
    from transformers import TrainerCallback

    class Stopper(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            window = max(1, round(STOP_WINDOW * state.max_steps / args.num_train_epochs))
            # The log comes back with a checkpoint, so that a resumed training stops where an undisturbed one does ...
            margins = [
                entry["rewards/margins"]
                for entry in state.log_history
                if entry["step"] > state.global_step - window and "rewards/margins" in entry
            ]
            if state.global_step >= window and margins and sum(margins) / len(margins) >= stop_margin:
                control.should_training_stop = True
                # ... which a checkpoint of the stop itself would undo: resumed from it, one more step is trained.
                control.should_save = False

    return Stopper()


def exact_ids_collator(pad_token_id: int) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """TRL's own collator, fed with the traces' token ids instead of re-tokenised text, and with margins."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    inner = DataCollatorForPreference(pad_token_id=pad_token_id)
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")

    def own(row: dict[str, Any]) -> dict[str, Any]:
        made = {**row, **{name: row[f"own_{name}"] for name in columns}}
        if "ref_chosen_logps" in row:  # not yet while the reference is being asked for them
            made["ref_chosen_logps"] = row["ref_chosen_logps"] + row["own_margin"]
        return made

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return inner([own(row) for row in rows])

    return collate
