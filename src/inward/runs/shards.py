"""A stage's records on disk: numbered parquet files, and `complete.json` once all are there."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, final, overload

from inward.errors import RunFolderError
from inward.parsing import parse_json
from inward.runs import records
from inward.runs.files import atomic

if TYPE_CHECKING:
    import pyarrow

R = TypeVar("R")


@final
class Records(Sequence[R], Generic[R]):
    """The records of a finished stage: a sequence that reads one block of a shard at a time and keeps no more than one.

    Iterating, `len`, indexing and slicing work as for a list, and as often as one likes; consecutive slices
    read every block once. Reading raises RunFolderError where a shard is missing or damaged.
    """

    def __init__(self, folder: Path, record: type[R], *, shards: int, length: int) -> None:
        self._paths = [shard_path(folder, i) for i in range(shards)]
        self._record = record
        self._length = length
        self._last: tuple[int, list[R]] | None = None
        self._looked = 0
        self._blocks: list[tuple[Path, int]] = []
        self._ends: list[int] = []
        """Number of records up to and including each block of the shards looked at."""

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[R]:
        for path in self._paths:
            yield from read_shard(path, self._record)

    def columns(self, names: Collection[str]) -> Iterator[pyarrow.Table]:
        """Read some columns alone, by their names in the file, one block at a time."""
        for path in self._paths:
            yield from read_columns(path, names)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> R | list[R]:
        if isinstance(index, slice):
            return [self._at(i) for i in range(*index.indices(self._length))]
        return self._at(range(self._length)[index])

    def _at(self, index: int) -> R:
        while not self._ends or self._ends[-1] <= index:
            self._look_further()
        block = bisect_right(self._ends, index)
        if self._last is None or self._last[0] != block:
            path, number = self._blocks[block]
            self._last = block, list(read_shard(path, self._record, block=number))
        return self._last[1][index - (self._ends[block - 1] if block else 0)]

    def _look_further(self) -> None:
        """Learn how many records the blocks of one more shard hold: of many shards often the first will do."""
        path = self._paths[self._looked]
        for number, count in enumerate(_about(path)[0]):
            self._blocks.append((path, number))
            self._ends.append(count + (self._ends[-1] if self._ends else 0))
        self._looked += 1


def shard_path(folder: Path, index: int) -> Path:
    """Return where shard `index` of a stage lies."""
    return folder / f"{index:05d}.parquet"


def write_shard(path: Path, rows: Iterable[object], record: type, span: tuple[int, int]) -> int:
    """Write the records made from inputs `span[0]` to `span[1]`, and return how many they are.

    Raises:
        RunFolderError: The disk is full or the folder not writable.
        DataError: A record cannot be stored.
    """
    note = json.dumps({"record": record.__name__, "inputs": span}).encode()
    with atomic(path) as file:
        return records.to_parquet(rows, record, file, note=note)


def read_shard(path: Path, record: type[R], *, block: int | None = None) -> Iterator[R]:
    """Read the records of a shard, or of one block of it.

    Raises:
        RunFolderError: It is missing, damaged or holds other records.
    """
    with _readable(path):
        yield from records.from_parquet(str(path), record, block=block)


def read_columns(path: Path, names: Collection[str]) -> Iterator[pyarrow.Table]:
    """Read some columns of a shard, one block at a time.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    import pyarrow.parquet as pq

    with _readable(path), pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns=[*names], use_threads=False)


def shard_info(path: Path) -> tuple[int, tuple[int, int]]:
    """Return the number of records in a shard, and the span of inputs they were made from.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    blocks, span = _about(path)
    return sum(blocks), span


def check_shard(path: Path) -> None:
    """Read a shard without making records of it: every page has a checksum.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    import pyarrow.parquet as pq

    with _readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            file.read_row_group(number, use_threads=False)


def checked_count(path: Path, span: tuple[int, int]) -> int | None:
    """Return the number of records in a shard; None where it has yet to be made.

    Raises:
        RunFolderError: It is damaged, or was made from other inputs than those of the span.
    """
    if not path.exists():
        return None
    count, (start, end) = shard_info(path)
    if (start, end) != span:
        raise RunFolderError(
            f"{path} was made from inputs {start} to {end}, asked for {span[0]} to {span[1]}: "
            "the size of shards or the number of inputs changed; use another --out"
        )
    check_shard(path)
    return count


def _about(path: Path) -> tuple[list[int], tuple[int, int]]:
    with _readable(path):
        blocks, note = records.parquet_blocks(str(path))
        start, end = parse_json(note)["inputs"]
    return blocks, (start, end)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> RunFolderError:
    """Return the error for a file that cannot be read, with the remedy."""
    if isinstance(error, FileNotFoundError):
        return RunFolderError(f"{path} is missing; run the command that made this folder again")
    if isinstance(error, PermissionError):
        return RunFolderError(f"{path} cannot be read: permission denied; make it readable")
    reason = " ".join(str(error).split())
    return RunFolderError(f"{path} is damaged ({reason}); delete that file and run the same command again")
