"""From a run folder to what its training showed: monitors by step, probes by checkpoint. Gold answers are not read."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from inward.diagnose.rule import Probe, support, votes
from inward.diagnose.ways import voters
from inward.equivalence import canonical
from inward.runs import RunFolder
from inward.types import AnswerKind, EvalItem, JudgedTrace

FROM_UPDATES = ("kl", "alpha_share", "engine_mismatch", "engine_weight")
"""What the log of an update knows of its traces: TRL's KL divergence where its loss has one, RLSC's share of alpha, and
how far vLLM's log-probabilities were from the trainer's where it wrote the traces."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What a training showed of itself."""

    monitors: Sequence[Mapping[str, float]]
    """By optimizer step, `step` among the keys; none for methods that sample nothing while they train."""
    probes: Sequence[Probe]
    """By step, the start model first."""
    source: str
    """What the probes are made of: `training prompts` or `evaluation answers`."""


def history(folder: RunFolder, *, judged: bool = False, voting: Sequence[EvalItem] | None = None) -> History:
    """Read what a run folder holds, of whatever method; also of a run under way.

    Where training kept no probes of its own, the answers of the evaluation stand in: of each judged checkpoint, and
    never whether they are right. With fewer than two samples per problem there are no votes to go by, and these probes
    have no support.

    Args:
        folder: the run.
        judged: whether to read the evaluation's answers even where training kept probes.
        voting: see `judged_probes`.
    """
    seen: dict[str, dict[float, dict[str, Any]]] = {"monitor": {}, "probe": {}}
    updates: dict[float, dict[str, Any]] = {}
    for event in folder.events():
        if event["event"] in seen:
            seen[event["event"]][event["step"]] = event  # a resumed training may log a step twice
        elif event["event"] == "train":
            known = {key: event[key] for key in FROM_UPDATES if key in event}
            updates[event["step"]] = updates.get(event["step"], {}) | known  # TRL ends with a line that lacks them
    for step, event in seen["monitor"].items():
        event |= updates.get(step + 1, {})  # about the traces that the monitors are about
    probes = [] if judged else [_logged(event) for _, event in sorted(seen["probe"].items())]
    return History(
        monitors=[_numbers(event) for _, event in sorted(seen["monitor"].items())],
        probes=probes or _judged_probes(folder, voting),
        source="training prompts" if probes else "evaluation answers",
    )


def _logged(event: Mapping[str, Any]) -> Probe:
    metrics = {key: value for key, value in _numbers(event).items() if key != "step"}
    return Probe(step=int(event["step"]), support=tuple(event["support"]), metrics=metrics)


def _numbers(event: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of an event; JSON writes a number that is not defined as null."""
    return {
        key: math.nan if value is None else float(value)
        for key, value in event.items()
        if key != "time" and (value is None or isinstance(value, int | float))
    }


def _judged_probes(folder: RunFolder, voting: Sequence[EvalItem] | None) -> list[Probe]:
    """Probes from the answers given in the evaluation, the start model first."""
    if not (folder.path / "before/items/complete.json").exists():
        return []
    stages = {0: "before/items"}
    for path in (folder.path / "curve").glob("[0-9]*/items/complete.json"):
        stages[int(path.parts[-3])] = str(path.parent.relative_to(folder.path))
    if (folder.path / "after/items/complete.json").exists():
        stages.setdefault(_last_step(folder, stages), "after/items")
    return judged_probes(folder, dict(sorted(stages.items())), voting=voting)


def judged_probes(
    folder: RunFolder, stages: Mapping[int, str], *, voting: Sequence[EvalItem] | None = None
) -> list[Probe]:
    """Probes from judged answers, and never from whether they are right.

    Args:
        folder: the run folder.
        stages: by step, where the items are; the first are the start model's.
        voting: answers of the start model to the same problems, whose samples are the votes, in place of those of the
            first stage: of an evaluation with more samples, of which the first are drawn with the same random numbers.
    """
    kind = _kind(folder)
    first, *_ = stages.values()
    items = folder.records(first, EvalItem) if voting is None else voting
    start = {item.prompt_id: _canonical(item, kind) for item in items}
    votable = all(len(item.samples) > 1 for item in start.values())
    speaking = _voting(list(start.values()))
    probes: list[Probe] = []
    for step, stage in stages.items():
        judged = {item.prompt_id: _canonical(item, kind) for item in folder.records(stage, EvalItem)}
        items = [judged[prompt_id] for prompt_id in start]
        supports = map(_support, start.values(), speaking, items) if votable else ()
        answers = tuple(item.greedy.answer for item in items)
        probes.append(Probe(step=step, support=tuple(supports), metrics=_metrics(items), answers=answers))
    return probes


def _kind(folder: RunFolder) -> AnswerKind:
    return cast("dict[str, Any]", folder.manifest.settings.get("answer", {})).get("kind", "auto")


def _canonical(item: EvalItem, kind: AnswerKind) -> EvalItem:
    """The item with its answers in the form that equal answers share."""

    def plain(trace: JudgedTrace) -> JudgedTrace:
        return trace if trace.answer is None else dataclasses.replace(trace, answer=canonical(trace.answer, kind))

    return dataclasses.replace(item, greedy=plain(item.greedy), samples=tuple(map(plain, item.samples)))


def _voting(items: Sequence[EvalItem]) -> list[list[bool]]:
    """Which samples of the start model vote (`voters`); all where lengths are not known."""
    lengths = [[sample.length for sample in item.samples] for item in items]
    if any(length is None for row in lengths for length in row):
        return [[True] * len(row) for row in lengths]
    sure = [[sample.disparity for sample in item.samples] for item in items]
    return voters(cast("list[list[int]]", lengths), sure)


def _support(start: EvalItem, voting: Sequence[bool], now: EvalItem) -> float:
    """Support of the answers to one problem by the samples of the start model that vote.

    Sample i of every checkpoint is drawn with the same random numbers as the start model's sample i, which therefore
    has no vote on it: an unchanged model would support itself.
    """
    given = [sample.answer for sample in start.samples]
    number = range(len(given))
    others = [votes([given[j] for j in number if voting[j] and j != i]) for i in range(len(now.samples))]
    voted = votes([given[j] for j in number if voting[j]])
    of_greedy = support([voted], [now.greedy.answer], [()])
    if not others:
        return of_greedy[0]
    of_samples = support(others, [sample.answer for sample in now.samples], [()] * len(others))
    return (of_greedy[0] + statistics.fmean(of_samples)) / 2


def _last_step(folder: RunFolder, stages: Mapping[int, str]) -> int:
    """The step of the kept checkpoint where it is known, else that of the training's end."""
    steps = [event for event in folder.events() if event["event"] == "trained"]
    kept = [event["kept_step"] for event in steps if "kept_step" in event]
    return int(kept[-1] if kept else max((event["steps"] for event in steps), default=max(stages) + 1))


def _metrics(items: Sequence[EvalItem]) -> dict[str, float]:
    traces = [trace for item in items for trace in item.samples or (item.greedy,)]
    return {
        "greedy_answer_rate": _share(item.greedy.answer is not None for item in items),
        "answer_rate": _share(trace.answer is not None for trace in traces),
        "agreement": _mean(_agreement(item.samples) for item in items if item.samples),
        "top_answer_share": _top(trace.answer for trace in traces),
        "entropy": _mean(trace.entropy for trace in traces),
        "length": _mean(math.nan if trace.length is None else trace.length for trace in traces),
        "truncated_rate": _share(trace.truncated for trace in traces),
    }


def _agreement(samples: Sequence[JudgedTrace]) -> float:
    counts = Counter(sample.answer for sample in samples if sample.answer is not None)
    return max(counts.values(), default=0) / len(samples)


def _top(answers: Iterable[str | None]) -> float:
    counts = Counter(answer for answer in answers if answer is not None)
    return max(counts.values(), default=0) / counts.total() if counts else math.nan


def _share(values: Iterable[bool]) -> float:
    return _mean(float(value) for value in values)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else math.nan
