"""entangled_norm: the reference against torch's norm of each prefix, every implementation against it in float64."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.supernets.entangled_norm import entangled_norm

module = import_module("modnas_fast.supernets.entangled_norm")
S, R, E = 3, 7, 11
WIDTHS = (11, 4, 1)
NAMES = ("y", "x", "weight", "bias", "mask")


class Served(NamedTuple):
    """By which implementation, with tensors on which device."""

    name: str
    device: str


SERVED = {
    "reference": Served("reference", "cpu"),
    "interpreted": Served("triton", "cpu"),
    "reference on cuda": Served("reference", "cuda"),
    "triton": Served("triton", "cuda"),
}


@pytest.fixture(params=list(SERVED))
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Runs a test once per implementation; afterwards its module must have run, and no other."""
    found = SERVED[request.param]
    if request.param == "interpreted":
        if os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("test_entangled_norm_triton.py runs this under TRITON_INTERPRET=1")
        prepare_interpreter(monkeypatch)
    elif found.device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    elif found.name not in implementations.available("entangled_norm", found.device):
        pytest.skip(implementations.chosen("entangled_norm", found.device).reason)
    ran: set[str] = set()

    def watched(name: str, load: Callable[[str], Any] = module._module) -> Any:
        ran.add(name)
        return load(name)

    monkeypatch.setattr(module, "_module", watched)
    with implementations.using(found.name):
        yield found
    assert ran == {found.name} - {"reference"}


def prepare_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serves the CPU by Triton's interpreter: with few slots of several rows, and memory that is not 0 by chance."""
    from modnas_fast.kernels import entangled_norm as kernels

    usable = implementations.Availability(True, "interpreted")
    monkeypatch.setitem(implementations._FAST["entangled_norm"], "cpu", [("triton", lambda: usable)])
    monkeypatch.setattr(kernels, "_SLOTS", 3)

    def poisoned(*arguments: Any, empty: Any = torch.empty, **options: Any) -> Tensor:
        return empty(*arguments, **options).fill_(float("nan"))

    monkeypatch.setattr(torch, "empty", poisoned)


def hard_mask() -> Tensor:
    return (torch.arange(E) < torch.tensor(WIDTHS)[:, None]).double()


def case(soft: bool, dtype: torch.dtype = torch.float64, device: str = "cpu") -> list[Tensor]:
    """x, weight, bias, mask and what the result is multiplied with."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((S, R, E), (E,), (E,), (S, E), (S, R, E))
    x, weight, bias, mask, dy = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    mask = mask.abs() + 0.2 if soft else hard_mask()
    x = x + 0.5 if soft else (x + 0.5) * mask[:, None]
    return [tensor.to(device, dtype) for tensor in (x, weight, bias, mask, dy)]


def results(tensors: list[Tensor]) -> list[Tensor]:
    """The result and all gradients."""
    *leaves, dy = tensors
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    y = entangled_norm(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, dy)]


def test_prefixes_are_normalised_as_if_alone() -> None:
    x, weight, bias, mask, _ = case(soft=False)
    with implementations.using("reference"):
        y = entangled_norm(x, weight, bias, mask)
    for found, row, width in zip(y, x, WIDTHS):
        wanted = F.layer_norm(row[:, :width], (width,), weight[:width], bias[:width], 1e-5)
        torch.testing.assert_close(found[:, :width], wanted, atol=1e-12, rtol=1e-12)
        assert not found[:, width:].any()


def test_the_reference_s_gradients_are_differences() -> None:
    leaves = [leaf.requires_grad_() for leaf in case(soft=True)[:4]]
    with implementations.using("reference"):
        assert torch.autograd.gradcheck(entangled_norm, leaves)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_every_implementation_computes_the_reference(served: Served, soft: bool, dtype: torch.dtype) -> None:
    given = case(soft, dtype, served.device)
    found = results(given)
    with implementations.using("reference"):
        wanted = results([tensor.double() for tensor in given])
        plain = results(given)
    for name, ours, true, theirs in zip(NAMES, found, wanted, plain, strict=True):
        assert ours.dtype == dtype
        error, usual = (float((part.double() - true).abs().max()) for part in (ours, theirs))
        floor = 4 * torch.finfo(dtype).eps * float(true.abs().max())
        assert error <= 2 * usual + floor, f"{name}: {error} beside {usual}"
    assert soft or not found[0][(given[3] == 0)[:, None].expand_as(found[0])].any()


def test_rows_may_have_several_axes_and_any_strides(served: Served) -> None:
    x, weight, bias, mask, _ = case(soft=True, device=served.device)
    folded = torch.stack([x, 2 * x], dim=1)  # [S, 2, R, E]
    y = entangled_norm(folded.transpose(1, 2), weight, bias, mask)
    assert y.shape == (S, R, 2, E)
    torch.testing.assert_close(y[:, :, 1], entangled_norm(2 * x, weight, bias, mask), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({0: torch.ones(3, 11)}, r"x must have shape \[S, ..., E\]"),
        ({1: torch.ones(3)}, r"weight must have shape \[11\], as x is \[3, 7, 11\], not \[3\]"),
        ({3: torch.ones(2, 11)}, r"mask must have shape \[3, 11\], as x is"),
        ({3: torch.ones(3, 11)}, r"mask is torch.float32, but x is torch.float64; use mask.to\(x.dtype\)"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[int, Tensor], text: str) -> None:
    arguments = case(soft=False)[:4]
    for place, tensor in change.items():
        arguments[place] = tensor
    with pytest.raises(InputError, match=text):
        entangled_norm(*arguments)
