"""The tables of README.md from the run folders of `study`: `python table.py OUT`."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

Metrics = dict[str, Any]
STARTS = ("base", "chat", "damaged", "sharp", "brief")
MEASURES = {"answer probability": "", "vote share": "_vote_share", "reference": "_reference_probability"}
FITTED = {
    "temperature, votes at 1": "temperature",
    "votes at 0.7": "votes0.7",
    "temperature, votes at 0.7": "temperature0.7",
}


def main() -> None:
    """Read the summaries and print Markdown."""
    parser = argparse.ArgumentParser(description="The tables of the calibration study.")
    parser.add_argument("out", type=Path, help="the folder given to `study`")
    out: Path = parser.parse_args().out
    print("\n".join(table(out)))


def table(out: Path) -> Iterator[str]:
    """Per start model and confidence: before and after RLSF, means over seeds with the lowest and the highest."""
    yield row("start", "seeds", "confidence", "accuracy", "ECE", "Brier", "AUROC", "mean confidence")
    yield row(*("---" for _ in range(8)))
    for start in STARTS:
        runs = {path.parent.name: json.loads(path.read_text()) for path in out.glob(f"rlsf-{start}-*/summary.json")}
        for when, side in (("start", "before"), ("RLSF", "after")):
            for words, suffix in MEASURES.items():
                yield line(start, f"{when}: {words}", [run[side] for run in runs.values()], suffix)
        for words, name in FITTED.items():
            fitted = [
                json.loads(path.read_text())["before"] for path in out.glob(f"{start}-[0-9]*-{name}/summary.json")
            ]
            yield line(start, f"RLSF: {words}", fitted, "_recalibrated")


def line(start: str, words: str, several: list[Metrics], suffix: str) -> str:
    """One row; the mean confidence is known for the answer probability alone."""
    metrics = [
        "greedy_accuracy",
        f"ece{suffix}",
        f"brier{suffix}",
        f"auroc{suffix}",
        *([] if suffix else ["confidence"]),
    ]
    cells = [spread([one[metric]["value"] for one in several if metric in one]) for metric in metrics]
    return row(start, str(len(several)), words, *cells, *([""] if suffix else []))


def spread(values: list[float | None]) -> str:
    """Mean, and lowest and highest."""
    known = [value for value in values if value is not None]
    return f"{fmean(known):.3f} ({min(known):.3f}, {max(known):.3f})" if known else "-"


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
