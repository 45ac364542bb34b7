"""The tables of README.md from the run folders of `study`: `python recipes/rlif_arithmetic_embedded/table.py OUT`.

What the rule keeps is worked out again from the probes in each log, under its present defaults.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from inward.diagnose import StopSettings, decide, history
from inward.report import figures
from inward.runs import RunFolder

Summary = dict[str, Any]
STYLE = (
    "text{font:12px sans-serif;fill:#555}.mid{text-anchor:middle}.end{text-anchor:end}.strong{font-weight:600}"
    ".grid{stroke:#ddd}.axis{stroke:#888}.curve{fill:none;stroke:#0b6fb8;stroke-width:2}.band{fill:#0b6fb8;opacity:.2}"
    ".dot{fill:#0b6fb8}"
)
"""The looks of a figure outside the report's page."""


def main() -> None:
    """Read the summaries and print Markdown."""
    parser = argparse.ArgumentParser(description="The tables of the RLIF study.")
    parser.add_argument("out", type=Path, help="the folder given to `study`")
    parser.add_argument("--figure", type=Path, help="also draw gain against entropy into this SVG file")
    options = parser.parse_args()
    out: Path = options.out
    runs = {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob("*/summary.json"))}
    online = {name: decided(summary, out / name) for name, summary in runs.items() if summary["method"] == "rlif"}
    print("\n".join(curves(online, "greedy_accuracy")), "\n")
    print("\n".join(curves(online, "sampled_accuracy")), "\n")
    print("\n".join(stops(online)), "\n")
    print("\n".join(gains(online)), "\n")
    if options.figure:
        options.figure.write_text(drawing(online), encoding="utf-8")
    cures = {name: summary for name, summary in runs.items() if name.startswith("cure-")}
    print("\n".join(mixes(cures)))


def decided(summary: Summary, folder: Path) -> Summary:
    """The summary with the rule's decision on the probes that were logged."""
    said = decide(history(RunFolder.read(folder)).probes, StopSettings())
    return {**summary, "kept_step": said.kept_step, "stop_step": said.stop_step}


def curves(runs: dict[str, Summary], metric: str) -> Iterator[str]:
    """One row a run, one column a step."""
    steps = sorted({point["step"] for summary in runs.values() for point in summary["curve"]})
    yield from head(metric, "seed", *(f"step {step}" for step in steps))
    for name, summary in runs.items():
        values = {point["step"]: f"{point[metric]['value']:.3f}" for point in summary["curve"]}
        yield row(*split(name), *(values.get(step, "") for step in steps))


def stops(runs: dict[str, Summary]) -> Iterator[str]:
    """Accuracy at the kept checkpoint against the best in hindsight, the end and the start, with means by kind."""
    yield from head(
        "run", "seed", "stop", "kept", "kept acc.", "best", "regret", "last", "loss of the last", "sampled regret"
    )
    kinds: dict[str, list[tuple[float, float, float]]] = {}
    for name, summary in runs.items():
        greedy, sampled = (by_step(summary, key) for key in ("greedy_accuracy", "sampled_accuracy"))
        kept, last = summary["kept_step"], max(greedy)
        lost = (
            max(greedy.values()) - greedy[kept],
            max(greedy.values()) - greedy[last],
            max(sampled.values()) - sampled[kept],
        )
        kinds.setdefault(split(name)[0], []).append(lost)
        best = max(greedy.values())
        stop = "-" if summary["stop_step"] is None else str(summary["stop_step"])
        numbers = (greedy[kept], best, lost[0], greedy[last], lost[1], lost[2])
        yield row(*split(name), stop, str(kept), *(f"{number:.3f}" for number in numbers))
    for kind, losses in kinds.items():
        regret, last_loss, sampled_regret = (fmean(loss[i] for loss in losses) for i in range(3))
        yield row(
            f"**{kind}**", "mean", "", "", "", "", f"{regret:.3f}", "", f"{last_loss:.3f}", f"{sampled_regret:.3f}"
        )


def gains(runs: dict[str, Summary]) -> Iterator[str]:
    """Gain of self-certainty within 40 steps against the entropy of the start model."""
    yield from head(
        "start", "seed", "entropy", "greedy, start", "best within 40", "kept", "gain of the best", "gain of the kept"
    )
    chosen = {n: s for n, s in runs.items() if n.rpartition("-")[0].endswith("-self_certainty")}
    for name, summary in sorted(chosen.items(), key=lambda one: -by_step(one[1], "entropy")[0]):
        greedy = {step: value for step, value in by_step(summary, "greedy_accuracy").items() if step <= 40}
        kept = greedy.get(summary["kept_step"], greedy[max(greedy)])
        best = max(greedy.values())
        yield row(
            *split(name.replace("-self_certainty", "")), f"{by_step(summary, 'entropy')[0]:.3f}", f"{greedy[0]:.3f}",
            f"{best:.3f}", f"{kept:.3f}", f"{best - greedy[0]:+.3f}", f"{kept - greedy[0]:+.3f}",
        )  # fmt: skip


def drawing(runs: dict[str, Summary]) -> str:
    """Best gain within 40 steps against the start model's entropy: every seed, and the mean with its range."""
    points: dict[float, list[float]] = {}
    for name, summary in runs.items():
        if split(name)[0].endswith("-self_certainty"):
            greedy = {step: value for step, value in by_step(summary, "greedy_accuracy").items() if step <= 40}
            entropy = round(by_step(summary, "entropy")[0], 3)
            points.setdefault(entropy, []).append(max(greedy.values()) - greedy[0])
    ordered = sorted(points.items())
    series = figures.Series(
        name="self_certainty, mean and range of three seeds",
        style="after",
        points=[(entropy, fmean(gains)) for entropy, gains in ordered],
        band=[(entropy, min(gains), max(gains)) for entropy, gains in ordered],
    )
    svg = figures.lines(
        [series],
        x_label="token entropy of the start model, nats",
        y_label="best gain in greedy accuracy within 40 steps",
        x_ticks=(0.0, 0.1, 0.2, 0.3, 0.4),
        x_high=0.45,
        y_high=0.2,
    )
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        ">", f"><style>{STYLE}</style>", 1
    )


def mixes(runs: dict[str, Summary]) -> Iterator[str]:
    """Accuracy by ratio between the start model and the collapsed one."""
    ratios = [point["ratio"] for point in next(iter(runs.values()))["curve"]] if runs else []
    yield from head("start to collapsed", "seed", *(f"{ratio:g}" for ratio in ratios))
    for name, summary in runs.items():
        for metric in ("greedy_accuracy", "sampled_accuracy"):
            values = [f"{point[metric]['value']:.3f}" for point in summary["curve"]]
            yield row(metric, name.rpartition("-")[2], *values)


def by_step(summary: Summary, metric: str) -> dict[int, float]:
    """A metric's value at every judged step."""
    return {point["step"]: point[metric]["value"] for point in summary["curve"]}


def split(name: str) -> Sequence[str]:
    """`base-gold-21` into `base-gold` and `21`."""
    kind, _, seed = name.rpartition("-")
    return kind, seed


def head(*names: str) -> Iterator[str]:
    """The two lines above a table."""
    yield row(*names)
    yield row(*("---" for _ in names))


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
