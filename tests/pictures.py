"""Makers of small image files and parquet files for the tests of the readers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(value: int, *, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Image.Image:
    """An image of random pixels, fixed by `value`; `size` is (width, height)."""
    pixels = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def fill(folder: Path, count: int, *, mode: str = "RGB", size: tuple[int, int] = (8, 8), seed: int = 0) -> None:
    """Writes `count` images to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        picture(seed + index, mode=mode, size=size).save(folder / f"{index:03}.png")


def write_parquet(
    path: Path,
    images: list[bytes | None],
    labels: list,
    *,
    names: list[str] | None = None,
    image_column: str = "img",
    label_column: str = "label",
    row_group_size: int = 7,
) -> None:
    """Writes a file in the Hugging Face layout, with class names in the metadata where given."""
    rows = [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(images)]
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({image_column: pa.array(rows, struct), label_column: pa.array(labels)})
    if names is not None:
        features = {image_column: {"_type": "Image"}, label_column: {"names": names, "_type": "ClassLabel"}}
        metadata = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": metadata})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
