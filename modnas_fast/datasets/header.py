"""What can be known of an image before its pixels are used: upright size, kind, range of its values."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageFile

from modnas_fast.datasets.encoded import Encoded, Unreadable, open_image, unreadable

GREY_MODES = ("1", "L", "LA", "La")
INTEGER_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
FLOAT_MODE = "F"
JPEGS = ("JPEG", "MPO")  # MPO: with further pictures behind, as phones write it
OTHER_COLOURS = ("CMYK", "YCbCr", "LAB")
TAIL = 65_536  # bytes at the end of a PNG in which EXIF data behind the pixels are looked for


@dataclass(frozen=True)
class Deep:
    """The values of an image of 16 or 32 bits per pixel; `stated` is the largest that its format tells, if any."""

    low: float
    high: float
    is_float: bool
    stated: int | None = None


@dataclass(frozen=True)
class Header:
    """An image without its pixels; `size` is (width, height) as a person sees it."""

    size: tuple[int, int]
    colour: bool
    turned: bool = False
    frames: bool = False
    cut: bool = False  # more than 8 bits per colour channel, of which Pillow keeps the upper 8
    other_colours: str | None = None  # CMYK, YCbCr or LAB
    deep: Deep | None = None
    decoding_bytes: int = 1  # about what decoding takes in memory


def read_header(item: Encoded) -> Header | Unreadable:
    """Size and kind of an image. The pixels are decoded only where 16 or 32 bits make their range unknown."""
    try:
        with open_image(item) as image:
            return _header(image)
    except MemoryError:
        raise
    except Exception as error:  # broken files make Pillow raise errors of nearly every type
        return unreadable(item, error)


def _header(image: ImageFile.ImageFile) -> Header:
    raw = _raw_mode(image)  # first, since pixels that are loaded forget it
    turn = orientation(image)
    size = image.size if turn < 5 or image.format == "TIFF" else image.size[::-1]
    deep = _deep(image) if image.mode in (*INTEGER_MODES, FLOAT_MODE) else None
    return Header(
        size=size,
        colour=deep is None and image.mode not in GREY_MODES and not raw.startswith("LA"),
        turned=turn > 1,
        frames=bool(getattr(image, "is_animated", False)),
        cut=deep is None and bool(re.search(r";16", raw)) and image.format in ("PNG", "TIFF", "PPM"),
        other_colours=image.mode if image.mode in OTHER_COLOURS else None,
        deep=deep,
        decoding_bytes=1 + size[0] * size[1] * _bytes_per_pixel(image),
    )


def orientation(image: ImageFile.ImageFile) -> int:
    """How a viewer turns the image, 1 (not at all) to 8 as EXIF counts them; what makes no sense is 1."""
    try:
        if image.format == "PNG":
            if _has_late_exif(image):
                image.load()
            exif = Image.Image.getexif(image)  # PNG's own way decodes all pixels, in case that something follows
        else:
            exif = image.getexif()
        turn = exif.get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # damaged EXIF data of a sound image
        return 1
    return turn if turn in range(1, 9) else 1


def _has_late_exif(image: ImageFile.ImageFile) -> bool:
    file = image.fp
    if file is None:  # loaded already
        return False
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(max(0, size - TAIL))
    tail = file.read()
    file.seek(place)
    return b"eXIf" in tail or b"tiff:Orientation" in tail


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the pixels lie in the file, such as RGB;16B."""
    arguments = image.tile[0][3] if image.tile else ""
    if not isinstance(arguments, tuple):
        return str(arguments)
    mode, *rest = arguments or ("",)
    deep = image.format == "PPM" and bool(rest) and isinstance(rest[0], int) and rest[0] > 255
    return f"{mode};16" if deep else str(mode)


def _bytes_per_pixel(image: ImageFile.ImageFile) -> int:
    """Colours, transparency and background; floats where a range is scaled; little where a JPEG is reduced."""
    if image.format in JPEGS:
        return 4
    return 32 if image.mode in (*INTEGER_MODES, FLOAT_MODE) else 12


def _deep(image: Image.Image) -> Deep:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all():
        raise ValueError("it has values that are no finite numbers")
    stated = 65_535 if image.format == "PPM" and image.mode == "I" else None  # Pillow scales what the file states
    return Deep(low, high, image.mode == FLOAT_MODE, stated)
