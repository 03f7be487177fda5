"""Image files that are not decoded yet, and how they are opened: they are untrusted.

Only formats that Pillow decodes by itself are opened, and nothing larger than Pillow's own limit
(`PIL.Image.MAX_IMAGE_PIXELS`): a small file that would unpack to gigabytes counts as unreadable.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageFile, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
EXTENSIONS = frozenset(
    [
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".pfm",
    ]
)
LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Encoded:
    """One image that is not decoded yet: a path, or the file's bytes; `name` is for messages."""

    name: str
    source: Path | bytes | None


class EncodedImages(Protocol):
    """Images that can be gone through several times; they may be read from disk each time."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Encoded]: ...


@dataclass(frozen=True)
class Unreadable:
    """Which image cannot be read, and why."""

    name: str
    reason: str


def open_image(item: Encoded) -> ImageFile.ImageFile:
    """The image with its header read, not its pixels. Raises nearly any exception for what is no image."""
    if item.source is None:
        raise ValueError("no bytes")
    source = io.BytesIO(item.source) if isinstance(item.source, bytes) else item.source
    image = Image.open(source, formats=FORMATS)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        image.close()
        raise ValueError(f"{image.width}×{image.height} pixels exceed Pillow's limit of {limit}")
    return image


def unreadable(item: Encoded, error: Exception) -> Unreadable:
    """Why an image cannot be read, in words, from what was raised."""
    return Unreadable(item.name, _reason(item.source, error))


def _reason(source: Path | bytes | None, error: Exception) -> str:
    if isinstance(source, Path) and isinstance(error, FileNotFoundError) and source.is_symlink():
        return f"a link to {source.readlink()}, which is missing"
    if isinstance(error, UnidentifiedImageError):
        start = source[:64] if isinstance(source, bytes) else _start(source)
        pointer = start.startswith(LFS_POINTER)
        return "a pointer of Git LFS; run git lfs pull" if pointer else "not an image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0]


def _start(path: Path | None) -> bytes:
    if path is None:
        return b""
    with open(path, "rb") as file:
        return file.read(64)
