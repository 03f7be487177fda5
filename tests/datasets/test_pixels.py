"""What becomes of pixels: upright, on a background, of one range, and counted in notes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, picture, write_parquet
from PIL import Image, ImageCms, PngImagePlugin

from modnas_fast.datasets import load_task
from modnas_fast.datasets.encoded import Encoded
from modnas_fast.datasets.images import Decoded, decode
from modnas_fast.runtime.errors import InputError

ORIENTATION = 274


def decoded(*files: bytes, resize: int | None = None) -> Decoded:
    return decode([Encoded(f"file {index}", content) for index, content in enumerate(files)], resize=resize)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: np.ndarray, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG file of big-endian samples [H, …]; `extra` chunks follow the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), *extra, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


# ---- orientation ----


def corners(image: np.ndarray) -> list[int]:
    """Values near the corners of [C, H, W]: upper left, upper right, lower right, lower left."""
    grey = image.mean(0)
    return [round(grey[y, x] / 80) for y, x in ((1, 1), (1, -2), (-2, -2), (-2, 1))]


#: how a camera stores an upright image for each value of the tag (EXIF 2.3, 4.6.4)
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def upright(scale: int = 1) -> np.ndarray:
    """[12, 20, 3], times scale: corners of 0, 80, 160 and 240 going round from the upper left."""
    image = np.zeros((12 * scale, 20 * scale, 3), np.uint8)
    image[: 6 * scale, 10 * scale :], image[6 * scale :, 10 * scale :], image[6 * scale :, : 10 * scale] = 80, 160, 240
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("scale", [1, 16])
def test_every_orientation_is_shown_upright(kind: str, scale: int) -> None:
    files = []
    for turn, store in STORED.items():
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
        files.append(saved(Image.fromarray(np.ascontiguousarray(store(upright(scale)))), kind, exif=exif, **options))
    result = decoded(*files)
    assert result.images.shape == (8, 3, *((12, 20) if scale == 1 else (38, 64)))
    for image in result.images.numpy():
        assert corners(image) == [0, 1, 2, 3]
    assert "7 of 8 images turned upright as their EXIF orientation says" in result.notes
    assert len(result.notes) == (1 if scale == 1 else 2)
    if kind == "PNG" and scale == 1:
        assert all(np.array_equal(image, upright().transpose(2, 0, 1)) for image in result.images.numpy())


def test_orientation_in_parquet(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = saved(Image.fromarray(np.ascontiguousarray(STORED[6](upright()))), exif=exif)
    plain = saved(Image.fromarray(upright()))
    write_parquet(tmp_path / "a.parquet", [turned, plain] * 12, [0, 1] * 12)
    task = load_task(tmp_path / "a.parquet", seed=0)
    assert task.notes == ("12 of 24 images turned upright as their EXIF orientation says",)
    assert all(np.array_equal(image, upright().transpose(2, 0, 1)) for image in task.train.images.numpy())


def test_orientation_behind_the_pixels_and_in_xmp() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    stored = np.ascontiguousarray(STORED[8](upright()))
    late = png(12, 20, 8, 2, stored, (b"eXIf", exif.tobytes()[6:]))
    words = PngImagePlugin.PngInfo()
    words.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta tiff:Orientation="8"/>')
    xmp = saved(Image.fromarray(stored), pnginfo=words)
    result = decoded(late, xmp)
    assert all(np.array_equal(image, upright().transpose(2, 0, 1)) for image in result.images.numpy())


def test_phones_write_jpegs_with_a_second_picture_inside() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](upright(16))))
    content = saved(stored, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))], exif=exif, quality=95)
    result = decoded(content)
    assert result.images.shape == (1, 3, 38, 64) and corners(result.images[0].numpy()) == [0, 1, 2, 3]
    assert "1 of 1 images have several frames or pages; the first is used" in result.notes


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\x7f", b""])
def test_damaged_exif_is_as_none(exif: bytes) -> None:
    result = decoded(saved(Image.fromarray(upright()), "JPEG", exif=exif))
    assert result.images.shape == (1, 3, 12, 20) and result.notes == ()


def test_the_common_size_is_that_of_upright_images() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    lying = saved(picture(0, size=(200, 100)), "JPEG", exif=exif)
    result = decoded(lying, lying, saved(picture(1, size=(200, 100)), "JPEG"))
    assert result.images.shape == (3, 3, 64, 32)


# ---- size ----


def test_photos_are_scaled_down_with_a_note() -> None:
    photo = saved(picture(0, size=(256, 192)), "JPEG")
    result = decoded(photo, photo, saved(picture(1)))
    assert result.images.shape == (3, 3, 48, 64)
    assert result.notes == (
        "3 of 3 images resized from 256×192 and 1 other sizes to 64×48, the largest by default; "
        "--set task.resize=128 changes that",
    )
    asked = decoded(photo, photo, resize=128)
    assert asked.images.shape == (2, 3, 128, 128) and asked.notes == ("2 of 2 images resized to 128×128",)


@pytest.mark.parametrize(("size", "shape"), [((64, 64), (64, 64)), ((65, 10), (10, 64)), ((2, 640), (64, 4))])
def test_the_longer_side_is_64_at_most(size: tuple[int, int], shape: tuple[int, int]) -> None:
    assert decoded(saved(picture(0, size=size))).images.shape[2:] == shape


@pytest.mark.parametrize("side", [16, 64, 200])
def test_reduced_decoding_is_close_to_plain_resizing(side: int) -> None:
    """A photo-like JPEG: less than a level of 255 apart on average, and at most 3 in 99 % of the values."""
    small = picture(3, size=(50, 40)).resize((1600, 1280), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).normal(0, 12, (1280, 1600, 3))
    photo = Image.fromarray((np.asarray(small) + noise).clip(0, 255).astype(np.uint8))
    content = saved(photo, "JPEG", quality=90)
    plain = Image.open(io.BytesIO(content)).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    got = decoded(content, resize=side).images[0].numpy().transpose(1, 2, 0).astype(int)
    apart = np.abs(got - np.asarray(plain))
    assert apart.mean() < 1 and np.quantile(apart, 0.99) <= 3


def test_a_few_pixels_are_an_image_too() -> None:
    assert decoded(saved(picture(0, size=(2, 1)), "JPEG")).images.shape == (1, 3, 1, 2)


# ---- transparency ----

DRAWING = np.zeros((8, 8), np.uint8)
DRAWING[2:5, 3:6] = 255


def drawn(colour: int = 0, mode: str = "RGBA", alpha: np.ndarray = DRAWING) -> Image.Image:
    """A square of one colour in front of hidden pixels of the same colour."""
    grey = Image.new("L", (8, 8), colour)
    bands = (grey, Image.fromarray(alpha)) if mode == "LA" else (grey, grey, grey, Image.fromarray(alpha))
    return Image.merge(mode, bands)


def indexed() -> bytes:
    image = Image.fromarray((DRAWING // 255).astype(np.uint8), "P")
    image.putpalette([7, 7, 7, 0, 0, 0])
    return saved(image, transparency=0)


@pytest.mark.parametrize(
    "content",
    [
        saved(drawn()), saved(drawn(mode="LA")), indexed(), saved(drawn(), "WEBP", lossless=True),
        saved(drawn(), "TIFF"), saved(drawn(), "GIF"),
        saved(Image.fromarray(np.where(DRAWING, 0, 9).astype(np.uint8)), transparency=9),
        saved(Image.fromarray(np.where(DRAWING[..., None], 0, [[[9, 0, 9]]]).astype(np.uint8)), transparency=(9, 0, 9)),
        saved(Image.fromarray(np.where(DRAWING, 0, 65_000).astype(np.uint16)), transparency=65_000),
    ],
    ids=["RGBA", "LA", "P", "WEBP", "TIFF", "GIF", "L", "RGB", "I;16"],
)  # fmt: skip
def test_transparency_is_composed_on_white(content: bytes) -> None:
    result = decoded(content)
    assert all(np.array_equal(band, 255 - DRAWING) for band in result.images[0].numpy())
    assert "1 of 1 images with transparency composed on white" in result.notes


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    result = decoded(saved(drawn(alpha=np.full((8, 8), 51, np.uint8))))
    assert result.images.unique().tolist() == [204]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_without_transparency_is_dropped_without_a_note(mode: str) -> None:
    result = decoded(saved(drawn(17, mode, np.full((8, 8), 255, np.uint8))))
    assert result.images.unique().tolist() == [17] and result.notes == ()


def test_white_drawings_are_composed_on_black() -> None:
    result = decoded(saved(drawn(255)), saved(drawn(255)), saved(drawn(128)))
    assert np.array_equal(result.images[0, 0].numpy(), DRAWING)
    assert result.notes == (
        "3 of 3 images with transparency composed on black, on which more of them show than on white",
    )


def test_images_that_show_nothing_are_counted() -> None:
    clear = np.zeros((8, 8), np.uint8)
    result = decoded(saved(drawn()), saved(drawn()), saved(drawn(alpha=clear)))
    assert result.notes == ("3 of 3 images with transparency composed on white; 1 of them show nothing on it",)
    assert decoded(saved(drawn(alpha=clear))).images.unique().tolist() == [255]


# ---- ranges ----


def deep(values: np.ndarray | list[int], kind: str = "PNG", dtype: str = "uint16") -> bytes:
    return saved(Image.fromarray(np.array([values] * 2, dtype)), kind)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("largest", "top", "bits"),
    [(200, 255, 8), (255, 255, 8), (256, 1023, 10), (4095, 4095, 12), (9000, 16383, 14), (65535, 65535, 16)],
)
def test_sixteen_bits_are_scaled_by_the_depth_that_holds_them(kind: str, largest: int, top: int, bits: int) -> None:
    values = [0, largest // 2, largest]
    result = decoded(deep(values, kind), deep([0, 0, 1], kind))
    assert result.images[0, 0, 0].tolist() == [round(value * 255 / top) for value in values]
    assert result.images[1, 0, 0].tolist() == [0, 0, round(255 / top)]  # one range for all images
    assert result.notes == (
        f"2 of 2 images of 16-bit or 32-bit whole numbers scaled to 8 bits: 0 to {top} become 0 to 255 ({bits} bits, "
        f"the fewest that hold the largest value of all images, {largest})",
    )


def test_sixteen_bits_among_eight_and_colours() -> None:
    result = decoded(deep([0, 2048, 4095]), saved(Image.new("RGB", (3, 2), (1, 2, 3))))
    assert result.images[0].tolist() == [[[0, 128, 255]] * 2] * 3
    assert result.notes[0] == "1 of 2 images converted from grey to RGB"
    assert result.notes[1].startswith("1 of 2 images of 16-bit or 32-bit whole numbers scaled to 8 bits: 0 to 4095")


def test_a_stated_range_is_used() -> None:
    pgm = b"P5 3 2 4095\n" + np.array([[0, 1000, 2000]] * 2, ">u2").tobytes()
    result = decoded(pgm)
    assert result.images[0, 0, 0].tolist() == [0, 62, 125]
    assert "the range that the files state" in result.notes[0]
    small = b"P5 3 2 15\n" + bytes([0, 5, 15] * 2)
    assert decoded(small).images[0, 0, 0].tolist() == [0, 85, 255]


@pytest.mark.parametrize(
    ("values", "dtype", "wanted"),
    [
        ([0, 100, 255], "int32", [0, 100, 255]),
        ([-1000, 0, 1000], "int32", [0, 128, 255]),
        ([0, 100_000, 200_000], "int32", [0, 128, 255]),
        ([0.0, 0.2, 1.0], "float32", [0, 51, 255]),
        ([0.0, 0.2, 0.4], "float32", [0, 51, 102]),
        ([0.0, 51.0, 200.0], "float32", [0, 51, 200]),
        ([-10.0, 290.0, 590.0], "float32", [0, 128, 255]),
    ],
)
def test_32_bits(values: list[float], dtype: str, wanted: list[int]) -> None:
    result = decoded(deep(values, "TIFF", dtype))
    assert result.images[0, 0, 0].tolist() == wanted
    assert len(result.notes) == 1 and "scaled to 8 bits" in result.notes[0]


def test_values_that_are_no_numbers_are_unreadable() -> None:
    with pytest.raises(InputError, match=r"1 of 2 images cannot be read, the first is file 1 \(it has values that are"):
        decoded(deep([0.0, 0.5, 1.0], "TIFF", "float32"), deep([0.0, np.nan, 1.0], "TIFF", "float32"))
    sound = [deep([0.0, 0.5, 1.0], "TIFF", "float32")] * 150
    result = decoded(*sound, deep([0.0, np.inf, 1.0], "TIFF", "float32"))
    assert len(result.images) == len(result.kept) == 150 and "1 of 151 images are unreadable" in result.notes[-1]


def test_negatives_are_inverted() -> None:
    image = Image.fromarray(np.array([[0, 1000, 4095]] * 2, np.uint16))
    assert decoded(saved(image, "TIFF", tiffinfo={262: 0})).images[0, 0, 0].tolist() == [255, 193, 0]


@pytest.mark.parametrize(("colour", "bands"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bits_per_colour_are_cut_by_pillow_and_counted(colour: int, bands: int) -> None:
    samples = np.full((2, 3, bands), 0xFFFF, ">u2")
    samples[..., 0] = [0x0000, 0x1234, 0xABCD]
    result = decoded(png(3, 2, 16, colour, samples))
    assert result.images[0, 0, 0].tolist() == [0x00, 0x12, 0xAB]
    assert result.images.shape[1] == (1 if colour == 4 else 3)
    assert "1 of 1 images have 16 bits per colour channel, of which Pillow keeps the upper 8" in result.notes


# ---- other kinds ----


def test_other_colour_spaces_become_rgb() -> None:
    red = Image.new("RGB", (8, 8), (200, 30, 40))
    lab = ImageCms.profileToProfile(
        red, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    result = decoded(
        saved(red),
        saved(red.convert("CMYK"), "TIFF"),
        saved(red.convert("CMYK"), "JPEG"),
        saved(lab, "TIFF"),
        saved(red.convert("YCbCr"), "TIFF"),
    )
    for image in result.images.numpy():
        assert np.abs(image[:, 4, 4].astype(int) - [200, 30, 40]).max() <= 4
    assert "2 of 5 images converted from CMYK to RGB" in result.notes
    assert "1 of 5 images converted from LAB to RGB" in result.notes


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames_is_used(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (255, 128, 0)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    result = decoded(content, encoded(frames[0]))
    assert result.images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert result.notes == ("1 of 2 images have several frames or pages; the first is used",)


def test_squares_have_the_shorter_side_of_the_common_size_at_most_so_many_pixels() -> None:
    items = [Encoded(f"{size}", encoded(picture(1, size=size))) for size in [(90, 70), (90, 70), (30, 200)]]
    assert decode(items, square=112).images.shape == (3, 3, 70, 70)
    assert decode(items, square=48).images.shape == (3, 3, 48, 48)
    assert decode(items, square=48, resize=20).images.shape == (3, 3, 20, 20)
