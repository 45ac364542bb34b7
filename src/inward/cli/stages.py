"""The stages of RLSF one at a time: each reads records from a run folder and writes records into one.

Ranking needs no torch, and scoring no model where traces carry their signals: what loads them stands in functions.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from inward.cli import console, questions
from inward.cli.summary import working, write_summary
from inward.config import RunConfig, run_config, stored_config
from inward.errors import RunFolderError, SettingsError
from inward.methods import ranking
from inward.methods.rounds import Round
from inward.methods.settings.rlsf import Settings
from inward.methods.start import Start
from inward.runs import RunFolder, hash_folder
from inward.types import PreferencePair, ScoredGroup, Trace, TraceGroup


def sample(model: str, prompts: str, out: Path, *, seed: int, config: Path | None, overrides: Sequence[str]) -> None:
    """Write traces into a new run folder."""
    from inward.cli import inputs
    from inward.methods import rlsf

    cfg = run_config("rlsf", model, config, overrides, questions.task_answers(prompts, None))
    settings = _rlsf(cfg)
    rlsf.check_engine(settings)
    start = inputs.start_from(model, cfg.settings.model)
    asked = inputs.prompts_from(prompts, cfg.prompts, start, seed)
    manifest = inputs.manifest_for("rlsf", cfg.plain(), cfg.recipe, seed, start, (prompts, asked), None)
    with working(out, manifest, trackers=cfg.report_to) as (folder, _):
        traces = rlsf.sample_stage(asked, start, Round(folder=folder, number=1, seed=seed), settings)
    console.note(f"{len(traces)} groups of traces in {out / 'traces'}; next: inward score {out}")


def score(folder: Path) -> None:
    """Score the traces of a run folder."""
    with _opened(folder, None, (), 1) as (here, settings):
        start = _start(here.folder, settings) if settings.scores_with_model else None
        scored = ranking.score_stage(here.folder.records("traces", TraceGroup), start, here, settings)
    console.note(f"{len(scored)} scored groups in {folder / 'scored'}; next: inward rank {folder}")


def rank(folder: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Turn scored traces into pairs, in the same folder or, under other settings, in another."""
    with _opened(folder, out, overrides, 2) as (here, settings):
        ranked = ranking.rank_stage(here.folder.records("scored", ScoredGroup), here, settings)
    what = "traces" if settings.route == "sft" else "pairs"
    console.note(f"{len(ranked)} {what} in {(out or folder) / settings.ranked}; next: inward train {out or folder}")


def train(folder: Path, out: Path | None, overrides: Sequence[str]) -> None:
    """Train on what ranking made, in the same folder or, under other settings, in another."""
    from inward.methods import rlsf

    with _opened(folder, out, overrides, 3) as (here, settings):
        run = here.folder
        start = _start(run, settings)
        rlsf.check(start, settings)
        sft = settings.route == "sft"
        ranked = run.records("surest", Trace) if sft else run.records("pairs", PreferencePair)
        prompts = [group.prompt for group in run.records("traces", TraceGroup)]
        checkpoint = rlsf.train_stage(ranked, prompts, start, here, settings, first=start)
        write_summary(run, None, run.manifest.start.name, None, None, ())
    console.note(f"checkpoint in {checkpoint}; next: inward evaluate --model {checkpoint} --data FILE --out DIR")


@contextmanager
def _opened(
    source: Path, out: Path | None, overrides: Sequence[str], num_stages: int
) -> Iterator[tuple[Round, Settings]]:
    """The folder to write into: `source` itself, or `out` with what the first `num_stages` stages made copied over.

    Settings that the copied stages were made under cannot be changed; the refusal names them.
    """
    stored = RunFolder.read(source).manifest
    if stored.method != "rlsf":
        raise RunFolderError(f"{source} was made by `inward {stored.method}`, which has no traces to go on from")
    cfg = stored_config(stored.method, stored.settings, stored.recipe, overrides)
    stages = ("traces", "scored", _rlsf(cfg).ranked)[:num_stages]
    for stage in stages:
        if not (source / stage / "complete.json").exists():
            raise RunFolderError(f"{source / stage} is not complete: run `inward {MADE_BY[stage]}` first")
    if out is not None:
        was = stored_config(stored.method, stored.settings, stored.recipe, ())
        _refuse_upstream_changes(was.plain(), cfg.plain(), stages)
    manifest = dataclasses.replace(stored, settings=cfg.plain())
    with working(out or source, manifest, trackers=cfg.report_to) as (folder, _):
        for stage in stages if out is not None else ():
            folder.build(stage, lambda target, stage=stage: shutil.copytree(source / stage, target, dirs_exist_ok=True))
        yield Round(folder=folder, number=1, seed=folder.manifest.seed), _rlsf(cfg)


MADE_BY = {"traces": "sample", "scored": "score", "pairs": "rank", "surest": "rank"}
"""The command that makes a stage's records."""

UPSTREAM = {
    "traces": ("prompts", "model", "engine", "server.rescore", "sampling", "answer"),
    "scored": ("answer", "confidence"),
    "pairs": ("pairs",),
    "surest": ("pairs", "tuning.num_best"),
}
"""Settings that a stage's records were made under."""


def _refuse_upstream_changes(was: Mapping[str, Any], now: Mapping[str, Any], stages: Sequence[str]) -> None:
    for stage in stages:
        for key in UPSTREAM[stage]:
            if _at(was, key) != _at(now, key):
                raise RunFolderError(
                    f"the {stage} were made under other settings of `{key}`; make them again in a new folder"
                )


def _at(settings: Mapping[str, Any], key: str) -> Any:
    return reduce(lambda table, name: table[name], key.split("."), settings)


def _rlsf(cfg: RunConfig) -> Settings:
    """The settings, where they are of one round of training: the stages know no other.

    Raises:
        SettingsError: They are of several rounds, or of a baseline that trains nothing.
    """
    assert isinstance(cfg.settings, Settings)
    if cfg.settings.rounds > 1 or cfg.settings.decoding:
        raise SettingsError(
            "one stage at a time there is one round, and it trains: leave out rounds and baseline, or use inward run"
        )
    return cfg.settings


def _start(run: RunFolder, settings: Settings) -> Start:
    from inward.cli import inputs

    start = inputs.start_from(run.manifest.start.name, settings.model)
    if hash_folder(start.path) != run.manifest.start.sha256:
        raise RunFolderError(f"{start.name} is not the model that wrote these traces: its files have changed")
    return start
