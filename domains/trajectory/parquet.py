"""Parquet files by pyarrow, which only the extra ``trajectory`` installs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def pyarrow() -> Any:
    """Return the package pyarrow with its parquet part.

    Raises:
        ValueError: where it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ValueError(
            "parquet files need pyarrow, which is not installed; "
            "pip install 'guided[trajectory]' brings it"
        ) from None
    return pyarrow


def read_table(path: Path, columns: Mapping[str, str]) -> Any:
    """Read some columns of a parquet file, none of them with holes.

    Args:
        path: of the file.
        columns: a type for each name: one of Arrow's, such as ``int64``, or ``numbers``, lists of
            double precision.

    Raises:
        ValueError: for a file that is missing, damaged, or has other columns or types.
    """
    pa = pyarrow()
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; give a parquet file")
    try:
        with pa.parquet.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)  # else damaged text is found only when it is looked at
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{path}: no whole parquet file ({reason}); fetch it again") from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{path}: a parquet file of another schema, without {', '.join(missing)}; "
            f"expected the columns {', '.join(columns)}"
        )
    for name in columns:
        if table[name].null_count:
            raise ValueError(f"{path}: the column {name} has missing values; fill them or fetch it")
    try:
        return table.select(list(columns)).cast(schema(columns))
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{path}: a column of another type ({reason}); expected {columns}"
        ) from None


def schema(columns: Mapping[str, str]) -> Any:
    """Return the Arrow schema of columns as in :func:`read_table`."""
    pa = pyarrow()
    numbers = pa.list_(pa.float64())
    return pa.schema(
        [(n, numbers if t == "numbers" else pa.type_for_alias(t)) for n, t in columns.items()]
    )
