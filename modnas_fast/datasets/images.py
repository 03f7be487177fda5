"""Decoding of untrusted image files into one uint8 tensor, in two passes: sizes first, then pixels.

Only formats that Pillow decodes by itself are opened, and nothing larger than Pillow's own limit
(`PIL.Image.MAX_IMAGE_PIXELS`): a small file that would unpack to gigabytes counts as unreadable.
"""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from modnas_fast.errors import InputError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L")
UNSUPPORTED_MODES = ("I", "F")  # 32 bits per pixel: no range is agreed on
MAX_BYTES = 8 << 30
CHUNK = 64  # images per task of a thread
SMALL_FILE = 16_384  # bytes

Progress = Callable[[int, int], None]
Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Encoded:
    """One image that is not decoded yet: a path, or the file's bytes; `name` is for messages."""

    name: str
    source: Path | bytes | None


@dataclass(frozen=True)
class Decoded:
    """`images` uint8 [k, C, H, W]; `kept` int64 [k], which of the encoded ones they are; `notes` in words."""

    images: Tensor
    kept: Tensor
    notes: tuple[str, ...]


def decode(
    items: Sequence[Encoded], *, resize: int | None = None, progress: Progress | None = None
) -> Decoded:
    """All readable images in one size and one mode.

    The size is resize × resize pixels, else the most common of all (ties to the first seen); others are
    resized bilinearly, without regard to their aspect. If any image is in colour (palettes count as colour)
    all become RGB, otherwise all are grey; transparency is dropped, 16 bits become 8 by their upper byte, and
    EXIF rotation is not applied. Unreadable images are left out, with a note, where they are fewer than 1 %.
    Raises InputError where they are more, naming the first and the count, and where the result would exceed
    8 GiB. `progress(done, total)` is called from this thread.
    """
    reasons: dict[int, str] = {}
    with _quiet_pillow(), ThreadPoolExecutor(_threads(items)) as pool:
        headers = _map(pool, _header, items, None)
        reasons.update((i, header) for i, header in enumerate(headers) if isinstance(header, str))
        _refuse_many(items, reasons)
        known = {i: header for i, header in enumerate(headers) if not isinstance(header, str)}
        size, colour, notes = _target(known, resize)
        pixels = _allocate(len(items), size, colour)
        rows = [(item, pixels[i]) for i, item in enumerate(items)]
        outcomes = _map(pool, lambda row: _fill(row, size, colour), rows, progress)
    reasons.update((i, outcome) for i, outcome in enumerate(outcomes) if outcome is not None)
    _refuse_many(items, reasons)
    kept = torch.tensor([i for i in range(len(items)) if i not in reasons])
    images = torch.from_numpy(pixels)
    if reasons:
        images = images[kept]
        names = ", ".join(items[i].name for i in sorted(reasons)[:3])
        notes.append(f"{len(reasons)} of {len(items)} images are unreadable and were skipped: {names}")
    return Decoded(images, kept, tuple(notes))


@dataclass(frozen=True)
class _Header:
    size: tuple[int, int]  # width, height
    colour: bool


def _open(item: Encoded) -> Image.Image:
    if item.source is None:
        raise ValueError("no bytes")
    source = io.BytesIO(item.source) if isinstance(item.source, bytes) else item.source
    image = Image.open(source, formats=FORMATS)
    try:
        _check(image)
    except ValueError:
        image.close()
        raise
    return image


def _check(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ValueError(f"{image.width}×{image.height} pixels exceed Pillow's limit of {limit}")
    if image.mode in UNSUPPORTED_MODES:
        raise ValueError(f"32 bits per pixel (mode {image.mode}) are not supported")


def _header(item: Encoded) -> _Header | str:
    """Size and kind of an image, without its pixels; a string is the reason why it cannot be read."""
    try:
        with _open(item) as image:
            return _Header(image.size, image.mode not in GREY_MODES)
    except MemoryError:
        raise
    except Exception as error:  # broken files make Pillow raise errors of nearly every type
        return _reason(error)


def _fill(row: tuple[Encoded, np.ndarray], size: tuple[int, int], colour: bool) -> str | None:
    """Writes the pixels of an image to its place [C, H, W]; the reason where it cannot be read."""
    item, place = row
    try:
        with _open(item) as image:
            place[...] = _pixels(image, size, colour)
    except MemoryError:
        raise
    except Exception as error:  # as above
        return _reason(error)
    return None


def _pixels(image: Image.Image, size: tuple[int, int], colour: bool) -> np.ndarray:
    """uint8 [C, H, W] of an open image."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    image = image.convert("RGB" if colour else "L")
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    values = np.asarray(image)
    return values.transpose(2, 0, 1) if colour else values[None]


def _threads(items: Sequence[Encoded]) -> int:
    """How many threads pay: for tiny images Pillow holds the interpreter's lock most of the time."""
    sample = [item.source for item in items[:100] if item.source is not None]
    sizes = [len(source) if isinstance(source, bytes) else _file_size(source) for source in sample]
    return 1 if sum(sizes) < SMALL_FILE * len(sizes) else min(8, os.cpu_count() or 1)


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    return (str(error) or type(error).__name__).splitlines()[0]


def _target(headers: dict[int, _Header], resize: int | None) -> tuple[tuple[int, int], bool, list[str]]:
    """The common (width, height), whether in colour, and notes on the images that differ from it."""
    sizes = Counter(header.size for header in headers.values())
    size = (resize, resize) if resize else sizes.most_common(1)[0][0]
    coloured = sum(header.colour for header in headers.values())
    notes = []
    if differing := len(headers) - sizes[size]:
        notes.append(f"{differing} of {len(headers)} images resized to {size[0]}×{size[1]}")
    if 0 < coloured < len(headers):
        notes.append(f"{len(headers) - coloured} of {len(headers)} images converted from grey to RGB")
    return size, coloured > 0, notes


def _allocate(count: int, size: tuple[int, int], colour: bool) -> np.ndarray:
    shape = (count, 3 if colour else 1, size[1], size[0])
    total = int(np.prod(shape, dtype=np.int64))
    if total > MAX_BYTES:
        raise InputError(
            f"data: {count} images of {size[0]}×{size[1]} need {total / 2**30:.1f} GiB, more than "
            f"{MAX_BYTES >> 30} GiB; set resize or limit to something smaller"
        )
    return np.empty(shape, dtype=np.uint8)


def _refuse_many(items: Sequence[Encoded], reasons: dict[int, str]) -> None:
    if reasons and 100 * len(reasons) >= len(items):
        first = min(reasons)
        raise InputError(
            f"data: {len(reasons)} of {len(items)} images cannot be read, the first is "
            f"{items[first].name} ({reasons[first]}); remove or replace them"
        )


def _map(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Value],
    items: Sequence[Item],
    progress: Progress | None,
) -> list[Value]:
    """`function` of every item, in order, computed by the pool in chunks."""
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    results: list[Value] = []
    for values in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
        results.extend(values)
        if progress is not None:
            progress(len(results), len(items))
    return results


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow's warnings (large images, odd EXIF data) are off: what matters of them is in the notes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def resize_images(images: Tensor, side: int) -> Tensor:
    """uint8 grey images [n, 1, H, W] as [n, 1, side, side], bilinearly by Pillow as `decode` does.

    >>> resize_images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 16).shape
    torch.Size([2, 1, 16, 16])
    """
    resized = [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
        for image in images[:, 0].numpy()
    ]
    return torch.from_numpy(np.stack(resized))[:, None]
