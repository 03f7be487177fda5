"""elastic_depthwise and norm_activation against torch's own convolution, batch norm and activation, on the same inputs.

Shapes are those of a MobileNetV3 of width 0.5 at 96 pixels, batch 32; the last lines add up all such layers of one
network, kernels and expansions in the middle. Contenders take turns in one process; a time is a median, a ratio is one
of medians, above 1 where ours is faster. Refuses to run where an answer of ours is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.bench.runner import Parser, count, medians, ratios, run, shown, torch_device, write_results
from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.supernets.elastic_depthwise import elastic_depthwise
from modnas_fast.supernets.norm_activation import norm_activation


class Layer(NamedTuple):
    """A convolution with what stands behind it, or without a kernel the latter alone."""

    channels: int
    size: int
    kernel: int | None
    stride: int
    activation: str | None
    residual: bool = False
    times: int = 1
    """How often the network has it."""

    def __str__(self) -> str:
        what = "norm" if self.kernel is None else f"{self.kernel}x{self.kernel}, stride {self.stride}"
        tail = ", residual" if self.residual else ""
        return f"{what}, {self.channels} channels of {self.size} x {self.size}, {self.activation}{tail}"


#: of a network whose stages are three blocks deep, with 5x5 kernels and expansion 4
NETWORK = (
    Layer(8, 48, 3, 1, "relu"), Layer(32, 48, 5, 2, "relu"), Layer(64, 24, 5, 1, "relu", times=2),
    Layer(64, 24, 5, 2, "relu"), Layer(96, 12, 5, 1, "relu", times=2), Layer(96, 12, 5, 2, "hswish"),
    Layer(160, 6, 5, 1, "hswish", times=3), Layer(224, 6, 5, 1, "hswish", times=2), Layer(224, 6, 5, 2, "hswish"),
    Layer(320, 3, 5, 1, "hswish", times=2),
    Layer(8, 48, None, 1, "hswish"), Layer(8, 48, None, 1, None, True), Layer(32, 48, None, 1, "relu"),
    Layer(16, 24, None, 1, None, True, 3), Layer(64, 24, None, 1, "relu", times=3),
    Layer(24, 12, None, 1, None, True, 3),
    Layer(96, 12, None, 1, "relu", times=3), Layer(40, 6, None, 1, None, True, 3),
    Layer(160, 6, None, 1, "hswish", times=3), Layer(56, 6, None, 1, None, True, 3),
    Layer(224, 6, None, 1, "hswish", times=3), Layer(80, 3, None, 1, None, True, 3),
    Layer(320, 3, None, 1, "hswish", times=2), Layer(480, 3, None, 1, "hswish"),
)  # fmt: skip
#: larger kernels and what is smallest among those above
OTHERS = (Layer(96, 24, 3, 1, "relu"), Layer(96, 24, 7, 1, "relu"), Layer(336, 6, 7, 1, "hswish"))
_FUNCTIONS: dict[str | None, Callable[[Tensor], Tensor]] = {None: lambda y: y, "relu": F.relu, "hswish": F.hardswish}


class Problem(NamedTuple):
    """One layer's tensors."""

    layer: Layer
    x: Tensor
    scale: Tensor
    shift: Tensor
    weight: Tensor | None
    residual: Tensor | None
    dy: Tensor

    def leaves(self) -> list[Tensor]:
        return [leaf for leaf in (self.x, self.scale, self.shift, self.weight, self.residual) if leaf is not None]


def problem(layer: Layer, batch: int, dtype: torch.dtype, device: str) -> Problem:
    """Random numbers, the same ones each time."""
    generator = torch.Generator().manual_seed(layer.channels)
    c, size, out = layer.channels, layer.size, -(-layer.size // layer.stride)

    def numbers(*shape: int) -> Tensor:
        made = torch.randn(shape, generator=generator).to(device, dtype)
        return made.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else made

    x, residual = (numbers(batch, c, size, size).requires_grad_() for _ in range(2))
    scale, shift = (numbers(c).requires_grad_() for _ in range(2))
    weight = None if layer.kernel is None else numbers(c, 1, layer.kernel, layer.kernel).requires_grad_()
    return Problem(layer, x, scale, shift, weight, residual if layer.residual else None, numbers(batch, c, out, out))


def ours(p: Problem) -> Tensor:
    layer = p.layer
    if p.weight is None:
        return norm_activation(p.x, p.scale, p.shift, layer.activation, residual=p.residual)
    kernel = p.weight.shape[-1]
    return elastic_depthwise(p.x, p.weight, None, None, kernel, layer.stride, p.scale, p.shift, layer.activation)


def torchs(p: Problem) -> Tensor:
    """F.conv2d, F.batch_norm and F.relu or F.hardswish, all in channels_last."""
    z, layer = p.x, p.layer
    if p.weight is not None:
        z = F.conv2d(z, p.weight, None, layer.stride, p.weight.shape[-1] // 2, groups=layer.channels)
    y = _FUNCTIONS[layer.activation](F.batch_norm(z, None, None, p.scale, p.shift, training=True))
    return y if p.residual is None else y + p.residual


def step(p: Problem, forward: Callable[[Problem], Tensor]) -> list[Tensor]:
    """The layer and all gradients."""
    y = forward(p)
    return [y.detach(), *torch.autograd.grad(y, p.leaves(), p.dy)]


def check(device: str) -> None:
    """Raises RuntimeError where an answer is wrong: then no time is worth printing."""
    for layer in (Layer(24, 9, 5, 2, "hswish"), Layer(40, 7, 3, 1, "relu"), Layer(40, 7, None, 1, "hswish", True)):
        p = problem(layer, 3, torch.float64, device)
        for found, true in zip(step(p, ours), step(p, torchs), strict=True):
            error = float((found - true).abs().max())
            if error > 1e-9:
                raise RuntimeError(f"elastic_depthwise: {layer} is off by {error:.1e}; run the tests first")


def measure(layer: Layer, batch: int, device: str, rounds: int) -> dict[str, Any]:
    """Seconds of a forward pass without gradients and of a whole step."""
    p = problem(layer, batch, torch.float32, device)

    def inference(forward: Callable[[Problem], Tensor]) -> None:
        with torch.no_grad():
            forward(p)

    row: dict[str, Any] = {"layer": layer._asdict()}
    for name, kind in (("forward", inference), ("step", partial(step, p))):
        turns = {"ours": partial(kind, ours), "torch": partial(kind, torchs)}
        seconds = medians(turns, rounds, where=device, calls=3)
        row[name] = {"seconds": seconds, "ratio": ratios(seconds)}
    return row


def total(rows: list[dict[str, Any]], part: str, convolutions: bool) -> dict[str, float]:
    """Seconds of the network's layers of one kind together."""
    chosen = [row for row in rows if (row["layer"]["kernel"] is not None) == convolutions]
    return {
        name: sum(row["layer"]["times"] * row[part]["seconds"][name] for row in chosen) for name in ("ours", "torch")
    }


def report(name: str, row: dict[str, Any]) -> None:
    parts = (f"{part} {shown(row[part]['seconds']['ours'])}, torch {row[part]['ratio']['torch']:.2f} x"
             for part in ("forward", "step"))  # fmt: skip
    print(f"{name}: {'; '.join(parts)}")


def main(arguments: list[str] | None = None) -> None:
    """Checks, measures, prints."""
    parser = Parser("elastic_depthwise", __doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--batch", type=count, default=32, help="images; default: 32")
    parser.add_argument("--device", type=torch_device, default="cpu", help="cpu (default) or cuda")
    options = parser.parse_args(arguments)
    serving = implementations.chosen("elastic_depthwise", options.device)
    if serving.name == "reference":
        raise InputError(f"bench elastic_depthwise: nothing but the reference on {options.device}: {serving.reason}")
    torch.set_num_threads(options.threads)
    check(options.device)
    rows = []
    for layer in (*NETWORK, *OTHERS):
        rows.append(measure(layer, options.batch, options.device, 3 if options.quick else 11))
        report(str(layer), rows[-1])
    sums = {}
    for name, convolutions in (("all depth-wise convolutions of a network", True), ("all other norms", False)):
        parts = {part: total(rows[: len(NETWORK)], part, convolutions) for part in ("forward", "step")}
        sums[name] = {part: {"seconds": seconds, "ratio": ratios(seconds)} for part, seconds in parts.items()}
        report(f"\n{name}", sums[name])
    if options.json:
        facts = {"batch": options.batch, "implementation": serving.name}
        write_results(options.json, "elastic_depthwise", {"layers": rows, "network": sums}, **facts)


if __name__ == "__main__":
    run(main)
