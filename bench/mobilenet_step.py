"""The supernet's part of a step of a search among MobileNetV3s, ours beside one network at a time by dynamic layers.

Networks have Once-for-All's choices at width 0.5, drawn at random, one per device, on 32 images of 96 × 96 pixels;
those of the preset mobilenet-small are smaller. A step are the losses of so many networks that the default estimator
compares (Φ), and the gradient of the mean loss of one per device by the weights (w).

  dynamic layers   Once-for-All's way, rewritten: networks one after the other, each layer with slices of its weights,
                   normalisation with running statistics, hard swish by its formula, all threads within an operation
  ours             what `modnas-fast search --preset mobilenet-small` runs

Contenders take turns in one process; a time is a median, a ratio is one of medians, above 1 where ours is faster.
Refuses to run where losses or gradients differ by more than 1e-8 in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.bench.runner import Parser, count, medians, ratios, run, shown, write_results
from modnas_fast.runtime.terminal_table import Column, FittedTable, show
from modnas_fast.spaces.mobilenetv3.scales import Shape, middle_channels, squeezed_channels
from modnas_fast.spaces.mobilenetv3.shared import SharedNorm, SharedWeights
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space
from modnas_fast.spaces.mobilenetv3.supernet import MobileNetV3Supernet
from modnas_fast.supernets.passes import Passes

CLASSES = 20
#: samples per device that the default estimator compares
SAMPLES = 4
#: how much contenders may differ in float64, relative to the largest number
TOLERANCE = 1e-8
#: what is timed, with its heading
PARTS = {"losses": "Φ", "by_weights": "w"}


class Problem(NamedTuple):
    """Weights, images, and networks: of Φ [4 T, N] and of w [T, N]."""

    supernet: MobileNetV3Supernet
    space: MobileNetV3Space
    x: Tensor
    y: Tensor
    compared: Tensor
    trained: Tensor


def problem(devices: int, batch: int, side: int, width: float, dtype: torch.dtype = torch.float32) -> Problem:
    """The same for the same arguments."""
    generator = torch.Generator().manual_seed(0)
    space = MobileNetV3Space("small", width=width, resolutions=(side,), expansions=(3, 4, 6), depths=(2, 3, 4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = MobileNetV3Supernet(space, CLASSES).to(dtype)
    x = torch.randn(batch, 3, side, side, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randint(CLASSES, (batch,), generator=generator)
    return Problem(supernet, space, x, y, space.sample(SAMPLES * devices, generator), space.sample(devices, generator))


class Ours:
    """The passes of a search."""

    def __init__(self, given: Problem) -> None:
        self._given, self._passes = given, Passes(given.supernet)

    def losses(self) -> Tensor:
        """[4 T]."""
        given = self._given
        return self._passes.device_losses(given.x, given.compared, given.y, 1, hard=True)

    def by_weights(self) -> list[Tensor]:
        """Gradients of the mean loss."""
        given = self._given
        given.supernet.zero_grad()
        self._passes.add_weight_gradients(given.x, given.trained, given.y, 1, hard=True)
        return _gradients(given.supernet)


class DynamicLayers:
    """One network at a time."""

    def __init__(self, given: Problem) -> None:
        self._given = given

    def losses(self) -> Tensor:
        """[4 T]."""
        with torch.no_grad():
            return torch.stack([self._loss(shape) for shape in self._shapes(self._given.compared)])

    def by_weights(self) -> list[Tensor]:
        """Gradients of the mean loss."""
        given = self._given
        given.supernet.zero_grad()
        for shape in self._shapes(given.trained):
            (self._loss(shape) / len(given.trained)).backward()
        return _gradients(given.supernet)

    def _shapes(self, onehot: Tensor) -> list[Shape]:
        space = self._given.space
        return [space.shape(row) for row in space.indices(onehot).tolist()]

    def _loss(self, shape: Shape) -> Tensor:
        return F.cross_entropy(dynamic_logits(self._given.supernet, self._given.x, shape), self._given.y)


CONTENDERS: dict[str, type[DynamicLayers | Ours]] = {"dynamic layers": DynamicLayers, "ours": Ours}


def dynamic_logits(weights: SharedWeights, x: Tensor, shape: Shape) -> Tensor:
    """[B, classes] of images [B, C, r, r]: every layer slices its weights to what its input and the network ask for."""
    scale, first = weights.scale, weights.first
    x = _h_swish(_norm(F.conv2d(x, weights.first_conv.weight, stride=2, padding=1), weights.first_conv.norm))
    y = F.conv2d(x, first.depth_conv.weight, padding=1, groups=x.shape[1])
    y = F.conv2d(F.relu(_norm(y, first.depth_conv.norm)), first.point_linear.weight)
    x = x + _norm(y, first.point_linear.norm)
    for stage, kernels in enumerate(shape.kernels):
        activation = _h_swish if scale.activations[stage] == "hswish" else F.relu
        for layer, kernel in enumerate(kernels):
            block, stride = weights.bottleneck(stage, layer), 1 if layer else scale.strides[stage]
            middle = middle_channels(x.shape[1], shape.expansions[stage][layer])
            wide, depthwise, point = block.inverted_bottleneck, block.depth_conv, block.point_linear
            y = activation(_norm(F.conv2d(x, wide.weight[:middle].contiguous()), wide.norm))
            taps = depthwise.conv(middle, kernel).contiguous()
            y = F.conv2d(y, taps, stride=stride, padding=kernel // 2, groups=middle)
            y = activation(_norm(y, depthwise.norm))
            if depthwise.excite is not None:
                reduce, expand, inner = depthwise.excite.reduce, depthwise.excite.expand, squeezed_channels(middle)
                z = y.mean(3, keepdim=True).mean(2, keepdim=True)
                z = F.relu(F.conv2d(z, reduce.weight[:inner, :middle].contiguous(), reduce.bias[:inner]))
                z = F.conv2d(z, expand.weight[:middle, :inner].contiguous(), expand.bias[:middle])
                y = y * (F.relu6(z + 3) / 6)
            y = _norm(F.conv2d(y, point.weight[:, :middle].contiguous()), point.norm)
            x = x + y if stride == 1 and x.shape == y.shape else y
    x = _h_swish(_norm(F.conv2d(x, weights.final_expand_layer.weight), weights.final_expand_layer.norm))
    x = x.mean(3, keepdim=True).mean(2, keepdim=True)
    found: Tensor = weights.classifier(_h_swish(F.conv2d(x, weights.feature_mix_layer.conv.weight)).flatten(1))
    return found


def _norm(x: Tensor, norm: SharedNorm) -> Tensor:
    count = x.shape[1]
    mean, variance = norm.running_mean[:count], norm.running_var[:count]
    return F.batch_norm(x, mean, variance, norm.weight[:count], norm.bias[:count], training=True)


def _h_swish(x: Tensor) -> Tensor:
    return x * F.relu6(x + 3) / 6


def _gradients(supernet: MobileNetV3Supernet) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in supernet.parameters()]


def check() -> None:
    """Raises RuntimeError where contenders disagree: then no time is worth printing."""
    given = problem(2, 6, 64, 0.25, torch.float64)
    theirs, ours = DynamicLayers(given), Ours(given)
    by_weights = (torch.cat([part.flatten() for part in one.by_weights()]) for one in (theirs, ours))
    for other, own in ((theirs.losses(), ours.losses()), tuple(by_weights)):
        # of all weights together: shifts before the next normalisation have no gradient but that of rounding
        error = float((own - other).abs().max() / own.abs().max())
        if not error <= TOLERANCE:
            raise RuntimeError(f"mobilenet_step: ours and the dynamic layers differ by {error:.1e}; run the tests")


def measured(devices: int, batch: int, side: int, width: float, rounds: int) -> dict[str, Any]:
    """One row of the results."""
    given = problem(devices, batch, side, width)
    contenders = {name: make(given) for name, make in CONTENDERS.items()}
    row: dict[str, Any] = {"devices": devices, "batch": batch, "side": side, "width": width, "seconds": {}, "ratio": {}}
    for part in PARTS:
        row["seconds"][part] = medians({name: getattr(one, part) for name, one in contenders.items()}, rounds)
        row["ratio"][part] = ratios(row["seconds"][part])
    row["seconds"]["step"] = {name: sum(row["seconds"][part][name] for part in PARTS) for name in contenders}
    row["ratio"]["step"] = ratios(row["seconds"]["step"])
    return row


def table(row: dict[str, Any]) -> FittedTable:
    """One setting for the terminal."""
    seconds, ratio = row["seconds"], row["ratio"]["step"]
    headings = ["contender", "step", *PARTS.values(), "ours is faster by"]
    rows = [
        [
            name,
            *(shown(seconds[part][name]) for part in ("step", *PARTS)),
            f"{ratio[name]:.2f} ×" if name in ratio else "",
        ]
        for name in CONTENDERS
    ]
    title = f"T = {row['devices']}, {row['batch']} images of {row['side']} px, width {row['width']:g}"
    return FittedTable([Column(heading) for heading in headings], rows, title=title)


def main(arguments: Sequence[str] | None = None) -> None:
    """Checks, measures, prints."""
    parser = Parser("mobilenet_step", __doc__ or "")
    parser.add_argument("--devices", type=count, help="T; default: 12; with --quick 4")
    parser.add_argument("--batch", type=count, default=32, help="images; default: 32")
    parser.add_argument("--side", type=count, default=96, help="pixels of the networks' resolution; default: 96")
    parser.add_argument("--width", type=float, default=0.5, help="of the space; default: 0.5")
    parser.add_argument("--rounds", type=count, help="turns of each contender; default: 7; with --quick 3")
    parser.add_argument("--quick", action="store_true", help="T = 4, few rounds")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    check()
    rounds = options.rounds or (3 if options.quick else 7)
    row = measured(options.devices or (4 if options.quick else 12), options.batch, options.side, options.width, rounds)
    show(table(row))
    if options.json:
        write_results(options.json, "mobilenet_step", [row])


if __name__ == "__main__":
    run(main)
