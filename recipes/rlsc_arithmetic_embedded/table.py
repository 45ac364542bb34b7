"""The tables of README.md from the run folders of `study`: `python recipes/rlsc_arithmetic_embedded/table.py OUT`."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

Summary = dict[str, Any]
METRICS = ("greedy_accuracy", "sampled_accuracy", "majority_accuracy", "pass_at_k", "ece", "auroc", "entropy", "length")


def main() -> None:
    """Read the summaries and print Markdown."""
    parser = argparse.ArgumentParser(description="The tables of the RLSC study.")
    parser.add_argument("out", type=Path, help="the folder given to `study`")
    out: Path = parser.parse_args().out
    runs = {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob("*/summary.json"))}
    groups: dict[str, list[Summary]] = {}
    for name, summary in runs.items():
        kind, _, seed = name.rpartition("-")
        groups.setdefault(kind if seed.isdigit() else name, []).append(summary)
    print("\n".join(ends(groups)), "\n")
    print("\n".join(along({name: summary for name, summary in runs.items() if name.startswith("long-")})))


def ends(groups: dict[str, list[Summary]]) -> Iterator[str]:
    """Means over seeds, with the lowest and the highest: of the last step, and of what the rule kept."""
    yield from head("run", "seeds", *METRICS, "kept steps", "greedy, kept", "sampled, kept")
    first = next(one for name, (one, *_) in groups.items() if name == "default")
    yield row("start", "", *(f"{first['before'][metric]['value']:.3f}" for metric in METRICS), "", "", "")
    for name, several in sorted(groups.items()):
        last = [one["curve"][-1] if one.get("curve") else one["after"] or one["before"] for one in several]
        kept = [one["after"] or one["before"] for one in several]
        cells = [spread([point[metric]["value"] for point in last]) for metric in METRICS]
        steps = ", ".join(str(one["kept_step"]) for one in several if one["kept_step"] is not None)
        accuracies = [spread([point[m]["value"] for point in kept]) for m in ("greedy_accuracy", "sampled_accuracy")]
        yield row(name, str(len(several)), *cells, steps, *accuracies)


def along(runs: dict[str, Summary]) -> Iterator[str]:
    """Sampled and greedy accuracy by step, with what the rule did."""
    steps = sorted({point["step"] for summary in runs.values() for point in summary["curve"]})
    yield from head("run", "metric", *(str(step) for step in steps), "stop", "kept")
    for name, summary in runs.items():
        for metric in ("greedy_accuracy", "sampled_accuracy", "pass_at_k"):
            values = {point["step"]: f"{point[metric]['value']:.3f}" for point in summary["curve"]}
            stop = "-" if summary["stop_step"] is None else str(summary["stop_step"])
            yield row(name, metric, *(values.get(step, "") for step in steps), stop, str(summary["kept_step"]))


def spread(values: Sequence[float | None]) -> str:
    """Mean, and lowest and highest where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{fmean(known):.3f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):.3f}, {max(known):.3f})"


def head(*names: str) -> Iterator[str]:
    """The two lines above a table."""
    yield row(*names)
    yield row(*("---" for _ in names))


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
