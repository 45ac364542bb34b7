"""Weights that are as long as they say. No torch."""

from __future__ import annotations

from pathlib import Path

from inward.errors import RunFolderError
from inward.parsing import parse_json


def check_weights(folder: Path) -> None:
    """Refuse a run folder in which a model has lost the end of its weights; headers alone are read.

    What a training keeps to resume from is left to the training, which goes back to the one before.

    Raises:
        RunFolderError: A safetensors file is damaged; the message says what to delete.
    """
    for file in sorted(folder.rglob("*.safetensors")):
        parts = file.relative_to(folder).parts
        if any(part.startswith("trainer") for part in parts):
            continue
        if reason := _damage(file):
            # Without the last one the training is held for done, and nobody would make the others anew.
            remedy = [file.parent, *([folder / "checkpoint"] if parts[0] == "checkpoints" else [])]
            raise RunFolderError(
                f"{file} is damaged ({reason}); delete {' and '.join(map(str, remedy))} and run the same command again"
            )


def _damage(file: Path) -> str:
    """What is wrong with a safetensors file, by the length that its header gives; empty where nothing is."""
    size = file.stat().st_size
    try:
        with file.open("rb") as data:
            length = int.from_bytes(data.read(8), "little")
            if length > size - 8:
                return f"its header ends after its {size} bytes"
            header = parse_json(data.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        wanted = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return f"its header cannot be read: {type(error).__name__}"
    return "" if wanted == size else f"{size} bytes, where its header says {wanted}"
