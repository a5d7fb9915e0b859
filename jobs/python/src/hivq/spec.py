"""A specification as the user has it: a file, YAML text, or a dict."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Mapping, Optional, Tuple, Union

from hivq.errors import Error

Spec = Union[str, "os.PathLike[str]", Mapping[str, Any]]


def read_spec(spec: Spec) -> Tuple[bytes, Optional[str]]:
    """The specification's text and the file's name, None where it is no file. Errors: the file cannot be read; a dict holds what
    JSON cannot say."""
    if isinstance(spec, Mapping):
        return written_as_json(spec), None
    if isinstance(spec, str) and not names_file(spec):
        return spec.encode(), None
    try:
        return Path(spec).read_bytes(), os.fspath(spec)
    except OSError as cause:
        raise Error(f"the specification {os.fspath(spec)!r} cannot be read: {cause.strerror}") from None


def names_file(text: str) -> bool:
    """Text with several lines, or with `key: value`, is YAML; else it is a file's name."""
    if "\n" in text or text.lstrip().startswith("{"):
        return False
    return text.endswith((".yaml", ".yml", ".json")) or ": " not in text


def written_as_json(spec: Mapping[str, Any]) -> bytes:
    # JSON is YAML. Beyond ASCII as it is: the reader's errors show it so.
    try:
        return json.dumps(spec, indent=1, ensure_ascii=False, allow_nan=False, default=plain).encode()
    except (TypeError, ValueError) as cause:
        raise Error(f"the specification cannot be written as JSON: {cause}") from None


def plain(value: Any) -> Any:
    """What json does not know: paths, sets and tuples of values, numbers and arrays of NumPy."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for method in ("tolist", "item"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"a {type(value).__name__} is neither a number, text, flag, list nor dict")
