"""A stage's records on disk: numbered parquet files, and `complete.json` once all are there."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Generic, TypeVar, final, overload

from inward.errors import RunFolderError
from inward.runs import records
from inward.runs.files import write_atomic

R = TypeVar("R")


@final
class Records(Sequence[R], Generic[R]):
    """The records of a finished stage: a sequence that reads one shard at a time and keeps no more than one.

    Iterating, `len`, indexing and slicing work as for a list, and as often as one likes; consecutive slices
    read every shard once. Reading raises RunFolderError where a shard is missing or damaged.
    """

    def __init__(self, folder: Path, record: type[R], *, shards: int, length: int) -> None:
        self._paths = [shard_path(folder, i) for i in range(shards)]
        self._record = record
        self._length = length
        self._last: tuple[int, list[R]] | None = None

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[R]:
        for path in self._paths:
            yield from read_shard(path, self._record)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> R | list[R]:
        if isinstance(index, slice):
            return [self._at(i) for i in range(*index.indices(self._length))]
        return self._at(range(self._length)[index])

    def _at(self, index: int) -> R:
        shard = bisect_right(self._ends, index)
        if self._last is None or self._last[0] != shard:
            self._last = shard, read_shard(self._paths[shard], self._record)
        return self._last[1][index - (self._ends[shard - 1] if shard else 0)]

    @cached_property
    def _ends(self) -> list[int]:
        """Number of records up to and including each shard."""
        return list(accumulate(shard_info(path)[0] for path in self._paths))


def shard_path(folder: Path, index: int) -> Path:
    """Return where shard `index` of a stage lies."""
    return folder / f"{index:05d}.parquet"


def write_shard(path: Path, rows: Sequence[object], record: type, span: tuple[int, int]) -> None:
    """Write the records made from inputs `span[0]` to `span[1]`.

    Raises:
        RunFolderError: The disk is full or the folder not writable.
        DataError: A record cannot be stored.
    """
    note = json.dumps({"record": record.__name__, "inputs": span}).encode()
    write_atomic(path, records.to_parquet(rows, record, note=note))


def read_shard(path: Path, record: type[R]) -> list[R]:
    """Read the records of a shard.

    Raises:
        RunFolderError: It is missing, damaged or holds other records.
    """
    try:
        return records.from_parquet(str(path), record)
    except (OSError, ValueError, TypeError) as error:
        raise damaged(path, error) from error


def shard_info(path: Path) -> tuple[int, tuple[int, int]]:
    """Return the number of records in a shard, and the span of inputs they were made from.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    try:
        count, note = records.parquet_note(str(path))
        start, end = json.loads(note)["inputs"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise damaged(path, error) from error
    return count, (start, end)


def damaged(path: Path, error: Exception) -> RunFolderError:
    """Return the error for a file that cannot be read, with the remedy."""
    if isinstance(error, FileNotFoundError):
        return RunFolderError(f"{path} is missing; run the command that made this folder again")
    if isinstance(error, PermissionError):
        return RunFolderError(f"{path} cannot be read: permission denied; make it readable")
    reason = " ".join(str(error).split())
    return RunFolderError(f"{path} is damaged ({reason}); delete that file and run the same command again")
