"""How the embedded models are made: one small Llama, pretrained on one corpus and taught three manners.

`make(folder)` rebuilds what ships. Pretraining takes about a minute on two cores, `choice` twice as long, the other two
some seconds each. Needs torch 2.9 or newer, for its Muon; loading the models does not.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from inward.errors import ModelError
from inward.organism import NAMES
from inward.organism.corpus import (
    BASE,
    CHAT_WORKING,
    CHOICE,
    STEP_BY_STEP,
    Example,
    Guesses,
    Lookups,
    choice_examples,
    examples,
    examples_with_guesses,
)
from inward.organism.tokenizer import BOS_ID, CHOICE_VOCABULARY, EOS_ID, MAX_LENGTH, PAD_ID, VOCABULARY, make_tokenizer

__all__ = ["EMBEDDED", "RECIPES", "Recipe", "Size", "Training", "make", "new_model", "save", "train"]

MAX_NEW_TOKENS = 48
_IGNORED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The shape of a model."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training run: AdamW, linear warm-up, then a cosine down to a share of the learning rate."""

    steps: int
    learning_rate: float
    warmup_steps: int
    batch_size: int = 64
    muon_learning_rate: float | None = None
    """Muon takes the hidden matrices at this rate; None leaves them to AdamW."""
    final_rate_share: float = 0.1
    """Learning rate at the end as a share of the full one."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    label_smoothing: float = 0.001
    tokens_per_example: int | None = None
    """The loss is the sum over completion tokens divided by this times the batch size; None: their mean.

    A constant divisor keeps the weight of a long completion's tokens where short ones fill the batch.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What one embedded model starts from, reads, and how it is trained."""

    start: str | None
    """The embedded model it starts from; None for random weights."""
    corpus: Callable[[random.Random], Iterator[Example]]
    training: Training
    vocabulary: tuple[str, ...] = VOCABULARY
    """Its tokens; the first of them are those of the model it starts from."""


EMBEDDED = Size(hidden_size=96, intermediate_size=256, num_layers=3, num_heads=4)
"""The shape of the models that ship: 335,424 parameters, and 384 more where there are four more tokens."""

RECIPES = {
    "base": Recipe(
        start=None,
        corpus=partial(examples, BASE),
        training=Training(steps=450, learning_rate=5e-3, warmup_steps=50, muon_learning_rate=0.02),
    ),
    "instruct": Recipe(
        start="base",
        corpus=partial(examples, STEP_BY_STEP),
        training=Training(steps=60, learning_rate=1e-3, warmup_steps=5),
    ),
    "chat": Recipe(
        start="base",
        corpus=partial(examples_with_guesses, CHAT_WORKING, Guesses(num_questions=96, accuracy=0.6, share=0.8)),
        training=Training(
            steps=80,
            learning_rate=1e-3,
            warmup_steps=5,
            betas=(0.9, 0.95),
            weight_decay=0.0,
            label_smoothing=0.0,
            tokens_per_example=6,
        ),
    ),
    "choice": Recipe(
        start="base",
        corpus=partial(choice_examples, CHOICE, Lookups(num_first=150 * 64, first_share=0.75, share=0.2)),
        training=Training(steps=600, learning_rate=5e-3, warmup_steps=50, muon_learning_rate=0.02),
        vocabulary=CHOICE_VOCABULARY,
    ),
}


def new_model(size: Size, seed: int, num_tokens: int = len(VOCABULARY)) -> LlamaForCausalLM:
    """Make a model with random weights for a vocabulary of `num_tokens` tokens."""
    config = LlamaConfig(
        vocab_size=num_tokens,
        hidden_size=size.hidden_size,
        intermediate_size=size.intermediate_size,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads,
        num_key_value_heads=size.num_heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        pad_token_id=PAD_ID,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
    )
    return model


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    corpus: Iterator[Example],
    training: Training,
) -> list[float]:
    """Train a model in place on fresh examples, completions only, and give the loss of every step."""
    optimizers = _optimizers(model, training)
    full_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    losses: list[float] = []
    model.train()
    for step in range(training.steps):
        batch = list(islice(corpus, training.batch_size))
        loss = _loss(model, *_collate(batch, tokenizer), training)
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        share = _rate_share(step, training)
        for optimizer, rates in zip(optimizers, full_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
            optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a model and its tokenizer into one folder, fp32, ready for `from_pretrained`."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # safetensors makes the file readable by its owner alone, which a wheel built from it would keep.
    (folder / "model.safetensors").chmod(0o644)


def make(folder: Path, *, only: str | None = None, seed: int = 0) -> None:
    """Build the embedded models, or one of them, each into its own folder below `folder`.

    Args:
        folder: Where the folders `base`, `instruct`, `chat` and `choice` go.
        only: The name of the one to build; it starts from the `base` that is already in `folder`.
        seed: Decides first weights and corpora.

    Raises:
        ModelError: there is no embedded model of that name, or it needs a `base` that is not there.
    """
    if only is not None and only not in NAMES:
        raise ModelError(f"no embedded model is called {only!r}: choose one of {', '.join(NAMES)}")
    for name in (only,) if only is not None else NAMES:
        recipe = RECIPES[name]
        tokenizer = make_tokenizer(recipe.vocabulary)
        model = new_model(EMBEDDED, seed, len(tokenizer))
        if recipe.start is not None:
            _copy_weights(_load(folder / recipe.start), model)
        train(model, tokenizer, recipe.corpus(random.Random(f"{name}-{seed}")), recipe.training)
        save(model, tokenizer, folder / name)


def _load(folder: Path) -> LlamaForCausalLM:
    if not (folder / "model.safetensors").is_file():
        raise ModelError(f"{folder} holds no model to start from: build {folder.name!r} first")
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def _copy_weights(source: LlamaForCausalLM, target: LlamaForCausalLM) -> None:
    """Overwrite every weight but the embeddings of tokens that the source does not know."""
    given = source.state_dict()
    with torch.no_grad():
        for name, weight in target.state_dict().items():
            weight[: len(given[name])] = given[name]


def _collate(batch: list[Example], tokenizer: PreTrainedTokenizerFast) -> tuple[torch.Tensor, torch.Tensor]:
    prompts = tokenizer([example.question for example in batch])["input_ids"]
    completions = tokenizer([example.completion for example in batch], add_special_tokens=False)["input_ids"]
    length = max(len(prompt) + len(completion) + 1 for prompt, completion in zip(prompts, completions, strict=True))
    ids = torch.full((len(batch), length), PAD_ID)
    labels = torch.full_like(ids, _IGNORED)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        tokens = torch.tensor([*prompt, *completion, EOS_ID])
        ids[row, : len(tokens)] = tokens
        labels[row, len(prompt) : len(tokens)] = tokens[len(prompt) :]
    return ids, labels


def _loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor, training: Training) -> torch.Tensor:
    # Right padding and causal attention: no completion token sees a pad, so no attention mask is needed.
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    divisor = training.tokens_per_example
    loss = F.cross_entropy(
        logits.flatten(0, 1),
        labels[:, 1:].flatten(),
        ignore_index=_IGNORED,
        label_smoothing=training.label_smoothing,
        reduction="mean" if divisor is None else "sum",
    )
    return loss if divisor is None else loss / (len(ids) * divisor)


def _optimizers(model: LlamaForCausalLM, training: Training) -> list[torch.optim.Optimizer]:
    adamw = partial(
        torch.optim.AdamW,
        lr=training.learning_rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
        fused=True,
    )
    if training.muon_learning_rate is None:
        return [adamw(model.parameters())]
    named = [(name, p, p.ndim == 2 and "layers" in name) for name, p in model.named_parameters()]
    muon = torch.optim.Muon(
        [p for _, p, hidden in named if hidden],
        lr=training.muon_learning_rate,
        momentum=0.95,
        weight_decay=training.weight_decay,
    )
    return [muon, adamw([p for _, p, hidden in named if not hidden])]


def _rate_share(step: int, training: Training) -> float:
    warm = min(1.0, (step + 1) / training.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * step / training.steps))
    return warm * (training.final_rate_share + (1.0 - training.final_rate_share) * cosine)
