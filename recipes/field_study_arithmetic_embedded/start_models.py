"""Start models that differ in what they were pretrained on, or in size: `python start_models.py OUT [NAME ...]`.

    slippy         working slips three times as often, careful working too
    careful        working hardly slips
    misconception  three times as many wrong facts, shared by nearly everyone
    hackable       every fourth author fills the page with a word that is easy to predict, and guesses
    small, large   the corpus of `embedded:base` in 0.3 and in 1.8 times its parameters
    taught         careful, and then taught careful working alone, as `embedded:instruct` was
    hasty          most authors guess
    blundering     working slips twice as often, and the size is that of small
    padded         every eighth author fills the page with a word that is easy to predict, and guesses
    mistaught      misconception, and then taught careful working alone
    unsteady       working slips more often than in blundering, in the size of base
    rash           most authors guess, and the size is that of small
    deluded        twice as many wrong facts, shared by nearly everyone, and working slips twice as often
    wordy          hackable, in the size of large

One that is there already is left as it is, and one that goes on from another makes that first. About a minute each on
two cores.
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
HASTY_SHORT = {"direct": 0.70, "cot": 0.14, "step": 0.10, "hmm": 0.05, "loop": 0.01}
HASTY_LONG = {"direct": 0.45, "cot": 0.28, "step": 0.15, "hmm": 0.10, "loop": 0.02}
PADDED_SHORT = {"direct": 0.40, "cot": 0.22, "step": 0.17, "hmm": 0.09, "loop": 0.12}
PADDED_LONG = {"direct": 0.10, "cot": 0.42, "step": 0.22, "hmm": 0.14, "loop": 0.12}
SMALL = Size(hidden_size=64, intermediate_size=168, num_layers=2, num_heads=4)

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
    "small": (SMALL, BASE),
    "large": (Size(hidden_size=128, intermediate_size=344, num_layers=3, num_heads=4), BASE),
    "hasty": (EMBEDDED, replace(BASE, styles={2: HASTY_SHORT, 3: HASTY_SHORT, 4: HASTY_LONG, 5: HASTY_LONG})),
    "blundering": (SMALL, replace(BASE, slip_rates={"cot": 0.20, "step": 0.04, "hmm": 0.45})),
    "padded": (
        EMBEDDED,
        replace(BASE, styles={2: PADDED_SHORT, 3: PADDED_SHORT, 4: PADDED_LONG, 5: PADDED_LONG}, loop_accuracy=0.3),
    ),
    "unsteady": (EMBEDDED, replace(BASE, slip_rates={"cot": 0.25, "step": 0.06, "hmm": 0.50})),
    "rash": (SMALL, replace(BASE, styles={2: HASTY_SHORT, 3: HASTY_SHORT, 4: HASTY_LONG, 5: HASTY_LONG})),
    "deluded": (
        EMBEDDED,
        replace(
            BASE,
            misconception_share=0.12,
            misconception_rate=0.95,
            slip_rates={"cot": 0.20, "step": 0.04, "hmm": 0.45},
        ),
    ),
    "wordy": (
        Size(hidden_size=128, intermediate_size=344, num_layers=3, num_heads=4),
        replace(
            BASE,
            styles={2: HACKABLE_SHORT, 3: HACKABLE_SHORT, 4: HACKABLE_LONG, 5: HACKABLE_LONG},
            loop_accuracy=0.3,
        ),
    ),
}

TAUGHT = {"taught": "careful", "mistaught": "misconception"}
"""Start models that go on from another."""

FRESH = ("hasty", "blundering", "padded", "mistaught")
"""Added when the forecast and the choice had been seen to err on the others, and changed: they judge the change."""

LATER = ("unsteady", "rash", "deluded", "wordy")
"""Added when the choice had been changed once more, by what it did on all the others: they judge that."""

NAMES = (*STARTS, *TAUGHT)


def main() -> None:
    """Read the command line and build what is missing."""
    parser = argparse.ArgumentParser(description="Build the start models of the field study.")
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(STARTS)}; all where none is given")
    options = parser.parse_args()
    for name in options.names:
        make(name, options.out)


def make(name: str, out: Path) -> None:
    """Train one start model into `out / name`, as the embedded one of its kind was; what is there is left as it is."""
    folder = out / name
    if (folder / "model.safetensors").exists():
        return
    if name in TAUGHT:
        make(TAUGHT[name], out)
        model = LlamaForCausalLM.from_pretrained(out / TAUGHT[name])
        recipe, corpus = RECIPES["instruct"], STEP_BY_STEP
    else:
        size, corpus = STARTS[name]
        model, recipe = new_model(size, SEED), RECIPES["base"]
    tokenizer = make_tokenizer()
    train(model, tokenizer, examples(corpus, random.Random(f"{name}-{SEED}")), recipe.training)
    save(model, tokenizer, folder)
    print(folder, flush=True)


if __name__ == "__main__":
    main()
