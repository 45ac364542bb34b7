"""`inward diagnose`: what a training shows of itself, and which checkpoint to keep. Neither torch nor labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import typer

from inward import diagnose
from inward.errors import RunFolderError
from inward.runs import RunFolder
from inward.runs.records import to_json


def diagnosis(folder: RunFolder) -> dict[str, Any]:
    """The checkpoint to keep, why, and findings, as they stand in summary.json.

    `kept_step` is what the run kept where its training has ended, and what the rule says now otherwise; a method that
    keeps one checkpoint alone has none.
    """
    history = diagnose.history(folder)
    settings = rule_settings(folder)
    decided = diagnose.decide(history.probes, settings)
    ended = trained(folder)
    several = "kept_step" in ended if ended else len(history.probes) > 1
    ruled = several and folder.manifest.settings.get("stop", {}) is not None
    return {
        "kept_step": ended.get("kept_step", decided.kept_step) if several else None,
        "stop_step": decided.stop_step if ruled else None,
        "stop_reason": decided.stop_reason if ruled else None,
        "findings": diagnose.findings(history, settings),
    }


def rule_settings(folder: RunFolder) -> diagnose.StopSettings:
    """The run's settings of the stop rule; the defaults where it has none."""
    stored = folder.manifest.settings.get("stop")
    return diagnose.StopSettings(**cast("dict[str, Any]", stored)) if stored else diagnose.StopSettings()


def trained(folder: RunFolder) -> dict[str, Any]:
    """What the training came to, from the log; nothing where it has not ended."""
    events = [event for event in folder.events() if event["event"] == "trained"]
    return events[-1] if events else {}


def show(path: Path, *, as_json: bool) -> None:
    """Print the diagnosis of a run folder.

    Raises:
        RunFolderError: The folder has neither monitors nor judged checkpoints to go by.
    """
    folder = RunFolder.read(path)
    history = diagnose.history(folder)
    if len(history.probes) < 2 and len(history.monitors) < 2:
        raise RunFolderError(
            f"{path} shows nothing to compare: there are no monitors of a training and fewer than two judged "
            "checkpoints; run a method with problems to judge on, or rlif, which monitors itself"
        )
    found = diagnosis(folder)
    supported = [probe for probe in history.probes if probe.support]
    if as_json:
        curve = [{"step": probe.step, "support": probe.mean, "prompts": len(probe.support)} for probe in supported]
        typer.echo(to_json(found | {"support_of": history.source, "support": curve}, indent=2))
        return
    if not trained(folder):
        typer.echo("no training has come to its end here: this is how it looks so far")
    if supported:
        typer.echo(f"support by the start model's votes ({history.source}):")
    for probe in supported:
        mark = " <- kept" if probe.step == found["kept_step"] else ""
        typer.echo(f"  step {probe.step:>5}  {probe.mean:.3f}{mark}")
    if found["stop_reason"]:
        typer.echo(f"stop: {'step ' + str(found['stop_step']) if found['stop_step'] else 'no'}: {found['stop_reason']}")
    for finding in found["findings"]:
        typer.echo(f"{finding.severity}: {finding.name}: {finding.evidence}\n    {finding.advice}")
    if not found["findings"]:
        typer.echo("nothing unusual")
