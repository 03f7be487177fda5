"""From an open image to bytes of one size and one mode, as a viewer shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageFile

from modnas_fast.datasets.header import FLOAT_MODE, INTEGER_MODES, JPEGS, orientation

WHITE, BLACK = 255, 0
ALPHA_MODES = ("LA", "La", "RGBA", "RGBa", "PA")
MIN_IS_WHITE = (262, 0)  # TIFF's tag PhotometricInterpretation, and its value for negatives
DRAFT = 2  # a JPEG may be decoded at a half, quarter or eighth, but not below this multiple of the wanted size
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Target:
    """What all images become: (width, height), colour or grey, and the ranges of values that become 0 to 255."""

    size: tuple[int, int]
    colour: bool
    integers: tuple[float, float] = (0, 65_535)
    floats: tuple[float, float] = (0, 1)
    background: int = WHITE


@dataclass(frozen=True)
class Seen:
    """What was met in an image: transparent pixels, and whether nothing is to be seen on the background."""

    transparent: bool
    blank: bool


def fill_pixels(image: ImageFile.ImageFile, target: Target, place: np.ndarray) -> Seen:
    """Writes an open image to uint8 `place` [C, H, W]: upright, on the background, of the target's size.

    JPEGs that are reduced much are decoded at a fraction that libjpeg offers, at least twice the wanted size. The
    rest is bilinear and averages over all pixels that a new one covers.
    """
    turn = 1 if image.format == "TIFF" else orientation(image)  # Pillow turns TIFF itself
    width, height = target.size if turn < 5 else target.size[::-1]
    draft = image.draft(None, (DRAFT * width, DRAFT * height)) if image.format in JPEGS else None
    flat, transparent = _flat(image, target)
    flat = flat.convert("RGB" if target.colour else "L")
    if flat.size != (width, height):
        flat = flat.resize((width, height), Image.Resampling.BILINEAR, box=draft[1] if draft else None)
    if turn in TURNS:
        flat = flat.transpose(TURNS[turn])
    values = np.asarray(flat)
    place[...] = values.transpose(2, 0, 1) if target.colour else values[None]
    return Seen(transparent, transparent and int(values.min()) == int(values.max()))


def _flat(image: Image.Image, target: Target) -> tuple[Image.Image, bool]:
    """The image with 8 bits per channel and without transparency, and whether it had any."""
    if image.mode in (*INTEGER_MODES, FLOAT_MODE):
        image = _eight_bits(image, target.floats if image.mode == FLOAT_MODE else target.integers)
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(lab, rgb, "LAB", "RGB").apply(image), False
    if image.mode not in ALPHA_MODES and "transparency" not in image.info:
        return image, False
    if image.mode == "La":
        image = image.convert("LA")
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[0] == 255:
        return image, False
    ground = Image.new("RGBA", image.size, (target.background,) * 3 + (255,))
    return Image.alpha_composite(ground, image), True


def _eight_bits(image: Image.Image, limits: tuple[float, float]) -> Image.Image:
    """An image of 16 or 32 bits per pixel with the range `limits` stretched to 0 to 255."""
    low, high = limits
    values = np.asarray(image)
    grey = np.rint((values.astype(np.float64) - low) * (255 / max(high - low, 1e-300))).clip(0, 255).astype(np.uint8)
    tag, white = MIN_IS_WHITE
    if getattr(image, "tag_v2", {}).get(tag) == white:
        grey = 255 - grey
    hidden = image.info.get("transparency")
    if not isinstance(hidden, int):
        return Image.fromarray(grey)
    alpha = np.where(values == hidden, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))
