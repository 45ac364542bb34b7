"""The trace explorer: which judged traces the page holds, as JSON that is inert, and the frame its script fills."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from inward.errors import RunFolderError
from inward.report.controls import PLACES, controls
from inward.report.markup import counted, visible
from inward.types import EvalItem, JudgedTrace, Outcome

MAX_TRACES = 12_000
MAX_BYTES = 12_000_000
"""Of all problems as JSON."""
MAX_CHARACTERS = 4000
"""Shown of a prompt or a completion; of a longer one the beginning and the end."""
SEED = 0
"""Of the choice where there are more traces than the page holds."""
_OUTCOMES = {outcome: code for code, outcome in enumerate(Outcome)}


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What a problem's verdicts are about."""

    prompt: str
    completions: Mapping[int, str]
    """By index of the trace."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One judged checkpoint, by prompt id."""

    items: Mapping[str, EvalItem]
    texts: Mapping[str, Texts]
    decoding: str
    """Of `EvalReport`."""
    bare: Collection[str] = frozenset()
    """Problems whose samples are left out."""


@dataclass(frozen=True, kw_only=True)
class Explored:
    """The judged traces that the page holds."""

    problems: Sequence[str]
    """JSON of each problem with its traces, in the order of the evaluation set."""
    num_sides: int
    """1, or 2 for before and after; more where runs are set against each other."""
    answer: str
    """What the trace that gives a problem's answer is called: `greedy`, or `answer` under other decodings."""
    num_traces: int
    of_traces: int
    """Traces that were judged."""
    of_problems: int
    num_cut: int
    """Texts shown in part."""
    names: Sequence[str] = ()
    """Of the runs that are set against each other; empty for the checkpoints of one run."""
    asked: Sequence[int] = ()
    """Questions that each of these was judged on, shared or not."""
    num_bare: int = 0
    """Problems whose samples are left out."""


def choose(sides: Sequence[Collection[EvalItem]], most: int = MAX_TRACES) -> list[str]:
    """Choose whole problems by id, at random with `SEED`, so that they have at most `most` traces together.

    Returns:
        The ids in the order they were drawn in; at least one where there are problems.
    """
    counts: dict[str, int] = {}
    for item in (item for side in sides for item in side):
        counts[item.prompt_id] = counts.get(item.prompt_id, 0) + 1 + len(item.samples)
    drawn = random.Random(SEED).sample(list(counts), len(counts))
    total = 0
    for number, prompt_id in enumerate(drawn):
        total += counts[prompt_id]
        if total > most and number:
            return drawn[:number]
    return drawn


def explored(sides: Sequence[Side], drawn: Sequence[str], most: int = MAX_BYTES) -> Explored | None:
    """Put problems and their traces into JSON; None without a judged checkpoint.

    Args:
        sides: The checkpoints, at least one for a result.
        drawn: Ids to take as long as they have at most `most` bytes together; the first one however long it is.
        most: Bytes of JSON.

    Raises:
        RunFolderError: The text of a judged trace is missing.
    """
    if not sides:
        return None
    kept: dict[str, _Problem] = {}
    total = 0
    for prompt_id in drawn:
        written = _problem(prompt_id, sides)
        total += len(written.json.encode())
        if total > most and kept:
            break
        kept[prompt_id] = written
    everything = dict.fromkeys(prompt_id for side in sides for prompt_id in side.items)
    shown = [kept[prompt_id] for prompt_id in everything if prompt_id in kept]
    return Explored(
        problems=[one.json for one in shown],
        num_sides=len(sides),
        answer="greedy" if all(side.decoding in ("greedy", "cot_prompt") for side in sides) else "answer",
        num_traces=sum(one.num_traces for one in shown),
        of_traces=sum(1 + len(item.samples) for side in sides for item in side.items.values()),
        of_problems=len(everything),
        num_cut=sum(one.num_cut for one in shown),
        num_bare=sum(any(key in side.bare for side in sides) for key in everything if key in kept),
    )


def pick(side: int, answers: str, outcomes: Collection[Outcome], interval: str) -> str:
    """Write a filter as the script reads it from a figure and from the page's address.

    Args:
        side: 0, or 1 for the second of two checkpoints.
        answers: `greedy` or `sampled`.
        outcomes: Those wanted.
        interval: Of the confidence, as in `(0.1,0.2]`: a bracket's end belongs to it, a parenthesis' does not.
    """
    return f"side={side}&source={answers}&outcome={','.join(outcomes)}&confidence={interval}"


def section(data: Explored | None) -> str:
    """Write what the page holds in words, the controls, empty places for the script, and the data; empty for None."""
    if data is None:
        return ""
    names = [*map(visible, data.names)] or (["Before", "After"] if data.num_sides == 2 else ["The model"])
    about = {"sides": names, "asked": [*data.asked], "answer": data.answer}
    content = f'{_inert(about)[:-1]},"problems":['
    return (
        f'<p>{_about(data)}</p><p class="without-script">This list needs scripts; the rest of the page does not.</p>'
        f'<div class="explorer" hidden>{controls(data.answer, data.num_sides, data.names)}{PLACES}</div>'
        f'<script type="application/json" id="explorer-data">{content}{",".join(data.problems)}]}}</script>'
    )


def style() -> str:
    """Return the style sheet of the explorer."""
    return files("inward.report").joinpath("assets/explorer.css").read_text("utf-8")


def script() -> tuple[str, str]:
    """Return the explorer's script, and the source expression that lets a content policy run it and no other."""
    assets = files("inward.report").joinpath("assets")
    parts = ("explorer_data.js", "explorer_figures.js", "explorer.js")
    code = "".join(assets.joinpath(name).read_text("utf-8") for name in parts)
    return code, f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    json: str
    num_traces: int
    num_cut: int


def _problem(prompt_id: str, sides: Sequence[Side]) -> _Problem:
    having = [side for side in sides if prompt_id in side.items]
    gold, prompt = having[0].items[prompt_id].gold, _texts(having[0], prompt_id).prompt
    completions: list[str] = []
    traces: list[list[list[object]]] = []
    for side in sides:
        traces.append([])
        for judged, sampled in _judged(side, prompt_id):
            completion = _texts(side, prompt_id).completions.get(judged.index)
            if completion is None:
                raise _missing(prompt_id)
            completions.append(completion)
            traces[-1].append([*_numbers(judged, sampled=sampled), _cut(completion)])
    return _Problem(
        json=_inert([visible(prompt_id), _cut(prompt), visible(gold), traces, _answers(prompt_id, sides)]),
        num_traces=len(completions),
        num_cut=sum(len(text) > MAX_CHARACTERS for text in (prompt, *completions)),
    )


def _answers(prompt_id: str, sides: Sequence[Side]) -> list[list[object] | None]:
    """Give which answer the problem got on every side, as a number that equal ones share, and the samples' majority."""
    items = [side.items.get(prompt_id) for side in sides]
    forms = [*dict.fromkeys(item.greedy.canonical for item in items if item)]
    return [None if item is None else [forms.index(item.greedy.canonical), _votes(item)] for item in items]


def _votes(item: EvalItem) -> list[object] | None:
    """Give the answer most samples gave, its outcome and the share of the samples that gave it."""
    if not item.samples:
        return None
    form = next((one.canonical for one in item.samples if one.answer == item.majority), None)
    share = sum(one.canonical == form for one in item.samples) / len(item.samples)
    return [None if item.majority is None else _cut(item.majority), _OUTCOMES[item.majority_outcome], share]


def _texts(side: Side, prompt_id: str) -> Texts:
    found = side.texts.get(prompt_id)
    if found is None:
        raise _missing(prompt_id)
    return found


def _missing(prompt_id: str) -> RunFolderError:
    return RunFolderError(
        f"a judged trace of the problem {prompt_id!r} is missing from scored/ of before/ or after/; delete both "
        "folders and run the command that made the run folder again"
    )


def _judged(side: Side, prompt_id: str) -> Iterator[tuple[JudgedTrace, bool]]:
    item = side.items.get(prompt_id)
    if item is not None:
        yield item.greedy, False
        yield from ((sample, True) for sample in item.samples if prompt_id not in side.bare)


def _numbers(judged: JudgedTrace, *, sampled: bool) -> list[object]:
    """Give what the script reads of a trace, in its order, but for the completion."""
    return [
        int(sampled),
        judged.index,
        _OUTCOMES[judged.outcome],
        judged.probability if math.isfinite(judged.probability) else None,
        judged.length,
        int(judged.truncated),
        None if judged.answer is None else _cut(judged.answer),
    ]


def _cut(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return visible(text)
    half = MAX_CHARACTERS // 2
    return visible(f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}")


def _inert(value: object) -> str:
    """Write JSON without a character that could end a script element or begin any other."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _about(data: Explored) -> str:
    if data.num_traces < data.of_traces:
        left = f"{data.num_traces:,} of {data.of_traces:,} judged traces: "
        if len(data.problems) < data.of_problems:
            left += f"those of {len(data.problems):,} of {data.of_problems:,} problems, "
        if data.num_bare:
            left += f"without the samples of {counted(data.num_bare, 'problem')}, "
        rest = "do not depend on that choice" if data.names else "and figures above rest on all of them"
        said = f"{left}chosen at random with seed {SEED} to keep this page small. The numbers {rest}."
    else:
        said = f"All {counted(data.num_traces, 'judged trace')} of {counted(data.of_problems, 'problem')}."
    if data.num_cut:
        said += (
            f" Of {counted(data.num_cut, 'text')} longer than {MAX_CHARACTERS:,} characters, beginning and end are "
            "shown and searched."
        )
    if data.names:
        return f"{said} Each question that both runs were asked stands here once, those with changed answers first."
    return f"{said} Click a bar of the calibration figures to see the answers behind it."
