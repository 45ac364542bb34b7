r"""Records to parquet and JSON and back, from the type hints of the record alone.

| in a record | in parquet | in JSON |
|---|---|---|
| `str`, `StrEnum` | string | string |
| `int`, `bool` | int64, bool | number, true or false |
| `float`, also as a value of a dict | float64 | number; null where it is not finite |
| `tuple[float, ...]` | list of float32: signals come from float32 tensors | list of numbers |
| `tuple[X, ...]` | list | list |
| a record | struct | object |
| `dict[str, X]` | map, keys sorted | object |
| `X \| None` | nullable | null |

The way through parquet is exact (NaN, infinities and empty tuples included), provided that the floats in
tuples are float32 numbers; others are rounded to the nearest one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import cache
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from inward.errors import DataError
from inward.runs import columns

if TYPE_CHECKING:
    import pyarrow

R = TypeVar("R")

BLOCK = 1024
"""Records of a row group of a parquet file: what reading and writing hold at once."""

_Convert: TypeAlias = Callable[[Any], Any]


@cache
def schema(record: type) -> pyarrow.Schema:
    """Return the columns that hold records of this type.

    Raises:
        TypeError: A field has a type outside the table at the top of this module, as the free-form settings
            of `Manifest` do; such records go to JSON.
    """
    import pyarrow as pa

    return pa.schema(columns.fields(record))


def to_parquet(rows: Iterable[object], record: type, out: IO[bytes], *, note: bytes) -> int:
    """Write a parquet file of records, a block at a time; equal records and notes give equal bytes.

    Args:
        rows: Records, all of type `record`; no more than a block of them is held.
        record: Their type.
        out: The open file.
        note: Kept in the file beside the records, for `parquet_note`.

    Returns:
        The number of records.

    Raises:
        DataError: A text is not valid Unicode, or an integer does not fit 64 bits.
        OSError: The file cannot be written.
    """
    import pyarrow.parquet as pq

    kept = schema(record).with_metadata({b"inward": note})
    count, rows = 0, iter(rows)
    options: dict[str, Any] = {"version": "2.6", "compression": "zstd", "compression_level": 3}
    with pq.ParquetWriter(out, kept, write_page_checksum=True, **options) as writer:
        block = list(islice(rows, BLOCK))
        while block or not count:
            writer.write_table(_table(block, record, kept))
            count += len(block)
            if len(block) < BLOCK:
                break
            block = list(islice(rows, BLOCK))
    return count


def from_parquet(path: str, record: type[R], *, block: int | None = None) -> Iterator[R]:
    """Read the records of a parquet file, one block at a time.

    Args:
        path: The file.
        record: Their type.
        block: The one to read; None for all of them.

    Raises:
        OSError: The file is missing or damaged.
        ValueError: The file is damaged, or holds other columns than `schema(record)`.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        if not file.schema_arrow.equals(schema(record)):
            raise ValueError(f"its columns are not those of a {record.__name__}")
        for number in range(file.num_row_groups) if block is None else (block,):
            table = file.read_row_group(number, use_threads=False)
            for batch in table.to_struct_array().chunks:
                yield from columns.from_struct(batch, record)


def parquet_blocks(path: str) -> tuple[list[int], bytes]:
    """Return the numbers of records in the blocks of a parquet file, and its note, without reading the records.

    Raises:
        OSError: The file is missing or damaged.
        ValueError: The file is damaged.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        about = file.metadata
        blocks = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
        return blocks, (file.schema_arrow.metadata or {}).get(b"inward", b"")


def _table(rows: Sequence[object], record: type, kept: pyarrow.Schema) -> pyarrow.Table:
    import pyarrow as pa

    try:
        return pa.Table.from_arrays(columns.to_struct(rows, record).flatten(), schema=kept)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise DataError(f"a {record.__name__} cannot be stored: {error}; mend the text or number it names") from error


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return strict JSON: records become objects, enums their values, numbers that are not finite null.

    Raises:
        TypeError: Something in `value` has no JSON form.
    """
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def from_json(record: type[R], value: object) -> R:
    """Rebuild a record from what `json.loads` gives for it; null in place of a number becomes NaN.

    Fields that the record does not know are ignored.

    Raises:
        ValueError: A field is missing, or the value is no such record at all.
    """
    try:
        return _decoder(record)(value)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a {record.__name__}: {type(error).__name__} {error}") from error


def digest(records: Iterable[object]) -> str:
    """Return the sha256 over the records' canonical JSON, one line each; their order counts."""
    sha = hashlib.sha256()
    for record in records:
        text = json.dumps(plain(record), sort_keys=True, separators=(",", ":"), allow_nan=False)
        sha.update(text.encode("ascii") + b"\n")
    return sha.hexdigest()


def plain(value: object) -> Any:
    """Return the value as dicts, lists, strings, finite numbers, booleans and None."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key.value if isinstance(key, Enum) else key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@cache
def _decoder(hint: Any) -> _Convert:
    """Return the way from what `json.loads` gives back to a value."""
    inner = columns.without_none(hint)
    if inner is not None:
        decode = _decoder(inner)
        return lambda value: None if value is None else decode(value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _record_decoder(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if hint is float:
        return _number
    if get_origin(hint) is tuple:
        item = _decoder(get_args(hint)[0])
        return lambda value: tuple(map(item, value))
    if get_origin(hint) is dict:
        item = _decoder(get_args(hint)[1])
        return lambda value: {key: item(entry) for key, entry in dict(value).items()}
    return _same


def _record_decoder(record: type) -> _Convert:
    hints = get_type_hints(record)
    decoders = {field.name: _decoder(hints[field.name]) for field in dataclasses.fields(record)}
    return lambda value: record(**{name: decode(value[name]) for name, decode in decoders.items()})


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _same(value: Any) -> Any:
    return value
