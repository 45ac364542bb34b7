"""The commands before and after a training that need no label: will it help, and which checkpoint to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inward.cli.options import Config, Model, Prompts, Seed, Set

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def probe(
    model: Model,
    prompts: Prompts,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Run folder; inward-probe/MODEL--PROMPTS where not given. The same command continues it."
        ),
    ] = None,
    as_json: Json = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sampled; read no weights, write nothing.")
    ] = False,
    seed: Seed = 0,
    config: Config = None,
    set_: Set = [],  # noqa: B006 - typer copies it
) -> None:
    """Say before any training, without labels, whether a method would help this model on these prompts."""
    from inward.cli import probing

    probing.probe(model, prompts, out, seed=seed, config=config, overrides=set_, dry_run=dry_run, as_json=as_json)


def choose(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run folders, or folders that hold some.")],
    as_json: Json = False,
) -> None:
    """Say without labels which checkpoint, method or mix of one or several runs to keep, and how sure that is."""
    from inward.cli import keeping

    keeping.show(folders, as_json=as_json)
