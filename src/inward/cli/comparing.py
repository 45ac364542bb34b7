"""`inward compare`: checkpoints judged on the same problems, side by side. Needs neither torch nor a model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import typer
from rich.markup import escape

from inward import evaluate
from inward.cli import comparison, console
from inward.cli.alike import Checkpoint, alike, checkpoint, has, judging
from inward.cli.diagnosis import trained
from inward.errors import SettingsError
from inward.report import compare_page
from inward.report.compare_page import COSTS, Comparison, Estimates, Group, Run, spread, value_of
from inward.report.markup import counted
from inward.report.metrics import of_measure
from inward.report.reading import summary_of
from inward.report.side_by_side import Answered, together
from inward.runs import RunFolder, to_json
from inward.runs.files import write_atomic
from inward.types import Artifact

TRAINING = ("sample", "score", "rank", "train")
"""Keys of `seconds` in summary.json that are training and not evaluation."""
OF_SAMPLES = ("sampled_accuracy", "sampled_accuracy_lenient", "ece_sampled", "brier_sampled", "auroc_sampled")
OF_K = (
    "pass_at_k",
    "majority_accuracy",
    "weighted_majority_accuracy",
    *(metric.key for metric in of_measure("_vote_share")),
)
OF_REFERENCE = tuple(metric.key for metric in of_measure("_reference_probability"))
RECALIBRATED = "ece_recalibrated"
"""A metric of checkpoints that `inward calibrate` fitted a confidence to, and of no others."""
OF_EITHER = ("entropy", "length", "truncated_rate")
"""Of the samples, but of the greedy traces where there are none."""


def compare(paths: Sequence[Path], out: Path | None, *, each: bool, as_json: bool) -> None:
    """Print the comparison of some run folders, and write it as a page where `out` says.

    Raises:
        SettingsError: A folder is given twice, or two share no problem or were judged with other settings.
        RunFolderError: A folder is no run folder, or its run was not judged or has not come to its end.
    """
    data = compared(paths, each=each, page=out is not None)
    if out is not None:
        write_atomic(out, compare_page.render(data).encode("utf-8"))
    if as_json:
        typer.echo(to_json(plain(data), indent=2))
    else:
        comparison.show(data)
    if out is not None:
        console.console.print(f"page  {escape(str(out))}{_holds(data)}", soft_wrap=True)


def _holds(data: Comparison) -> str:
    """Say what there is on the page and not in the tables."""
    if data.explored is None:
        return ""
    asked = counted(len(data.explored.problems), "question")
    return f": the tables, and {asked} with the answers of the runs side by side, changed ones first"


def compared(paths: Sequence[Path], *, each: bool = False, page: bool = False) -> Comparison:
    """Read, check and compare; see `compare`.

    Args:
        paths: The run folders.
        each: Whether every run stands by itself; else runs that differ in their seed alone stand together.
        page: Whether the questions are wanted, too.
    """
    _refuse_twice(paths)
    given = [checkpoint(RunFolder.read(path)) for path in paths]
    before = [checkpoint(one.folder, "before") for one in given if has(one.folder, "after", "before")][:1]
    everything = alike([*given, *before])
    runs, start = everything[: len(given)], everything[-1] if before else None
    withheld = _withheld(everything)
    grouped = _grouped(runs, each=each)
    groups = [
        Group(label=label, runs=[_run(one, start, grouped[0][1] if position else (), withheld) for one in members])
        for position, (label, members) in enumerate(grouped)
    ]
    evaluation = cast(Artifact, runs[0].folder.manifest.evaluation)
    everything = [*([start] if start else []), *runs]
    ks = {one.report.pass_k for one in everything}
    return Comparison(
        task=evaluation.name,
        num_problems=len(runs[0].items),
        start_name=start.folder.manifest.start.name if start else None,
        start=_kept(start.report.metrics, withheld) if start else None,
        groups=groups,
        pass_k=ks.pop() if len(ks) == 1 else None,
        withheld=withheld,
        warnings=[*_narrowed(given, runs), *_warnings(runs, start), *_merged(grouped)],
        explored=together(_answered(runs)) if page else None,
    )


def _refuse_twice(paths: Sequence[Path]) -> None:
    seen: set[str] = set()
    for path in paths:
        place = os.path.realpath(path)
        if place in seen:
            raise SettingsError(f"{path} is given twice; name every run once")
        seen.add(place)


def _withheld(judged: Sequence[Checkpoint]) -> dict[str, str]:
    """Metrics of the number of samples or of another model, where these differ; and why they are left out."""
    withheld: dict[str, str] = {}
    references = {judging(one.folder, everything=True).get("evaluation.reference") for one in judged} - {None}
    if len(references) > 1:
        withheld = dict.fromkeys(OF_REFERENCE, f"is by other models: {', '.join(sorted(map(str, references)))}")
    ks = sorted({one.report.pass_k for one in judged})
    if len(ks) == 1:
        return withheld
    shown = ", ".join(map(str, ks[:-1])) + f" and {ks[-1]}"
    withheld |= dict.fromkeys(OF_K, f"depends on the number of samples a problem, which here are {shown}")
    if ks[0] == 0:
        withheld |= dict.fromkeys(
            OF_EITHER, "is of the samples, and of the greedy traces where there are none, as here"
        )
        withheld |= dict.fromkeys(OF_SAMPLES, "needs samples, and not every checkpoint here has any")
    return withheld


def _kept(metrics: Estimates, withheld: Mapping[str, str]) -> Estimates:
    return {key: value for key, value in metrics.items() if key not in withheld}


def _grouped(runs: Sequence[Checkpoint], *, each: bool) -> list[tuple[str, list[Checkpoint]]]:
    """Runs that differ in their seed alone, or each run, under the label of what they are, in the order given."""
    found: dict[str, list[Checkpoint]] = {}
    for position, run in enumerate(runs):
        found.setdefault(str(position) if each else _kind(run), []).append(run)
    groups = [sorted(members, key=lambda run: run.folder.manifest.seed) for members in found.values()]
    labels = [_label(members) for members in groups]
    return [
        (label if labels.count(label) == 1 else _names(members), members)
        for label, members in zip(labels, groups, strict=True)
    ]


def _kind(run: Checkpoint) -> str:
    """Everything of a run but its seed; prompts made for a seed differ with it, so their hash does not count."""
    manifest = run.folder.manifest
    prompts = manifest.data and [manifest.data.name, manifest.data.num_records]
    return to_json([manifest.method, manifest.settings, manifest.start.sha256, prompts, manifest.labels_used])


def _label(members: Sequence[Checkpoint]) -> str:
    manifest = members[0].folder.manifest
    optim = cast("Mapping[str, Any]", manifest.settings.get("optim", {}))
    if manifest.method == "evaluate":
        decoding = members[0].report.decoding
        ways = [decoding] * (decoding != "greedy") + ["recalibrated"] * (RECALIBRATED in members[0].report.metrics)
        return " ".join([manifest.start.name, *ways])
    parts = [manifest.method]
    match manifest.method:
        case "rlif":
            parts.append(str(manifest.settings.get("reward")))
            if manifest.settings.get("length_norm", "mean") != "mean":
                parts.append(str(manifest.settings["length_norm"]))
        case "rlsc":
            parts.append(str(optim.get("weight") if optim.get("loss") == "rlsc" else optim.get("loss")))
        case _:
            parts += _of_rlsf(manifest.settings)
    seeds = ", ".join(str(run.folder.manifest.seed) for run in members)
    return f"{' '.join(filter(None, parts))}, {'seed' if len(members) == 1 else 'seeds'} {seeds}"


def _of_rlsf(settings: Mapping[str, object]) -> list[str]:
    """Name the baseline; else the measure, and the route and the rounds where they are not the usual ones."""
    if settings.get("baseline"):
        return [f"baseline={settings['baseline']}"]
    usual = {"route": "dpo", "rounds": 1}
    given = {key: settings.get(key, known) for key, known in usual.items()}
    return [str(settings.get("confidence", "")), *(f"{key}={v}" for key, v in given.items() if v != usual[key])]


def _answered(runs: Sequence[Checkpoint]) -> list[Answered]:
    """Name every run by its folder and what it is; folders of one name by their paths."""
    names = [_name(run.folder) for run in runs]
    return [
        Answered(
            name=f"{name if names.count(name) == 1 else run.folder.path} ({_label([run])})",
            folder=run.folder,
            stage=run.stage,
            items=run.judged,
            decoding=run.report.decoding,
        )
        for name, run in zip(names, runs, strict=True)
    ]


def _names(members: Sequence[Checkpoint]) -> str:
    return ", ".join(_name(run.folder) for run in members)


def _name(folder: RunFolder) -> str:
    return Path(os.path.realpath(folder.path)).name


def _run(one: Checkpoint, start: Checkpoint | None, first: Sequence[Checkpoint], withheld: Mapping[str, str]) -> Run:
    """A run with its differences to the start model, and to the run of the first group with the same seed, if any."""
    seed = one.folder.manifest.seed
    against = next((run for run in first if run.folder.manifest.seed == seed), first[0] if first else None)
    return Run(
        name=_name(one.folder),
        manifest=one.folder.manifest,
        metrics=_kept(one.report.metrics, withheld),
        from_start=_kept(evaluate.compare(start.items, one.items), withheld) if start else None,
        from_first=_kept(evaluate.compare(against.items, one.items), withheld) if against else None,
        flips_from_start=evaluate.flips(start.items, one.items) if start else None,
        flips_from_first=evaluate.flips(against.items, one.items) if against else None,
        cost=_cost(one.folder),
        decoding=one.report.decoding,
    )


def _cost(folder: RunFolder) -> dict[str, float | None]:
    """Seconds of training, traces drawn for it and optimizer steps; nothing for an evaluation."""
    if folder.manifest.data is None:
        return dict.fromkeys(COSTS)
    summary = summary_of(folder)
    monitored = [event["traces"] for event in folder.events() if event["event"] == "monitor" and "traces" in event]
    traces = (summary.get("counts") or {}).get("traces", sum(monitored) if monitored else None)
    steps = trained(folder).get("steps")
    return {
        "seconds": float(sum(summary["seconds"].get(stage, 0.0) for stage in TRAINING)),
        "traces": None if traces is None else float(traces),
        "steps": None if steps is None else float(steps),
    }


def _narrowed(given: Sequence[Checkpoint], runs: Sequence[Checkpoint]) -> Iterator[str]:
    if any(len(was.items) > len(run.items) for was, run in zip(given, runs, strict=True)):
        judged = "; ".join(f"{_name(one.folder)} {len(one.items):,}" for one in given)
        yield (
            f"not all runs were judged on the same problems ({judged}): every metric and difference is of the "
            f"{counted(len(runs[0].items), 'problem')} that all of them share"
        )


def _merged(grouped: Sequence[tuple[str, Sequence[Checkpoint]]]) -> Iterator[str]:
    if len(grouped) == 1 and len(grouped[0][1]) > 1:
        yield "all runs differ in their seed alone and stand together: --each sets them against each other"


def _warnings(runs: Sequence[Checkpoint], start: Checkpoint | None) -> Iterator[str]:
    if start is None:
        return
    origin = start.folder.manifest.start
    others = [
        run.folder for run in runs if run.folder.manifest.data and run.folder.manifest.start.sha256 != origin.sha256
    ]
    if others:
        named = ", ".join(f"{_name(folder)} ({folder.manifest.start.name})" for folder in others)
        yield f"the start model shown is {origin.name}; trained from another one: {named}"


def plain(data: Comparison) -> dict[str, Any]:
    """Everything as JSON holds it; estimates carry their intervals, groups the mean and the range over their runs."""
    return {
        "task": data.task,
        "problems": data.num_problems,
        "pass_k": data.pass_k,
        "start": None if data.start is None else {"model": data.start_name, "metrics": data.start},
        "groups": [
            {
                "label": group.label,
                "metrics": {
                    key: spread([value_of(run.metrics, key) for run in group.runs])
                    for key in evaluate.METRICS
                    if key not in data.withheld
                },
                "runs": [
                    {
                        "folder": run.name,
                        "method": run.manifest.method,
                        "model": run.manifest.start.name,
                        "seed": run.manifest.seed,
                        "labels_used": run.manifest.labels_used,
                        "decoding": run.decoding,
                        "metrics": run.metrics,
                        "from_start": run.from_start,
                        "from_first": run.from_first,
                        "flips_from_start": run.flips_from_start,
                        "flips_from_first": run.flips_from_first,
                        "cost": run.cost,
                    }
                    for run in group.runs
                ],
            }
            for group in data.groups
        ],
        "withheld": data.withheld,
        "warnings": data.warnings,
    }
