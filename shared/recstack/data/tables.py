"""Columns of a described table, from Parquet or text, under the names that a description gives them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
from numpy.typing import NDArray

from recstack.data.description import TableDescription
from recstack.errors import DataError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".data", ".user", ".item")
MILLISECONDS = {"s": 1000, "ms": 1}


def table_path(description: TableDescription, base: Path) -> Path:
    """Where the table is; DataError when nothing is there."""
    path = base / description.path
    if not path.exists():
        raise DataError(f"{path} does not exist; correct `path` in the dataset's description")
    return path


def is_text(path: Path) -> bool:
    """Whether a table is a text file (by its suffix), and not Parquet."""
    return path.suffix in TEXT_SUFFIXES


def read_table(description: TableDescription, base: Path, columns: Mapping[str, str | None]) -> pa.Table:
    """The columns of a table by meaning. columns: meaning -> name in the file; those without a name are left out.

    Raises DataError for a file that cannot be parsed and for a column that it lacks.
    """
    path = table_path(description, base)
    wanted = {meaning: name for meaning, name in columns.items() if name is not None}
    try:
        table = _read_text(description, path) if is_text(path) else pa.dataset.dataset(path, format="parquet")
        missing = [name for name in wanted.values() if name not in table.schema.names]
        if missing:
            raise DataError(f"{path} has no column {missing[0]!r}; it has {', '.join(table.schema.names)}")
        if not isinstance(table, pa.Table):
            table = table.to_table(columns=list(dict.fromkeys(wanted.values())))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {path}: {error}; correct the file, or `separator` and `header`") from error
    return pa.table({meaning: table[name] for meaning, name in wanted.items()})


def _read_text(description: TableDescription, path: Path) -> pa.Table:
    return pa.csv.read_csv(
        path,
        read_options=pa.csv.ReadOptions(column_names=description.header, encoding=description.encoding),
        # Titles may hold quotes, and ratings files have none around fields.
        parse_options=pa.csv.ParseOptions(
            delimiter=description.separator, quote_char=False if description.header else '"'
        ),
    )


def id_column(table: pa.Table, column: str, path: str) -> NDArray[np.int64]:
    """A column of ids, int64; DataError unless all are whole numbers above 0."""
    values = table[column]
    if values.null_count:
        raise DataError(f"{path}: {values.null_count} rows have no {column}; every row needs one")
    if not pa.types.is_integer(values.type):
        raise DataError(
            f"{path}: column of {column} ids holds {values.type}, for example {values[0].as_py()!r}; ids are whole "
            "numbers above 0. Number them before, and keep the list"
        )
    ids: NDArray[np.int64] = values.cast(pa.int64()).to_numpy()
    if len(ids) and ids.min() < 1:
        raise DataError(f"{path}: a {column} id is {ids.min()}; ids are whole numbers above 0 (0 means unknown)")
    return ids


def milliseconds(times: pa.ChunkedArray, unit: str, path: str) -> NDArray[np.int64]:
    """Epoch milliseconds of a column of timestamps, or of numbers in `unit`."""
    if times.null_count:
        raise DataError(f"{path}: {times.null_count} events have no time; every event needs one, or none (no `time`)")
    if pa.types.is_timestamp(times.type):
        instants: NDArray[np.int64] = times.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).to_numpy()
        return instants
    if not (pa.types.is_integer(times.type) or pa.types.is_floating(times.type)):
        raise DataError(
            f"{path}: time holds {times.type}, for example {times[0].as_py()!r}; give numbers or timestamps"
        )
    scaled: NDArray[np.int64] = (times.cast(pa.float64()).to_numpy() * MILLISECONDS[unit]).astype(np.int64)
    return scaled


def texts(values: pa.ChunkedArray) -> list[str]:
    """A column as text, "" where there is no value."""
    filled: list[str] = pc.fill_null(values.cast(pa.string()), "").to_pylist()
    return filled
