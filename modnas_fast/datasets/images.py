"""Decoding of image files into one uint8 tensor, in two passes: headers first, then pixels.

Neither pass holds more than a few images besides the result. docs/images.md says what is done to the pixels.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modnas_fast.datasets.encoded import Encoded, EncodedImages, Unreadable, open_image, unreadable
from modnas_fast.datasets.header import Header, read_header
from modnas_fast.datasets.image_notes import fit_notes, range_notes, seen_notes
from modnas_fast.datasets.pixels import BLACK, Seen, Target, fill_pixels
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.free_memory import free_memory

LARGEST_SIDE = 64  # pixels; of the longer side, where no size is asked for
LEAST_SIDE = 4  # pixels; of the shorter side of images that are scaled down to it
MAX_BYTES = 8 << 30  # of the result
COPIES = 2  # of the result, while it is divided into parts
WORKING_BYTES = 1 << 30  # of images that are being decoded
CHUNK, CHUNK_BYTES = 64, 4 << 20  # images, and bytes of their files in memory, per task of a thread
SMALL_FILE, LARGE_FILE = 16_384, 1 << 20  # bytes
SAMPLE = 20  # files whose sizes are looked at

Progress = Callable[[int, int], None]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Decoded:
    """`images` uint8 [k, C, H, W]; `kept` int64 [k], which of the encoded ones they are; `notes` in words."""

    images: Tensor
    kept: Tensor
    notes: tuple[str, ...]


def decode(
    items: EncodedImages, *, resize: int | None = None, square: int | None = None, progress: Progress | None = None
) -> Decoded:
    """All readable images in one size and one mode, with notes that count whatever was done to them.

    The size is resize × resize pixels, else the most common of the upright images (ties to the first seen), scaled
    down to a longer side of 64 where it is larger, or with `square` a square of its shorter side, at most so large;
    others are resized bilinearly, without regard to their aspect.
    EXIF orientation is applied, transparency composed on white (on black where most would show nothing on white),
    and values of 16 or 32 bits are scaled by one range for all. If any image is in colour (palettes count as
    colour) all become RGB, otherwise all are grey. Of several frames the first is taken.

    Unreadable images, and links to images that are missing, are left out with a note where they are fewer than
    1 %. Raises InputError where they are more, naming the first and the count, and where the result would exceed
    8 GiB. `progress(done, total)` is called from this thread.
    """
    threads, chunk = _threads(items)
    with _quiet_pillow():
        headers = _map(read_header, items, threads, chunk)
        _refuse_many(headers)
        known = [header for header in headers if isinstance(header, Header)]
        target, notes = _target(known, resize, square)
        pixels = _allocate(len(items), target)
        threads = max(1, min(threads, WORKING_BYTES // max(header.decoding_bytes for header in known)))

        def fill(target: Target) -> list[Seen | Unreadable]:
            def fill_one(item: Encoded, place: np.ndarray) -> Seen | Unreadable:
                return _fill(item, target, place)

            return _map(fill_one, items, threads, chunk, pixels, progress)

        outcomes, target = _best_background(fill, target)
    outcomes = [
        header if isinstance(header, Unreadable) else outcome for header, outcome in zip(headers, outcomes, strict=True)
    ]
    _refuse_many(outcomes)
    notes += seen_notes([outcome for outcome in outcomes if isinstance(outcome, Seen)], target)
    return _without_failed(torch.from_numpy(pixels), outcomes, notes)


def pixels_of(item: Encoded, target: Target) -> np.ndarray:
    """uint8 [C, H, W] of one image, as `decode` makes it of many. Raises InputError where it is unreadable."""
    width, height = target.size
    pixels = np.empty((3 if target.colour else 1, height, width), dtype=np.uint8)
    with _quiet_pillow():
        outcome = _fill(item, target, pixels)
    if isinstance(outcome, Unreadable):
        raise InputError(f"photo: {outcome.name} cannot be read: {outcome.reason}")
    return pixels


def _without_failed(images: Tensor, outcomes: Sequence[Seen | Unreadable], notes: list[str]) -> Decoded:
    """The images that could be read, with a note on the others."""
    kept = torch.tensor([i for i, outcome in enumerate(outcomes) if isinstance(outcome, Seen)])
    failed = [outcome for outcome in outcomes if isinstance(outcome, Unreadable)]
    if failed:
        images = images[kept]
        names = ", ".join(f"{bad.name} ({bad.reason})" for bad in failed[:3])
        notes = [*notes, f"{len(failed)} of {len(outcomes)} images are unreadable and were skipped: {names}"]
    return Decoded(images, kept, tuple(notes))


def _fill(item: Encoded, target: Target, place: np.ndarray) -> Seen | Unreadable:
    """Writes the pixels of an image to its place [C, H, W]."""
    try:
        with open_image(item) as image:
            return fill_pixels(image, target, place)
    except MemoryError:
        raise
    except Exception as error:  # broken files make Pillow raise errors of nearly every type
        return unreadable(item, error)


def _best_background(
    fill: Callable[[Target], list[Seen | Unreadable]], target: Target
) -> tuple[list[Seen | Unreadable], Target]:
    """The outcomes on white, or on black where most transparent images show nothing on white and more do there."""
    outcomes = fill(target)
    blank, transparent = _blank(outcomes)
    if 2 * blank <= transparent:
        return outcomes, target
    black = replace(target, background=BLACK)
    on_black = fill(black)
    if _blank(on_black)[0] < blank:
        return on_black, black
    return fill(target), target


def _blank(outcomes: Sequence[Seen | Unreadable]) -> tuple[int, int]:
    seen = [outcome for outcome in outcomes if isinstance(outcome, Seen)]
    return sum(one.blank for one in seen), sum(one.transparent for one in seen)


def _threads(items: EncodedImages) -> tuple[int, int]:
    """How many threads pay, and images per task: for tiny images Pillow holds the interpreter's lock mostly."""
    sizes = [_file_size(item.source) for item in islice(items, SAMPLE)]
    mean = sum(sizes) / max(1, len(sizes))
    threads = 1 if mean < SMALL_FILE else min(8, os.cpu_count() or 1)
    return threads, CHUNK if mean < LARGE_FILE else CHUNK // 8


def _file_size(source: Path | bytes | None) -> int:
    if not isinstance(source, Path):
        return len(source or b"")
    try:
        return source.stat().st_size
    except OSError:
        return 0


def _target(headers: Sequence[Header], resize: int | None, square: int | None) -> tuple[Target, list[str]]:
    """What all images become, and notes on those for which that is a change."""
    sizes = Counter(header.size for header in headers)
    common = sizes.most_common(1)[0][0]
    side = resize or (min(*common, square) if square else None)
    size = (side, side) if side else common
    if not side and max(common) > LARGEST_SIDE:
        width, height = (max(LEAST_SIDE, round(side * LARGEST_SIDE / max(common))) for side in common)
        size = (width, height)
    integers, floats, notes = range_notes(headers)
    colour = any(header.colour for header in headers)
    target = Target(size, colour, integers, floats)
    return target, fit_notes(headers, sizes, target, by_default=not resize) + notes


def _allocate(count: int, target: Target) -> np.ndarray:
    width, height = target.size
    shape = (count, 3 if target.colour else 1, height, width)
    total = int(np.prod(shape, dtype=np.int64))
    free = free_memory(torch.device("cpu"))
    needed = COPIES * total + WORKING_BYTES
    if total > MAX_BYTES or (free is not None and needed > free):
        room = (
            f"{MAX_BYTES >> 30} GiB" if total > MAX_BYTES or free is None else f"the {free / 2**30:.1f} GiB free allow"
        )
        raise InputError(
            f"data: {count} images of {width}×{height} need {total / 2**30:.1f} GiB, more than {room}; set task.resize "
            "or task.limit to something smaller"
        )
    return np.empty(shape, dtype=np.uint8)


def _refuse_many(outcomes: Sequence[object]) -> None:
    bad = [outcome for outcome in outcomes if isinstance(outcome, Unreadable)]
    if bad and 100 * len(bad) >= len(outcomes):
        raise InputError(
            f"data: {len(bad)} of {len(outcomes)} images cannot be read, the first is "
            f"{bad[0].name} ({bad[0].reason}); remove or replace them"
        )


def _map(
    function: Callable[..., Value],
    items: EncodedImages,
    threads: int,
    chunk: int,
    places: np.ndarray | None = None,
    progress: Progress | None = None,
) -> list[Value]:
    """`function` of every item (and its place), in order, with a few chunks in work at any time."""

    def work(start: int, part: list[Encoded]) -> list[Value]:
        if places is None:
            return [function(item) for item in part]
        return [function(item, places[start + i]) for i, item in enumerate(part)]

    results: list[Value] = []

    def collect(future: Future[list[Value]]) -> None:
        results.extend(future.result())
        if progress is not None:
            progress(len(results), len(items))

    waiting: deque[Future[list[Value]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for start, part in _chunks(items, chunk):
            waiting.append(pool.submit(work, start, part))
            if len(waiting) > threads:
                collect(waiting.popleft())
        while waiting:
            collect(waiting.popleft())
    return results


def _chunks(items: EncodedImages, most: int) -> Iterator[tuple[int, list[Encoded]]]:
    """The items in lists, each with the index of its first, bounded in number and in bytes held."""
    start, held = 0, 0
    part: list[Encoded] = []
    for item in items:
        part.append(item)
        held += len(item.source) if isinstance(item.source, bytes) else 0
        if len(part) == most or held > CHUNK_BYTES:
            yield start, part
            start, held, part = start + len(part), 0, []
    if part:
        yield start, part


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
