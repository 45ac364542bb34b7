"""The stages of RLSF one at a time: each reads records from a run folder and writes records into one."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inward.cli import console, inputs
from inward.cli.pipeline import working, write_summary
from inward.config import RunConfig, run_config, stored_config
from inward.errors import RunFolderError
from inward.methods import rlsf
from inward.methods.rlsf import Start
from inward.runs import RunFolder, hash_folder
from inward.types import PreferencePair, ScoredGroup, TraceGroup


def sample(model: str, prompts: str, out: Path, *, seed: int, config: Path | None, overrides: Sequence[str]) -> None:
    """Write traces into a new run folder."""
    cfg = run_config("rlsf", model, config, overrides)
    settings = _rlsf(cfg)
    start = inputs.start_from(model, cfg.settings.model)
    asked = inputs.prompts_from(prompts, cfg.prompts, start, seed)
    manifest = inputs.manifest_for("rlsf", cfg.plain(), cfg.recipe, seed, start, (prompts, asked), None)
    with working(out, manifest) as (folder, _):
        traces = rlsf.sample_stage(asked, start, folder, settings, seed=seed)
    console.note(f"{len(traces)} groups of traces in {out / 'traces'}; next: inward score {out}")


def score(folder: Path) -> None:
    """Score the traces of a run folder."""
    with _opened(folder, None, (), ("traces",)) as (run, settings):
        scored = rlsf.score_stage(run.records("traces", TraceGroup), run, settings)
    console.note(f"{len(scored)} scored groups in {folder / 'scored'}; next: inward rank {folder}")


def rank(folder: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Turn scored traces into pairs, in the same folder or, under other settings, in another."""
    with _opened(folder, out, overrides, ("traces", "scored")) as (run, settings):
        scored = run.records("scored", ScoredGroup)
        pairs = rlsf.rank_stage(scored, run, settings, seed=run.manifest.seed)
    console.note(f"{len(pairs)} pairs in {(out or folder) / 'pairs'}; next: inward train {out or folder}")


def train(folder: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Train on the pairs, in the same folder or, under other settings, in another."""
    with _opened(folder, out, overrides, ("traces", "scored", "pairs")) as (run, settings):
        start = _start(run, settings)
        pairs = run.records("pairs", PreferencePair)
        checkpoint = rlsf.train_stage(pairs, start, run, settings, seed=run.manifest.seed)
        write_summary(run, None, run.manifest.start.name, None, None, ())
    console.note(f"checkpoint in {checkpoint}; next: inward evaluate --model {checkpoint} --data FILE --out DIR")


@contextmanager
def _opened(
    source: Path, out: Path | None, overrides: Sequence[str], stages: Sequence[str]
) -> Iterator[tuple[RunFolder, rlsf.Settings]]:
    """The folder to write into: `source` itself, or `out` with what the earlier `stages` made copied over.

    Settings that the copied stages were made under cannot be changed; the refusal names them.
    """
    stored = RunFolder.read(source).manifest
    if stored.method != "rlsf":
        raise RunFolderError(f"{source} was made by `inward {stored.method}`, which has no traces to go on from")
    for stage in stages:
        if not (source / stage / "complete.json").exists():
            raise RunFolderError(f"{source / stage} is not complete: run `inward {MADE_BY[stage]}` first")
    cfg = stored_config(stored.method, stored.settings, stored.recipe, overrides)
    if out is not None:
        was = stored_config(stored.method, stored.settings, stored.recipe, ())
        _refuse_upstream_changes(was.plain(), cfg.plain(), stages)
    with working(out or source, dataclasses.replace(stored, settings=cfg.plain())) as (folder, _):
        for stage in stages if out is not None else ():
            folder.build(stage, lambda target, stage=stage: shutil.copytree(source / stage, target, dirs_exist_ok=True))
        yield folder, _rlsf(cfg)


MADE_BY = {"traces": "sample", "scored": "score", "pairs": "rank"}
"""The command that makes a stage's records."""

UPSTREAM = {
    "traces": ("prompts", "model", "sampling", "answer"),
    "scored": ("answer", "confidence"),
    "pairs": ("pairs",),
}
"""Settings that a stage's records were made under."""


def _refuse_upstream_changes(was: Mapping[str, Any], now: Mapping[str, Any], stages: Sequence[str]) -> None:
    for stage in stages:
        for key in UPSTREAM[stage]:
            if was[key] != now[key]:
                raise RunFolderError(
                    f"the {stage} were made under other settings of `{key}`; make them again in a new folder"
                )


def _rlsf(cfg: RunConfig) -> rlsf.Settings:
    assert isinstance(cfg.settings, rlsf.Settings)
    return cfg.settings


def _start(run: RunFolder, settings: rlsf.Settings) -> Start:
    start = inputs.start_from(run.manifest.start.name, settings.model)
    if hash_folder(start.path) != run.manifest.start.sha256:
        raise RunFolderError(f"{start.name} is not the model that wrote these traces: its files have changed")
    return start
