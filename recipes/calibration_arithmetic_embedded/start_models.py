"""Start models that differ in how their confidence is wrong: `python start_models.py OUT --seed 1`.

    base     as `embedded:base`, pretrained with this seed; confidence about right
    chat     as `embedded:chat`: answers at once and is overconfident; a competent way of working is still in it
    damaged  as chat, but nine in ten examples are guesses and every token weighs the same: the working is damaged
    sharp    base with all logits doubled: the same greedy answers, overconfident
    brief    base trained with GRPO to be short: guesses, and is honest about it

One that is there already is left as it is.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import LlamaForCausalLM

from inward.models import ModelSettings
from inward.organism.build import EMBEDDED, RECIPES, Recipe, Training, new_model, save, train
from inward.organism.corpus import CHAT_WORKING, Example, Guesses, examples_with_guesses
from inward.organism.tokenizer import make_tokenizer
from inward.tasks import arithmetic
from inward.train import GroupPolicySettings, IntrinsicReward, StepTraces, group_policy

NAMES = ("base", "chat", "damaged", "sharp", "brief")

DAMAGED = Recipe(
    start="base",
    corpus=partial(examples_with_guesses, CHAT_WORKING, Guesses(num_questions=96, accuracy=0.6, share=0.9)),
    training=Training(
        steps=100,
        learning_rate=1e-3,
        warmup_steps=5,
        betas=(0.9, 0.95),
        weight_decay=0.0,
        label_smoothing=0.0,
    ),
)


def main() -> None:
    """Read the command line and build what is missing."""
    parser = argparse.ArgumentParser(description="Build the start models of the calibration study.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of pretraining and of what follows")
    options = parser.parse_args()
    for name in NAMES:
        folder = options.out / f"{name}-{options.seed}"
        if not (folder / "model.safetensors").exists():
            make(name, folder, options.out / f"base-{options.seed}", options.seed)
            print(folder, flush=True)


def make(name: str, folder: Path, base: Path, seed: int) -> None:
    """Build one start model into `folder`, from the one in `base`."""
    match name:
        case "base":
            _taught(new_model(EMBEDDED, seed), RECIPES["base"], name, folder, seed)
        case "chat" | "damaged":
            _taught(_load(base), DAMAGED if name == "damaged" else RECIPES["chat"], name, folder, seed)
        case "sharp":
            model = _load(base)
            with torch.no_grad():
                model.model.norm.weight.mul_(2.0)  # the head is linear, so this doubles every logit
            save(model, make_tokenizer(), folder)
        case "brief":
            _shortened(base, folder, seed)
        case _:
            raise ValueError(f"no start model is called {name!r}: choose one of {', '.join(NAMES)}")


def _taught(model: LlamaForCausalLM, recipe: Recipe, name: str, folder: Path, seed: int) -> None:
    corpus: Iterator[Example] = recipe.corpus(random.Random(f"{name}-{seed}"))
    tokenizer = make_tokenizer()
    train(model, tokenizer, corpus, recipe.training)
    save(model, tokenizer, folder)


def _shortened(base: Path, folder: Path, seed: int) -> None:
    """GRPO on minus the length, 20 steps of 32 questions x 8 traces."""

    def brevity(traces: StepTraces) -> list[float | None]:
        return [-float(len(ids)) for ids in traces.completion_ids]

    settings = GroupPolicySettings(
        steps=20,
        prompts_per_step=32,
        batch_rows=256,
        max_completion_tokens=48,
        learning_rate=1e-4,
        lr_scheduler="constant",
        warmup_steps=0,
        kl=0.0,
        loss="trace_mean",
    )
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as work:
        group_policy(
            arithmetic.prompts(640, seed),
            IntrinsicReward("brevity", brevity),
            start=base,
            work=Path(work),
            settings=settings,
            model=ModelSettings(),
            seed=seed,
            at_checkpoint=lambda step, policy, write: bool(write(folder)) if step == settings.steps else False,
        )


def _load(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


if __name__ == "__main__":
    main()
