"""Files that appear whole or not at all, written beside their place, then renamed; and the cache folder."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs


def cache_folder() -> Path:
    """`$MODNAS_CACHE`, else the platform's cache folder for this package."""
    own = os.environ.get("MODNAS_CACHE")
    return Path(os.path.expanduser(own) if own else platformdirs.user_cache_dir("modnas-fast"))


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path in the same folder; on success it is flushed to disk and renamed to `path`.

    A kill at any moment leaves the old file or the new one, never half of one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Writes `text` as UTF-8, by rename."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_new(path: Path, text: str) -> None:
    """Writes `text` as UTF-8 in one step. Raises FileExistsError where the file is there, by another process too."""
    whole = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_text(whole, text)
    try:
        os.link(whole, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    finally:
        whole.unlink()


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as readable JSON, by rename. NaN and infinities raise ValueError: JSON has none."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The parsed content of a JSON file, with or without a byte order mark."""
    return json.loads(Path(path).read_text(encoding="utf-8-sig"))
