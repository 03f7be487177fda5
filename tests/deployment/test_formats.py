"""Files give what the network gives, for networks of every space, and samples of any number and length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modnas_fast.deployment.checks import TOLERANCE, check_outputs, largest_difference
from modnas_fast.deployment.formats import OnnxNetwork, load_program, save, save_int8
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import make_space

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

IMAGES = {"image_channels": 3, "classes": 5}
#: by space: its arguments, what its task tells networks, the shape of one sample, and its varying dimensions
SPACES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, ...], dict[int, str]]] = {
    "nb201": ({}, {**IMAGES, "channels": 2, "cells": 1}, (3, 8, 8), {}),
    "mobilenetv3": (
        {"width": 0.1, "resolutions": [32], "kernels": [3, 5], "expansions": [1, 2], "depths": [1, 2]},
        IMAGES, (3, 32, 32), {},
    ),
    "gpt": ({"widths": [8, 16], "depths": [1, 2], "heads": [1, 2]}, {"vocabulary": 20}, (7,), {1: "length"}),
    "hat": (
        {"encoder_widths": [8, 16], "decoder_widths": [8, 16], "encoder_ffns": [8, 16], "decoder_ffns": [8, 16],
         "inner": 16, "encoder_depths": [2], "decoder_depths": [1, 2], "encoder_heads": [2], "cross_heads": [2],
         "reaches": [1, 2]},
        {"vocabulary": 20, "padding": 19, "end": 18}, (2, 7), {2: "length"},
    ),
}  # fmt: skip


def samples(task: dict[str, Any], count: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    if "vocabulary" in task:
        return torch.randint(0, task["vocabulary"] - 2, (count, *shape), generator=generator)
    return torch.randn(count, *shape, generator=generator)


def network_of(name: str, seed: int = 0) -> nn.Module:
    arguments, task, *_ = SPACES[name]
    space = make_space(name, arguments)
    torch.manual_seed(seed)
    (architecture,) = space.decode(space.candidates(64, torch.Generator().manual_seed(seed))[-1:])
    network = space.build(architecture, **task).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
    return network


@pytest.mark.parametrize("name", SPACES)
@torch.no_grad()
def test_files_give_the_network_s_outputs(name: str, tmp_path: Path) -> None:
    _, task, shape, varying = SPACES[name]
    network = network_of(name)
    names = save(network, samples(task, 2, shape), varying, ("onnx", "pt2", "safetensors"), tmp_path)
    assert names == ["network.onnx", "network.pt2", "network.safetensors"]
    longer = tuple(12 if at in varying else size for at, size in enumerate(shape, 1))
    batches = [samples(task, 1, shape), samples(task, 5, shape), samples(task, 3, longer)]
    found = check_outputs(network, [tmp_path / each for each in names], batches)
    assert set(found) == {"network.onnx", "network.pt2"} and max(found.values()) <= TOLERANCE
    assert network(batches[0]).abs().max() > 10 * TOLERANCE  # or anything would agree


@torch.no_grad()
def test_8_bit_weights_are_smaller_and_nearly_the_same(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)).eval()
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    save(network, x, {}, ("onnx",), tmp_path)
    save_int8(tmp_path / "network.onnx", tmp_path / "network.int8.onnx")
    assert (tmp_path / "network.int8.onnx").stat().st_size < 0.5 * (tmp_path / "network.onnx").stat().st_size
    assert 0 < largest_difference(network, OnnxNetwork(tmp_path / "network.int8.onnx"), [x]) < 0.05
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.int8.onnx", "network.onnx"]


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 3)).eval()
    x = torch.ones(2, 4)
    save(network, x, {}, ("pt2",), tmp_path)
    assert isinstance(load_program(tmp_path / "network.pt2"), nn.Module)
    with torch.no_grad():
        network[0].bias += 0.1
    with pytest.raises(InputError, match=r"network.pt2 gives other outputs than the network, by 0\.\d+, where 0.0001"):
        check_outputs(network, [tmp_path / "network.pt2"], [x])
