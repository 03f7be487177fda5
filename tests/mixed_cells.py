"""Inputs of mixed_cell, and its truth: one device, edge and operation after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
SELECTIONS = ("path", "mixture", "some", "none")


class Inputs(NamedTuple):
    """Arguments of mixed_cell in their order."""

    x: Tensor
    kernels_1x1: Tensor
    kernels_3x3: Tensor
    sample: Tensor
    active: Tensor

    def to(self, dtype: torch.dtype) -> Inputs:
        return Inputs(*(tensor.detach().to(dtype) for tensor in self[:4]), self.active)

    def requiring(self, *names: str) -> Inputs:
        """Copies of which those named want a gradient."""
        return Inputs(
            *(tensor.detach().clone().requires_grad_(name in names) for name, tensor in zip(self._fields, self))
        )


FLOATS = Inputs._fields[:4]


def chosen_operations(devices: int, selection: str, generator: torch.Generator) -> Tensor:
    """Active operations, bool [T, 6, 5]: one per edge, all, an arbitrary part of them, or only `none`."""
    if selection == "mixture":
        return torch.ones(devices, 6, 5, dtype=torch.bool)
    if selection == "some":
        return torch.rand(devices, 6, 5, generator=generator) < 0.5
    choice = torch.randint(5, (devices, 6), generator=generator) * (selection != "none")
    return F.one_hot(choice, 5).bool()


def make(
    shape: tuple[int, int, int, int] = (2, 3, 4, 5),
    devices: int = 2,
    selection: str = "path",
    shared: bool = False,
    seed: int = 0,
) -> Inputs:
    """Arguments in float64 for images [B, C, H, W], of numbers that no dtype rounds."""
    generator = torch.Generator().manual_seed(seed)
    channels = shape[1]

    def numbers(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).bfloat16().double()

    active = chosen_operations(devices, selection, generator)
    sample = (0.3 + torch.rand(active.shape, generator=generator)).bfloat16().double() * active
    x = numbers(1 if shared else devices, shape[0], *shape[2:], channels).movedim(-1, 2)
    return Inputs(x, numbers(6, channels, channels), numbers(6, channels, channels, 3, 3), sample, active)


def truth(x: Tensor, kernels_1x1: Tensor, kernels_3x3: Tensor, sample: Tensor, active: Tensor) -> Tensor:
    """What mixed_cell is, by loops."""
    outputs = []
    for device in range(len(sample)):
        nodes = [x[device % len(x)]]
        for node in (1, 2, 3):
            total = torch.zeros_like(nodes[0])
            for edge, (source, target) in enumerate(EDGES):
                for operation in range(5):
                    if target == node:
                        weight = sample[device, edge, operation]
                        value = _value(operation, nodes[source], kernels_1x1[edge], kernels_3x3[edge])
                        total = total + (weight * value if active[device, edge, operation] else weight)
            nodes.append(total)
        outputs.append(nodes[-1])
    return torch.stack(outputs)


def _value(operation: int, node: Tensor, kernel_1x1: Tensor, kernel_3x3: Tensor) -> Tensor:
    if operation == 0:
        return torch.zeros_like(node)
    if operation == 1:
        return node
    if operation == 4:
        counted = F.conv2d(torch.ones_like(node[:1, :1]), node.new_ones(1, 1, 3, 3), padding=1)
        sums = F.conv2d(node.flatten(0, 1)[:, None], node.new_ones(1, 1, 3, 3), padding=1)
        return sums.view_as(node) / counted
    kernel = kernel_1x1[:, :, None, None] if operation == 2 else kernel_3x3
    y = F.conv2d(node.relu(), kernel, padding=operation - 2)
    mean = y.mean((0, 2, 3), keepdim=True)
    variance = ((y - mean) ** 2).mean((0, 2, 3), keepdim=True)
    return (y - mean) / (variance + 1e-5).sqrt()


def gradients(
    function: Callable[..., Tensor], inputs: Inputs, needed: tuple[str, ...] = FLOATS, **options: bool
) -> dict[str, Tensor]:
    """The output, and the gradient of each argument needed for one fixed gradient of the output, by name."""
    inputs = inputs.requiring(*needed)
    out = function(*inputs, **options)
    generator = torch.Generator().manual_seed(1)
    cotangent = torch.randn(out.shape, generator=generator).bfloat16().to(out.dtype)
    wanted = [getattr(inputs, name) for name in needed]
    found = torch.autograd.grad(out, wanted, cotangent.to(out.device), materialize_grads=True)
    return {"out": out.detach(), **dict(zip(needed, found))}


def errors_nearby(reference: Callable[[Inputs], dict[str, Tensor]], exact: Inputs, count: int = 16) -> dict[str, float]:
    """The largest errors of a float32 reference on images that differ from these by a rounding of float32.

    The numbers of `make` have 8 bits, so that float32 multiplies and adds many of them exactly. Where a gradient nearly
    cancels, behind a batch normalisation that magnifies small deviations, the reference then errs up to ten times less
    than on numbers right beside: its error there is chance, and no measure of what float32 can do.
    """
    largest: dict[str, float] = {}
    for seed in range(count):
        noise = torch.randint(-1, 2, exact.x.shape, generator=torch.Generator().manual_seed(seed))
        x = (exact.x * (1 + noise * torch.finfo(torch.float32).eps)).float()
        nearby = exact._replace(x=x.double())
        wanted, own = reference(nearby), reference(nearby.to(torch.float32))
        for name, truth in wanted.items():
            error = float(torch.linalg.vector_norm(own[name].double() - truth))
            largest[name] = max(largest.get(name, 0.0), error)
    return largest
