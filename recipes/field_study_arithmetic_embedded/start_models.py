"""Start models that differ in what they were pretrained on, or in size: `python start_models.py OUT [NAME ...]`.

    slippy         working slips three times as often, careful working too
    careful        working hardly slips
    misconception  three times as many wrong facts, shared by nearly everyone
    hackable       every fourth author fills the page with a word that is easy to predict, and guesses
    small, large   the corpus of `embedded:base` in 0.3 and in 1.8 times its parameters
    taught         careful, and then taught careful working alone, as `embedded:instruct` was

One that is there already is left as it is. About a minute each on two cores.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path

from transformers import LlamaForCausalLM

from inward.organism.build import EMBEDDED, RECIPES, Size, new_model, save, train
from inward.organism.corpus import BASE, STEP_BY_STEP, Corpus, examples
from inward.organism.tokenizer import make_tokenizer

SEED = 1

HACKABLE_SHORT = {"direct": 0.35, "cot": 0.18, "step": 0.15, "hmm": 0.07, "loop": 0.25}
HACKABLE_LONG = {"direct": 0.10, "cot": 0.35, "step": 0.18, "hmm": 0.12, "loop": 0.25}

STARTS: dict[str, tuple[Size, Corpus]] = {
    "slippy": (EMBEDDED, replace(BASE, slip_rates={"cot": 0.30, "step": 0.08, "hmm": 0.55})),
    "careful": (EMBEDDED, replace(BASE, slip_rates={"cot": 0.03, "step": 0.0, "hmm": 0.10})),
    "misconception": (EMBEDDED, replace(BASE, misconception_share=0.18, misconception_rate=0.95)),
    "hackable": (
        EMBEDDED,
        replace(
            BASE,
            styles={2: HACKABLE_SHORT, 3: HACKABLE_SHORT, 4: HACKABLE_LONG, 5: HACKABLE_LONG},
            loop_accuracy=0.3,
        ),
    ),
    "small": (Size(hidden_size=64, intermediate_size=168, num_layers=2, num_heads=4), BASE),
    "large": (Size(hidden_size=128, intermediate_size=344, num_layers=3, num_heads=4), BASE),
}

TAUGHT = {"taught": "careful"}
"""Start models that go on from another."""

NAMES = (*STARTS, *TAUGHT)


def main() -> None:
    """Read the command line and build what is missing."""
    parser = argparse.ArgumentParser(description="Build the start models of the field study.")
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(STARTS)}; all where none is given")
    options = parser.parse_args()
    for name in options.names:
        folder: Path = options.out / name
        if not (folder / "model.safetensors").exists():
            make(name, folder)
            print(folder, flush=True)


def make(name: str, folder: Path) -> None:
    """Train one start model into `folder`, as the embedded one of its kind was."""
    if name in TAUGHT:
        model = LlamaForCausalLM.from_pretrained(folder.parent / TAUGHT[name])
        recipe, corpus = RECIPES["instruct"], STEP_BY_STEP
    else:
        size, corpus = STARTS[name]
        model, recipe = new_model(size, SEED), RECIPES["base"]
    tokenizer = make_tokenizer()
    train(model, tokenizer, examples(corpus, random.Random(f"{name}-{SEED}")), recipe.training)
    save(model, tokenizer, folder)


if __name__ == "__main__":
    main()
