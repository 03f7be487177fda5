"""elastic_depthwise and norm_activation: the references against torch's modules, all implementations against them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.supernets.elastic_depthwise import elastic_depthwise, kernel_taps
from modnas_fast.supernets.norm_activation import norm_activation

module = import_module("modnas_fast.supernets.norm_activation")
FUNCTIONS: dict[str | None, Callable[[Tensor], Tensor]] = {None: lambda y: y, "relu": F.relu, "hswish": F.hardswish}
WIDEST = 21  # channels of the shared weights


class Case(NamedTuple):
    """One block."""

    batch: int
    channels: int
    height: int
    width: int
    kernel: int
    stride: int
    activation: str | None = "hswish"
    given: bool = False  # statistics


CASES = [
    Case(2, 5, 4, 6, 3, 1, "relu"),
    Case(3, 19, 7, 5, 5, 1),
    Case(2, 8, 9, 8, 7, 2),
    Case(2, 17, 5, 7, 3, 2, None),
    Case(4, 16, 3, 3, 7, 1),
    Case(1, 9, 1, 3, 5, 2, "relu"),
    Case(2, 21, 6, 13, 5, 2, "hswish", True),
    Case(1, 3, 1, 1, 7, 1, "relu", True),
    Case(2, 8, 12, 11, 7, 1, None),
]
LEAVES = ("x", "weight", "to5", "to3", "scale", "shift")


def tensors(case: Case, dtype: torch.dtype = torch.float64, device: str = "cpu") -> dict[str, Tensor]:
    """What elastic_depthwise takes, and dy."""
    generator = torch.Generator().manual_seed(case.batch * 31 + case.channels)
    out = [-(-size // case.stride) for size in (case.height, case.width)]
    shapes = {
        "x": (case.batch, case.channels, case.height, case.width),
        "weight": (WIDEST, 1, 7, 7),
        "to5": (25, 25),
        "to3": (9, 9),
        "scale": (WIDEST,),
        "shift": (WIDEST,),
        "mean": (WIDEST,),
        "variance": (WIDEST,),
        "dy": (case.batch, case.channels, *out),
    }
    found = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    found["x"] += 0.5
    found["variance"] = found["variance"].abs() + 0.2
    for name in ("x", "dy"):
        found[name] = found[name].contiguous(memory_format=torch.channels_last)
    return {name: tensor.to(device, dtype) for name, tensor in found.items()}


def taps_by_hand(given: dict[str, Tensor], kernel: int) -> Tensor:
    """As Once-for-All: rows of taps through the matrices, channel by channel."""
    taps = given["weight"][:, 0]
    for name, size in (("to5", 5), ("to3", 3)):
        if kernel <= size:
            rows = [(given[name] @ kernel_[1:-1, 1:-1].reshape(-1)).reshape(size, size) for kernel_ in taps]
            taps = torch.stack(rows)
    return taps


def by_modules(given: dict[str, Tensor], case: Case) -> Tensor:
    """nn.Conv2d and nn.BatchNorm2d with the weights of one network."""
    m, k = case.channels, case.kernel
    convolution = nn.Conv2d(m, m, k, case.stride, k // 2, groups=m, bias=False, dtype=torch.float64)
    norm = nn.BatchNorm2d(m, dtype=torch.float64).train(not case.given)
    with torch.no_grad():
        convolution.weight.copy_(taps_by_hand(given, k)[:m, None])
        norm.weight.copy_(given["scale"][:m])
        norm.bias.copy_(given["shift"][:m])
        norm.running_mean.copy_(given["mean"][:m])  # type: ignore[union-attr]
        norm.running_var.copy_(given["variance"][:m])  # type: ignore[union-attr]
    return FUNCTIONS[case.activation](norm(convolution(given["x"]))).detach()


def block(given: dict[str, Tensor], case: Case, **options: Any) -> Tensor:
    statistics = (given["mean"], given["variance"]) if case.given else None
    x, weight, to5, to3, scale, shift = (given[name] for name in LEAVES)
    return elastic_depthwise(
        x, weight, to5, to3, case.kernel, case.stride, scale, shift, case.activation, 1e-5, statistics, **options
    )


def norm(given: dict[str, Tensor], case: Case, **options: Any) -> Tensor:
    statistics = (given["mean"], given["variance"]) if case.given else None
    return norm_activation(given["x"], given["scale"], given["shift"], case.activation, 1e-5, statistics, **options)


def results(
    op: Callable[..., Tensor], given: dict[str, Tensor], case: Case, dy: Tensor, names: tuple[str, ...], **options: Any
) -> dict[str, Tensor]:
    """The result, what was observed, and all gradients."""
    leaves = {name: given[name].detach().requires_grad_() for name in names}
    seen: list[Tensor] = []
    if "residual" in leaves:
        options["residual"] = leaves["residual"]
    y = op({**given, **leaves}, case, observe=lambda *found: seen.extend(found), **options)
    found = torch.autograd.grad(y, list(leaves.values()), dy, allow_unused=True)
    gradients = {name: torch.zeros(1) if g is None else g for name, g in zip(leaves, found, strict=True)}
    return {"y": y.detach(), "mean": seen[0], "var": seen[1], **gradients}


# ---- the references ----


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_reference_is_what_torch_s_modules_compute(case: Case) -> None:
    given = tensors(case)
    with implementations.using("reference"):
        found = block(given, case)
    torch.testing.assert_close(found, by_modules(given, case), atol=1e-10, rtol=1e-10)


def test_what_is_observed_are_the_statistics_of_the_convolution() -> None:
    case = CASES[1]
    given, seen = tensors(case), list[Tensor]()
    block(given, case, observe=lambda *found: seen.extend(found))
    taps = taps_by_hand(given, case.kernel)[: case.channels, None]
    z = F.conv2d(given["x"], taps, padding=2, groups=case.channels)
    torch.testing.assert_close(seen, [z.mean((0, 2, 3)), z.var((0, 2, 3), correction=0)], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_gradients_reach_the_matrices_and_the_first_channels(kernel: int) -> None:
    case = Case(2, 3, 3, 4, kernel, 1, "hswish")
    given = tensors(case)
    leaves = [given[name][:4].requires_grad_() if name == "weight" else given[name].requires_grad_() for name in LEAVES]

    def op(*leaves: Tensor) -> Tensor:
        return block({**given, **dict(zip(LEAVES, leaves, strict=True))}, case)

    with implementations.using("reference"):
        assert torch.autograd.gradcheck(op, leaves, fast_mode=True)
        gradient = torch.autograd.grad(op(*leaves), leaves[1], given["dy"])[0]
    assert gradient[:3].any() and not gradient[3:].any()


def test_a_residual_is_added() -> None:
    case = CASES[0]
    given = tensors(case)
    residual = given["x"].flip(0)
    torch.testing.assert_close(norm(given, case, residual=residual), norm(given, case) + residual)


# ---- bad input ----


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": torch.ones(3, 11)}, r"x must have shape \[B, C, H, W\]"),
        ({"weight": torch.ones(30, 1, 4, 4)}, r"weight must have shape \[M, 1, K, K\] with K = 3, 5 or 7, not"),
        ({"weight": torch.ones(3, 1, 7, 7)}, "weight must have at least the 19 channels of x"),
        ({"scale": torch.ones(30)}, "scale is torch.float32, but x is torch.float64"),
        ({"to5": torch.ones(9, 9)}, r"to5 must have shape \[25, 25\], not \[9, 9\]"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Tensor], text: str) -> None:
    given = tensors(CASES[1])
    given.update({name: t if "float32" in text else t.double() for name, t in change.items()})
    with pytest.raises(InputError, match=text):
        block(given, CASES[1])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kernel": 9}, "kernel must be 3, 5, 7, not 9"),
        ({"stride": 3}, "stride must be 1 or 2, not 3"),
        ({"activation": "gelu"}, "activation must be relu, hswish or None, not 'gelu'"),
    ],
)
def test_options_that_do_not_exist_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        block(tensors(CASES[1]), CASES[1]._replace(**change))


def test_statistics_of_one_number_are_refused() -> None:
    case = Case(1, 3, 1, 1, 3, 1)
    with pytest.raises(InputError, match="statistics of a batch need two numbers per channel"):
        block(tensors(case), case)


def test_a_kernel_must_be_there() -> None:
    with pytest.raises(InputError, match="kernel must be 3, 5, not 7"):
        kernel_taps(torch.ones(2, 1, 5, 5), None, None, 7)
