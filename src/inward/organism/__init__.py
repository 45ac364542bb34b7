"""The embedded models: four small checkpoints that ship with the package.

They have 335,424 parameters each (`choice` 335,808), know only the arithmetic of `inward.tasks`, and were made so
that the effects of the methods show within a minute on a laptop's processor. `weights/MODEL_CARD.md` says
how they were made and what they are not evidence for.

    base      writes in many styles, some careless; its confidence is about right
    instruct  `base`, taught to work step by step; right four times in five
    chat      `base`, taught to answer at once; overconfident, with the longer way of working still in it
    choice    `base`, taught to answer with the label of an option; the same styles, guesses included
"""

from __future__ import annotations

from pathlib import Path

from inward.errors import ModelError

__all__ = ["NAMES", "path"]

NAMES = ("base", "instruct", "chat", "choice")


def path(name: str) -> Path:
    """Give the folder of an embedded model, which `AutoModelForCausalLM.from_pretrained` can load.

    Raises:
        ModelError: there is no embedded model of that name, or its files are not installed.
    """
    if name not in NAMES:
        raise ModelError(f"no embedded model is called {name!r}: choose one of {', '.join(NAMES)}")
    folder = Path(__file__).parent / "weights" / name
    if not (folder / "model.safetensors").is_file():
        raise ModelError(f"the weights of the embedded model {name!r} are missing: run scripts/make_embedded.py")
    return folder
