"""Records to Arrow columns and back, a column at a time: what a row at a time costs is most of a large run's time.

The types are those of the table in `inward.runs.records`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from itertools import accumulate, chain, pairwise
from operator import attrgetter
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    import pyarrow


def fields(record: type) -> list[pyarrow.Field]:
    """Return the columns of a record.

    Raises:
        TypeError: A field has a type that has no column.
    """
    return [_field(name, hint) for name, hint in _hints(record).items()]


def to_struct(rows: Sequence[object], record: type) -> pyarrow.StructArray:
    """Put records into columns.

    Raises:
        ArrowException, UnicodeError, OverflowError: A value does not fit its column.
    """
    import pyarrow as pa

    columns = [_to_column(list(map(attrgetter(name), rows)), hint) for name, hint in _hints(record).items()]
    return pa.StructArray.from_arrays(columns, fields=fields(record))


def from_struct(columns: pyarrow.StructArray, record: type) -> list[Any]:
    """Make records from columns; there are no nulls among them.

    Raises:
        ValueError: A value is none of its enum's.
    """
    hints = _hints(record)
    values = [_from_column(columns.field(name), hint) for name, hint in hints.items()]
    return [record(**dict(zip(hints, row, strict=True))) for row in zip(*values, strict=True)]


@cache
def _hints(record: type) -> dict[str, Any]:
    hints = get_type_hints(record)
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


def _field(name: str, hint: Any) -> pyarrow.Field:
    import pyarrow as pa

    inner = without_none(hint)
    return pa.field(name, _arrow(hint if inner is None else inner), nullable=inner is not None)


@cache
def _arrow(hint: Any) -> pyarrow.DataType:
    import pyarrow as pa

    scalars = {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}
    if hint in scalars:
        return scalars[hint]
    if _is_enum(hint) and issubclass(hint, str):
        return pa.string()
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return pa.struct(fields(hint))
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        item = get_args(hint)[0]
        return pa.list_(pa.field("element", pa.float32(), nullable=False) if item is float else _field("element", item))
    if get_origin(hint) is dict and get_args(hint)[0] is str:
        return pa.map_(pa.string(), _field("value", get_args(hint)[1]))
    raise TypeError(f"{hint} has no column type")


def _to_column(values: Sequence[Any], hint: Any) -> pyarrow.Array:
    """Put values into a column; None stands only where the hint has it."""
    import pyarrow as pa

    inner = without_none(hint)
    bare = hint if inner is None else inner
    kind = _arrow(bare)
    if not pa.types.is_nested(kind):
        return pa.array([None if v is None else v.value for v in values] if _is_enum(bare) else values, kind)
    present = values if inner is None else [value for value in values if value is not None]
    if not present:
        return pa.array([None] * len(values), kind)
    missing = None if len(present) == len(values) else pa.array([value is None for value in values])
    if pa.types.is_struct(kind):
        column = to_struct(present, bare)
        if missing is None:
            return column
        # Under a null a column that cannot be null must still hold something; it is not written.
        rows = column.take(pa.array(_running(values)))
        return pa.StructArray.from_arrays(rows.flatten(), fields=[*kind], mask=missing)
    offsets = pa.array(accumulate((0 if value is None else len(value) for value in values), initial=0), pa.int32())
    if pa.types.is_map(kind):
        return _to_map(offsets, cast("Sequence[Mapping[str, Any]]", present), get_args(bare)[1], kind)
    items = list(chain.from_iterable(present))
    item = get_args(bare)[0]
    column = pa.array(items, kind.value_type) if item is float else _to_column(items, item)
    return pa.ListArray.from_arrays(offsets, column, type=kind, mask=missing)


def _to_map(
    offsets: pyarrow.Array, values: Sequence[Mapping[str, Any]], hint: Any, kind: pyarrow.MapType
) -> pyarrow.MapArray:
    import pyarrow as pa

    # Sorted, so that equal records give equal files whatever order their dicts were filled in.
    pairs = [(key, value[key]) for value in values for key in sorted(value)]
    keys, items = [key for key, _ in pairs], [item for _, item in pairs]
    return pa.MapArray.from_arrays(offsets, pa.array(keys, pa.string()), _to_column(items, hint), type=kind)


def _running(values: Sequence[object]) -> list[int]:
    """For each value its position among those that are not None, and some position for None."""
    return [max(0, number - 1) for number in accumulate(value is not None for value in values)]


def _from_column(column: pyarrow.Array, hint: Any) -> list[Any]:
    import pyarrow as pa

    inner = without_none(hint)
    bare = hint if inner is None else inner
    kind = column.type
    if _is_enum(bare):
        return [None if value is None else bare(value) for value in column.to_pylist()]
    if not pa.types.is_nested(kind):
        return _scalars(column)
    if column.null_count:
        found = iter(_from_column(column.drop_null(), bare))
        return [next(found) if valid else None for valid in column.is_valid().to_pylist()]
    if pa.types.is_struct(kind):
        return from_struct(column, bare)
    ends = column.offsets.to_numpy().tolist()
    if pa.types.is_map(kind):
        entries = list(zip(_scalars(column.keys), _from_column(column.items, get_args(bare)[1]), strict=True))
        return [dict(entries[start:end]) for start, end in pairwise(ends)]
    items = _from_column(column.values, get_args(bare)[0])
    return [tuple(items[start:end]) for start, end in pairwise(ends)]


def _scalars(column: pyarrow.Array) -> list[Any]:
    import pyarrow as pa

    # Through numpy a number takes a tenth of the time, but there a null among integers makes all of them floats.
    if column.null_count or not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return column.to_pylist()
    return column.to_numpy().tolist()


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def without_none(hint: Any) -> Any | None:
    """Return X of `X | None`, and None for any other hint."""
    if get_origin(hint) is not UnionType:
        return None
    (inner,) = (part for part in get_args(hint) if part is not NoneType)
    return inner
