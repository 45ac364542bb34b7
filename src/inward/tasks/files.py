"""Prompts and problems from a user's file or folder, or from the hub.

`read_prompts` takes the question and drops everything else, gold answers included. `read_problems` keeps the answer,
for evaluation.
"""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inward.errors import DataError
from inward.parsing import parse_json
from inward.types import SECOND_PHRASING, Choice, Message, Problem, Prompt

Row = Mapping[str, Any]
Shape = Callable[[Row], Row | None]
"""Brings a row into the form that is read here; None leaves it out."""

SUFFIXES = (".jsonl", ".json", ".parquet")
ROLES = ("system", "user", "assistant", "tool", "developer")


def read_prompts(
    source: str,
    *,
    split: str = "train",
    limit: int | None = None,
    shape: Shape | None = None,
    rephrased: bool = False,
) -> list[Prompt]:
    """Prompts of a JSON-lines or parquet file, or of a hub data set (`owner/name` or `owner/name:config`).

    A row has `prompt` (text, or messages with role and content) or `question`, with `choices` for a multiple-choice
    one, and may have an `id`. All other columns are ignored. Of a folder it is the file named after the split, or its
    only file.

    Args:
        source: where the rows are.
        split: of a data set or a folder.
        limit: the first so many; None for all.
        shape: for rows of another form.
        rephrased: whether each prompt is followed by the one in the column `rephrased`, its id ending in `~2`.

    Raises:
        DataError: the file is missing, empty or malformed, or a row has no prompt; the row is named by its line.
    """
    rows = _rows(source, split, limit, shape)
    if not rephrased:
        return [_prompt(row, where, name) for row, where, name in rows]
    return [prompt for row, where, name in rows for prompt in _two_phrasings(row, where, name)]


def read_problems(
    source: str, *, split: str = "test", limit: int | None = None, shape: Shape | None = None
) -> list[Problem]:
    """Problems of a file or data set as for `read_prompts`, with the gold in the column `answer`.

    Where there are choices, the gold is the label of one.
    """
    problems: list[Problem] = []
    for row, where, name in _rows(source, split, limit, shape):
        gold = row.get("answer")
        if not isinstance(gold, str | int | float) or not str(gold).strip():
            raise DataError(f"{where}: no gold answer; judging, and the reward gold, need a column `answer`")
        choices = _choices(row, where)
        labels = [choice.label for choice in choices]
        if choices and str(gold) not in labels:
            raise DataError(f"{where}: the gold answer {gold!r} is none of the labels {', '.join(labels)}; give one")
        problems.append(Problem(prompt=_prompt(row, where, name), answer=str(gold), choices=choices))
    return problems


def read_rows(path: Path) -> Iterator[tuple[Row, str]]:
    """Rows of a JSON-lines or parquet file, each with its place in words.

    Raises:
        DataError: the file cannot be read, or a row is no object.
    """
    return _read_parquet(path) if path.suffix == ".parquet" else _read_json_lines(path)


def question_of(problem: Problem) -> str:
    """The question as its row has it: without the list of options, of a conversation the last message."""
    prompt = problem.prompt
    if prompt.messages is not None:
        return prompt.messages[-1].content
    return (prompt.text or "").removesuffix(_options(problem.choices))


def _rows(source: str, split: str, limit: int | None, shape: Shape | None) -> Iterator[tuple[Row, str, str]]:
    """Rows with their place in words and a default id; at least one, ids distinct."""
    path = Path(source).expanduser()
    if path.is_dir():
        path = _file_in(path, split)
    if path.is_file():
        rows = read_rows(path)
    elif source.startswith((".", "/", "~")) or path.suffix in SUFFIXES or "/" not in source:
        raise DataError(
            f"no file {source}; give a JSON-lines or parquet file, a hub data set (owner/name) or the name of a task"
        )
    else:
        rows = _read_hub(source, split)
    seen: dict[str, str] = {}
    shaped = rows if shape is None else ((row, where) for raw, where in rows if (row := shape(raw)) is not None)
    for number, (row, where) in enumerate(itertools.islice(shaped, limit), start=1):
        given = row.get("id")
        name = f"{path.stem}-{number}" if given in (None, "") else str(given)
        if name in seen:
            raise DataError(f"{where}: id {name!r} stands already at {seen[name]}; ids must be distinct")
        seen[name] = where
        yield row, where, name
    if not seen:
        raise DataError(f"{source} holds no rows")


def _file_in(folder: Path, split: str) -> Path:
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))
    named = [file for file in files if file.stem == split]
    if len(named) == 1 or len(files) == 1:
        return (named or files)[0]
    found = ", ".join(file.name for file in files) or "no such file"
    raise DataError(
        f"{folder} is a folder with {found}; give one JSON-lines or parquet file, or keep one file {split}.jsonl in it"
    )


def _read_json_lines(path: Path) -> Iterator[tuple[Row, str]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if text.strip():
                    where = f"{path}, line {number}"
                    yield _object(text, where), where
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _object(line: bytes, where: str) -> Row:
    try:
        row = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: no UTF-8 text (byte {error.start} of the line); convert the file first") from error
    except ValueError as error:
        raise DataError(
            f"{where}: no JSON ({getattr(error, 'msg', error)}); the file must hold one object a line"
        ) from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: a {type(row).__name__}, where an object with `prompt` is needed")
    return row


def _read_parquet(path: Path) -> Iterator[tuple[Row, str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} is no parquet file: {error}") from error
    number = 0
    try:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield row, f"{path}, row {number}"
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # texts that are not UTF-8 among them
        raise DataError(f"{path} is damaged after row {number}: {error}; make or copy the file again") from error


def _read_hub(source: str, split: str) -> Iterator[tuple[Row, str]]:
    import datasets

    name, _, config = source.partition(":")
    try:
        rows = datasets.load_dataset(name, config or None, split=split)
    except Exception as error:  # the hub client raises many kinds, all meaning: not to be had
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"no file {source}, and no data set of that name could be loaded: {reason}") from error
    for number, row in enumerate(rows, start=1):
        yield dict(row), f"{source}, row {number}"


def _prompt(row: Row, where: str, name: str) -> Prompt:
    value = row["prompt"] if row.get("prompt") is not None else row.get("question")
    if value is None:
        columns = ", ".join(row) or "none"
        raise DataError(f"{where}: no column `prompt` or `question`; columns are {columns}")
    choices = _choices(row, where)
    labels = tuple(choice.label for choice in choices)
    if isinstance(value, str):
        if not value.strip():
            raise DataError(f"{where}: the prompt is empty")
        return Prompt(id=name, text=value + _options(choices), labels=labels)
    if isinstance(value, Sequence) and value:
        return Prompt(id=name, messages=tuple(_message(message, where) for message in value), labels=labels)
    raise DataError(f"{where}: the prompt must be text, or a list of messages with role and content")


def _two_phrasings(row: Row, where: str, name: str) -> tuple[Prompt, Prompt]:
    if row.get("rephrased") is None:
        raise DataError(
            f"{where}: no column `rephrased`; the reward co_rewarding needs the question in other words there, in the "
            "form of `prompt`"
        )
    if name.endswith(SECOND_PHRASING):
        raise DataError(f"{where}: the id {name!r} ends in {SECOND_PHRASING}, as second phrasings do; rename it")
    second = _prompt({**row, "prompt": row["rephrased"]}, where, name + SECOND_PHRASING)
    return _prompt(row, where, name), second


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
        raise DataError(f"{where}: each message needs `role` and `content`, both text")
    if message.get("role") not in ROLES:
        raise DataError(f"{where}: role {message.get('role')!r} is unknown; known are {', '.join(ROLES)}")
    if not message["content"].strip():
        raise DataError(f"{where}: a message is empty")
    return Message(role=message["role"], content=message["content"])


def _choices(row: Row, where: str) -> tuple[Choice, ...]:
    listed = row.get("choices") or ()
    try:
        choices = tuple(Choice(label=str(one["label"]).strip(), text=str(one["text"])) for one in listed)
    except (TypeError, KeyError) as error:
        raise DataError(f"{where}: `choices` must be a list of objects with `label` and `text`") from error
    labels = [choice.label for choice in choices]
    if "" in labels or len(set(labels)) < len(labels):
        raise DataError(f"{where}: the labels of `choices` must be distinct and not empty; they are {labels}")
    return choices


def _options(choices: Sequence[Choice]) -> str:
    """RLSF's multiple-choice format."""
    if not choices:
        return ""
    return "\nSelect one of the following:\n" + "\n".join(f"{one.label}. {one.text}" for one in choices)
