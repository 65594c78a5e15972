"""Tables of pandas: their columns and indexes one by one. pandas is imported only where the other side has it."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np

from grader.notebooks.twin.values import (
    SERIES_DTYPE,
    Refused,
    whole_number,
)
from grader.sandbox import wire


class Writes(Protocol):
    """A writer, as far as tables must know it."""

    def write(self, value: Any, depth: int = 0) -> Any: ...


class Reads(Protocol):
    """A reader, as far as tables must know it."""

    def read_node(self, node: Any, depth: int = 0) -> Any: ...


def write_pandas(writer: Writes, value: Any, depth: int) -> Any:
    pandas = sys.modules["pandas"]
    if type(value) is pandas.DataFrame:
        columns = [value.iloc[:, position] for position in range(value.shape[1])]
        parts = (_write_index(writer, value.columns, depth), _write_index(writer, value.index, depth))
        return {"DF": [*parts, [_write_column(writer, column.array, depth) for column in columns]]}
    if type(value) is pandas.Series:
        index = _write_index(writer, value.index, depth)
        return {"SE": [index, _write_column(writer, value.array, depth), writer.write(value.name, depth + 1)]}
    if isinstance(value, pandas.Index) and not isinstance(value, pandas.MultiIndex):
        return {"IX": _write_index(writer, value, depth)}
    return None


def _write_index(writer: Writes, index: Any, depth: int) -> Any:
    pandas = sys.modules["pandas"]
    name = writer.write(index.name, depth + 1)
    if isinstance(index, pandas.MultiIndex):
        raise Refused("a table with an index of several levels cannot cross")
    if type(index) is pandas.RangeIndex:
        return ["", [index.start, index.stop, index.step], name]
    return [*_write_column(writer, index.array, depth), name]


def _write_column(writer: Writes, column: Any, depth: int) -> Any:
    dtype = str(column.dtype)
    # pandas hides an array of NumPy's behind one of its own, whose type is of its own, too.
    hidden = isinstance(column, sys.modules["pandas"].arrays.NumpyExtensionArray)
    plain = np.asarray(column) if hidden or isinstance(column.dtype, np.dtype) else None
    if plain is not None and not plain.dtype.hasobject:
        return ["array", writer.write(plain, depth + 1)]
    if not SERIES_DTYPE.fullmatch(dtype):
        raise Refused(f"a column of type {dtype} cannot cross")
    missing = sys.modules["pandas"].isna(column)
    items = [None if gone else item for item, gone in zip(column.tolist(), missing, strict=True)]
    return [dtype, writer.write(items, depth + 1)]


def read_index(reader: Reads, body: Any, depth: int) -> Any:
    import pandas

    kind, data, name = body
    name = reader.read_node(name, depth)
    if kind == "":
        return pandas.RangeIndex(*map(whole_number, data), name=name)
    return pandas.Index(_read_column(reader, [kind, data], depth), name=name)


def _read_column(reader: Reads, body: Any, depth: int) -> Any:
    import pandas

    kind, data = body
    data = reader.read_node(data, depth)
    if kind == "array":
        if type(data) is not np.ndarray or data.ndim != 1:
            raise wire.WireError("a column that is none")
        return data
    if type(kind) is not str or not SERIES_DTYPE.fullmatch(kind) or type(data) is not list:
        raise wire.WireError("a column that is none")
    return (
        pandas.array(data, dtype=kind)
        if kind != "object"
        else np.fromiter(data, dtype=object, count=len(data))
    )


def read_series(reader: Reads, body: Any, depth: int) -> Any:
    import pandas

    index, column, name = body
    index = read_index(reader, index, depth)
    return pandas.Series(_read_column(reader, column, depth), index=index, name=reader.read_node(name, depth))


def read_frame(reader: Reads, body: Any, depth: int) -> Any:
    import pandas

    names, index, columns = body
    names, index = read_index(reader, names, depth), read_index(reader, index, depth)
    series = [pandas.Series(_read_column(reader, column, depth), index=index) for column in columns]
    frame = pandas.DataFrame(dict(enumerate(series)), index=index)
    frame.columns = names
    return frame
