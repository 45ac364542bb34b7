"""The report: one page of HTML made from the files of run folders, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inward.report import curve, fit_page, probe_page, seeds, seeds_page
from inward.report.page import render
from inward.report.reading import read
from inward.runs import RunFolder
from inward.runs.files import write_atomic

__all__ = ["build", "build_seeds"]


def build(folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    Raises:
        RunFolderError: The run has not come to its end, or a file is damaged.
    """
    target = folder / "report.html"
    match RunFolder.read(folder).manifest.method:
        case "interpolate":
            page = curve.render(curve.read(folder))
        case "calibrate":
            page = fit_page.render(fit_page.read(folder))
        case "probe":
            page = probe_page.render(probe_page.read(folder))
        case _:
            page = render(read(folder))
    write_atomic(target, page.encode("utf-8"))
    return target


def build_seeds(folders: Sequence[Path], out: Path) -> Path:
    """Write one page over several runs, grouped by reward, length normalisation and start model; return its path.

    Raises:
        SettingsError: There are more groups than can be told apart, or a folder is given twice.
        RunFolderError: A folder has no metrics by step, its run has not come to its end, or a file is damaged.
    """
    page = seeds_page.render(seeds.grouped(seeds.read(folders)))
    write_atomic(out, page.encode("utf-8"))
    return out
