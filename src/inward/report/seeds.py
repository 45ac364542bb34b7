"""Several runs, grouped by what they were meant to differ in; runs of a group differ in their seed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inward.errors import RunFolderError, SettingsError
from inward.report.metrics import get
from inward.report.progress import Points, Progress, progress
from inward.report.reading import curve_of, summary_of
from inward.runs import RunFolder
from inward.types import Estimate, Manifest

MAX_GROUPS = 6
"""Colours that can still be told apart, also by those who see fewer."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, as far as it can be compared with others."""

    name: str
    """Of its folder."""
    manifest: Manifest
    task: str | None
    curve: Sequence[tuple[float, Mapping[str, Estimate]]]
    """Metrics by step, at least one."""
    progress: Progress

    def metric(self, key: str) -> Points:
        """A metric by step, where it is defined."""
        return [(step, one.value) for step, metrics in self.curve if (one := get(metrics, key)) is not None]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ in their seed."""

    label: str
    """What sets the group apart from the others."""
    runs: Sequence[Run]
    """By seed."""


def read(folders: Sequence[Path]) -> list[Run]:
    """Read what can be compared of several runs.

    Raises:
        SettingsError: A folder is given twice.
        RunFolderError: A folder has no curve over the steps of a training, is not finished or is damaged.
    """
    seen: set[str] = set()
    for path in folders:
        place = os.path.realpath(path)
        if place in seen:
            raise SettingsError(f"{path} is given twice; name every run once")
        seen.add(place)
    return [_read(path) for path in folders]


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Group runs by reward, length normalisation and start model, in the order in which they are given.

    Raises:
        SettingsError: There are more groups than colours.
    """
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        found.setdefault(_kind(run.manifest), []).append(run)
    differing = [position for position, values in enumerate(zip(*found, strict=True)) if len(set(values)) > 1] or [0]
    groups = [
        Group(
            label=", ".join(kind[position] for position in differing),
            runs=sorted(members, key=lambda run: (run.manifest.seed, run.name)),
        )
        for kind, members in found.items()
    ]
    if len(groups) > MAX_GROUPS:
        labels = "; ".join(group.label for group in groups)
        raise SettingsError(
            f"these runs form {len(groups)} groups, and {MAX_GROUPS} can be told apart on one page: {labels}; "
            "give fewer of them at a time"
        )
    return groups


def other_differences(group: Group) -> list[str]:
    """Name the settings, besides the seed, in which runs of a group differ; their mean may then mean little."""
    flat = [
        dict(_leaves({"settings": run.manifest.settings, "start": run.manifest.start.sha256})) for run in group.runs
    ]
    names = sorted({name for one in flat for name in one})
    return [name.removeprefix("settings.") for name in names if len({repr(one.get(name)) for one in flat}) > 1]


def _read(path: Path) -> Run:
    folder = RunFolder.read(path)
    summary = summary_of(folder)
    points = summary.get("curve") or ()
    if not points or any("step" not in point for point in points):
        raise RunFolderError(
            f"{path} has no metrics by step to draw: give judged runs of rlif or rlsc (--eval-task, --eval-data); "
            "judged runs of any method, rlsf too, go side by side by inward compare RUN RUN --out compare.html"
        )
    return Run(
        name=Path(os.path.realpath(path)).name,
        manifest=folder.manifest,
        task=summary.get("task"),
        curve=curve_of(summary),
        progress=progress(folder, summary),
    )


def _kind(manifest: Manifest) -> tuple[str, ...]:
    """Reward, length normalisation and start model; runs older than the second setting took the mean."""
    settings = manifest.settings
    reward, norm = settings.get("reward", manifest.method), settings.get("length_norm", "mean")
    return str(reward), f"length_norm {norm}", manifest.start.name


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
