"""HELP's tables of Once-for-All's MobileNetV3s: the networks, and their latencies on devices."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modnas_fast.datasets.unpickle import load_plain
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.mobilenetv3.scales import Shape

#: stages, and places for a block in each
STAGES, LAYERS = 5, 4


def load_networks(file: Path) -> tuple[Shape, ...]:
    """The networks of `ofa_archs.pt`, in order. Raises InputError where the file is not such a list.

    Its numbers are NumPy's, which torch's own restricted reader refuses; what the file names is looked up nowhere.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as member:
                content = load_plain(member, str(file))
        return tuple(map(_shape, content["arch"]))
    except InputError:
        raise
    except (OSError, zipfile.BadZipFile, StopIteration, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{file} is no list of Once-for-All's networks ({type(error).__name__}); delete it and use: modnas-fast "
            "data fetch ofa"
        ) from None


def _shape(entry: dict[str, Any]) -> Shape:
    depths = [int(depth) for depth in entry["d"]]
    resolution = entry["r"][0] if isinstance(entry["r"], list) else entry["r"]

    def per_stage(numbers: list[int]) -> tuple[tuple[int, ...], ...]:
        if len(numbers) != STAGES * LAYERS or len(depths) != STAGES:
            raise ValueError(numbers)
        return tuple(tuple(map(int, numbers[LAYERS * stage :][:depth])) for stage, depth in enumerate(depths))

    return Shape(int(resolution), per_stage(entry["ks"]), per_stage(entry["e"]))


def load_latencies(folder: Path, count: int) -> dict[str, Tensor]:
    """Latencies in ms by device, float64 [count, 1] each: one list per `*.pt` file of a folder."""
    return {file.stem: _latencies(file, count) for file in sorted(folder.glob("*.pt"))}


def _latencies(file: Path, count: int) -> Tensor:
    try:
        values = torch.tensor(torch.load(file, weights_only=True), dtype=torch.float64)
    except Exception as error:  # what the unpickler stumbles over in a damaged file has no common type
        raise InputError(f"{file} is no list of latencies ({str(error).partition(chr(10))[0]})") from None
    if values.shape != (count,) or not bool(((values > 0) & values.isfinite()).all()):
        raise InputError(f"{file}: wanted {count} positive latencies, got a tensor of shape {list(values.shape)}")
    return values[:, None]
