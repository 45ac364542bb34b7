"""What makes two runs the same work, and what to say where they are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from inward.errors import RunFolderError
from inward.runs.records import plain, to_json
from inward.types import Manifest

_WATCHED = ("torch", "transformers", "trl")


def identity(manifest: Manifest) -> dict[str, object]:
    """Return what makes two runs the same work: equal identities make equal artefacts.

    Names of models and data, versions, hardware and dates are left out; hashes stand for the first two. So are the
    endpoints that serve a model and how they are asked: a run may go on with others. And so is Ray, which writes the
    traces that the model here would write.
    """
    settings = {name: value for name, value in manifest.settings.items() if name != "ray"}
    if settings.get("engine") == "ray":
        settings["engine"] = "local"
    if isinstance(server := settings.get("server"), Mapping):
        settings["server"] = {"rescore": server.get("rescore")}
    parts = ("start", "data", "evaluation")
    hashes = {part: {"sha256": getattr(getattr(manifest, part), "sha256", None)} for part in parts}
    return plain(
        {
            "method": manifest.method,
            "settings": settings,
            "seed": manifest.seed,
            **hashes,
            "labels_used": manifest.labels_used,
        }
    )


def refuse_other(path: Path, stored: Manifest, asked: Manifest) -> None:
    """Raise RunFolderError where the folder holds another run; each difference is named."""
    if stored.method != asked.method:
        raise RunFolderError(
            f"{path} belongs to another run: its method is {stored.method}, asked for {asked.method}; use another --out"
        )
    here, there = dict(_leaves(identity(stored))), dict(_leaves(identity(asked)))
    lines = [
        f"  {name}: this folder has {_shown(here, name)}, asked for {_shown(there, name)}"
        for name in {**here, **there}
        if _shown(here, name) != _shown(there, name)
    ]
    if lines:
        raise RunFolderError(
            "\n".join([f"{path} belongs to another run:", *lines])
            + "\nuse another --out, or the settings this folder was made with"
        )


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _shown(leaves: Mapping[str, object], name: str) -> str:
    return to_json(leaves[name]) if name in leaves else "nothing"


def version_changes(stored: Manifest, asked: Manifest) -> list[tuple[str, str, str]]:
    """Return names of packages whose versions differ, with both versions."""
    was = {"inward": stored.inward, **{name: stored.versions.get(name, "") for name in _WATCHED}}
    now = {"inward": asked.inward, **{name: asked.versions.get(name, "") for name in _WATCHED}}
    return [(name, was[name], now[name]) for name in was if was[name] != now[name]]
