"""Take the pictures of docs/report.md: `python scripts/screenshots.py RUN PAGE`.

RUN is the folder of an `inward demo`, PAGE what `inward compare` wrote of embedded:chat and embedded:instruct. A `-` in
place of either leaves its pictures as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import Tab, tab  # noqa: E402  # pyright: ignore[reportMissingImports]  it lies in the folder above

SIDE_BY_SIDE = {"side-by-side.png": "#explorer"}
VIEWS = {
    "explorer-problems.png": "#explorer?view=problems",
    "explorer-sure-and-wrong.png": "#explorer?side=1&source=greedy&outcome=incorrect&confidence=(0.9,1]&sort=surest",
}


def main() -> None:
    """Open the pages at every view and save a picture of their explorer."""
    run, compared = sys.argv[1:]
    pages = ((run, Path(run).resolve() / "report.html", VIEWS), (compared, Path(compared).resolve(), SIDE_BY_SIDE))
    with TemporaryDirectory() as profile, tab(Path(profile)) as opened:
        for given, page, views in pages:
            for name, view in views.items() if given != "-" else ():
                take(opened, page, view, ROOT / "docs" / "images" / name)


def take(opened: Tab, page: Path, view: str, file: Path) -> None:
    """Save a picture of one view."""
    opened.open(page, view)
    opened.picture(file, "#explorer")
    print(file, opened.text("[data-place=count]"))


if __name__ == "__main__":
    main()
