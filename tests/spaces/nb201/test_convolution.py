"""Convolutions on a GPU: in full float32 and by deterministic algorithms, forwards and backwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from stand_in_gpu import GPU, stand_in_gpu
from supernet_inputs import architectures, batch, make
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from modnas_fast.runtime import implementations
from modnas_fast.spaces.nb201.convolution import _Convolution, as_written, conv2d, tf32_allowed
from modnas_fast.supernets.passes import Passes

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device to convolve on")


@pytest.fixture
def told_tf32() -> Iterator[None]:
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


class Convolutions(TorchDispatchMode):
    """How cuDNN would make each convolution, forwards or backwards, that runs within it."""

    def __init__(self) -> None:
        super().__init__()
        self.settings: list[tuple[str, bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "conv" in func.name():
            self.settings.append(settings())
        return func(*args, **(kwargs or {}))


def settings() -> tuple[str, bool]:
    """The format in which cuDNN makes products of float32, and whether by deterministic algorithms."""
    cudnn: Any = torch.backends.cudnn
    if hasattr(cudnn, "conv"):
        return cudnn.conv.fp32_precision, cudnn.deterministic
    return "tf32" if cudnn.allow_tf32 else "ieee", cudnn.deterministic


def convolutions_of_a_supernet() -> list[tuple[str, bool]]:
    """Those of both passes and of an evaluation, on a GPU that is not there."""
    supernet, (x, y), onehot = make().float(), batch(), architectures(2).float()
    with stand_in_gpu(may_wait=True), implementations.using("reference"), Convolutions() as seen:
        supernet, x, y, onehot = supernet.to(GPU), x.float().to(GPU), y.to(GPU), onehot.to(GPU)
        Passes(supernet).device_losses(x, onehot.requires_grad_(), y, hard=True)
        Passes(supernet).add_weight_gradients(x, onehot.detach(), y, hard=True)
        supernet.predict(x, onehot.detach(), hard=True)
    return seen.settings


def test_every_convolution_of_a_supernet_is_in_float32_and_deterministic() -> None:
    before = settings()
    found = convolutions_of_a_supernet()
    assert len(found) > 100 and set(found) == {("ieee", True)}
    assert settings() == before


@pytest.mark.usefixtures("told_tf32")
def test_tf32_is_used_where_torch_is_told_so() -> None:
    assert tf32_allowed()
    assert set(convolutions_of_a_supernet()) == {("tf32", True)}


def test_settings_are_put_back_after_an_error() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError), as_written():
        assert settings() == ("ieee", True)
        raise ZeroDivisionError
    assert settings() == before


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 1, 0)])
def test_its_gradients_are_those_of_the_library(size: int, stride: int, padding: int) -> None:
    generator = torch.Generator().manual_seed(size)
    x = torch.randn(2, 3, 6, 5, generator=generator, dtype=torch.float64).requires_grad_()
    kernel = torch.randn(4, 3, size, size, generator=generator, dtype=torch.float64).requires_grad_()
    found, wanted = _Convolution.apply(x, kernel, stride, padding), F.conv2d(x, kernel, None, stride, padding)
    assert torch.equal(found, wanted)
    cotangent = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    for inputs in ([x, kernel], [kernel], [x]):
        for mine, theirs in zip(
            *(torch.autograd.grad(y, inputs, cotangent, retain_graph=True) for y in (found, wanted))
        ):
            torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-12)


@needs_gpu
def test_float32_is_float32_on_a_gpu_and_the_same_again() -> None:
    """TF32 would be off by 1e-3 of the magnitudes."""
    generator = torch.Generator().manual_seed(0)
    x, kernel = torch.randn(64, 16, 16, 16, generator=generator), torch.randn(32, 16, 3, 3, generator=generator)

    def all_of(x: Tensor, kernel: Tensor) -> list[Tensor]:
        x, kernel = x.cuda().requires_grad_(), kernel.cuda().requires_grad_()
        y = conv2d(x, kernel, 2, 1)
        return [y.detach(), *torch.autograd.grad(y.square().sum(), (x, kernel))]

    found, again, truth = all_of(x, kernel), all_of(x, kernel), all_of(x.double(), kernel.double())
    for mine, same, wanted in zip(found, again, truth):
        assert torch.equal(mine, same)
        assert (mine.double() - wanted).norm() < 1e-5 * wanted.norm()
