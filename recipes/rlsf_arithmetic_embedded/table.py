"""The tables of README.md from the run folders of `routes` or `ablations`: `python table.py OUT`."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

Summary = dict[str, Any]
METRICS = (
    "greedy_accuracy",
    "sampled_accuracy",
    "ece",
    "brier",
    "auroc",
    "ece_vote_share",
    "auroc_vote_share",
    "confidence",
    "tokens_per_answer",
)
TRAINING = ("sample", "score", "rank", "train")


def main() -> None:
    """Read the summaries and print Markdown."""
    parser = argparse.ArgumentParser(description="The tables of the RLSF study.")
    parser.add_argument("out", type=Path, help="the folder given to `routes` or `ablations`")
    out: Path = parser.parse_args().out
    groups: dict[str, list[Summary]] = {}
    for path in sorted(out.glob("*/summary.json")):
        groups.setdefault(path.parent.name.rpartition("-")[0], []).append(json.loads(path.read_text()))
    print("\n".join(table(groups)))


def table(groups: dict[str, list[Summary]]) -> Iterator[str]:
    """One row per kind of run: means over seeds, with the lowest and the highest, or the interval of a single run."""
    yield row("run", "seeds", *METRICS, "training, s")
    yield row(*("---" for _ in range(len(METRICS) + 3)))
    start = next(iter(groups.values()))[0]["before"]
    yield row("start", "", *(cell([start.get(metric)]) for metric in METRICS), "")
    for name, several in sorted(groups.items(), key=lambda one: -mean(one[1], "greedy_accuracy")):
        cells = [cell([one["after"].get(metric) for one in several]) for metric in METRICS]
        seconds = fmean(sum(one["seconds"].get(stage, 0.0) for stage in TRAINING) for one in several)
        yield row(name, str(len(several)), *cells, f"{seconds:.0f}")


def mean(several: Sequence[Summary], metric: str) -> float:
    """Mean of a metric after the run."""
    return fmean(one["after"][metric]["value"] for one in several)


def cell(estimates: Sequence[dict[str, Any] | None]) -> str:
    """Mean with lowest and highest of several runs; the 95% interval of one."""
    known = [one for one in estimates if one is not None and one["value"] is not None]
    if not known:
        return "-"
    values = [one["value"] for one in known]
    if len(known) > 1:
        return f"{fmean(values):.3f} ({min(values):.3f}, {max(values):.3f})"
    return f"{values[0]:.3f} [{known[0]['low']:.3f}, {known[0]['high']:.3f}]"


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
