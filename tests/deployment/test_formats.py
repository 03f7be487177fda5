"""Files give what the network gives, for networks of every space, and samples of any number and length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_modules import small_cnn, small_transformer
from torch import Tensor, nn

from modnas_fast import elastic
from modnas_fast.deployment.checks import TOLERANCE, check_outputs, largest_difference
from modnas_fast.deployment.formats import OPSET, OnnxNetwork, load_program, save, save_int8
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import Architecture, SearchSpace, make_space

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
    "module": ({}, {}, (3, 8, 8), {}),
    "module of ids": ({}, {"vocabulary": 22}, (7,), {}),
}  # fmt: skip
MODULES = {"module": small_cnn, "module of ids": small_transformer}
#: networks of each space whose ONNX files the long test runs
TWENTY = 20


def samples(task: dict[str, Any], count: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    if "vocabulary" in task:
        return torch.randint(0, task["vocabulary"] - 2, (count, *shape), generator=generator)
    return torch.randn(count, *shape, generator=generator)


def space_of(name: str) -> SearchSpace:
    if name in MODULES:
        torch.manual_seed(0)
        return elastic.ModuleSpace(MODULES[name], takes_ids="vocabulary" in SPACES[name][1])
    return make_space(name, SPACES[name][0])


def network_of(name: str, seed: int = 0) -> nn.Module:
    space = space_of(name)
    (architecture,) = space.decode(space.candidates(64, torch.Generator().manual_seed(seed))[-1:])
    return built(name, space, architecture, seed)


def built(name: str, space: SearchSpace, architecture: Architecture, seed: int) -> nn.Module:
    """In evaluation mode, with statistics of batch normalisations that are not those of the start."""
    torch.manual_seed(seed)
    told = {} if name in MODULES else SPACES[name][1]
    network = space.build(architecture, **told).eval()
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
def differences_of(name: str, space: SearchSpace, networks: Sequence[Architecture], folder: Path) -> list[float]:
    """How far ONNX files are from the outputs of networks of a space, in float32, and of the opset that is told."""
    import onnx

    _, task, shape, varying = SPACES[name]
    found: list[float] = []
    for seed, architecture in enumerate(networks):
        network = built(name, space, architecture, seed)
        save(network, samples(task, 2, shape), varying, ("onnx",), folder)
        (opset,) = [each.version for each in onnx.load(folder / "network.onnx").opset_import if not each.domain]
        batches = [samples(task, 1, shape), samples(task, 4, shape)]
        assert opset == OPSET and all(network(x).dtype == torch.float32 for x in batches)
        found += check_outputs(network, [folder / "network.onnx"], batches).values()
    return found


@pytest.mark.parametrize("name", SPACES)
def test_onnx_of_the_smallest_network(name: str, tmp_path: Path) -> None:
    space = space_of(name)
    smallest = space.ends[0] if space.ends else space.decode(space.candidates(1, torch.Generator().manual_seed(3)))[0]
    (found,) = differences_of(name, space, [smallest], tmp_path)
    assert found <= TOLERANCE


@pytest.mark.parametrize("name", SPACES)
def test_onnx_of_twenty_networks(name: str, tmp_path: Path) -> None:
    space = space_of(name)
    networks = space.decode(space.candidates(256, torch.Generator().manual_seed(1)))[:TWENTY]
    assert len({architecture.text for architecture in networks}) == TWENTY
    found = differences_of(name, space, networks, tmp_path)
    print(f"{name}: {len(found)} networks, opset {OPSET}, largest difference {max(found):.2g}")
    assert len(found) == TWENTY and max(found) <= TOLERANCE


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
