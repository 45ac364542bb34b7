"""`inward grade`: verdicts on a file of predictions, line by line; what is graded stays graded."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, get_args

import typer

from inward.cli.console import note, progress
from inward.cli.extracting import Expected, choices_of, expected, extracted
from inward.equivalence import grade_many
from inward.errors import DataError, SettingsError
from inward.parsing import parse_json
from inward.types import AnswerKind, Outcome

ADDED = ("extracted", "verdict", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the file, checked."""

    fields: dict[str, Any]
    prediction: str | None
    task: Expected

    def answer(self, *, strict: bool) -> str | None:
        """The final answer of the prediction."""
        return extracted(self.prediction, self.task, strict=strict)


def grade_file(source: Path, out: Path, *, strict: bool, jobs: int | None) -> None:
    """Grade every line of a file that is not graded in `out` yet, and print the counts of all.

    Raises:
        DataError: a line of the file is not usable, or `out` holds other work; nothing is graded then.
        SettingsError: `out` is the file itself, or a folder.
    """
    if jobs is not None and jobs < 1:
        raise SettingsError(f"--jobs {jobs}: at least one is needed")
    if out.exists() and (not out.is_file() or (source.exists() and out.samefile(source))):
        raise SettingsError(f"--out {out}: give another file for the verdicts")
    total = sum(1 for _ in _rows(source))  # every line is checked before the first is graded
    if not total:
        raise DataError(f"{source} holds no lines")
    counts: Counter[str] = Counter()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a+b") as file, _locked(file, out):
            done = _continue(file, source, out, counts, strict=strict)
            if done:
                note(f"{done} of {total} lines are graded already")
            _grade(islice(_rows(source), done, None), file, counts, strict=strict, jobs=jobs, done=done, total=total)
    except OSError as error:
        raise DataError(
            f"cannot write {out}: {error.strerror or error}; what is graded stays; give room and repeat"
        ) from error
    _summarise(counts, total, out)


def _grade(
    rows: Iterator[Row], file: BinaryIO, counts: Counter[str], *, strict: bool, jobs: int | None, done: int, total: int
) -> None:
    waiting: list[tuple[Row, str | None]] = []

    def items() -> Iterator[tuple[str | None, str, AnswerKind]]:
        for row in rows:
            answer = row.answer(strict=strict)
            waiting.append((row, answer))
            yield answer, row.task.gold, row.task.kind

    with progress() as report:
        for graded in grade_many(items(), jobs=jobs):
            row, answer = waiting.pop(0)
            verdict = graded.outcome.value
            added = {"extracted": answer, "verdict": verdict, "seconds": round(graded.seconds, 6)}
            file.write(json.dumps({**row.fields, **added}, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
            file.flush()
            _count(counts, row, verdict)
            done += 1
            report("grade", done, total)


def _count(counts: Counter[str], row: Row, verdict: str) -> None:
    counts[verdict] += 1
    if verdict == Outcome.CORRECT and row.answer(strict=True) is not None:
        counts["announced"] += 1


def _summarise(counts: Counter[str], total: int, out: Path) -> None:
    for outcome in Outcome:
        typer.echo(f"{outcome.value:<11} {counts[outcome.value]:>8}")
    decided = total - counts[Outcome.UNSCORED]
    if decided:
        typer.echo(
            f"{'accuracy':<11} {counts[Outcome.CORRECT] / decided:>8.4f}  of the {decided} that could be decided"
        )
        typer.echo(f"{'announced':<11} {counts['announced'] / decided:>8.4f}  where only an announced answer counts")
    typer.echo(f"{'graded':<11} {total:>8}  {out}")


def _rows(source: Path) -> Iterator[Row]:
    for fields, where in _objects(source):
        try:
            yield _row(fields)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None


def _objects(source: Path) -> Iterator[tuple[dict[str, Any], str]]:
    try:
        with source.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if text.strip():
                    where = f"{source}, line {number}"
                    yield _object(text, where), where
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror}") from error


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        fields = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: no UTF-8 text (byte {error.start} of the line); convert the file first") from error
    except ValueError as error:
        raise DataError(
            f"{where}: no JSON ({getattr(error, 'msg', error)}); the file must hold one object a line"
        ) from error
    if not isinstance(fields, dict):
        raise DataError(f"{where}: a {type(fields).__name__}, where an object with `prediction` and `gold` is needed")
    return fields


def _row(fields: dict[str, Any]) -> Row:
    for name in ("prediction", "gold"):
        if name not in fields:
            raise DataError(f"no `{name}`; it has {', '.join(fields) or 'nothing'}")
    taken = [name for name in ADDED if name in fields]
    if taken:
        raise DataError(f"it has `{taken[0]}` already, which grading writes; rename or remove that column")
    gold = _text(fields, "gold")
    if gold is None:
        raise DataError("`gold` is null; leave out what has no right answer")
    kind = fields.get("kind")
    if kind is not None and kind not in get_args(AnswerKind):
        raise DataError(f"kind {kind!r} is unknown; it is one of {', '.join(get_args(AnswerKind))}, or left out")
    listed = fields.get("choices") or []
    if not isinstance(listed, list):
        raise DataError("`choices` must be a list of objects with `label` and `text`, both text")
    question = fields.get("question")
    task = expected(gold, kind, choices_of(listed), question if isinstance(question, str) else "")
    return Row(fields=fields, prediction=_text(fields, "prediction"), task=task)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields[name]
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        raise DataError(f"`{name}` must be text or a number, not a {type(value).__name__}")
    return None if value is None else str(value)


def _continue(file: BinaryIO, source: Path, out: Path, counts: Counter[str], *, strict: bool) -> int:
    """Count the lines that are graded, and cut a torn one off.

    Raises:
        DataError: they are not the first lines of the source, or were graded otherwise.
    """
    file.seek(0)
    rows, done, end = _rows(source), 0, 0
    for line in file:
        verdict = _verdict(line)
        if verdict is None:
            if line.endswith(b"\n") and file.read(1):
                raise DataError(f"{out}, line {done + 1}: no verdict of `inward grade`; give another file as --out")
            break
        row = next(rows, None)
        mine = {name: value for name, value in verdict.items() if name not in ADDED}
        if row is None or json.dumps(mine) != json.dumps(row.fields):
            raise DataError(f"{out}, line {done + 1} belongs to another file than {source}; give another file as --out")
        if verdict["extracted"] != row.answer(strict=strict):
            raise DataError(
                f"{out}, line {done + 1} was read otherwise (--strict, or another version); give another --out"
            )
        _count(counts, row, verdict["verdict"])
        done += 1
        end += len(line)
    file.truncate(end)
    file.seek(end)
    return done


def _verdict(line: bytes) -> dict[str, Any] | None:
    """A whole line of verdicts; None where it is torn or something else."""
    if not line.endswith(b"\n"):
        return None
    try:
        fields = parse_json(line.decode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    whole = isinstance(fields, dict) and all(name in fields for name in ADDED) and fields["verdict"] in list(Outcome)
    return fields if whole else None


@contextlib.contextmanager
def _locked(file: BinaryIO, out: Path) -> Iterator[None]:
    """Keep a second process away from the verdicts, where the system has locks; they end with the process."""
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{out} is being written by another process; wait for it, or give another --out") from error
    yield
