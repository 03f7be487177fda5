"""Files that appear whole or not at all, written beside their place, then renamed; and the cache folder."""

from __future__ import annotations

import codecs
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from modnas_fast.runtime.errors import InputError

#: byte order marks and what they stand for; UTF-32's first, for its mark begins like that of UTF-16
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


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


def read_text(path: Path | str) -> str:
    """The text of a file that may come from another system, without the byte order mark that says how it is encoded.

    UTF-8, with a mark or without, and UTF-16 or UTF-32 with theirs. Raises InputError for anything else.
    """
    content = Path(path).read_bytes()
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        kind = encoding.removesuffix("-sig").upper()
        raise InputError(f"{path} is no {kind} text (byte {error.start}): save it as UTF-8") from None
    if "\0" in text:
        raise InputError(f"{path} is no text, or UTF-16 without a byte order mark: save it as UTF-8")
    return text


def read_json(path: Path | str) -> Any:
    """The parsed content of a JSON file, with or without a byte order mark."""
    return json.loads(read_text(path))
