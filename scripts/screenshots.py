"""Take the pictures of docs/report.md: `python scripts/screenshots.py RUN`, of the folder of an `inward demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import Tab, tab  # noqa: E402  # pyright: ignore[reportMissingImports]  it lies in the folder above

VIEWS = {
    "explorer-problems.png": "#explorer?view=problems",
    "explorer-sure-and-wrong.png": "#explorer?side=1&source=greedy&outcome=incorrect&confidence=(0.9,1]&sort=surest",
}


def main() -> None:
    """Open the report of the run at every view and save a picture of its explorer."""
    page = Path(sys.argv[1]).resolve() / "report.html"
    with TemporaryDirectory() as profile, tab(Path(profile)) as opened:
        for name, view in VIEWS.items():
            take(opened, page, view, ROOT / "docs" / "images" / name)


def take(opened: Tab, page: Path, view: str, file: Path) -> None:
    """Save a picture of one view."""
    opened.open(page, view)
    opened.picture(file, "#explorer")
    print(file, opened.text("[data-place=count]"))


if __name__ == "__main__":
    main()
