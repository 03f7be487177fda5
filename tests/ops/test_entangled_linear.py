"""entangled_linear: every implementation against a loop over devices with slices, in float64."""

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
from modnas_fast.supernets.entangled_linear import Work, entangled_linear, needed_work

module = import_module("modnas_fast.supernets.entangled_linear")  # the package has a function of this name
T, R, K, N = 3, 11, 21, 18  # with tiles of 16 under the interpreter: two of inputs and of outputs
MORE_ROWS = 19  # two tiles, and two slots that sums over rows are divided among
NAMES = ("y", "x", "weight", "bias", "inputs", "outputs")


class Served(NamedTuple):
    """By which implementation, with tensors on which device."""

    name: str
    device: str


SERVED = {
    "reference": Served("reference", "cpu"),
    "composed": Served("composed", "cpu"),
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
            pytest.skip("test_entangled_linear_triton.py runs this under TRITON_INTERPRET=1")
        prepare_interpreter(monkeypatch)
    elif found.device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    elif found.name not in implementations.available("entangled_linear", found.device):
        pytest.skip(implementations.chosen("entangled_linear", found.device).reason)
    ran: set[str] = set()

    def watched(name: str, load: Callable[[str], Any] = module._module) -> Any:
        ran.add(name)
        return load(name)

    monkeypatch.setattr(module, "_module", watched)
    with implementations.using(found.name):
        yield found
    assert ran == {found.name} - {"reference"}


def prepare_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serves the CPU by Triton's interpreter: with small tiles, memory that is not 0 by chance, and bfloat16."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    from modnas_fast.kernels import entangled_linear as kernels

    usable = implementations.Availability(True, "interpreted")
    monkeypatch.setitem(implementations._FAST["entangled_linear"], "cpu", [("triton", lambda: usable)])
    small = kernels.Tiles(16, 16, 16, 4, 3)
    for key in kernels.PRODUCT:
        monkeypatch.setitem(kernels.PRODUCT, key, (small,))
    for key in kernels.WEIGHT:
        monkeypatch.setitem(kernels.WEIGHT, key, small)

    def poisoned(*arguments: Any, empty: Any = torch.empty, **options: Any) -> Tensor:
        return empty(*arguments, **options).fill_(float("nan"))

    def dot(builder: Any, a: Any, b: Any, *rest: Any, plain: Any = InterpreterBuilder.create_dot) -> Any:
        if a.dtype == tl.bfloat16:  # which the interpreter keeps as integers, and multiplies as such
            a, b = builder.create_fp_ext(a, tl.float32), builder.create_fp_ext(b, tl.float32)
        return plain(builder, a, b, *rest)

    monkeypatch.setattr(torch, "empty", poisoned)
    monkeypatch.setattr(InterpreterBuilder, "create_dot", dot)


class Case(NamedTuple):
    """One layer for T devices, and what its outputs are multiplied with."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    inputs: Tensor | None
    outputs: Tensor | None
    dy: Tensor

    def to(self, dtype: torch.dtype, device: str = "cpu") -> Case:
        """In another format; widths stay."""
        return Case(*(
            None if t is None else t.to(device, dtype if t.is_floating_point() else t.dtype) for t in self
        ))  # fmt: skip


def part_of(form: str, widths: list[int], size: int, generator: torch.Generator) -> Tensor | None:
    """None, widths, or a mask of those widths with a hole and negative numbers."""
    if form == "all":
        return None
    prefix = torch.tensor(widths)
    if form == "widths":
        return prefix
    mask = torch.randn(len(widths), size, generator=generator, dtype=torch.float64)
    mask[0, 2:4] = 0
    return mask * (torch.arange(size) < prefix[:, None])


def made(shared: bool, inputs: str, outputs: str, bias: bool = True, rows: int = R) -> Case:
    generator = torch.Generator().manual_seed(0)
    shapes = ((1 if shared else T, rows, K), (N, K), (N,), (T, rows, N))
    x, weight, b, dy = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    used_in = part_of(inputs, [K, 0, 17], K, generator)
    used_out = part_of(outputs, [5, N, 16], N, generator)
    return Case(x, weight, b if bias else None, used_in, used_out, dy)


def run(case: Case, layer: Callable[..., Tensor] = entangled_linear) -> dict[str, Tensor]:
    """The outputs, and the gradients of all that has one."""
    leaves = [None if t is None else t.clone().requires_grad_(t.is_floating_point()) for t in case[:5]]
    y = layer(*leaves[:3], inputs=leaves[3], outputs=leaves[4])
    y.backward(case.dy)
    found = dict(zip(NAMES, (y.detach(), *(None if t is None else t.grad for t in leaves)), strict=True))
    return {name: value for name, value in found.items() if value is not None}


def slices(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Any, outputs: Any) -> Tensor:
    """The truth: device by device, slices for widths, products for masks."""
    count = max(len(x), *(len(part) for part in (inputs, outputs) if part is not None), 1)
    size_out, size_in = weight.shape
    ys = []
    for t in range(count):
        own, k, n = x[t % len(x)], size_in, size_out
        if inputs is not None and inputs.is_floating_point():
            own = own * inputs[t]
        elif inputs is not None:
            k = int(inputs[t])
        if outputs is not None and not outputs.is_floating_point():
            n = int(outputs[t])
        y = F.pad(F.linear(own[:, :k], weight[:n, :k], None if bias is None else bias[:n]), (0, size_out - n))
        ys.append(y * outputs[t] if outputs is not None and outputs.is_floating_point() else y)
    return torch.stack(ys)


def largest_error(found: Tensor, true: Tensor) -> float:
    """Relative to the largest number."""
    assert found.shape == true.shape and found.isfinite().all()
    return float((found.cpu().double() - true).abs().max() / true.abs().max().clamp_min(1e-30))


CASES = [
    (False, "all", "all", True),
    (False, "widths", "widths", True),
    (False, "mask", "mask", True),
    (False, "widths", "mask", False),
    (True, "widths", "widths", False),
    (True, "mask", "widths", True),
    (True, "all", "mask", True),
]


@pytest.mark.parametrize(("shared", "inputs", "outputs", "bias"), CASES, ids=str)
def test_it_is_the_sliced_layer_of_each_device(
    served: Served, shared: bool, inputs: str, outputs: str, bias: bool
) -> None:
    case = made(shared, inputs, outputs, bias)
    true = run(case, slices)
    interpreted = served == SERVED["interpreted"]  # which is slow
    for dtype in (torch.float32,) if interpreted else (torch.float64, torch.float32):
        found = run(case.to(dtype, served.device))
        assert found.keys() == true.keys()
        for name, value in found.items():
            assert value.dtype == dtype
            assert largest_error(value, true[name]) < 40 * torch.finfo(dtype).eps, name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_errors_are_those_of_the_format(served: Served, dtype: torch.dtype) -> None:
    """Twice the reference's own, plus one unit of the last place."""
    case = made(False, "mask", "mask", rows=MORE_ROWS).to(dtype)
    wide = case.to(torch.float64)
    case = case._replace(inputs=wide.inputs.float(), outputs=wide.outputs.float())
    wide = wide._replace(inputs=case.inputs.double(), outputs=case.outputs.double())
    true, found = run(wide, slices), run(Case(*(t.to(served.device) for t in case)))
    with implementations.using("reference"):
        reference = run(case)
    for name, value in found.items():
        own = largest_error(reference[name], true[name])
        assert largest_error(value, true[name]) <= 2 * own + 2 * torch.finfo(value.dtype).eps, name


@pytest.mark.parametrize(("shared", "form"), [(False, "widths"), (True, "widths"), (False, "mask")], ids=str)
def test_what_no_device_uses_reaches_nothing(served: Served, shared: bool, form: str) -> None:
    generator = torch.Generator().manual_seed(1)
    case = made(shared, "all", "all").to(torch.float32)
    inputs, outputs = (part_of(form, w, s, generator) for w, s in (([17, 3, 0], K), ([2, 16, 9], N)))
    if form == "mask":
        inputs[:, 2] = 0
        inputs, outputs = inputs.float(), outputs.float()
    case = case._replace(inputs=inputs, outputs=outputs)
    in_mask = torch.arange(K) < inputs[:, None] if form == "widths" else inputs != 0
    out_mask = torch.arange(N) < outputs[:, None] if form == "widths" else outputs != 0
    used_x = in_mask.any(0)[None, None] if shared else in_mask[:, None]
    used_weight = (out_mask[:, :, None] & in_mask[:, None]).any(0)

    def filled(bad: float, worse: float) -> dict[str, Tensor]:
        columns = torch.tensor([bad, worse]).repeat(K)
        full = case._replace(
            x=torch.where(used_x, case.x, columns[:K]),
            weight=torch.where(used_weight, case.weight, columns[:K]),
            bias=torch.where(out_mask.any(0), case.bias, columns[:N]),
            dy=torch.where(out_mask[:, None], case.dy, columns[:N]),
        )
        return run(Case(*(t.to(served.device) for t in full)))

    zeros, found = filled(0.0, 0.0), filled(float("nan"), float("inf"))
    assert (zeros["y"].cpu()[~out_mask[:, None].expand(T, R, N)] == 0).all()
    for name, value in found.items():
        assert torch.equal(value, zeros[name]), name


def test_nan_reaches_only_devices_that_use_it(served: Served) -> None:
    weight = torch.ones(N, K)
    weight[4, 18], weight[17, 3] = float("nan"), float("inf")
    x = torch.ones(T, R, K)
    x[1, :, 20] = float("nan")
    used = torch.tensor([K, 17, 18]), torch.tensor([5, 9, N])
    mask = (torch.arange(K) < used[0][:, None]).float()
    for inputs in (used[0], mask):
        y = entangled_linear(
            x.to(served.device),
            weight.to(served.device),
            inputs=inputs.to(served.device),
            outputs=used[1].to(served.device),
        ).cpu()
        assert y[0, :, 4].isnan().all() and y[2, :, 17].isinf().all()
        y[0, :, 4] = y[2, :, 17] = 0
        assert y.isfinite().all() and y[1, 0].tolist() == [17.0] * 9 + [0.0] * (N - 9)


def test_a_mask_of_zero_gets_its_true_gradient(served: Served) -> None:
    """As a straight-through sample needs it to compare widths that it did not choose."""
    numbers = ([[[2.0, 3.0]]], [[5.0, 7.0]], [[1.0, 0.0]], [[1.0]])
    x, weight, inputs, outputs = (torch.tensor(n, device=served.device).requires_grad_() for n in numbers)
    entangled_linear(x, weight, inputs=inputs, outputs=outputs).sum().backward()
    assert inputs.grad.tolist() == [[10.0, 21.0]] and outputs.grad.tolist() == [[10.0]]
    assert x.grad.tolist() == [[[5.0, 0.0]]] and weight.grad.tolist() == [[2.0, 0.0]]


def test_layouts_and_further_axes(served: Served) -> None:
    device = served.device
    x = torch.randn(5, 2 * T, 2, 2 * K, device=device)[..., ::2].transpose(0, 1)[::2]  # [T, 5, 2, K]
    weight = torch.randn(K, N, device=device).T
    inputs = torch.tensor([[4, 0], [7, 9], [K, 0]], device=device)[:, 0]
    outputs = torch.ones(T, 2 * N, device=device)[:, ::2]
    y = entangled_linear(x, weight, inputs=inputs.int(), outputs=outputs)
    same = entangled_linear(x.reshape(T, 10, K).contiguous(), weight.contiguous(), inputs=inputs)
    assert y.shape == (T, 5, 2, N)
    torch.testing.assert_close(y.reshape(T, 10, N), same, rtol=0, atol=1e-6 * K)  # BLAS sums in the order of a layout
    leaf = weight.detach().clone().requires_grad_()
    entangled_linear(x, leaf, inputs=inputs).sum().backward()  # an expanded gradient
    true = torch.stack([x[t].flatten(0, 1).sum(0) * (torch.arange(K, device=device) < inputs[t]) for t in range(T)])
    torch.testing.assert_close(leaf.grad, true.sum(0).expand(N, K), rtol=1e-5, atol=1e-4)


def test_one_device_and_no_rows(served: Served) -> None:
    x, weight = torch.randn(1, 2, K, device=served.device), torch.randn(N, K, device=served.device)
    found = entangled_linear(x, weight, inputs=torch.tensor([4], device=served.device))
    torch.testing.assert_close(found[0], x[0, :, :4] @ weight[:, :4].T)
    leaf = weight.clone().requires_grad_()
    y = entangled_linear(x[:, :0], leaf, inputs=torch.tensor([4, 0], device=served.device))
    y.sum().backward()
    assert y.shape == (2, 0, N) and (leaf.grad == 0).all()


def test_equal_inputs_give_equal_bits_and_stay_as_they_are(served: Served) -> None:
    case = made(False, "mask", "widths", rows=MORE_ROWS).to(torch.float32, served.device)
    copies = Case(*(t.clone() for t in case))
    once, again = run(case), run(case)
    for name, value in once.items():
        assert torch.equal(value, again[name]), name
    assert all(map(torch.equal, case, copies))


@pytest.mark.parametrize("name", ["reference", "composed"])
@pytest.mark.parametrize(("shared", "inputs", "outputs", "bias"), CASES, ids=str)
def test_gradients_are_those_of_finite_differences(
    name: str, shared: bool, inputs: str, outputs: str, bias: bool
) -> None:
    """Also where a mask is 0."""
    case = made(shared, inputs, outputs, bias)
    case = case._replace(x=case.x[:, :2])
    leaves = [None if t is None else t.requires_grad_(t.is_floating_point()) for t in case[:5]]
    with implementations.using(name):
        assert torch.autograd.gradcheck(
            lambda x, w, b, i, o: entangled_linear(x, w, b, inputs=i, outputs=o), leaves, fast_mode=True
        )


def test_it_follows_autocast_as_a_linear_layer_does() -> None:
    x, weight, bias = torch.randn(2, 3, 4), torch.randn(5, 4), torch.randn(5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = entangled_linear(x, weight, bias)
        assert y.dtype == F.linear(x, weight, bias).dtype == torch.bfloat16
        assert entangled_linear(x.double(), weight.double()).dtype == torch.float64


def test_it_can_be_transformed_and_traced() -> None:
    case = made(False, "mask", "widths")
    expected = run(case)
    arguments = (case.x, case.weight, case.bias, case.inputs)

    def loss(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        return (entangled_linear(x, weight, bias, inputs=mask, outputs=case.outputs) * case.dy).sum()

    found = torch.func.grad(loss, argnums=(0, 1, 2, 3))(*arguments)
    for name, value in zip(("x", "weight", "bias", "inputs"), found, strict=True):
        torch.testing.assert_close(value, expected[name])
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*arguments), loss(*arguments))


def test_library_products_serve_the_cpu() -> None:
    if os.environ.get("MODNAS_FAST_IMPL"):
        pytest.skip("MODNAS_FAST_IMPL is set")
    assert implementations.chosen("entangled_linear", "cpu").name == "composed"


def test_a_shared_input_is_multiplied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many devices: a range of inputs meets the outputs of the tallest device that uses it, once."""
    from modnas_fast.supernets import entangled_linear_composed as composed

    flops = []

    def counted(total: Tensor, left: Tensor, right: Tensor, add: Any = composed._add_product) -> None:
        flops.append(left.shape[0] * left.shape[1] * right.shape[1])
        add(total, left, right)

    monkeypatch.setattr(composed, "_add_product", counted)
    case = made(True, "all", "all")._replace(inputs=torch.tensor([K, 3, K]), outputs=torch.tensor([4, N, 6]))
    leaves = [t.requires_grad_() for t in case[:3]]
    with implementations.using("composed"):
        y = entangled_linear(*leaves, inputs=case.inputs, outputs=case.outputs)
        once = R * (3 * N + (K - 3) * 6)
        assert sum(flops) == once
        y.backward(case.dy)
    assert sum(flops) == 3 * once


def test_needed_work_counts_what_devices_use() -> None:
    forward, backward = needed_work(10, [2, 4], [3, 1], element_size=4)
    assert forward == Work(2 * 10 * (6 + 4), 4 * (10 * 6 + 10 * 4 + 8))
    assert backward == Work(2 * forward.flops, 4 * (2 * 60 + 40 + 2 * 8))
    assert needed_work(10, [2, 4], [3, 1], 2, shared=True)[0].bytes == 2 * (10 * 4 + 10 * 4 + 8)
    assert needed_work(1, [4, 4, 2, 0], [1, 3, 5, 9], 1)[0].bytes == (10 + 18) + 2 * 5 + 2 * 3


ONE = torch.ones(2, 3, 4), torch.ones(5, 4)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((3, ONE[1]), {}, TypeError, "x must be a torch.Tensor, not int"),
        ((ONE[0].int(), ONE[1]), {}, TypeError, "x must be float64.*not torch.int32"),
        ((ONE[0], ONE[1].double()), {}, TypeError, "weight is torch.float64, but x is torch.float32"),
        ((ONE[0], ONE[1].to("meta")), {}, InputError, "weight is on meta"),
        ((ONE[0], ONE[1][0]), {}, InputError, r"weight must have shape \[N, K\].*not \[4\]"),
        ((ONE[0], ONE[1][:0]), {}, InputError, r"N and K at least 1, not \[0, 4\]"),
        ((ONE[0][0], ONE[1]), {}, InputError, r"x must have shape \[S, ..., 4\].*not \[3, 4\]"),
        ((ONE[0][..., :2], ONE[1]), {}, InputError, r"x must have shape \[S, ..., 4\]"),
        ((ONE[0][:0], ONE[1]), {}, InputError, "x must be of at least one device"),
        ((*ONE, torch.ones(4)), {}, InputError, r"bias must have shape \[5\]"),
        (ONE, {"inputs": [1, 2]}, TypeError, "inputs must be None or a torch.Tensor, not list"),
        (ONE, {"inputs": torch.tensor(3)}, InputError, "inputs must have a leading axis"),
        (ONE, {"inputs": torch.tensor([1, 2, 3])}, InputError, "inputs is of 3 devices, but x of 2"),
        (
            (ONE[0][:1], ONE[1]),
            {"inputs": torch.tensor([1]), "outputs": torch.tensor([1, 2, 3])},
            InputError,
            "outputs is of 3 devices, but inputs of 1",
        ),
        (ONE, {"outputs": torch.ones(2, 4)}, InputError, r"outputs: a mask must have shape \[2, 5\], not \[2, 4\]"),
        (ONE, {"outputs": torch.ones(2, 5).bool()}, TypeError, "outputs must be widths .*not torch.bool"),
        (ONE, {"inputs": torch.ones(2, 4).int()}, InputError, r"inputs: widths must have shape \[2\]"),
        (ONE, {"inputs": torch.tensor([1, 5])}, InputError, r"width of device 1 must be in 0..4, not 5"),
        (ONE, {"outputs": torch.tensor([-1, 5])}, InputError, r"width of device 0 must be in 0..5, not -1"),
        (ONE, {"inputs": torch.tensor([1, 2], device="meta")}, InputError, "inputs is on meta"),
    ],
)
def test_bad_input_is_named(arguments: Any, options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as raised:
        entangled_linear(*arguments, **options)
    assert str(raised.value).count("\n") <= 1


def test_nothing_waits_for_the_gpu() -> None:
    choice = implementations.chosen("entangled_linear", "cuda")
    if choice.name != "triton":
        pytest.skip(choice.reason)
    for inputs, outputs in (("all", "all"), ("widths", "widths"), ("mask", "mask")):
        case = made(False, inputs, outputs).to(torch.float32, "cuda")
        run(case)  # the first launch loads the kernels
        torch.cuda.set_sync_debug_mode("error")
        try:
            run(case)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_real_tiles_on_cuda() -> None:
    """Sizes of a transformer's layers, so that tiles are those of the table, large and small."""
    choice = implementations.chosen("entangled_linear", "cuda")
    if choice.name != "triton":
        pytest.skip(choice.reason)
    generator = torch.Generator("cuda").manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for count, rows in ((1, 100), (13, 1000)):
            shapes = ((count, rows, 640), (392, 640), (392,), (count, rows, 392))
            x, weight, bias, dy = (torch.randn(s, generator=generator, device="cuda").to(dtype) for s in shapes)
            widths = [torch.randint(0, s + 1, (count,), generator=generator, device="cuda") for s in (640, 392)]
            true = run(Case(x, weight, bias, *widths, dy).to(torch.float64, "cuda"), slices)
            with implementations.using("reference"):
                own = run(Case(x, weight, bias, *widths, dy))
            for name, value in run(Case(x, weight, bias, *widths, dy)).items():
                limit = 2 * largest_error(own[name], true[name].cpu()) + 2 * torch.finfo(dtype).eps
                assert largest_error(value, true[name].cpu()) <= limit, name
