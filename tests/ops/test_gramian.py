"""gramian and combine: every implementation and form against plain float64 sums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modnas_fast import implementations
from modnas_fast.mgd import combine, gramian

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
SHAPES = [(3, 4), (), (5,), (2, 1, 2), (300,), (0,)]


@pytest.fixture(params=["reference", "c++"])
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param not in implementations.available("gramian", "cpu"):
        pytest.skip(implementations.chosen("gramian", "cpu").reason)
    with implementations.using(request.param):
        yield request.param


def parameters(count: int, dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((count, *s), generator=generator, dtype=torch.float64).to(dtype) for s in SHAPES]


def flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.reshape(len(part), part[0].numel()).double() for part in parts], dim=1)


def forms(parts: list[Tensor]) -> dict[str, Any]:
    count = len(parts[0])
    return {
        "parameters": parts,
        "devices": [[part[t] for part in parts] for t in range(count)],
        "matrix": torch.cat([part.reshape(count, part[0].numel()) for part in parts], dim=1),
    }


def joined(result: Any) -> Tensor:
    return result if isinstance(result, Tensor) else torch.cat([part.flatten() for part in result])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 4, 5, 13, 40])
def test_all_forms_give_the_float64_sums(implementation: str, count: int, dtype: torch.dtype) -> None:
    parts = parameters(count, dtype)
    before = [part.clone() for part in parts]
    rows = flat(parts)
    weights = torch.randn(count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for name, gradients in forms(parts).items():
        gram = gramian(gradients)
        assert gram.dtype == torch.float64 and torch.equal(gram, gram.T), name
        torch.testing.assert_close(gram, rows @ rows.T, atol=1e-11, rtol=1e-13)
        update = joined(combine(weights, gradients))
        assert update.dtype == dtype
        expected = (weights @ rows).to(dtype)
        ulp = torch.finfo(dtype).eps
        torch.testing.assert_close(update, expected, atol=1e-14 if dtype == torch.float64 else 0, rtol=ulp)
    assert all(torch.equal(a, b) for a, b in zip(parts, before, strict=True))


def test_shapes_come_back(implementation: str) -> None:
    parts = parameters(3, torch.float32)
    weights = torch.tensor([0.2, 0.3, 0.5])
    assert [tuple(part.shape) for part in combine(weights, parts)] == SHAPES
    assert [tuple(part.shape) for part in combine(weights, forms(parts)["devices"])] == SHAPES
    assert combine(weights, forms(parts)["matrix"]).shape == (flat(parts).shape[1],)
    batch = torch.randn(2, 4, 3, 7)
    assert gramian(batch).shape == (2, 4, 3, 3)
    assert combine(weights.expand(2, 4, 3), batch).shape == (2, 4, 7)


@settings(max_examples=40, deadline=None)
@given(
    leading=st.lists(st.integers(0, 3), max_size=2),
    count=st.integers(1, 9),
    length=st.integers(0, 700),
    dtype=st.sampled_from(DTYPES),
    name=st.sampled_from(["c++", "reference"]),
    layout=st.sampled_from(["plain", "columns", "every other", "transposed"]),
)
def test_batches_and_layouts(
    leading: list[int], count: int, length: int, dtype: torch.dtype, name: str, layout: str
) -> None:
    if name not in implementations.available("gramian", "cpu"):
        return
    generator = torch.Generator().manual_seed(count)
    rows = torch.randn(*leading, 2 * count, 2 * length, generator=generator, dtype=torch.float64).to(dtype)
    rows = {
        "plain": rows[..., :count, :length].contiguous(),
        "columns": rows[..., :count, :length],
        "every other": rows[..., ::2, ::2],
        "transposed": rows[..., :count, :length].mT.contiguous().mT,
    }[layout]
    weights = torch.rand(*leading, count, generator=generator, dtype=torch.float64)
    wide = rows.double()
    with implementations.using(name):
        torch.testing.assert_close(gramian(rows), wide @ wide.mT, atol=1e-11, rtol=1e-12)
        expected = (weights[..., None, :] @ wide)[..., 0, :].to(dtype)
        torch.testing.assert_close(
            combine(weights, rows), expected, atol=1e-13, rtol=max(1e-12, torch.finfo(dtype).eps)
        )


def test_missing_gradients_count_as_zeros(implementation: str) -> None:
    one, two = torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])
    devices = [[one, None, None], [one, two, None]]
    assert gramian(devices).tolist() == [[5, 5], [5, 14]]
    update = combine(torch.tensor([0.5, 0.25]), devices)
    assert update[0].tolist() == [0.75, 1.5]
    assert update[1].tolist() == [[0.75]]
    if implementation == "c++":
        assert update[2] is None


def test_sums_are_in_float64(implementation: str) -> None:
    """In float32 the second addend would be lost, and 2²⁴ + 1 is no float32."""
    gradients = torch.cat([torch.tensor([[1.0]]), torch.full((1, 1000), 1e-5)], dim=1)
    assert float(gramian(gradients)) - 1 == pytest.approx(1000 * 1e-10, rel=1e-4)
    big = torch.tensor([[2.0**24], [1.0], [-(2.0**24)]])
    assert combine(torch.ones(3), big).tolist() == [1.0]


def test_a_gradient_of_weight_zero_does_no_harm(implementation: str) -> None:
    rows = torch.tensor([[1.0, 2.0], [float("nan"), float("inf")]])
    assert combine(torch.tensor([0.5, 0.0]), rows).tolist() == [0.5, 1.0]
    assert combine(torch.tensor([0.5, 0.5]), rows).isnan().tolist() == [True, False]


def test_threads_do_not_change_a_bit() -> None:
    if "c++" not in implementations.available("gramian", "cpu"):
        pytest.skip("the compiled core was not built")
    rows = torch.randn(13, 300_001, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(13)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append((gramian(rows), combine(weights, rows)))
    finally:
        torch.set_num_threads(before)
    for gram, update in results[1:]:
        assert torch.equal(gram, results[0][0]) and torch.equal(update, results[0][1])


def test_the_compiled_core_serves_the_cpu_when_it_was_built() -> None:
    for op in ("gramian", "combine"):
        name = implementations.chosen(op, "cpu").name
        assert name == ("reference" if implementations.core() is None else "c++")


@pytest.mark.parametrize(
    ("gradients", "error", "text"),
    [
        (3.0, TypeError, "not float"),
        ([], ValueError, "at least one tensor"),
        ([[], []], ValueError, "at least one tensor"),
        ([torch.ones(2, 1), torch.ones(3, 1)], ValueError, r"leading axes differ: \[2, 3\]"),
        ([torch.ones(2), torch.tensor(1.0)], ValueError, "one without axes"),
        (torch.ones(3), ValueError, r"shape \[..., T, P\], not \[3\]"),
        (torch.ones(0, 3), ValueError, "T = 0"),
        ([torch.ones(0, 3)], ValueError, "T = 0"),
        (torch.ones(2, 3, dtype=torch.int64), TypeError, "gradients must be float64.*not torch.int64"),
        ([torch.ones(2, 1), torch.ones(2, 1).bool()], TypeError, r"gradients\[1\] must be .*not torch.bool"),
        ([[torch.ones(2)], [torch.ones(3)]], ValueError, r"gradients\[1\]\[0\] is torch.float32 \[3\]"),
        ([[torch.ones(2)], []], ValueError, r"gradients\[1\] has 0 tensors"),
        ([[torch.ones(2)], 4], TypeError, r"gradients\[1\] must be a sequence of tensors, not int"),
        ([[torch.ones(2)], ["x"]], TypeError, r"gradients\[1\]\[0\] must be a torch.Tensor, not str"),
        ([torch.ones(2, 2).to_sparse()], TypeError, "must be dense"),
        ([torch.ones(2, 2), torch.ones(2, 2, device="meta")], ValueError, r"gradients\[1\] is on meta"),
    ],
)
def test_bad_gradients_are_named(gradients: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        gramian(gradients)
    with pytest.raises(error, match=text):
        combine(torch.ones(2), gradients)


@pytest.mark.parametrize(
    ("weights", "error", "text"),
    [
        ([0.5, 0.5], TypeError, "weights must be a torch.Tensor, not list"),
        (torch.ones(3), ValueError, r"weights must have shape \[2\], not \[3\]"),
        (torch.ones(2, device="meta"), ValueError, "weights is on meta"),
    ],
)
def test_bad_weights_are_named(weights: Any, error: type[Exception], text: str) -> None:
    for gradients in (torch.ones(2, 4), [torch.ones(2, 4)], [[torch.ones(4)], [torch.ones(4)]]):
        with pytest.raises(error, match=text):
            combine(weights, gradients)
