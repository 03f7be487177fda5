"""Standalone MobileNetV3s against a plain implementation, written from what is published; export and folding."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.spaces.mobilenetv3.network import MobileNetV3
from modnas_fast.spaces.mobilenetv3.scales import SCALES, Shape
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space
from modnas_fast.spaces.mobilenetv3.supernet import MobileNetV3Supernet
from modnas_fast.supernets.running_statistics import compute_statistics

SPACE = MobileNetV3Space("small", width=0.1, resolutions=(32, 40), depths=(1, 2))
#: stages of one or two blocks, kernels 3 and 5: small enough for derivatives by differences
TINY = MobileNetV3Space("small", width=0.1, resolutions=(32, 40), kernels=(3, 5), expansions=(1, 2), depths=(1, 2))
CLASSES = 5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def randomise(module: nn.Module) -> nn.Module:
    """Weights around those of a beginning, in float64; scales, shifts and statistics that are not 1 and 0."""
    module.double()
    for seed, (name, tensor) in enumerate({**dict(module.named_parameters()), **dict(module.named_buffers())}.items()):
        if tensor.dim() == 0:
            continue
        noise = torch.randn(tensor.shape, generator=seeded(seed), dtype=torch.float64)
        if name.endswith("running_var"):
            tensor.copy_(1 + 0.3 * noise.abs())
        elif name.endswith("_matrix"):
            tensor.add_(0.1 * noise)
        else:
            tensor.copy_(tensor + 0.2 * noise if tensor.dim() == 1 else noise / tensor[0].numel() ** 0.5)
    return module


def images(count: int = 4, side: int = 40) -> Tensor:
    return torch.randn(count, 3, side, side, generator=seeded(9), dtype=torch.float64)


def random_shapes(count: int) -> list[Shape]:
    return [SPACE.shape(a.indices) for a in SPACE.decode(SPACE.sample(count, seeded(2)))]


def rounded(value: float) -> int:
    nearest = max(8, int(value + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * value else nearest


def published_network(weights: Mapping[str, Tensor], shape: Shape, x: Tensor, layers: int = 2) -> Tensor:
    """Logits of a network of an official checkpoint of a whole supernet, normalised by the minibatch.

    Strides, activations and squeeze-and-excite are those of the published five stages; widths are told by the weights.
    """

    def norm(y: Tensor, name: str) -> Tensor:
        mean, variance = y.mean((0, 2, 3)), y.var((0, 2, 3), unbiased=False)
        scale, shift = (weights[f"{name}.{part}"][: y.shape[1]] for part in ("weight", "bias"))
        normal = (y - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return normal * scale[:, None, None] + shift[:, None, None]

    def swish(y: Tensor) -> Tensor:
        return y * (y + 3).clamp(0, 6) / 6

    x = F.interpolate(x, (shape.resolution,) * 2, mode="bilinear", align_corners=True)
    x = swish(norm(F.conv2d(x, weights["first_conv.conv.weight"], stride=2, padding=1), "first_conv.bn"))
    at = "blocks.0.conv"
    y = F.conv2d(x, weights[f"{at}.depth_conv.conv.weight"], padding=1, groups=x.shape[1])
    y = norm(y, f"{at}.depth_conv.bn").relu()
    x = x + norm(F.conv2d(y, weights[f"{at}.point_linear.conv.weight"]), f"{at}.point_linear.bn")
    for stage, (stride, act, excite) in enumerate(
        [(2, F.relu, False), (2, F.relu, True), (2, swish, False), (1, swish, True), (2, swish, True)]
    ):
        for layer, kernel in enumerate(shape.kernels[stage]):
            at = f"blocks.{1 + layers * stage + layer}.conv"
            mid = rounded(round(x.shape[1] * shape.expansions[stage][layer]))
            y = F.conv2d(x, weights[f"{at}.inverted_bottleneck.conv.conv.weight"][:mid])
            y = act(norm(y, f"{at}.inverted_bottleneck.bn.bn"))
            taps = weights[f"{at}.depth_conv.conv.conv.weight"][:mid]
            for small, name in ((5, "7to5"), (3, "5to3")):
                if kernel <= small:
                    centre = taps[:, 0, 1:-1, 1:-1].reshape(mid, -1)
                    taps = (weights[f"{at}.depth_conv.conv.{name}_matrix"] @ centre.T).T.view(mid, 1, small, small)
            first = stride if layer == 0 else 1
            y = act(norm(F.conv2d(y, taps, stride=first, padding=kernel // 2, groups=mid), f"{at}.depth_conv.bn.bn"))
            if excite:
                inner, fc = rounded(mid // 4), f"{at}.depth_conv.se.fc"
                z = y.mean((2, 3), keepdim=True)
                z = F.conv2d(z, weights[f"{fc}.reduce.weight"][:inner, :mid], weights[f"{fc}.reduce.bias"][:inner])
                z = F.conv2d(z.relu(), weights[f"{fc}.expand.weight"][:mid, :inner], weights[f"{fc}.expand.bias"][:mid])
                y = y * (z + 3).clamp(0, 6) / 6
            y = F.conv2d(y, weights[f"{at}.point_linear.conv.conv.weight"][:, :mid])
            y = norm(y, f"{at}.point_linear.bn.bn")
            x = x + y if layer else y
    x = swish(norm(F.conv2d(x, weights["final_expand_layer.conv.weight"]), "final_expand_layer.bn"))
    x = swish(F.conv2d(x.mean((2, 3), keepdim=True), weights["feature_mix_layer.conv.weight"])).flatten(1)
    return x @ weights["classifier.linear.weight"].T + weights["classifier.linear.bias"]


def test_networks_cut_out_of_official_weights_are_the_published_ones() -> None:
    shared = randomise(MobileNetV3Supernet(SPACE, CLASSES)).state_dict()
    for architecture in SPACE.decode(SPACE.sample(4, seeded(3))):
        network = SPACE.build(architecture, classes=CLASSES).double()
        network.load_state_dict(SPACE.inherited(shared, architecture))
        wanted = published_network(shared, SPACE.shape(architecture.indices), images())
        torch.testing.assert_close(network.train()(images()), wanted, atol=1e-10, rtol=1e-10)


def test_keys_and_shapes_are_those_of_the_official_checkpoint() -> None:
    listed = Path(os.environ.get("MODNAS_DATA", "")).parent / "spaces/mobilenetv3_keys.json"
    state = MobileNetV3Supernet(MobileNetV3Space("published"), 1000).to("meta").state_dict()
    assert len(state) == 411
    assert list(state["blocks.5.conv.depth_conv.se.fc.reduce.weight"].shape) == [48, 192, 1, 1]
    assert list(state["blocks.1.conv.depth_conv.conv.7to5_matrix"].shape) == [25, 25]
    assert list(state["feature_mix_layer.conv.weight"].shape) == [1536, 1152, 1, 1]
    if listed.is_file():
        assert {key: list(tensor.shape) for key, tensor in state.items()} == json.loads(listed.read_text())


def test_a_folded_network_has_no_normalisation_and_gives_the_same() -> None:
    for shape in random_shapes(3):
        network = randomise(MobileNetV3(shape, SPACE.scale, CLASSES)).eval()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        folded = network.folded()
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        torch.testing.assert_close(folded(images()), network(images()), atol=1e-10, rtol=1e-10)
        assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("side", [32, 40])
def test_networks_export_with_the_resizing_inside(side: int) -> None:
    network = TINY.build(TINY.ends[0], classes=CLASSES)
    network, x = randomise(network).eval().folded(), images(2, side)
    exported = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(exported(x), network(x), atol=1e-10, rtol=1e-10)


def test_networks_compile_without_a_break() -> None:
    network = randomise(TINY.build(TINY.ends[0], classes=CLASSES)).eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images(1)), network(images(1)))


def test_the_largest_published_network_has_as_many_weights_as_is_published() -> None:
    """OFA-large at width 1.2 without its classifier's bias and the like: counted from the listed shapes."""
    space = MobileNetV3Space("published")
    with torch.device("meta"):
        network = space.build(space.ends[1], classes=1000)
    listed = MobileNetV3Supernet(space, 1000).to("meta").named_parameters()
    shared = sum(p.numel() for name, p in listed if not name.endswith("_matrix"))
    assert sum(p.numel() for p in network.parameters()) == shared
    assert SCALES["published"].resolutions[-1] == network.resolution == 224


def test_statistics_are_means_over_batches() -> None:
    network = randomise(MobileNetV3(random_shapes(1)[0], SPACE.scale, CLASSES))
    compute_statistics(network, [images()])
    evaluated = network(images())
    assert not network.training
    torch.testing.assert_close(evaluated, network.train()(images()), atol=1e-10, rtol=1e-10)
    with pytest.raises(ValueError, match="at least one batch"):
        compute_statistics(network, [])
