"""The report: one page of HTML made from the files of a run folder, and from nothing else."""

from __future__ import annotations

from pathlib import Path

from inward.report import curve
from inward.report.page import render
from inward.report.reading import read
from inward.runs import RunFolder
from inward.runs.files import write_atomic

__all__ = ["build"]


def build(folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    Raises:
        RunFolderError: The run has not come to its end, or a file is damaged.
    """
    target = folder / "report.html"
    mixes = RunFolder.read(folder).manifest.method == "interpolate"
    page = curve.render(curve.read(folder)) if mixes else render(read(folder))
    write_atomic(target, page.encode("utf-8"))
    return target
