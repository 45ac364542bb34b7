"""Samples that lm-evaluation-harness logged (`lm_eval --log_samples`), with the harness's own verdicts. No torch.

A line is one document under one filter. Its `arguments` tell the two kinds apart: options whose log-likelihoods were
asked for (`multiple_choice`), and completions that were generated (`generate_until`). See `docs/harness.md`.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inward.answers import find
from inward.equivalence import canonical
from inward.errors import DataError, SettingsError
from inward.tasks.files import Row, read_rows

Kind = Literal["options", "generated"]
DEFAULT_METRIC: Mapping[Kind, str] = {"options": "acc", "generated": "exact_match"}
NORMALISED = "acc_norm"
NO_ANSWER = ("", "[invalid]")
"""What the harness's filters leave where they find no answer."""

_NAME = re.compile(r"samples_(.+)_\d{4}-\d\d-\d\dT[\d.:-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One document, the answer given to it and the harness's verdict."""

    id: str
    """`TASK-DOC_ID`."""
    task: str
    doc_hash: str
    prompt: str
    completion: str
    """Of options the one chosen; of several repeats one that votes for the answer."""
    answer: str | None
    gold: str
    correct: bool
    probability: float
    """Softmax over the options of the one chosen; NaN where the completion was generated."""
    disparity: float
    """The same minus that of the next option; NaN where the completion was generated."""
    logprob: float
    """Log-likelihood of the option chosen, nats; NaN where the completion was generated."""
    vote_share: float | None
    """Share of the repeats that give the answer; None where there are no repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What some files hold under one filter, by one metric."""

    logged: Sequence[Logged]
    kind: Kind
    filter: str | None
    """None where the files name none."""
    metric: str


def read_samples(files: Sequence[Path], *, filter_name: str | None = None, metric: str | None = None) -> Samples:
    """Read logged samples, of one task per file.

    Args:
        files: `samples_TASK_TIME.jsonl`.
        filter_name: Of the harness; needed where a file has several.
        metric: The verdict, 0 or 1; `acc` of options and `exact_match` of completions unless given.

    Raises:
        SettingsError: A filter or a metric has to be chosen, or is not there.
        DataError: A line lacks a field or cannot be read (it is named), or the files do not belong together.
    """
    found: list[Logged] = []
    read: set[tuple[Kind, str]] = set()
    used: set[str | None] = set()
    seen: dict[str, str] = {}
    for file in files:
        if not file.is_file():
            raise DataError(f"no file {file}; give the samples_TASK_TIME.jsonl that lm_eval wrote with --log_samples")
        chosen, task = _filter_of(file, filter_name), _task_of(file)
        used.add(chosen)
        for row, where in read_rows(file):
            if row.get("filter") != chosen:
                continue
            kind = _kind(row, where)
            judge = metric or _default_metric(row, where, kind)
            one = _logged(row, where, task, kind, judge)
            if one.id in seen:
                raise DataError(
                    f"{where}: document {row['doc_id']!r} of {task} stands already at {seen[one.id]}; give one file a "
                    "task, of a harness that names its filters where there are several"
                )
            seen[one.id] = where
            read.add((kind, judge))
            found.append(one)
    if len(read) > 1 or len(used) > 1:
        said = ", ".join(sorted({*(f"{name} of {kind} answers" for kind, name in read), *map(str, used)}))
        raise SettingsError(f"these files have no verdict in common ({said}); judge them one by one, each to its --out")
    if not found:
        raise DataError(f"{', '.join(map(str, files)) or 'no file'}: no samples; give a file that holds some")
    [(kind, judge)] = read
    return Samples(logged=found, kind=kind, filter=used.pop(), metric=judge)


def _task_of(file: Path) -> str:
    named = _NAME.fullmatch(file.stem)
    return named[1] if named else file.stem


def _filter_of(file: Path, asked: str | None) -> str | None:
    names = {row.get("filter") for row, _ in read_rows(file)}
    listed = ", ".join(sorted(map(str, names)))
    if asked is not None and asked not in names:
        raise SettingsError(f"{file} has no filter {asked!r}; it has {listed if names - {None} else 'none by name'}")
    if asked is None and len(names) > 1:
        raise SettingsError(f"{file} has the filters {listed}; choose one with --filter")
    return asked if asked is not None else next(iter(names), None)


def _field(row: Row, where: str, name: str) -> Any:
    if row.get(name) is None:
        raise DataError(f"{where}: no field `{name}`; give the file as lm_eval wrote it with --log_samples")
    return row[name]


def _requests(row: Row, where: str) -> list[list[Any]]:
    """Arguments of the model calls: context, then continuation or settings of generation."""
    given = _field(row, where, "arguments")
    calls = list(given.values()) if isinstance(given, Mapping) else given
    if not isinstance(calls, list) or not calls or not all(isinstance(one, list | Mapping) for one in calls):
        raise DataError(f"{where}: `arguments` holds no request; give the file as lm_eval wrote it")
    return [list(one.values()) if isinstance(one, Mapping) else list(one) for one in calls]


def _kind(row: Row, where: str) -> Kind:
    requests = _requests(row, where)
    if any(len(one) < 2 for one in requests):
        raise DataError(f"{where}: `arguments` holds a text alone (perplexity); there is no answer to judge")
    if not all(isinstance(one[1], str) for one in requests):
        return "generated"
    if len(requests) == 1:
        raise DataError(f"{where}: a single continuation was scored; without rivals there is no confidence to judge")
    return "options"


def _default_metric(row: Row, where: str, kind: Kind) -> str:
    if DEFAULT_METRIC[kind] in row:
        return DEFAULT_METRIC[kind]
    named = row.get("metrics") or []
    if len(named) == 1:
        return str(named[0])
    listed = ", ".join(map(str, named)) or "none that it names"
    raise SettingsError(f"{where}: no field `{DEFAULT_METRIC[kind]}`; choose with --metric one of: {listed}")


def _logged(row: Row, where: str, task: str, kind: Kind, metric: str) -> Logged:
    verdict = _field(row, where, metric)
    if not isinstance(verdict, int | float) or verdict not in (0, 1):
        raise DataError(f"{where}: `{metric}` is {verdict!r}, which is no verdict; choose with --metric one of 0 and 1")
    said: dict[str, Any] = {
        "id": f"{task}-{_field(row, where, 'doc_id')}",
        "task": task,
        "doc_hash": str(row.get("doc_hash") or ""),
        "correct": bool(verdict),
    }
    return (_chosen if kind == "options" else _generated)(row, where, metric, said)


def _chosen(row: Row, where: str, metric: str, said: Mapping[str, Any]) -> Logged:
    """The option with the highest log-likelihood; under `acc_norm` with the highest one per character."""
    if "acc_mutual_info" in row:
        raise DataError(f"{where}: logged with acc_mutual_info, which mixes in other requests; log it without")
    requests, lls = _requests(row, where), _log_likelihoods(row, where)
    if len(lls) != len(requests):
        raise DataError(f"{where}: {len(lls)} `filtered_resps` for {len(requests)} options; give the file as written")
    written = [str(one[1]) for one in requests]
    scores = _per_character(lls, written, where) if metric == NORMALISED else lls
    best = max(range(len(scores)), key=lambda option: scores[option])
    shares = _softmax(scores)
    texts = [one.strip() for one in written]
    names = texts if len(set(texts)) == len(texts) else [str(option) for option in range(len(texts))]
    target = str(_field(row, where, "target"))
    right = _right(target, names)
    if right is not None and (best in right) != said["correct"]:
        raise DataError(
            f"{where}: by its log-likelihoods option {best} is chosen and {sorted(right)} right, yet `{metric}` is "
            f"{int(said['correct'])}; the confidence would be that of another answer: choose another --metric"
        )
    return Logged(
        prompt=_text(requests[best][0]),
        completion=written[best],
        answer=names[best],
        gold=names[min(right)] if right else target,
        probability=shares[best],
        disparity=shares[best] - max(share for option, share in enumerate(shares) if option != best),
        logprob=lls[best],
        vote_share=None,
        **said,
    )


def _log_likelihoods(row: Row, where: str) -> list[float]:
    """Of the options; the harness writes pairs of a number and whether it was the greedy one, both as text."""
    given = _field(row, where, "filtered_resps")
    try:
        found = [float(one[0]) for one in given]
    except (TypeError, ValueError, LookupError) as error:
        raise DataError(f"{where}: `filtered_resps` holds no log-likelihoods; give the file as written") from error
    if any(math.isnan(one) for one in found) or not any(map(math.isfinite, found)):
        raise DataError(f"{where}: `filtered_resps` holds log-likelihoods that are no numbers; judge the task again")
    return found


def _per_character(lls: Sequence[float], written: Sequence[str], where: str) -> list[float]:
    """As the harness's `acc_norm`: the blank that it puts before every option does not count."""
    blank = all(one.startswith(" ") for one in written)
    lengths = [len(one) - blank for one in written]
    if 0 in lengths:
        raise DataError(f"{where}: an option has no characters, so `{NORMALISED}` is not defined; use --metric acc")
    return [ll / length for ll, length in zip(lls, lengths, strict=True)]


def _softmax(scores: Sequence[float]) -> list[float]:
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    return [weight / sum(weights) for weight in weights]


def _right(target: str, names: Sequence[str]) -> set[int] | None:
    """Options that the target names by index or by text; None where that cannot be said."""
    by_text = {option for option, name in enumerate(names) if name == target.strip()}
    by_index: set[int] = set()
    if re.fullmatch(r"\d+|\[\d+(, *\d+)*\]", target):
        value = ast.literal_eval(target.lstrip("0") or "0")
        by_index = {one for one in (value if isinstance(value, list) else [value]) if one < len(names)}
    if by_text and by_index and by_text != by_index:
        return None
    return by_index or by_text or None


def _generated(row: Row, where: str, metric: str, said: Mapping[str, Any]) -> Logged:
    """The filtered answer, and among several repeats its share of the votes."""
    given = _field(row, where, "filtered_resps")
    while isinstance(given, list) and len(given) == 1:
        given = given[0]
    if not isinstance(given, str):
        raise DataError(f"{where}: `filtered_resps` holds no single answer; choose a filter that leaves one")
    raw = _field(row, where, "resps")
    texts = [_text(one) for one in (raw[0] if raw and isinstance(raw[0], list) else raw)]
    if not texts:
        raise DataError(f"{where}: `resps` is empty; give the file as lm_eval wrote it")
    answer = None if given.strip() in NO_ANSWER else given.strip()
    voting = [text for text in texts if _votes(text, answer)]
    return Logged(
        prompt=_text(_requests(row, where)[0][0]),
        completion=(voting or texts)[0],
        answer=answer,
        gold=str(_field(row, where, "target")).strip(),
        probability=math.nan,
        disparity=math.nan,
        logprob=math.nan,
        vote_share=len(voting) / len(texts) if len(texts) > 1 else None,
        **said,
    )


def _votes(text: str, answer: str | None) -> bool:
    found = None if answer is None else find(text, "auto")
    return found is not None and canonical(found.answer, "auto") == canonical(answer or "", "auto")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
