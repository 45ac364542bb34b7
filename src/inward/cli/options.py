"""Options that several commands share. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Option("--model", help="A folder, a hub id, or embedded:base|instruct|chat|choice.")]
Prompts = Annotated[
    str,
    typer.Option(
        "--prompts",
        help="A benchmark's name, TASK:FILE, JSON lines or parquet, a folder, a hub data set, or `embedded`.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Run folder; the same command continues what is there.")]
Seed = Annotated[int, typer.Option("--seed", help="Of prompts made, sampling and training.")]
Config = Annotated[Path | None, typer.Option("--config", help="YAML file of settings.")]
Set = Annotated[list[str], typer.Option("--set", help="One setting, as in pairs.gamma=0.5; may be repeated.")]
Folder = Annotated[Path, typer.Argument(help="A run folder.")]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="rlsf: what writes the traces: local, server (endpoints that serve the model), or ray (many devices).",
    ),
]
Endpoint = Annotated[
    list[str],
    typer.Option("--endpoint", help="Of --engine server, as in http://127.0.0.1:8000/v1; may be repeated."),
]
Devices = Annotated[int | None, typer.Option("--devices", help="With --dry-run: plan for so many devices.")]
Sharding = Annotated[
    str | None, typer.Option("--sharding", help="With --dry-run: none, or full (FSDP2: each device holds a part).")
]
Task = Annotated[
    str | None, typer.Option("--task", help="arithmetic, gsm8k, math500, arc_easy, ...: see docs/tasks.md.")
]
Data = Annotated[str | None, typer.Option("--data", help="A file with `answer`, or in the form of the task.")]
