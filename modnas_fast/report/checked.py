"""JSON files read into models that are checked before anything is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from modnas_fast.runtime.errors import InputError


class Part(BaseModel):
    """A part of a file. Keys that the report does not use are left alone; NaN and infinities are errors."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, populate_by_name=True)


class Machine(Part):
    """The machine that ran the search."""

    cpu: str | None = None
    cores: int | None = None
    threads: int | None = None
    torch: str | None = None
    gpus: list[Any] = []


_P = TypeVar("_P", bound=Part)


def read_part(path: Path, kind: type[_P], writer: str) -> _P | None:
    """The checked content of a JSON file; None where there is no such file.

    `writer` names what writes such files, "search" or "reproduction". Raises InputError, naming the file and
    what mends it, where the file is cut short, of another schema version, or lacks what the report needs.
    """
    if not path.is_file():
        return None
    try:
        text = path.read_bytes()
        _check_schema(path, text, kind)
        return kind.model_validate_json(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    except ValidationError as error:
        raise InputError(f"{path} {_complaint(error, writer)}") from None


def _check_schema(path: Path, text: bytes, kind: type[Part]) -> None:
    """Whatever else is wrong with a file of another schema version is no fault of the file."""
    field = kind.model_fields.get("schema_version")
    try:
        content = json.loads(text)
    except ValueError:
        return
    if field is None or not isinstance(content, dict):
        return
    (wanted,) = get_args(field.annotation)
    if (schema := content.get("schema")) != wanted:
        package = content.get("package")
        made_by = (
            [str(package[key]) for key in ("name", "version") if key in package] if isinstance(package, dict) else []
        )
        made = f" ({_short(' '.join(made_by))})" if made_by else ""
        raise InputError(
            f"{path} has schema {'(none)' if schema is None else _short(repr(schema))}, this version reads {wanted}: "
            f"make the run again, or ask it with the version that made it{made}"
        )


def _complaint(error: ValidationError, writer: str) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return f"is not whole JSON: copy the file again from where the run was made, or repeat the {writer}"
    where = ".".join(str(key) for key in first["loc"]) or "content"
    wrong = f"is not as a {writer} writes it ({where}: {first['msg']})"
    return f"{wrong}: restore the file or repeat the {writer}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else line[:37] + "..."
