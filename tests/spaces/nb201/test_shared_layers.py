"""Layers that all networks share: statistics of each device's own images, in the layout in which the images come."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from modnas_fast.spaces.nb201.shared_layers import Norm, SharedPool, SharedResidual, batch_norm

T, B = 3, 2


def images(channels: int = 4, height: int = 6, width: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randn(T * B, channels, height, width, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return x.to(memory_format=torch.channels_last)


def alone(x: Tensor) -> Tensor:
    """The formula, device after device."""
    found = []
    for own in x.split(len(x) // T):
        variance, mean = torch.var_mean(own, (0, 2, 3), correction=0, keepdim=True)
        found.append((own - mean) / (variance + 1e-5).sqrt())
    return torch.cat(found)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(4, 6, 4), (1, 3, 1), (5, 1, 1), (2, 1, 3)])
def test_each_device_is_normalised_with_its_own_statistics(
    shape: tuple[int, int, int], layout: torch.memory_format
) -> None:
    x = images(*shape).contiguous(memory_format=layout).requires_grad_()
    found, wanted = batch_norm(x, T), alone(x)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    cotangent = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = [torch.autograd.grad(y, x, cotangent)[0] for y in (found, wanted)]
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=1e-10)


def test_scale_and_shift_are_those_of_every_device() -> None:
    norm = Norm(4, affine=True).double()
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 5.0))
        norm.bias.copy_(torch.arange(4.0))
    wanted = alone(images()) * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(images(), T), wanted, atol=1e-12, rtol=1e-12)


class Layouts(TorchDispatchMode):
    """Whether images that are convolved, and gradients that go back through it, lie as channels_last."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default):
            self.found.append(args[0].is_contiguous(memory_format=torch.channels_last))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", [SharedResidual, SharedPool])
def test_images_of_several_devices_stay_channels_last(kind: type[nn.Module]) -> None:
    layer, x = kind(4).float(), images(dtype=torch.float32).requires_grad_()
    with Layouts() as layouts:
        y = layer(x, T)
        assert y.is_contiguous(memory_format=torch.channels_last)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert len(layouts.found) == (6 if kind is SharedResidual else 2) and all(layouts.found)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
