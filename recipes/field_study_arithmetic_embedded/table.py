"""The tables of README.md from the run folders of `study.py`: `python table.py OUT`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from study import DEVELOPED, FRESH, HELD_OUT, LATER, METHODS, SEEDS, STARTS

from inward.cli import keeping
from inward.diagnose import StopSettings, decide, history
from inward.runs import RunFolder

Curve = dict[int, float]

GROUPS = {"developed on": DEVELOPED, "held out": HELD_OUT, "held out afresh": FRESH, "held out last": LATER}
"""Start models by what was known of them when forecast and choice were made up."""

STYLE = (
    "text{font:12px sans-serif;fill:#555}.mid{text-anchor:middle}.end{text-anchor:end}.grid{stroke:#ddd}"
    ".axis{stroke:#888}circle{fill:#0b6fb8;opacity:.55}.forecast{stroke:#c2410c;stroke-width:3}"
)
"""The looks of the figure."""


@dataclass(kw_only=True)
class Run:
    """One training that came to its end."""

    start: str
    method: str
    seed: int
    folder: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the run says of itself."""
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def curve(self) -> Curve:
        """Greedy accuracy by step; of rlsf before and after, as steps 0 and 20."""
        points = self.summary["curve"] or [{"step": 0, **self.summary["before"]}, {"step": 20, **self.summary["after"]}]
        return {point["step"]: point["greedy_accuracy"]["value"] for point in points}

    @property
    def gain(self) -> float:
        """Greedy accuracy at the end of the budget minus the start's."""
        return self.curve[20] - self.curve[0]

    @cached_property
    def kept(self) -> float:
        """Gain of the checkpoint that the label-free rule keeps, by the answers of the evaluation."""
        kept = decide(history(RunFolder.read(self.folder), judged=True).probes, StopSettings()).kept_step
        return self.curve[self.place(kept)] - self.curve[0]

    def place(self, step: int) -> int:
        """Where a step stands on the curve; rlsf makes an update for every batch of its pairs, few or many."""
        return 20 if step and self.method == "rlsf" else step


def main() -> None:
    """Read the summaries and print Markdown."""
    parser = argparse.ArgumentParser(description="The tables of the field study.")
    parser.add_argument("out", type=Path, help="the folder given to `study.py`")
    parser.add_argument("--figure", type=Path, help="also draw gains and forecasts into this SVG file")
    options = parser.parse_args()
    out: Path = options.out
    runs = [one for start in STARTS for one in read(out, start)]
    probes = {start: json.loads((out / f"probe-{start}/probe.json").read_text()) for start in {r.start for r in runs}}
    for lines in (starts(runs, probes), gains(runs), means(runs), forecasts(runs, probes), advised(runs, probes)):
        print("\n".join(lines), "\n")
    print("\n".join(chosen(runs)))
    if options.figure:
        options.figure.write_text(drawing(runs, probes), encoding="utf-8")


def read(out: Path, start: str) -> Iterator[Run]:
    """The trainings of a start model."""
    for seed in SEEDS:
        for method in METHODS:
            folder = out / f"{start}-{method}-{seed}"
            if (folder / "summary.json").exists():
                yield Run(start=start, method=method, seed=seed, folder=folder)


def starts(runs: Sequence[Run], probes: dict[str, Any]) -> Iterator[str]:
    """What the start models are like."""
    yield from head("start model", "greedy", "sampled", "ECE", "entropy", "agreement", "long traces", "runs")
    for start, several in by_start(runs).items():
        before, seen = several[0].summary["before"], probes[start]["features"]
        numbers = [before[key]["value"] for key in ("greedy_accuracy", "sampled_accuracy", "ece")]
        numbers += [seen[key]["value"] for key in ("entropy", "agreement", "favoured_share/mean_logprob")]
        yield row(start, *(f"{number:.3f}" for number in numbers), str(len(several)))


def gains(runs: Sequence[Run]) -> Iterator[str]:
    """Gain in points at the end of the budget: mean over seeds, lowest and highest."""
    yield from head("gain, points", *METHODS)
    for start, several in by_start(runs).items():
        cells = [spread([100 * run.gain for run in several if run.method == method]) for method in METHODS]
        yield row(start, *cells)


def means(runs: Sequence[Run]) -> Iterator[str]:
    """What each method does on average over start models: greedy, sampled, calibration, pass@2, length."""
    keys = ("greedy_accuracy", "sampled_accuracy", "ece", "auroc", "entropy", "length")
    yield from head("change, mean over runs", "runs", *keys, "worst greedy", "lost over 2 points")
    for method in METHODS:
        several = [run for run in runs if run.method == method]
        ends = [(run.summary["curve"] or [run.summary["after"]])[-1] for run in several]
        changes = [
            [end[key]["value"] - run.summary["before"][key]["value"] for end, run in zip(ends, several, strict=True)]
            for key in keys
        ]
        lost = sum(run.gain < -0.02 for run in several)
        yield row(
            method, str(len(several)), *(f"{fmean(change):+.3f}" for change in changes),
            f"{min(run.gain for run in several):+.3f}", f"{lost} of {len(several)}",
        )  # fmt: skip


def forecasts(runs: Sequence[Run], probes: dict[str, Any]) -> Iterator[str]:
    """Expected against measured gain, and their rank correlation over (start model, method) pairs."""
    pairs = [
        (start, outlook["reward"] or outlook["method"], outlook["verdict"], outlook["expected_gain"]["value"])
        for start, probe in probes.items()
        for outlook in probe["outlooks"]
    ]
    measured = {
        (start, method): fmean(run.gain for run in runs if (run.start, run.method) == (start, method))
        for start, method, _, _ in pairs
        if any((run.start, run.method) == (start, method) for run in runs)
    }
    yield from head("start models", "pairs", "rank correlation", "pairs with a verdict", "rank correlation")
    for name, group in GROUPS.items():
        known = [
            (verdict, expected or 0.0, measured[start, method])
            for start, method, verdict, expected in pairs
            if start in group and (start, method) in measured
        ]
        clear = [one for one in known if one[0] != "no evidence"]
        yield row(name, str(len(known)), correlation(known), str(len(clear)), correlation(clear))
    yield ""
    yield from head("start model", "method", "verdict", "expected", "measured, mean of seeds")
    for start, method, verdict, expected in pairs:
        if (start, method) in measured:
            said = "-" if expected is None else f"{expected:+.3f}"
            yield row(start, method, verdict, said, f"{measured[start, method]:+.3f}")


def correlation(pairs: Sequence[tuple[str, float, float]]) -> str:
    """Spearman's, of expected with measured gain."""
    expected, measured = [one[1] for one in pairs], [one[2] for one in pairs]
    if len(set(expected)) < 2 or len(set(measured)) < 2:
        return "-"
    return f"{np.corrcoef(ranks(expected), ranks(measured))[0, 1]:.2f}"


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place].tolist()


def advised(runs: Sequence[Run], probes: dict[str, Any]) -> Iterator[str]:
    """What came of what the probe recommends, with the label-free stop on."""
    yield from head("start model", "advice", "gain of the kept checkpoint, points", "best method's mean gain")
    for start, several in by_start(runs).items():
        said = probes[start]["advice"]
        method = said["reward"] or said["method"]
        kept = spread([100 * run.kept for run in several if run.method == method]) if method else "none advised"
        best = max(
            (fmean(run.gain for run in several if run.method == one), one) for one in {r.method for r in several}
        )
        yield row(start, f"{said['verdict']} {method or ''}".rstrip(), kept, f"{100 * best[0]:+.1f} {best[1]}")


def chosen(runs: Sequence[Run]) -> Iterator[str]:
    """Regret in points: of the rule on each run alone, of `inward choose` on all runs of a start model and seed."""
    yield from head(
        "the rule on one run", "runs", "mean regret", "largest", "of the last step", "of the start", "worse"
    )
    for name, group in GROUPS.items():
        some = [run for run in runs if run.start in group]
        if some:
            best = [max(run.curve.values()) for run in some]
            lost = [100 * (most - run.curve[0] - run.kept) for most, run in zip(best, some, strict=True)]
            last, first = (
                fmean(100 * (most - run.curve[step]) for most, run in zip(best, some, strict=True)) for step in (20, 0)
            )
            worse = sum(run.curve[0] + run.kept < run.summary["before"]["greedy_accuracy"]["low"] for run in some)
            numbers = (fmean(lost), max(lost), last, first)
            yield row(name, str(len(some)), *(f"{number:.1f}" for number in numbers), str(worse))
    yield ""
    yield from head("`inward choose` of all", "seed", "runs", "best", "kept", "regret", "gain", "which")
    for start, several in by_start(runs).items():
        for seed in SEEDS:
            same = [run for run in several if run.seed == seed]
            if same:
                best = max(max(run.curve.values()) for run in same)
                kept, label = keep(same, same[0].folder.parent / f"votes-{start}")
                gained = 100 * (kept - same[0].curve[0])
                numbers = (f"{best:.3f}", f"{kept:.3f}", f"{100 * (best - kept):.1f}", f"{gained:+.1f}")
                yield row(start, str(seed), str(len(same)), *numbers, label)


def keep(runs: Sequence[Run], votes: Path) -> tuple[float, str]:
    """Greedy accuracy of what `inward choose` keeps of these runs, by the votes of an evaluation, and its name."""
    printed = StringIO()
    with redirect_stdout(printed):
        keeping.show([*(run.folder for run in runs), votes], as_json=True)
    [choice] = json.loads(printed.getvalue())["choices"]
    kept = choice["kept"]
    if kept["run"] is None:
        return runs[0].curve[0], "start model"
    [of] = [run for run in runs if str(run.folder) == kept["run"]]
    by = " (other runs)" if choice["voters"] == "other runs" else ""
    return of.curve[of.place(round(kept["position"]))], f"{of.method}, {kept['label']}{by}"


def drawing(runs: Sequence[Run], probes: dict[str, Any]) -> str:
    """A row for each start model: a dot for every method's mean gain, and a bar at what the probe expects of rlsf."""
    low, high, left, step = -0.45, 0.65, 110, 26

    def x(gain: float) -> str:
        return f"{left + 480 * (min(high, max(low, gain)) - low) / (high - low):.1f}"

    parts: list[str] = []
    rows = by_start(runs)
    bottom = 12 + step * len(rows)
    for tick in (-0.4, -0.2, 0.0, 0.2, 0.4, 0.6):
        parts.append(
            f'<line class="{"axis" if tick == 0 else "grid"}" x1="{x(tick)}" x2="{x(tick)}" y1="8" y2="{bottom}"/>'
        )
        parts.append(f'<text class="mid" x="{x(tick)}" y="{bottom + 16}">{100 * tick:+.0f}</text>')
    for number, (start, several) in enumerate(rows.items()):
        y = 12 + step * (number + 0.5)
        parts.append(f'<text class="end" x="{left - 10}" y="{y + 4}">{start}</text>')
        for method in METHODS:
            gains = [run.gain for run in several if run.method == method]
            if gains:
                title = f"<title>{start}, {method}: {100 * fmean(gains):+.1f} points</title>"
                parts.append(f'<circle cx="{x(fmean(gains))}" cy="{y}" r="4.5">{title}</circle>')
        expected = probes[start]["outlooks"][0]["expected_gain"]["value"]
        if expected is not None:
            place = x(expected)
            parts.append(f'<line class="forecast" x1="{place}" x2="{place}" y1="{y - 9}" y2="{y + 9}"/>')
    words = "gain in greedy accuracy, points: a dot for each method; bar: what the probe expects of rlsf"
    parts.append(f'<text class="mid" x="{left + 240}" y="{bottom + 36}">{words}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 610 {bottom + 46}" role="img"><style>{STYLE}</style>'
        f"{''.join(parts)}</svg>"
    )


def by_start(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by start model."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.start, []).append(run)
    return found


def spread(values: Sequence[float]) -> str:
    """Mean, and lowest and highest of several."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:+.1f}"
    return f"{fmean(values):+.1f} ({min(values):+.1f}, {max(values):+.1f})"


def head(*names: str) -> Iterator[str]:
    """The two lines above a table."""
    yield row(*names)
    yield row(*("---" for _ in names))


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
