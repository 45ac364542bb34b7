"""The page of `inward calibrate`: what was fitted, on what, and how to hold it against the start model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from inward.report import sections
from inward.report.data import RunData
from inward.report.markup import counted, decimal, esc, percent
from inward.report.page import document
from inward.report.reading import summary_of
from inward.runs import RunFolder

WORDS = {
    "temperature": "one temperature divides the logits of the answer's tokens, so that confidence meets the vote share",
    "votes": "the confidence is the vote share itself, of samples drawn whenever an answer is judged",
    "reference": "the confidence is the probability of the same answer tokens under another model",
    "distill": "the checkpoint was fine-tuned so that its own probabilities become vote shares",
}
"""Methods, in words."""


@dataclass(frozen=True, kw_only=True)
class FitData:
    """Everything the page shows."""

    run: RunData
    fit: Mapping[str, Any]
    """`recalibration` of summary.json."""
    checkpoint: Path


def read(path: Path) -> FitData:
    """Read what the page shows.

    Raises:
        RunFolderError: The run has not come to its end, or a file is damaged.
    """
    folder = RunFolder.read(path)
    summary = summary_of(folder)
    run = RunData(manifest=folder.manifest, seconds=summary["seconds"], warnings=tuple(summary["warnings"]))
    return FitData(run=run, fit=summary["recalibration"], checkpoint=path / "checkpoint")


def render(data: FitData) -> str:
    """Write the whole page; text from data is escaped."""
    fit = data.fit
    before, after = (decimal(fit[f"confidence_{when}"]) for when in ("before", "after"))
    answers = counted(fit["num_prompts"], "greedy answer")
    evidence = f"Mean confidence of {answers}. No labels were used, so this page cannot say which is nearer the truth."
    shown = [
        ("fit", "What was fitted", _fit(fit)),
        ("run", "The run", sections.run(data.run)),
        ("next", "What to do next", _next(data)),
    ]
    return document(data.run, f"Confidence went from {before} to {after} by {esc(fit['method'])}", evidence, shown)


def embedded_config() -> str:
    """Find the settings that embedded models are judged with; the shorter of the two ways to write its path."""
    path = str(files("inward").joinpath("methods", "evaluate-embedded.yaml"))
    return min(path, os.path.relpath(path), key=len)


def _fit(fit: Mapping[str, Any]) -> str:
    tiles = [
        (f"{fit['num_prompts']:,}", "greedy answers it was fitted on"),
        (f"{fit['num_without_span']:,}", "greedy traces without an answer, left out"),
        (fit["vote_share"] and percent(fit["vote_share"]), "of the samples vote for the greedy answer, on average"),
        (fit["temperature"] and decimal(fit["temperature"]), "temperature of the answer's tokens"),
        (fit["reference"] and esc(fit["reference"]), "reference model"),
    ]
    shown = "".join(f"<p><b>{value}</b>{about}</p>" for value, about in tiles if value is not None)
    return f'<p><b>{esc(fit["method"])}</b>: {WORDS[fit["method"]]}.</p><div class="tiles">{shown}</div>'


def _next(data: FitData) -> str:
    start, checkpoint = esc(data.run.manifest.start.name), esc(data.checkpoint)
    # By its path a checkpoint does not say that it comes from an embedded model, which is judged in a way of its own.
    config = f" --config {esc(embedded_config())}" if start.startswith("embedded:") else ""
    return (
        "<p>Judge the start model and the recalibrated checkpoint on the same problems with the same settings, and "
        "set them side by side. The evaluation of the checkpoint has the fitted confidence beside the plain one.</p>"
        f"<pre>inward evaluate --model {start} --task TASK --out START\n"
        f"inward evaluate --model {checkpoint} --task TASK{config} --out FITTED\n"
        "inward compare START FITTED --out compare.html</pre>"
    )
