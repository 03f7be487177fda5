"""Photos of 12 megapixels: few are in memory at any time, as files and as rows of parquet."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import encoded, write_parquet
from PIL import Image

from modnas_fast.datasets.encoded import Encoded
from modnas_fast.datasets.images import CHUNK_BYTES, decode
from modnas_fast.datasets.task import channel_statistics

SIZE = (4000, 3000)
COUNT = 40
GROWTH_MB = 500  # beyond the imports; the decoded originals are 36 MB each, 1.4 GB together
PADDING = bytes(13 << 20)  # behind the photo, as if its file had 16 MB: 640 MB together

LOAD = """
import re, sys
from pathlib import Path
from modnas_fast.datasets import load_task
load_task("digits", seed=0)  # with all that is imported only when it is needed
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
before = peak()
task = load_task(sys.argv[1], seed=0)
print(list(task.image_shape), len(task.train) + len(task.validation) + len(task.test), peak() - before)
"""


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A JPEG of 12 megapixels, about 3 MB."""
    generator = np.random.default_rng(0)
    small = Image.fromarray(generator.integers(0, 256, (75, 100, 3), dtype=np.uint8))
    grain = generator.integers(0, 24, (SIZE[1], SIZE[0], 1), dtype=np.uint8)
    return encoded(Image.fromarray(np.asarray(small.resize(SIZE)) // 2 + grain), "JPEG")


def growth_of(source: Path) -> int:
    """Megabytes by which loading `source` raises the peak of a process of its own."""
    done = subprocess.run([sys.executable, "-c", LOAD, str(source)], capture_output=True, text=True, timeout=300)
    shape, count, growth = done.stdout.rsplit(maxsplit=2) or [done.stderr, "", ""]
    assert (shape, count) == ("[3, 48, 64]", str(COUNT)), done.stderr
    return int(growth)


def test_a_folder_of_photos(tmp_path: Path, photo: bytes) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(photo)
        for index in range(1, COUNT // 2):
            os.link(tmp_path / name / "0.jpg", tmp_path / name / f"{index}.jpg")
    assert growth_of(tmp_path) < GROWTH_MB


def test_photos_in_parquet(tmp_path: Path, photo: bytes) -> None:
    content = [photo + PADDING + index.to_bytes(4, "big") for index in range(COUNT)]
    write_parquet(tmp_path / "photos.parquet", list(content), [0, 1] * (COUNT // 2), row_group_size=6)
    assert growth_of(tmp_path / "photos.parquet") < GROWTH_MB


def test_few_encoded_images_are_held() -> None:
    content = encoded(Image.new("L", (8, 8))) + bytes(CHUNK_BYTES // 4)
    alive, most = 0, 0

    class Images:
        def __len__(self) -> int:
            return 200

        def __iter__(self) -> Iterator[Encoded]:
            nonlocal most
            for index in range(200):
                item = Encoded(str(index), content)
                register(item)
                most = max(most, alive)
                yield item
                del item

    def register(item: Encoded) -> None:
        nonlocal alive
        alive += 1
        weakref.finalize(item, forget)

    def forget() -> None:
        nonlocal alive
        alive -= 1

    assert len(decode(Images()).kept) == 200
    assert 4 < most <= 5 * (min(8, os.cpu_count() or 1) + 2)


def test_statistics_of_large_images_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (7, 2, 30, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    whole = channel_statistics(images)
    monkeypatch.setattr("modnas_fast.datasets.task.STATISTICS_CHUNK", 3000)
    for part, expected in zip(channel_statistics(images), whole, strict=True):
        assert torch.equal(part, expected)
