"""What a search on images of one's own begins with: by their size, and by the budget that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pictures import fill

from modnas_fast.config import Config, make_config
from modnas_fast.runs import own_images
from modnas_fast.runtime.errors import InputError


def photos(folder: Path, size: tuple[int, int]) -> str:
    for seed, name in enumerate(("cat", "dog")):
        fill(folder / name, 9, size=size, seed=seed)
    return str(folder)


def configuration(data: str, *overrides: str) -> Config:
    return make_config(overrides=overrides, task={"data": data}, preset_of_images=own_images.preset_of_images)


def test_photos_get_networks_of_several_resolutions_and_small_images_cells(tmp_path: Path) -> None:
    large, small = photos(tmp_path / "large", (90, 70)), photos(tmp_path / "small", (90, 60))
    assert configuration(large).space.name == "mobilenetv3"
    assert configuration(large).task.augment == "photos"
    assert configuration(large, "task.resize=80").space.name == "mobilenetv3"
    assert configuration(small).space.name == "nb201"
    assert make_config(task={"data": large}).space.name == "nb201"  # nobody looks


@pytest.mark.parametrize("set_", ["space.channels=4", "task.resize=32", "devices.table=help", "task.table=cifar10"])
def test_what_is_set_by_hand_decides(tmp_path: Path, set_: str) -> None:
    assert configuration(photos(tmp_path, (90, 70)), set_).space.name == "nb201"


def test_images_that_cannot_be_used_are_told_later(tmp_path: Path) -> None:
    assert configuration(str(tmp_path / "nowhere")).space.name == "nb201"
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "broken.png").write_bytes(b"no image")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "broken.png").write_bytes(b"no image")
    assert configuration(str(tmp_path)).space.name == "nb201"


def made_up(config: Config, keys: Mapping[str, Any], side: int) -> own_images.Size:
    """Latencies that grow with width and pixels."""
    latencies = [keys["width"] * keys["resolutions"][place] ** 2 / 1000 for place in (0, -1)]
    return own_images.Size(keys, *latencies)


@pytest.mark.parametrize(
    ("budget", "width", "said"), [(1, 0.25, "For 1 ms"), (4, 0.5, "0.5"), (12, 0.75, "2 ms"), (99, 1.0, "no use for")]
)
def test_the_budget_decides_on_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float, width: float, said: str
) -> None:
    monkeypatch.setattr(own_images, "_timed", made_up)
    config, line = own_images.sized(configuration(photos(tmp_path, (200, 180))), {"latency_ms": budget})
    assert config.space.width == width and said in line
    assert config.space.image_side == config.space.resolutions[-1] <= 180
    assert (f"space.width={width}" in line) and "for one image on one thread" in line


def test_networks_are_timed_here(tmp_path: Path) -> None:
    config, line = own_images.sized(configuration(photos(tmp_path, (80, 80))), {"latency_ms": 1e-6})
    assert config.space.width == 0.25 and config.space.resolutions == (48, 64, 80) and " ms" in line


def test_budgets_that_decide_on_nothing_are_refused(tmp_path: Path) -> None:
    config = configuration(photos(tmp_path, (90, 70)))
    with pytest.raises(InputError, match="max: wanted latency_ms alone, which .* got energy_mj"):
        own_images.sized(config, {"energy_mj": 3})
    with pytest.raises(InputError, match="max: wanted latency_ms above 0"):
        own_images.sized(config, {"latency_ms": -1})
    with pytest.raises(InputError, match="space.width is set"):
        own_images.sized(
            configuration(config.task.data or "", "space={name: mobilenetv3, width: 1.0}"), {"latency_ms": 3}
        )
    with pytest.raises(InputError, match="networks of space nb201 have one size"):
        own_images.sized(make_config(), {"latency_ms": 3})
