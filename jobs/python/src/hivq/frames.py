"""pandas where it is installed, and files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Iterator, Mapping, Sequence, Union

from hivq.errors import Error

if TYPE_CHECKING:
    import pandas

StrPath = Union[str, "os.PathLike[str]"]


def load_pandas() -> Any:
    """The module. Errors: it is not installed."""
    try:
        import pandas
    except ImportError:
        raise Error("a DataFrame needs pandas, which is not installed: pip install pandas") from None
    return pandas


def load_pyarrow() -> Any:
    """The module with its Parquet part. Errors: it is not installed."""
    try:
        import pyarrow  # type: ignore[import-untyped,import-not-found,unused-ignore]
        import pyarrow.parquet  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise Error("Parquet needs pyarrow, which is not installed: pip install pyarrow") from None
    return pyarrow


def frame(columns: Mapping[str, Sequence[Any]]) -> pandas.DataFrame:
    """A DataFrame of columns of equal length. Errors: pandas is not installed."""
    data: pandas.DataFrame = load_pandas().DataFrame(dict(columns))
    return data


@contextmanager
def written(path: StrPath) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` at the end, if there was no error; otherwise `path` stays as it was."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb") as file:
            yield file
        os.replace(beside, place)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
