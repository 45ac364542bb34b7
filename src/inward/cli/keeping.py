"""`inward choose`: which checkpoint, method or mix of one or several runs to keep. Neither torch nor labels.

The true curve is read from summary.json after the choice is made, and only shown beside it.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from inward import evaluate
from inward.cli import keeping_table
from inward.cli.ballots import Ballot, advised, ballots, electorate, evaluation, samples, unused
from inward.cli.diagnosis import rule_settings, trained
from inward.diagnose import Probe, decide, history
from inward.diagnose.choice import Candidate, Choice, Voters, Weighed, choose, name_of
from inward.diagnose.history import judged_probes
from inward.diagnose.peers import MIN_RUNS, by_peers
from inward.errors import RunFolderError
from inward.runs import RunFolder, from_json
from inward.runs.records import to_json
from inward.types import Estimate

SOURCES = ("training prompts", "evaluation answers")
"""What support was measured on; the stop rule's own probes come first."""
TRAINED = ("rlsf", "rlif", "rlsc")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run whose checkpoints can be weighed."""

    name: str
    folder: RunFolder
    probes: Mapping[str, Sequence[tuple[float, Probe]]]
    """By source: position and probe of the start model, then of every checkpoint."""
    ballot: Ballot | None
    """An evaluation of the start model on the same questions with more samples, if there is one."""

    def asked(self, source: str) -> str:
        """Names the prompts that these probes answered, and the votes they were weighed by."""
        if source == SOURCES[0]:
            return json.dumps(self.folder.read_json("probe.json")["prompts"])
        return evaluation(self.folder)

    def votes(self, source: str) -> int:
        """How many samples of the start model there are to each question."""
        if source == SOURCES[0]:
            return rule_settings(self.folder).start_samples
        return self.ballot.votes if self.ballot else samples(self.folder)


def show(paths: Sequence[Path], *, as_json: bool) -> None:
    """Print what to keep of these runs.

    Raises:
        RunFolderError: No run of these can be weighed.
    """
    runs: list[Run] = []
    left_out: list[dict[str, str]] = []
    folders = {str(path): RunFolder.read(path) for path in _folders(paths)}
    known = ballots(folders)
    for name, folder in folders.items():
        if folder.manifest.method == "evaluate":
            continue
        one = _read(name, folder, known.get(electorate(folder)))
        if isinstance(one, Run):
            runs.append(one)
        else:
            left_out.append({"run": name, "why": one})
    voting = {electorate(run.ballot.folder): run.ballot for run in runs if run.ballot}
    for name, folder in folders.items():
        used = voting.get(electorate(folder))
        if folder.manifest.method == "evaluate" and not (used and used.name == name):
            left_out.append({"run": name, "why": unused(folder, [(run.name, run.folder) for run in runs], used)})
    if not runs:
        raise RunFolderError(
            "nothing to choose from:\n" + "\n".join(f"  {one['run']}: {one['why']}" for one in left_out)
        )
    found: list[dict[str, Any]] = []
    for start in dict.fromkeys(run.folder.manifest.start.sha256 for run in runs):
        found.append(_choice([run for run in runs if run.folder.manifest.start.sha256 == start], left_out))
    result = {"choices": found, "left_out": left_out}
    if as_json:
        typer.echo(to_json(result, indent=2))
    else:
        keeping_table.show(json.loads(to_json(result)))


def _folders(paths: Sequence[Path]) -> Iterator[Path]:
    """Run folders given, or found one level below what was given; each once."""
    found: dict[Path, Path] = {}
    for path in paths:
        inside = [path] if (path / "manifest.json").exists() else sorted(f.parent for f in path.glob("*/manifest.json"))
        if not inside:
            raise RunFolderError(f"{path} is no run folder and holds none: it has no manifest.json; check the path")
        for folder in inside:
            found.setdefault(folder.resolve(), folder)
    yield from found.values()


def _read(name: str, folder: RunFolder, ballot: Ballot | None) -> Run | str:
    """The run, or why it cannot be weighed."""
    ballot = ballot if ballot and ballot.votes > samples(folder) else None
    method, settings = folder.manifest.method, folder.manifest.settings
    if method == "interpolate":
        probes = {SOURCES[1]: _mixes(folder, ballot)}
    elif method not in TRAINED:
        return f"{method} trains nothing"
    elif folder.manifest.labels_used:
        return "it was trained with gold answers, of which the start model's votes know nothing"
    elif settings.get("baseline") in evaluate.DECODINGS:
        return "a decoding of the start model: nothing was trained"
    else:
        # Who lays an evaluation beside a run wants it to vote, also where the run has probes of its own.
        judged = _weighable(_trained(folder, ballot, judged=True)) if ballot else {}
        probes = judged or _trained(folder, ballot)
    able = _weighable(probes)
    if not able:
        return (
            "it has no votes to go by: neither a probe of its own (rlif and rlsc with a stop rule keep one) nor two "
            "judged checkpoints with several samples (--eval-task, --eval-data)"
        )
    return Run(name=name, folder=folder, probes=able, ballot=ballot)


def _weighable(probes: Mapping[str, list[tuple[float, Probe]]]) -> dict[str, list[tuple[float, Probe]]]:
    return {source: ones for source, ones in probes.items() if len(ones) > 1 and all(one.support for _, one in ones)}


def _trained(folder: RunFolder, ballot: Ballot | None, *, judged: bool = False) -> dict[str, list[tuple[float, Probe]]]:
    own = history(folder, judged=judged, voting=ballot and ballot.items)
    return {own.source: [(float(one.step), one) for one in own.probes]}


def _mixes(folder: RunFolder, ballot: Ballot | None) -> list[tuple[float, Probe]]:
    """Mixes that were judged, where the first of them is the start model."""
    ratios = [float(one) for one in _listed(folder.manifest.settings.get("ratios"))]
    stages = [f"judged/{str(ratio).removesuffix('.0')}/items" for ratio in ratios]
    done = [(folder.path / stage / "complete.json").exists() for stage in stages]
    if not all(done) or 0.0 not in ratios:
        return []
    order = sorted(range(len(ratios)), key=lambda i: (ratios[i] != 0, i))
    probes = judged_probes(folder, {step: stages[i] for step, i in enumerate(order)}, voting=ballot and ballot.items)
    return [(ratios[i], probe) for i, probe in zip(order, probes, strict=True)]


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _choice(runs: Sequence[Run], left_out: list[dict[str, str]]) -> dict[str, Any]:
    """What to keep of runs that share their start model."""
    if len({source for run in runs for source in run.probes}) > 1:
        # Read only where runs differ: all judged answers of a run are much to read.
        runs = [_with_judged(run) for run in runs]
    counts = Counter(source for run in runs for source in run.probes)
    source = max(SOURCES, key=lambda one: counts[one])
    able = [run for run in runs if source in run.probes]
    for run in runs:
        if run not in able:
            why = f"its support was measured on {', '.join(run.probes)}, that of the others on {source}"
            left_out.append({"run": run.name, "why": why})
    made = choose(_weighable_of(able, source))
    elected = _elected(made, able)
    voters: Voters = "other runs" if elected else "start model"
    ballot = next((run.ballot.name for run in able if run.ballot), None) if source == SOURCES[1] else None
    num_votes = min(run.votes(source) for run in able)
    if elected:
        made, source = elected, SOURCES[1]
    places = {run.name: run for run in able}
    return {
        "start": runs[0].folder.manifest.start.name,
        "source": source,
        "voters": voters,
        "votes": num_votes,
        "ballot": ballot,
        "advice": next((command for command in (advised(run.folder) for run in able) if command), None),
        "paired": voters == "other runs" or _paired(able, source),
        "kept": _said(made.kept, places),
        "best": _said(made.best, places),
        "confidence": made.kept.probability_best,
        "confidence_alike": min(1.0, sum(one.probability_best for one in (made.kept, *_alike(made)))),
        "no_difference": [name_of(one.candidate) for one in _alike(made)],
        "abstains": made.abstains,
        "reason": made.reason,
        "candidates": [_said(one, places) for one in made.weighed],
    }


def _elected(made: Choice, runs: Sequence[Run]) -> Choice | None:
    """What the other runs say of the checkpoints that the start model's votes cannot tell apart.

    None where there are not enough of them that answered the same questions, or nothing to decide.
    """
    tied = {one.candidate.place for one in made.tied}
    if len(tied) == 1 or len(runs) < MIN_RUNS:
        return None
    judged = [_with_judged(run) for run in runs]
    if not all(SOURCES[1] in run.probes for run in judged) or not _paired(judged, SOURCES[1]):
        return None
    candidates = by_peers(_weighable_of(judged, SOURCES[1]))
    if len(tied & {one.place for one in candidates if not one.stopped}) == 1:
        return None
    elected = choose(candidates, voters="other runs", among=tied)
    return None if elected.abstains else elected


def _paired(runs: Sequence[Run], source: str) -> bool:
    """Whether all of them answered the same prompts."""
    return len({run.asked(source) for run in runs}) == 1


def _weighable_of(runs: Sequence[Run], source: str) -> list[Candidate]:
    """The start model and the checkpoints of all runs."""
    first = runs[0].probes[source][0][1]
    start = Candidate(
        run="", label="start model", position=0.0, asked="", change=(), support=first.mean, answers=first.answers
    )
    return [start, *(one for run in runs for one in _candidates(run, source))]


def _with_judged(run: Run) -> Run:
    """The run with probes from its evaluation as well, where it has them."""
    if SOURCES[1] in run.probes:
        return run
    return dataclasses.replace(run, probes={**run.probes, **_weighable(_trained(run.folder, run.ballot, judged=True))})


def _alike(made: Choice) -> list[Weighed]:
    """What cannot be told from the best, the kept one left out."""
    return [one for one in made.tied if one is not made.kept]


def _candidates(run: Run, source: str) -> Iterator[Candidate]:
    (_, start), *others = run.probes[source]
    mixes = run.folder.manifest.method == "interpolate"
    decision = decide([probe for _, probe in run.probes[source]], rule_settings(run.folder))
    stop = None if mixes else decision.stop_step
    for position, probe in others:
        yield Candidate(
            run=run.name,
            label=f"ratio {position:g}" if mixes else f"step {position:.0f}",
            position=position,
            asked=run.asked(source),
            change=tuple(b - a for a, b in zip(start.support, probe.support, strict=True)),
            support=probe.mean,
            stopped=stop is not None and position >= stop,
            answers=probe.answers,
            votes=probe.step == decision.kept_step,
        )


def _said(one: Weighed, runs: Mapping[str, Run]) -> dict[str, Any]:
    at = one.candidate
    run = runs.get(at.run) or next(iter(runs.values()))
    return {
        "run": at.run or None,
        "label": at.label,
        "position": at.position,
        "support": at.support,
        "support_change": one.change,
        "probability_best": one.probability_best,
        "stopped": at.stopped,
        "out": one.out,
        "checkpoint": _place(run.folder, at),
        "greedy_accuracy": _truth(run.folder).get(at.position),
    }


def _place(folder: RunFolder, at: Candidate) -> str | None:
    """Where a checkpoint lies; None where it was not kept."""
    if not at.run:
        return folder.manifest.start.name
    if folder.manifest.method == "interpolate":
        return str(folder.path / "mixes" / str(at.position).removesuffix(".0"))
    own = folder.path / f"checkpoints/{at.position:05.0f}"
    if own.is_dir():
        return str(own)
    for event in folder.events():
        if event["event"] == "trained" and event.get("kept_step", event["steps"]) == at.position:
            number = event.get("round", 1)
            return str(folder.path / ("checkpoint" if number == 1 else f"rounds/{number:02d}/checkpoint"))
    return None


def _truth(folder: RunFolder) -> dict[float, Estimate]:
    """Greedy accuracy by position, where the run has come to its end and was judged; no part of the choice."""
    if not (folder.path / "summary.json").exists():
        return {}
    summary = folder.read_json("summary.json")
    points = [(float(row.get("ratio", row.get("step"))), row) for row in summary.get("curve") or ()]
    if not points and summary.get("before"):
        points = [(0.0, summary["before"])]
        if summary.get("after"):
            ended = trained(folder)
            points.append((float(ended.get("kept_step", ended.get("steps", 0))), summary["after"]))
    return {at: from_json(Estimate, row["greedy_accuracy"]) for at, row in points if row.get("greedy_accuracy")}
