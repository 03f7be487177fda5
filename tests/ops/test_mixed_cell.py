"""mixed_cell: the reference against loops over devices and edges, its gradients, and what inputs it refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from mixed_cells import FLOATS, SELECTIONS, Inputs, gradients, make, truth
from torch import Tensor

from modnas_fast.runtime import implementations
from modnas_fast.spaces.nb201.mixed_cell import mixed_cell
from modnas_fast.spaces.nb201.mixed_cell_bytes import bytes_moved


@pytest.fixture(params=["reference", "composed"], autouse=True)
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    with implementations.using(request.param):
        yield request.param


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize(("devices", "shared"), [(1, False), (3, False), (3, True)])
def test_outputs_and_gradients_are_those_of_the_loops(selection: str, devices: int, shared: bool) -> None:
    inputs = make(devices=devices, selection=selection, shared=shared, seed=devices)
    expected = gradients(truth, inputs)
    for recompute in (False, True):
        found = gradients(mixed_cell, inputs, recompute=recompute)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], atol=1e-10, rtol=1e-10)


def test_one_image_whose_memory_layout_is_ambiguous() -> None:
    """The library's batch_norm went wrong here."""
    inputs = make((1, 16, 3, 2), devices=1, selection="mixture")
    expected, found = gradients(truth, inputs), gradients(mixed_cell, inputs)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_gradients_are_those_of_differences(selection: str, implementation: str) -> None:
    if implementation != "reference" and selection != "mixture":
        pytest.skip("what is not active is taken as 0 here, not as its sample")
    inputs = make((2, 1, 3, 2), selection=selection, shared=True, seed=3).requiring(*FLOATS)
    if selection != "none":
        assert torch.autograd.gradcheck(lambda *floats: mixed_cell(*floats, inputs.active), inputs[:4], atol=1e-6)


def path(operations: str) -> Tensor:
    """The hard sample [1, 6, 5] of one operation per edge, by its index."""
    return torch.nn.functional.one_hot(torch.tensor([list(map(int, operations))]), 5).double()


def test_hand_values_of_the_average_and_the_identity() -> None:
    x = torch.arange(6.0, dtype=torch.float64).view(1, 1, 1, 2, 3)
    kernels = torch.ones(6, 1, 1, dtype=torch.float64), torch.ones(6, 1, 1, 3, 3, dtype=torch.float64)
    pooled = mixed_cell(x, *kernels, path("000400"), path("000400") > 0)
    assert pooled.flatten().tolist() == [2.0, 2.5, 3.0, 2.0, 2.5, 3.0]
    twice = mixed_cell(x, *kernels, path("101101"), path("101101") > 0)  # 0→1→2→3 with 1→2, and 0→3
    assert torch.equal(twice, 2 * x)


def test_a_convolution_is_normalised_per_device_and_blind_to_scale() -> None:
    inputs = make((4, 3, 5, 5), devices=2, seed=5)
    x = torch.cat([inputs.x[:1], 1000 * inputs.x[:1]])
    sample = path("000300").expand(2, -1, -1)
    out = mixed_cell(x, inputs.kernels_1x1, inputs.kernels_3x3, sample, sample > 0)
    torch.testing.assert_close(out.mean((1, 3, 4)), torch.zeros(2, 3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(out[0], out[1], atol=1e-4, rtol=1e-4)


def test_the_sample_of_what_is_not_computed_gets_the_sum_of_the_gradient() -> None:
    inputs = make(devices=3, selection="path", seed=7)
    found = gradients(mixed_cell, inputs)
    out = mixed_cell(*inputs)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16().double()
    into_output = found["sample"][:, 3:][~inputs.active[:, 3:]]
    expected = cotangent.sum((1, 2, 3, 4))[:, None, None].expand(-1, 3, 5)[~inputs.active[:, 3:]]
    torch.testing.assert_close(into_output, expected)


def test_nodes_that_lead_nowhere_have_no_gradient() -> None:
    inputs = make(devices=1, seed=9)._replace(sample=path("320300"), active=path("320300") > 0)
    found = gradients(mixed_cell, inputs)
    assert found["kernels_3x3"][3].abs().sum() > 0
    assert not found["kernels_3x3"][0].any() and not found["kernels_1x1"][1].any()
    assert not found["sample"][0, :3].any()


def test_all_devices_choosing_none_give_zeros() -> None:
    out = mixed_cell(*make(devices=3, selection="none"))
    assert out.shape == (3, 2, 3, 4, 5) and not out.any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_dtypes_layout_and_unchanged_inputs(dtype: torch.dtype) -> None:
    inputs = make(devices=2, selection="some")
    mixed = Inputs(inputs.x.to(dtype), *inputs[1:4], inputs.active).requiring(*FLOATS)
    before = [tensor.detach().clone() for tensor in mixed]
    for x in (mixed.x, mixed.x.contiguous()):
        out = mixed_cell(x, *mixed[1:])
        assert out.dtype == dtype and out.movedim(2, -1).is_contiguous()
        grads = torch.autograd.grad(out.float().square().sum(), mixed[:4])
        assert [g.dtype for g in grads] == [dtype] + [torch.float64] * 3
    assert all(map(torch.equal, before, mixed))


def test_not_a_number_reaches_only_its_own_device() -> None:
    inputs = make(devices=2, selection="mixture")
    inputs.x[1, 0, 0, 0, 0] = torch.nan
    out = mixed_cell(*inputs)
    assert out[0].isfinite().all() and out[1].isnan().any()


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"x": torch.zeros(2, 2, 3, 4, 5, dtype=torch.int64)}, TypeError, "x must be float64, float32, float16 or"),
        ({"sample": torch.zeros(2, 6, 5, dtype=torch.int64)}, TypeError, "sample must be of a floating-point format"),
        ({"active": torch.zeros(2, 6, 5)}, TypeError, "active must be bool, not torch.float32"),
        ({"x": torch.zeros(2, 3, 4, 5)}, ValueError, r"x must be \[S, B, C, H, W\] and sample"),
        ({"sample": torch.zeros(2, 6, 4)}, ValueError, r"sample must be \[2, 6, 5\] beside x"),
        ({"active": torch.zeros(1, 6, 5, dtype=torch.bool)}, ValueError, r"active must be \[2, 6, 5\]"),
        ({"kernels_1x1": torch.zeros(6, 3, 4)}, ValueError, r"kernels_1x1 must be \[6, 3, 3\]"),
        ({"kernels_3x3": torch.zeros(6, 3, 3, 1, 1)}, ValueError, r"kernels_3x3 must be \[6, 3, 3, 3, 3\]"),
        ({"kernels_3x3": torch.zeros(6, 3, 3, 3, 3, device="meta")}, ValueError, "kernels_3x3 is on meta, x on cpu"),
        ({"x": torch.zeros(3, 2, 3, 4, 5)}, ValueError, "must have 1 or T = 2 states"),
        ({"x": torch.zeros(2, 1, 3, 1, 1)}, ValueError, r"B·H·W must be from 2, for .* to 2\^30"),
    ],
)
def test_bad_inputs_are_named(changes: dict[str, Tensor], error: type[Exception], text: str) -> None:
    inputs = make(devices=2)._asdict() | changes
    with pytest.raises(error, match=text):
        mixed_cell(**inputs)


def test_library_calls_serve_the_cpu() -> None:
    with implementations.using("composed"):
        assert implementations.chosen("mixed_cell", "cpu").name == "composed"
    assert implementations.available("mixed_cell", "cpu") == ("composed", "reference")


def test_bytes_by_hand() -> None:
    shape, everything = (2, 3, 5, 2, 2), torch.ones(2, 6, 5, dtype=torch.bool)
    unit = 3 * 5 * 2 * 2 * 4
    assert bytes_moved(shape, 4, everything, "forward") == 2 * 36 * unit
    assert bytes_moved(shape, 4, everything, "backward") == 2 * 96 * unit
    one = torch.zeros_like(everything)
    one[0, 3, 3] = True  # one device convolves the shared input for the output; the other computes nothing
    shared = (1, *shape[1:])
    forward = (1 + 1) + 6 + 1  # the input read and its result written; six nodes written and the result read
    assert bytes_moved(shared, 4, one, "forward") == forward * unit
    # Six gradients and the result for sums; the result and its target's gradient read for its own gradient, which is
    # written; six nodes and gradients but one input, for which it is read; the same with the input for the kernel.
    backward, gathered_for_x = (6 + 1) + 3 + (4 + 4) + 3 + 2, 3
    assert bytes_moved(shared, 4, one, "backward") == backward * unit
    assert bytes_moved(shared, 4, one, "backward", x=False) == (backward - gathered_for_x) * unit
    assert bytes_moved(shared, 4, one, "backward", weights=False) == (backward - 2) * unit
    one[1, 5, 1] = True  # an identity: its source is read for the sum and for the sample, its target for the gradient
    assert bytes_moved(shared, 4, one, "forward") == (forward + 1) * unit
    assert bytes_moved(shared, 4, one, "backward") == (backward + 2) * unit
    assert bytes_moved(shared, 4, one, "backward", samples=False) == (backward + 1) * unit
