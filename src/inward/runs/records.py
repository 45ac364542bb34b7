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
import types
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from inward.errors import DataError

if TYPE_CHECKING:
    import pyarrow

R = TypeVar("R")

_Convert: TypeAlias = Callable[[Any], Any]
_Coder: TypeAlias = tuple[_Convert, _Convert]


@cache
def schema(record: type) -> pyarrow.Schema:
    """Return the columns that hold records of this type.

    Raises:
        TypeError: A field has a type outside the table at the top of this module, as the free-form settings
            of `Manifest` do; such records go to JSON.
    """
    import pyarrow as pa

    return pa.schema(_fields(record))


def to_parquet(rows: Sequence[object], record: type, *, note: bytes) -> memoryview:
    """Return a parquet file of records; equal records and notes give equal bytes.

    Args:
        rows: Records, all of type `record`.
        record: Their type.
        note: Kept in the file beside the records, for `parquet_note`.

    Raises:
        DataError: A text is not valid Unicode, or an integer does not fit 64 bits.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    encode, _ = _coder(record)
    columns = schema(record).with_metadata({b"inward": note})
    try:
        table = pa.Table.from_pylist([encode(row) for row in rows], schema=columns)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise DataError(f"a {record.__name__} cannot be stored: {error}; mend the text or number it names") from error
    out = pa.BufferOutputStream()
    pq.write_table(table, out, compression="zstd", compression_level=3, version="2.6", write_page_checksum=True)
    return memoryview(out.getvalue())


def from_parquet(path: str, record: type[R]) -> list[R]:
    """Read the records of a parquet file.

    Raises:
        OSError: The file is missing or damaged.
        ValueError: The file is damaged, or holds other columns than `schema(record)`.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, page_checksum_verification=True)
    with file:
        if not file.schema_arrow.equals(schema(record)):
            raise ValueError(f"its columns are not those of a {record.__name__}")
        rows = file.read(use_threads=False).to_pylist()
    _, decode = _coder(record)
    return [decode(row) for row in rows]


def parquet_note(path: str) -> tuple[int, bytes]:
    """Return the number of records of a parquet file and its note, without reading the records.

    Raises:
        OSError: The file is missing or damaged.
        ValueError: The file is damaged.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.metadata.num_rows, (file.schema_arrow.metadata or {}).get(b"inward", b"")


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
    _, decode = _coder(record)
    try:
        return decode(value)
    except (KeyError, TypeError) as error:
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


def _fields(record: type) -> list[pyarrow.Field]:
    hints = get_type_hints(record)
    return [_field(field.name, hints[field.name]) for field in dataclasses.fields(record)]


def _field(name: str, hint: Any) -> pyarrow.Field:
    import pyarrow as pa

    inner = _without_none(hint)
    return pa.field(name, _arrow(hint if inner is None else inner), nullable=inner is not None)


def _arrow(hint: Any) -> pyarrow.DataType:
    import pyarrow as pa

    scalars = {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}
    if hint in scalars:
        return scalars[hint]
    if isinstance(hint, type) and issubclass(hint, str) and issubclass(hint, Enum):
        return pa.string()
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return pa.struct(_fields(hint))
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        item = get_args(hint)[0]
        return pa.list_(pa.field("element", pa.float32(), nullable=False) if item is float else _field("element", item))
    if get_origin(hint) is dict and get_args(hint)[0] is str:
        return pa.map_(pa.string(), _field("value", get_args(hint)[1]))
    raise TypeError(f"{hint} has no column type")


@cache
def _coder(hint: Any) -> _Coder:
    """Return the way from a value to a pyarrow row, and the way back from such a row or from JSON."""
    inner = _without_none(hint)
    if inner is not None:
        return _optional_coder(*_coder(inner))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _record_coder(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_value, hint
    if hint is float:
        return _same, _number
    if get_origin(hint) is tuple:
        return _tuple_coder(*_coder(get_args(hint)[0]))
    if get_origin(hint) is dict:
        return _dict_coder(*_coder(get_args(hint)[1]))
    return _same, _same


def _optional_coder(encode: _Convert, decode: _Convert) -> _Coder:
    return (
        lambda value: None if value is None else encode(value),
        lambda value: None if value is None else decode(value),
    )


def _record_coder(record: type) -> _Coder:
    hints = get_type_hints(record)
    coders = {field.name: _coder(hints[field.name]) for field in dataclasses.fields(record)}
    return (
        lambda value: {name: encode(getattr(value, name)) for name, (encode, _) in coders.items()},
        lambda value: record(**{name: decode(value[name]) for name, (_, decode) in coders.items()}),
    )


def _tuple_coder(encode: _Convert, decode: _Convert) -> _Coder:
    # Token ids and signals are most of what is stored: pyarrow takes their tuples as they are.
    if encode is _same:
        return _same, tuple if decode is _same else lambda value: tuple(map(decode, value))
    return lambda value: [encode(item) for item in value], lambda value: tuple(map(decode, value))


def _dict_coder(encode: _Convert, decode: _Convert) -> _Coder:
    # Sorted, so that equal records give equal files whatever order their dicts were filled in.
    return (
        lambda value: [(key, encode(value[key])) for key in sorted(value)],
        lambda value: {key: decode(item) for key, item in dict(value).items()},
    )


def _without_none(hint: Any) -> Any | None:
    """Return X of `X | None`, and None for any other hint."""
    if get_origin(hint) is not types.UnionType:
        return None
    (inner,) = (part for part in get_args(hint) if part is not types.NoneType)
    return inner


def _enum_value(value: Enum) -> Any:
    return value.value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _same(value: Any) -> Any:
    return value
