"""Supernets with scale and shift as published, and files with the keys of the official code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.nb201.network import EDGES
from modnas_fast.spaces.nb201.published_weights import load_published
from modnas_fast.spaces.nb201.shared_layers import Norm, SharedCell
from modnas_fast.spaces.nb201.supernet import NB201Supernet

space = NB201Space()


class ReLUConvBN(nn.Module):
    """As in the official code: `op` holds ReLU, convolution, batch normalisation."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, affine: bool) -> None:
        super().__init__()
        convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.op = nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(outputs, affine=affine))

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class OfficialCell(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                f"{target}<-{source}": nn.ModuleList(
                    [
                        nn.Identity(),
                        nn.Identity(),
                        ReLUConvBN(channels, channels, 1, 1, False),
                        ReLUConvBN(channels, channels, 3, 1, False),
                        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
                    ]
                )
                for source, target in EDGES
            }
        )

    def forward(self, x: Tensor, indices: list[int]) -> Tensor:
        nodes = [x]
        for target in (1, 2, 3):
            edges = [(s, indices[e]) for e, (s, t) in enumerate(EDGES) if t == target]
            values = [self.edges[f"{target}<-{s}"][k](nodes[s]) * float(k != 0) for s, k in edges]
            nodes.append(torch.stack(values).sum(0))
        return nodes[-1]


class OfficialReduction(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(inputs, 2 * inputs, 3, 2, True)
        self.conv_b = ReLUConvBN(2 * inputs, 2 * inputs, 3, 1, True)
        self.downsample = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(inputs, 2 * inputs, 1, bias=False))

    def forward(self, x: Tensor, indices: list[int]) -> Tensor:
        return self.downsample(x) + self.conv_b(self.conv_a(x))


class OfficialSupernet(nn.Module):
    """The published network of the search, named as there."""

    def __init__(self, channels: int, cells: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        layers: list[nn.Module] = []
        for stage in range(3):
            width = channels * 2**stage
            layers += [OfficialReduction(width // 2)] if stage else []
            layers += [OfficialCell(width) for _ in range(cells)]
        self.cells = nn.ModuleList(layers)
        self.lastact = nn.Sequential(nn.BatchNorm2d(4 * channels), nn.ReLU())
        self.classifier = nn.Linear(4 * channels, classes)
        self.arch_parameters = nn.Parameter(torch.zeros(6, 5))

    def forward(self, x: Tensor, indices: list[int]) -> Tensor:
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x, indices)
        return self.classifier(self.lastact(x).mean(dim=(2, 3)))


@pytest.fixture
def official() -> OfficialSupernet:
    """With scales and shifts of a training's kind."""
    torch.manual_seed(0)
    network = OfficialSupernet(channels=4, cells=2, classes=5).double().train()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 and "classifier" not in name:
                parameter.add_(torch.randn_like(parameter) / 3)
    return network


def supernet(**changes: Any) -> NB201Supernet:
    size = {"image_channels": 3, "classes": 5, "channels": 4, "cells": 2, "affine": True} | changes
    return space.supernet(**size).double()


@pytest.mark.parametrize("wrapped", [None, "search_model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_with_the_official_keys_computes_the_same(
    official: OfficialSupernet, wrapped: str | None, prefix: str, tmp_path: Path
) -> None:
    content: Any = {prefix + name: value for name, value in official.state_dict().items()}
    torch.save({wrapped: content, "epoch": 3} if wrapped else content, tmp_path / "published.pth")
    ours = supernet()
    load_published(ours, tmp_path / "published.pth")
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    indices = torch.tensor([[3, 2, 1, 4, 3, 2], [2, 0, 3, 1, 4, 3], [1, 3, 2, 2, 0, 4]])
    wanted = torch.stack([official(x, row) for row in indices.tolist()])
    torch.testing.assert_close(ours.predict(x, space.onehot(indices).double()), wanted, rtol=1e-9, atol=1e-9)


def test_entangled_kernels_come_without_those_of_one_pixel(official: OfficialSupernet) -> None:
    state = official.state_dict()
    ours = supernet(entangled=True)
    with pytest.raises(
        InputError, match=r"cells\.0\.edges.*2\.op\.1\.weight' has no place .*; set space.entangled=false"
    ):
        load_published(ours, state)
    load_published(ours, {key: value for key, value in state.items() if not re.search(r"edges.*\.2\.op\.1", key)})
    assert isinstance(ours.layers[0], SharedCell)
    assert torch.equal(ours.layers[0].kernels_3x3[2], state["cells.0.edges.2<-1.3.op.1.weight"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"affine": False}, "has no place in this supernet; set space.affine=true"),
        ({"cells": 1}, "no 'cells.1.downsample.1.weight' in it"),
        ({"channels": 3}, r"'stem.0.weight' makes \[4, 3, 3, 3\], wanted \[3, 3, 3, 3\]"),
        ({"classes": 4}, r"'classifier.weight' makes \[5, 16\], wanted \[4, 16\]"),
        ({"reduction": "pool"}, "space.reduction: published supernets have residual reductions; set it to residual"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    official: OfficialSupernet, changes: dict[str, Any], told: str
) -> None:
    ours = supernet(**changes)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(InputError, match=told):
        load_published(ours, official.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_other_content_is_refused(official: OfficialSupernet) -> None:
    for content in ([1], {"epoch": 3}):
        with pytest.raises(InputError, match="wanted the weights of a supernet by their key"):
            load_published(supernet(), content)  # type: ignore[arg-type]
    missing = official.state_dict()
    del missing["lastact.0.bias"]
    with pytest.raises(InputError, match=r"no 'lastact.0.bias' in it \(1 missing\)"):
        load_published(supernet(), missing)


def test_without_the_switch_nothing_is_changed() -> None:
    torch.manual_seed(1)
    plain = supernet(affine=False).float()
    torch.manual_seed(1)
    affine = supernet().float()
    extra = affine.state_dict().keys() - plain.state_dict().keys()
    assert all("norm" in name for name in extra) and len(extra) == 2 * (2 + 2 * 2)
    x, onehot = torch.randn(4, 3, 8, 8), space.sample(3, torch.Generator().manual_seed(2))
    torch.testing.assert_close(plain.predict(x, onehot), affine.predict(x, onehot))
    for name, value in plain.state_dict().items():
        assert torch.equal(value, affine.state_dict()[name])


@pytest.mark.parametrize("form", [torch.float64, torch.float32, torch.bfloat16])
def test_each_device_has_its_own_statistics_and_the_scale_of_all(form: torch.dtype) -> None:
    norm = Norm(3, affine=True)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.5, -0.5, 2.0]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(3)).to(form)
    together = norm(x, devices=2)
    assert together.dtype == form
    weight, bias = norm.weight.to(torch.float64), norm.bias.to(torch.float64)
    apart = [F.batch_norm(half.double(), None, None, weight, bias, training=True) for half in x.chunk(2)]
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 0.05}[form]
    torch.testing.assert_close(together.double(), torch.cat(apart), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reduction", ["residual", "pool"])
def test_a_network_inherits_scale_and_shift(reduction: str) -> None:
    torch.manual_seed(4)
    ours = supernet(reduction=reduction)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) / 3)
    architecture = space.architecture([3, 2, 1, 4, 3, 2])
    network = space.build(architecture, image_channels=3, classes=5, channels=4, cells=2, reduction=reduction)
    network = network.double().train()
    network.load_state_dict(space.inherited(ours.state_dict(), architecture))
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    wanted = ours.predict(x, space.encode([architecture]).double())[0]
    torch.testing.assert_close(network(x), wanted, rtol=1e-9, atol=1e-9)


def test_the_paper_s_preset_has_it() -> None:
    from modnas_fast.config import PRESETS, make_config

    spaces = {name: make_config(preset=name).space for name in PRESETS}
    found = {name: space.affine for name, space in spaces.items() if space.name == "nb201"}
    assert found == {name: name == "nb201-paper" for name in found} and "nb201-paper" in found
