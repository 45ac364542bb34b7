"""Preference pairs in, a reward model out: Bradley-Terry with RLSF's margin, through TRL's public surface.

Facts of TRL 1.16 and transformers 5 that shape this file (pinned in tests/contract):
- `RewardTrainer` takes columns `chosen_ids` and `rejected_ids` as they are and subtracts a column `margin` inside the
  sigmoid. Its own `max_length`, 1024 unless told, drops pairs without a word, so it is None here and ours warns.
- A scalar head of transformers reads the last token that is not `config.pad_token_id`, whatever the attention mask
  says. So the padding is an id that no trace ends with: one that ends in it would be read too early.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig
from transformers.modeling_utils import PreTrainedModel

from inward.errors import DataError, ModelError, SettingsError
from inward.forward import Sequences, batch_tokens, batches
from inward.models import check_folder, evaluating, load_model, load_tokenizer, pick_device
from inward.settings import ModelSettings, RewardModelSettings
from inward.train.by_length import read_by_length
from inward.train.interruption import fit
from inward.train.preference import Training
from inward.train.processes import steps_per_epoch
from inward.train.quantized import check_quantized, full_adapter, load_base
from inward.train.reward import Reward, StepTraces
from inward.train.trainer import (
    check_lora,
    open_defaults,
    peft_config,
    quiet,
    reporter,
)
from inward.train.whole import save_trained
from inward.types import PreferencePair, Trace


def reward_model(
    pairs: Sequence[PreferencePair],
    *,
    start: Path,
    out: Path,
    work: Path,
    settings: RewardModelSettings,
    model: ModelSettings,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    log: Callable[[dict[str, float]], None] = lambda metrics: None,
) -> Training:
    """Train a reward model on preference pairs: -log sigmoid(r_chosen - r_rejected - exp(gap)) (RLSF).

    Args:
        pairs: chosen and rejected traces; their token ids are used as they are.
        start: folder of a causal language model; its last layer gives way to a head of one number.
        out: an existing empty folder for the reward model; plain transformers loads it, LoRA is merged. Its
            `config.pad_token_id` is what batches have to be padded with.
        work: folder for trainer checkpoints; a training that was killed resumes from the newest whole one there.
        settings: hyper-parameters.
        model: how the start checkpoint is loaded.
        seed: of the head, the data order and the adapter.
        progress: called with (optimizer steps done, steps in all).
        log: called with the metrics of each logged step.

    Raises:
        DataError: every pair exceeds `max_length`, or traces end with every token that there is.
        ModelError: the architecture has no scalar head.
    """
    kept = [pair for pair in pairs if settings.max_length is None or _length(pair) <= settings.max_length]
    if not kept:
        raise DataError(f"all {len(pairs)} pairs are longer than max_length = {settings.max_length}; raise it")
    if len(kept) < len(pairs):
        warnings.warn(
            f"{len(pairs) - len(kept)} of {len(pairs)} pairs are longer than the reward model's max_length = "
            f"{settings.max_length} and are left out",
            stacklevel=2,
        )
    with quiet():
        trainer = _trainer(kept, start, work, settings, model, seed, progress, log)
        fit(trainer, work)
        pad_id = trainer.processing_class.pad_token_id
        save_trained(trainer, start, out, model, settings.lora, scalar_head=True, pad_id=pad_id)
    return Training(num_pairs=len(kept), num_too_long=len(pairs) - len(kept), num_steps=trainer.state.global_step)


def check_reward_model(settings: RewardModelSettings, model: PreTrainedModel, *, device: str | None = None) -> None:
    """Refuse what TRL, PEFT or transformers would refuse, before there is work to lose.

    Args:
        settings: hyper-parameters.
        model: the causal language model that is to become a reward model.
        device: type of the device to train on; None: where the model is.

    Raises:
        ModelError: transformers has no scalar head for this architecture.
        SettingsError: TRL does not know a field or a value, or no module is called as in `lora.target_modules`.
    """
    coded = getattr(model.config, "auto_map", None) or {}
    if (
        type(model.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
        and "AutoModelForSequenceClassification" not in coded
    ):
        raise ModelError(f"transformers has no scalar head for {type(model).__name__}; start from another architecture")
    with quiet():
        config(settings, work=Path("unused"), seed=0, device=model.device.type, num_pairs=1)
    check_lora(settings.lora, model.base_model)
    check_quantized(settings.lora, device or model.device.type)


def load_reward_model(path: Path, settings: ModelSettings) -> PreTrainedModel:
    """Load a reward model, frozen and in evaluation mode.

    Raises:
        ModelError: the folder holds no model with a scalar head; a head is never made up.
    """
    check_folder(path, settings)
    config = AutoConfig.from_pretrained(path, trust_remote_code=settings.trust_remote_code)
    named = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
    if not named or config.num_labels != 1:
        raise ModelError(f"{path} is no reward model: its config names no head of one number; train one on pairs")
    loaded = load_model(path, settings, scalar_head=True).requires_grad_(False)
    _head(loaded).float()
    return loaded


@torch.no_grad()
def sequence_rewards(model: PreTrainedModel, sequences: Sequences) -> list[float]:
    """The reward of each (prompt ids, completion ids), read at its last token.

    Sequences of like length go together, padded on the right, where causal attention never looks. The last token is
    known by position, so that a trace may end with any token, that of the padding too.

    Args:
        model: a reward model, see `load_reward_model`.
        sequences: token ids of N traces, each with a token at least.

    Returns:
        [N] unbounded numbers; only differences between traces of one prompt mean something.

    Raises:
        ModelError: a reward is not finite.
    """
    head, device = _head(model), model.device
    rows = [[*prompt, *completion] for prompt, completion in sequences]
    rewards = torch.zeros(len(rows))
    with evaluating(model):
        for batch in batches(sequences, range(len(rows)), batch_tokens(device)):
            ids = [torch.tensor(rows[row]) for row in batch]
            lengths = torch.tensor([len(one) for one in ids], device=device)
            padded = nn.utils.rnn.pad_sequence(ids, batch_first=True).to(device)
            attention = (torch.arange(padded.shape[1], device=device) < lengths[:, None]).long()
            states = model.base_model(input_ids=padded, attention_mask=attention, use_cache=False).last_hidden_state
            last = states[torch.arange(len(batch), device=device), lengths - 1]
            rewards[batch] = head(last.to(head.weight.dtype))[:, 0].float().cpu()
    if not rewards.isfinite().all():
        raise ModelError(
            "the reward model gives rewards that are not finite: use model.dtype=float32, or train it anew"
        )
    return rewards.tolist()


def model_reward(path: Path, settings: ModelSettings) -> Reward:
    """The reward that a frozen reward model gives to a trace's exact token ids; the model is loaded at the first call.

    Args:
        path: folder of a reward model, see `reward_model`.
        settings: how it is loaded.
    """

    @cache
    def loaded() -> PreTrainedModel:
        return load_reward_model(path, settings)

    def reward(traces: StepTraces) -> list[float]:
        return sequence_rewards(loaded(), list(zip(traces.prompt_ids, traces.completion_ids, strict=True)))

    return reward


def config(settings: RewardModelSettings, *, work: Path, seed: int, device: str, num_pairs: int) -> Any:
    """TRL's RewardConfig for these settings: the one place that knows both vocabularies.

    Raises:
        SettingsError: TRL does not know a field or a value.
    """
    from trl.trainer.reward_config import RewardConfig

    per_epoch = steps_per_epoch(num_pairs, settings.batch_size, settings.gradient_accumulation_steps)
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
        return RewardConfig(**{**open_defaults(device), "disable_dropout": True, **(settings.trl or {}), **owned})
    except (TypeError, ValueError) as error:
        raise SettingsError(f"TRL refuses these settings of the reward model: {error}") from error


def _trainer(
    pairs: Sequence[PreferencePair],
    start: Path,
    work: Path,
    settings: RewardModelSettings,
    model: ModelSettings,
    seed: int,
    progress: Callable[[int, int], None],
    log: Callable[[dict[str, float]], None],
) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.reward_trainer import RewardTrainer

    rows: list[dict[str, Any]] = [
        {"chosen_ids": _ids(pair.chosen), "rejected_ids": _ids(pair.rejected)}
        | ({"margin": pair.margin} if settings.margin else {})
        for pair in pairs
    ]
    tokenizer = load_tokenizer(start, model)
    tokenizer.pad_token = cast("str", tokenizer.convert_ids_to_tokens(_padding(tokenizer, rows)))
    args = config(settings, work=work, seed=seed, device=pick_device(model).type, num_pairs=len(pairs))
    # A head in float32 meets half-precision states under autocast alone, and small steps of it vanish in bfloat16.
    halved = settings.lora and (args.bf16 or args.fp16)
    with torch.random.fork_rng(devices=[]), _no_load_report():
        torch.manual_seed(seed)  # the head is drawn while loading
        scored = load_base(start, model, settings.lora, None if halved else "float32", scalar_head=True)
    _head(scored).float()
    read_by_length(scored, args)
    trainer = RewardTrainer(
        model=scored,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=peft_config(settings.lora, scored, task="SEQ_CLS") if settings.lora else None,
        callbacks=[reporter(progress, log)],
    )
    full_adapter(trainer.model, settings.lora)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _ids(trace: Trace) -> list[int]:
    return [*trace.prompt_ids, *trace.completion_ids]


def _length(pair: PreferencePair) -> int:
    return max(len(_ids(pair.chosen)), len(_ids(pair.rejected)))


def _padding(tokenizer: Any, rows: Sequence[Mapping[str, Any]]) -> int:
    """The tokenizer's own padding where no sequence ends with it, else the first id that none ends with."""
    ends = {row[name][-1] for row in rows for name in ("chosen_ids", "rejected_ids")}
    for token in (tokenizer.pad_token_id, *range(len(tokenizer))):
        if token is not None and token not in ends and tokenizer.convert_ids_to_tokens(token) is not None:
            return token
    raise DataError("the traces end with every token of the vocabulary, so none can stand for padding: use fewer pairs")


def _head(model: PreTrainedModel) -> nn.Linear:
    """The layer that makes one number of a hidden state; `score` in every causal architecture of transformers."""
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear) or head.out_features != 1:
        raise ModelError(f"{type(model).__name__} has no layer `score` of one number; start from another architecture")
    return head


@contextmanager
def _no_load_report() -> Iterator[None]:
    """Silence transformers on a head that is not in the checkpoint and a last layer that is not used."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
