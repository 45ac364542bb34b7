"""Prompts and problems from a user's file or from the hub.

`read_prompts` takes the question and drops everything else, gold answers included. `read_problems` keeps the answer,
for evaluation.
"""

from __future__ import annotations

import codecs
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inward.errors import DataError
from inward.types import Choice, Message, Problem, Prompt

ROLES = ("system", "user", "assistant", "tool", "developer")


def read_prompts(source: str, *, split: str = "train", limit: int | None = None) -> list[Prompt]:
    """Prompts of a JSON-lines or parquet file, or of a hub data set (`owner/name` or `owner/name:config`).

    A row has `prompt` (text, or messages with role and content) or `question`, with `choices` for a multiple-choice
    one, and may have an `id`. All other columns are ignored.

    Raises:
        DataError: the file is missing, empty or malformed, or a row has no prompt; the row is named by its line.
    """
    return [_prompt(row, where, name) for row, where, name in _rows(source, split, limit)]


def read_problems(source: str, *, split: str = "test", limit: int | None = None) -> list[Problem]:
    """Problems of a file or data set as for `read_prompts`, with the gold in the column `answer`."""
    problems: list[Problem] = []
    for row, where, name in _rows(source, split, limit):
        gold = row.get("answer")
        if not isinstance(gold, str | int | float) or not str(gold).strip():
            raise DataError(f"{where}: no gold answer; judging, and the reward gold, need a column `answer`")
        choices = _choices(row, where)
        problems.append(Problem(prompt=_prompt(row, where, name), answer=str(gold), choices=choices))
    return problems


def _rows(source: str, split: str, limit: int | None) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    """Rows with their place in words and a default id; at least one, ids distinct."""
    path = Path(source).expanduser()
    if path.is_file():
        rows = _read_parquet(path) if path.suffix == ".parquet" else _read_json_lines(path)
    elif path.is_dir():
        raise DataError(f"{source} is a folder; give a JSON-lines or parquet file")
    elif source.startswith((".", "/", "~")) or path.suffix in (".jsonl", ".json", ".parquet") or "/" not in source:
        raise DataError(
            f"no file {source}; give a JSON-lines or parquet file, a hub data set (owner/name) or `embedded`"
        )
    else:
        rows = _read_hub(source, split)
    seen: dict[str, str] = {}
    for number, (row, where) in enumerate(itertools.islice(rows, limit), start=1):
        given = row.get("id")
        name = f"{path.stem}-{number}" if given in (None, "") else str(given)
        if name in seen:
            raise DataError(f"{where}: id {name!r} stands already at {seen[name]}; ids must be distinct")
        seen[name] = where
        yield row, where, name
    if not seen:
        raise DataError(f"{source} holds no rows")


def _read_json_lines(path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if text.strip():
                    where = f"{path}, line {number}"
                    yield _object(text, where), where
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _object(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: no UTF-8 text (byte {error.start} of the line); convert the file first") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: no JSON ({error.msg}); the file must hold one object a line") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: a {type(row).__name__}, where an object with `prompt` is needed")
    return row


def _read_parquet(path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is no parquet file: {error}") from error
    number = 0
    try:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield row, f"{path}, row {number}"
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is damaged after row {number}: {error}") from error


def _read_hub(source: str, split: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    import datasets

    name, _, config = source.partition(":")
    try:
        rows = datasets.load_dataset(name, config or None, split=split)
    except Exception as error:  # the hub client raises many kinds, all meaning: not to be had
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"no file {source}, and no data set of that name could be loaded: {reason}") from error
    for number, row in enumerate(rows, start=1):
        yield dict(row), f"{source}, row {number}"


def _prompt(row: Mapping[str, Any], where: str, name: str) -> Prompt:
    value = row["prompt"] if row.get("prompt") is not None else row.get("question")
    if value is None:
        columns = ", ".join(row) or "none"
        raise DataError(f"{where}: no column `prompt` or `question`; columns are {columns}")
    if isinstance(value, str):
        if not value.strip():
            raise DataError(f"{where}: the prompt is empty")
        return Prompt(id=name, text=value + _options(_choices(row, where)))
    if isinstance(value, Sequence) and value:
        return Prompt(id=name, messages=tuple(_message(message, where) for message in value))
    raise DataError(f"{where}: the prompt must be text, or a list of messages with role and content")


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
        raise DataError(f"{where}: each message needs `role` and `content`, both text")
    if message.get("role") not in ROLES:
        raise DataError(f"{where}: role {message.get('role')!r} is unknown; known are {', '.join(ROLES)}")
    if not message["content"].strip():
        raise DataError(f"{where}: a message is empty")
    return Message(role=message["role"], content=message["content"])


def _choices(row: Mapping[str, Any], where: str) -> tuple[Choice, ...]:
    listed = row.get("choices") or ()
    try:
        return tuple(Choice(label=str(one["label"]), text=str(one["text"])) for one in listed)
    except (TypeError, KeyError) as error:
        raise DataError(f"{where}: `choices` must be a list of objects with `label` and `text`") from error


def _options(choices: Sequence[Choice]) -> str:
    """RLSF's multiple-choice format."""
    if not choices:
        return ""
    return "\nSelect one of the following:\n" + "\n".join(f"{one.label}. {one.text}" for one in choices)
