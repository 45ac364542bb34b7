"""Prompts in, checkpoints out: a policy's own samples, weighted by its confidence in them (RLSC, arXiv 2506.06395).

Per step: sample completions of a few prompts, weight each by its detached probability plus alpha, raise its
log-probability by that much, one AdamW step; nothing else. No baseline, no clipped ratios, no KL term. The same loop
minimises the entropy of the next token along the samples instead (`loss=entropy_*`), differentiated directly.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from inward.errors import SettingsError
from inward.forward import Sequences, completion_logprobs
from inward.losses import alpha_share, confidence_weight, weighted_nll
from inward.models import evaluating, load_tokenizer
from inward.settings import LoraSettings, ModelSettings, SelfConfidenceSettings
from inward.train.group_policy import AtCheckpoint, in_order
from inward.train.interruption import whole_steps
from inward.train.processes import num_processes
from inward.train.quantized import check_quantized, load_base, unpacked
from inward.train.trainer import check_lora, peft_config, quiet, refuse_divergence, save
from inward.train.whole import refuse_sharding
from inward.types import Prompt

STATE = "state.pt"
"""Of a trainer checkpoint: trained weights, optimizer, steps done."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Completions of one step on this process, N in all."""

    prompt_ids: Sequence[Sequence[int]]
    completion_ids: Sequence[Sequence[int]]
    answer_share: Sequence[float]
    """[N] share of the prompt's samples with the same answer."""


Draw = Callable[[nn.Module, Sequence[Prompt], int], Samples]
"""(live policy, prompts, step) -> samples, from random streams that depend on seed, prompt and step alone."""


def check_self_confidence(settings: SelfConfidenceSettings, model: Any, *, device: str | None = None) -> None:
    """Refuse settings that training would refuse, before there is work to lose.

    Arguments as `preference.check_preference`.
    """
    check_lora(settings.lora, model)
    check_quantized(settings.lora, device or model.device.type)
    refuse_sharding("RLSC")
    if settings.prompts_per_step % num_processes():
        raise SettingsError(
            f"optim.prompts_per_step = {settings.prompts_per_step} does not divide among {num_processes()} processes"
        )


def self_confidence(
    prompts: Sequence[Prompt],
    draw: Draw,
    *,
    start: Path,
    work: Path,
    settings: SelfConfidenceSettings,
    model: ModelSettings,
    seed: int,
    at_checkpoint: AtCheckpoint,
    progress: Callable[[int, int], None] = lambda done, total: None,
    log: Callable[[dict[str, float]], None] = lambda metrics: None,
) -> int:
    """Train a policy on its own samples, from `start`.

    Args:
        prompts: what to ask; shuffled by `seed`, begun again when used up.
        draw: samples of some prompts from the live policy; with several processes each draws for its own prompts.
        start: folder of the start checkpoint.
        work: folder for trainer checkpoints; a training that was killed resumes from the newest whole one there.
        settings: hyper-parameters.
        model: how the start checkpoint is loaded.
        seed: of data order and adapter initialisation.
        at_checkpoint: told every `save_every` steps and at the end; in one process where there are several.
        progress: called with (steps done, steps in all).
        log: called with the metrics of each step.

    Returns:
        The number of steps done.
    """
    from accelerate.utils import broadcast_object_list, set_seed

    set_seed(seed)
    parts = _prepared(start, settings, model)
    accelerator, policy = parts.accelerator, parts.policy
    order = _told_apart(in_order(prompts, settings.steps * settings.prompts_per_step, seed), settings.prompts_per_step)
    share = settings.prompts_per_step // accelerator.num_processes

    def drawn(step: int) -> Samples:
        first = step * settings.prompts_per_step + accelerator.process_index * share
        with evaluating(policy):
            return draw(policy, order[first : first + share], step)

    def apart() -> Any:
        """A copy, since saving merges adapters."""
        if settings.lora and settings.lora.quantization:
            return unpacked(parts.trained, start, model, settings.lora)
        return copy.deepcopy(parts.trained)

    def told(step: int) -> bool:
        answer = [False]
        if accelerator.is_main_process:
            with evaluating(policy):
                answer = [at_checkpoint(step, policy, lambda out: save(apart(), start, out, model))]
        return bool(broadcast_object_list(answer)[0])

    fixed = None if settings.regenerate else drawn(0)
    done = _resume(work, parts.trained, parts.optimizer)
    progress(done, settings.steps)
    ended = bool(done) and _due(done, settings) and told(done)
    with whole_steps() as asked:
        while done < settings.steps and not ended and not asked():
            metrics = _update(parts, fixed or drawn(done), settings, done + 1)
            done += 1
            log({"step": float(done), **metrics})
            progress(done, settings.steps)
            if _due(done, settings) or asked():
                if accelerator.is_main_process:
                    _save_state(work, done, parts.trained, parts.optimizer)
                accelerator.wait_for_everyone()
            ended = _due(done, settings) and told(done)
    return done


def _due(done: int, settings: SelfConfidenceSettings) -> bool:
    """Whether a checkpoint is told of after so many steps; others are written on SIGTERM alone."""
    return done % settings.save_every == 0 or done == settings.steps


@dataclass(frozen=True)
class _Parts:
    """What a training works with."""

    accelerator: Any
    policy: Any
    """The model that samples."""
    trained: nn.Module
    """The policy itself, or the policy with its adapter."""
    scorer: nn.Module
    """`trained` wrapped for accelerate, giving log-probabilities and entropies."""
    optimizer: Any


def _prepared(start: Path, settings: SelfConfidenceSettings, model: ModelSettings) -> _Parts:
    from accelerate import Accelerator

    with quiet():
        policy = load_base(start, model, settings.lora)
        cpu = policy.device.type == "cpu"
        accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if policy.device.type == "cuda" else "no")
        pad_id = int(cast(Any, load_tokenizer(start, model)).pad_token_id or 0)
        trained = _adapted(policy, settings.lora)  # an adapter goes into the policy, too
        parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
        plain = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        scorer, optimizer = cast(Any, accelerator.prepare(_Scorer(trained, pad_id, settings.scored_at), plain))
    return _Parts(accelerator, policy, trained, scorer, optimizer)


def _told_apart(order: Sequence[Prompt], per_step: int) -> list[Prompt]:
    """The same prompts; one met again within a step gets an id of its own, since ids key the random streams."""
    apart: list[Prompt] = []
    for position, prompt in enumerate(order):
        earlier = order[position - position % per_step : position]
        again = sum(one.id == prompt.id for one in earlier)
        apart.append(dataclasses.replace(prompt, id=f"{prompt.id}#{again + 1}") if again else prompt)
    return apart


class _Scorer(nn.Module):
    """The policy with its scoring inside `forward`, which is where data-parallel wrappers look."""

    def __init__(self, policy: nn.Module, pad_id: int, temperature: float) -> None:
        super().__init__()
        self.policy = policy
        self.pad_id = pad_id
        self.temperature = temperature

    def forward(self, sequences: Sequences) -> tuple[Tensor, Tensor, Tensor]:
        return completion_logprobs(self.policy, sequences, self.pad_id, temperature=self.temperature)


def _update(parts: _Parts, samples: Samples, settings: SelfConfidenceSettings, step: int) -> dict[str, float]:
    """One optimizer step on all samples; returns its metrics, over the samples of all processes."""
    accelerator, scorer = parts.accelerator, parts.scorer
    pairs = list(zip(samples.prompt_ids, samples.completion_ids, strict=True))
    rows = [row for row, (_, completion) in enumerate(pairs) if completion]
    assert rows, "sampling gives every completion at least one token"
    rows.sort(key=lambda row: len(pairs[row][0]) + len(pairs[row][1]))  # rows of like length need little padding
    counts = torch.tensor([len(rows), sum(len(ids) for _, ids in pairs)], device=accelerator.device)
    divisor = _divisor(settings, *accelerator.reduce(counts).tolist())
    seen: list[tuple[Tensor, ...]] = []
    for start in range(0, len(rows), settings.batch_rows):
        batch = rows[start : start + settings.batch_rows]
        last = start + settings.batch_rows >= len(rows)
        with nullcontext() if last else accelerator.no_sync(scorer):
            logprob, entropy, mask = scorer([pairs[row] for row in batch])
            shares = torch.tensor([samples.answer_share[row] for row in batch], device=logprob.device)
            total, length = logprob.sum(1), mask.sum(1)
            weight = confidence_weight(total, length, settings.weight, answer_share=shares)
            # Entropy is differentiated directly, sampling is not; what `entropy_*` differ in is the divisor.
            losses = weighted_nll(total, weight, settings.alpha) if settings.loss == "rlsc" else entropy.sum(1)
            # Data-parallel wrappers average over processes, and the divisor counts the samples of all of them.
            accelerator.backward(losses.sum() * accelerator.num_processes / divisor)
        seen.append(tuple(one.detach().float() for one in (total, entropy.sum(1), length, weight, losses)))
    norm = accelerator.clip_grad_norm_(scorer.parameters(), settings.max_grad_norm or float("inf"))
    refuse_divergence(float(norm), step)
    parts.optimizer.step()
    parts.optimizer.zero_grad()
    columns = (accelerator.gather_for_metrics(torch.cat(column)).cpu() for column in zip(*seen, strict=True))
    totals, entropies, lengths, weights, losses = columns
    weighed = {
        "weight_mean": float(weights.mean()),
        "weight_max": float(weights.max()),
        "alpha_share": alpha_share(weights, settings.alpha),
    }
    return {
        "loss": float(losses.sum() / divisor),
        "grad_norm": float(norm),
        "logprob_sum": float(totals.mean()),
        **(weighed if settings.loss == "rlsc" else {}),
        "train_entropy": float(entropies.sum() / lengths.sum()),
        "train_length": float(lengths.mean()),
    }


def _divisor(settings: SelfConfidenceSettings, num_samples: int, num_tokens: int) -> int:
    """What the summed loss of a step is divided by."""
    if settings.loss == "entropy_token_mean":
        return max(1, num_tokens)
    return max(1, num_samples) if settings.reduction == "mean" else 1


def _adapted(policy: Any, lora: LoraSettings | None) -> nn.Module:
    """The policy with its adapter, without dropout: what is trained is the probability of the policy that sampled."""
    from peft import get_peft_model

    return (get_peft_model(policy, peft_config(lora, policy)) if lora else policy).eval()


def _checkpoints(work: Path) -> Iterator[Path]:
    """Trainer checkpoints, newest first."""
    yield from sorted(work.glob("checkpoint-*"), key=lambda folder: -int(folder.name.rpartition("-")[2]))


def _save_state(work: Path, done: int, trained: nn.Module, optimizer: Any) -> None:
    """Write a trainer checkpoint, whole or not at all, and remove the others."""
    unfinished = work / f"unfinished-{done}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    weights = {name: value for name, value in trained.named_parameters() if value.requires_grad}
    torch.save({"weights": weights, "optimizer": optimizer.state_dict(), "done": done}, unfinished / STATE)
    target = work / f"checkpoint-{done}"
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    for folder in _checkpoints(work):
        if folder != target:
            shutil.rmtree(folder)


def _resume(work: Path, trained: nn.Module, optimizer: Any) -> int:
    """Load the newest trainer checkpoint that can be read, if any; returns the number of steps done."""
    for folder in _checkpoints(work):
        try:
            state = torch.load(folder / STATE, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
            continue  # torn where the machine went down; the next one replaces it
        trained.load_state_dict(state["weights"], strict=False)  # what is not trained is as in the start checkpoint
        optimizer.load_state_dict(state["optimizer"])
        return int(state["done"])
    return 0
