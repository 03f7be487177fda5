"""elastic_depthwise and norm_activation: the references against torch's modules, all implementations against them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
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
WIDEST = 40  # channels of the shared weights


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

    def __str__(self) -> str:
        return "-".join(map(str, self))


CASES = [
    Case(2, 5, 4, 6, 3, 1, "relu"),
    Case(3, 19, 7, 5, 5, 1),
    Case(2, 8, 9, 8, 7, 2),
    Case(2, 17, 5, 7, 3, 2, None),
    Case(4, 16, 3, 3, 7, 1),
    Case(1, 9, 1, 3, 5, 2, "relu", True),
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
    gradients = {
        name: torch.zeros_like(leaves[name]) if g is None else g for name, g in zip(leaves, found, strict=True)
    }
    return {"y": y.detach(), "mean": seen[0], "var": seen[1], **gradients}


class Served(NamedTuple):
    """By which implementation, with tensors on which device."""

    name: str
    device: str


SERVED = {
    "reference": Served("reference", "cpu"),
    "c++": Served("c++", "cpu"),
    "triton": Served("triton", "cuda"),
}


@pytest.fixture(params=list(SERVED))
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Runs a test once per implementation; afterwards its module must have run, and no other."""
    found = SERVED[request.param]
    if found.device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    elif found.name not in implementations.available("elastic_depthwise", found.device):
        pytest.skip(implementations.chosen("elastic_depthwise", found.device).reason)
    ran: set[str] = set()

    def watched(name: str, load: Callable[[str], Any] = module.load) -> Any:
        ran.add(name)
        return load(name)

    for user in (module, import_module("modnas_fast.supernets.elastic_depthwise")):
        monkeypatch.setattr(user, "load", watched)
    with implementations.using(found.name):
        yield found
    assert ran == {found.name} - {"reference"}


# ---- all implementations ----


def compare(op: Callable[..., Tensor], case: Case, dtype: torch.dtype, device: str, names: tuple[str, ...]) -> None:
    """In float64 by 1e-10; else off by at most twice what the reference is, and a floor."""
    exact = tensors(case)
    if op is norm:
        exact["dy"] = exact["x"].flip(0) * 0.7
        exact["residual"] = exact["x"].flip(1)
    given = {name: tensor.to(device, dtype) for name, tensor in exact.items()}
    before = {name: tensor.clone() for name, tensor in given.items()}
    found = results(op, given, case, given["dy"], names)
    with implementations.using("reference"):
        wanted = results(op, {name: t.double() for name, t in given.items()}, case, given["dy"].double(), names)
        plain = results(op, given, case, given["dy"], names)
    for name, true in wanted.items():
        ours = found[name]
        assert ours.dtype == dtype and ours.shape == true.shape, name
        error, usual = (float((part.double() - true).abs().max()) for part in (ours, plain[name]))
        floor = 16 * torch.finfo(dtype).eps * float(true.abs().max() + 1)
        assert error <= (1e-10 if dtype == torch.float64 else 2 * usual + floor), f"{name}: {error} beside {usual}"
    for name, tensor in before.items():
        assert torch.equal(tensor, given[name]), f"{name} was changed"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_implementation_computes_the_block(served: Served, case: Case, dtype: torch.dtype) -> None:
    compare(block, case, dtype, served.device, LEAVES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES[:-2], ids=str)
def test_every_implementation_computes_the_norm(served: Served, case: Case, dtype: torch.dtype) -> None:
    compare(norm, case, dtype, served.device, ("x", "scale", "shift", "residual"))


def test_numbers_far_from_zero_keep_their_variance(served: Served) -> None:
    case = Case(4, 16, 9, 9, 3, 1, None)
    given = tensors(case, torch.float32, served.device)
    given["x"] += 1000
    seen: list[Tensor] = []
    norm(given, case, observe=lambda *found: seen.extend(found))
    torch.testing.assert_close(seen[1], given["x"].double().var((0, 2, 3), correction=0).float(), rtol=1e-4, atol=0)


def test_planes_of_other_strides_are_taken(served: Served) -> None:
    case = CASES[0]
    given = tensors(case, device=served.device)
    plain = block(given, case)
    given["x"] = given["x"].contiguous()
    torch.testing.assert_close(block(given, case), plain, atol=1e-12, rtol=1e-12)


def test_frozen_parts_need_no_gradient(served: Served) -> None:
    case = CASES[2]
    given = tensors(case, device=served.device)
    for names in (("x",), ("weight", "to5"), ("scale",)):
        found = results(block, given, case, given["dy"], names)
        with implementations.using("reference"):
            wanted = results(block, given, case, given["dy"], names)
        for name in names:
            torch.testing.assert_close(found[name], wanted[name], atol=1e-10, rtol=1e-10)


@pytest.mark.skipif("c++" not in implementations.available("elastic_depthwise", "cpu"), reason="no compiled core")
def test_threads_do_not_change_the_bits() -> None:
    case = Case(9, 40, 24, 24, 7, 2)  # 7: without the matrices, whose products are those of a library
    given, before = tensors(case, torch.float32), torch.get_num_threads()
    found = []
    with implementations.using("c++"):
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(results(block, given, case, given["dy"], LEAVES))
    torch.set_num_threads(before)
    for name, one in found[0].items():
        assert all(torch.equal(one, other[name]) for other in found[1:]), name


# ---- the kernels for GPUs, interpreted ----


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serves the CPU by Triton's interpreter, by small tiles, with memory that is not 0 by chance."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("test_elastic_depthwise_triton.py runs this under TRITON_INTERPRET=1")
    from modnas_fast.kernels import elastic_depthwise as kernels

    for name, value in (("_PIXELS", 32), ("_CHANNELS", 8), ("_SLOTS", 3)):
        monkeypatch.setattr(kernels, name, value)
    usable = implementations.Availability(True, "interpreted")
    for op in ("elastic_depthwise", "norm_activation"):
        monkeypatch.setitem(implementations._FAST[op], "cpu", [("triton", lambda: usable)])

    def poisoned(empty: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *arguments, **options: empty(*arguments, **options).fill_(float("nan"))

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, poisoned(getattr(torch, name)))
    with implementations.using("triton"):
        yield


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        (CASES[0], torch.float32),
        (CASES[3], torch.float64),
        (Case(2, 9, 6, 9, 5, 1), torch.float64),
        (Case(2, 3, 5, 6, 7, 2), torch.float64),
        (Case(1, 5, 3, 4, 5, 2, "relu", True), torch.float64),
    ],
    ids=str,
)
def test_interpreted_kernels_compute_the_block(interpreted: None, case: Case, dtype: torch.dtype) -> None:
    compare(block, case, dtype, "cpu", LEAVES)


@pytest.mark.parametrize("case", [Case(3, 9, 7, 8, 3, 1), CASES[3], CASES[6]], ids=str)
def test_interpreted_kernels_compute_the_norm(interpreted: None, case: Case) -> None:
    compare(norm, case, torch.float64, "cpu", ("x", "scale", "shift", "residual"))


def test_interpreted_kernels_leave_out_what_is_frozen(interpreted: None) -> None:
    case = Case(2, 3, 3, 4, 3, 1)
    for names in (("x",), ("weight",), ("scale",)):
        compare(block, case, torch.float64, "cpu", names)


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
        ({"weight": torch.ones(50, 1, 4, 4)}, r"weight must have shape \[M, 1, K, K\] with K = 3, 5 or 7, not"),
        ({"weight": torch.ones(3, 1, 7, 7)}, "weight must have at least the 19 channels of x"),
        ({"scale": torch.ones(50)}, "scale is torch.float32, but x is torch.float64"),
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
