"""gramian and combine: every implementation and form against plain float64 sums."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from modnas_fast.mgd import combine, gramian
from modnas_fast.runtime import implementations

module = importlib.import_module("modnas_fast.mgd.gramian")
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
SHAPES = [(3, 4), (), (5,), (2, 1, 2), (300,), (0,)]


class Served(NamedTuple):
    """By which implementation, with tensors on which device."""

    name: str
    device: str


SERVED = {
    "reference": Served("reference", "cpu"),
    "c++": Served("c++", "cpu"),
    "interpreted": Served("triton", "cpu"),
    "reference on cuda": Served("reference", "cuda"),
    "triton": Served("triton", "cuda"),
}


@pytest.fixture(params=list(SERVED))
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Runs a test once per implementation; afterwards Triton's kernels must have run where it is theirs, only there."""
    found = SERVED[request.param]
    if request.param == "interpreted":
        if os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("test_triton.py runs this under TRITON_INTERPRET=1")
        for op in ("gramian", "combine"):
            usable = implementations.Availability(True, "interpreted")
            monkeypatch.setitem(implementations._FAST[op], "cpu", [("triton", lambda usable=usable: usable)])
    elif found.device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    elif found.name not in implementations.available("gramian", found.device):
        pytest.skip(implementations.chosen("gramian", found.device).reason)
    ran: set[str] = set()

    def watched(op: str, kernel: Callable[[str], Any] = module._kernel) -> Any:
        ran.add(op)
        return kernel(op)

    monkeypatch.setattr(module, "_kernel", watched)
    with implementations.using(found.name):
        yield found
    assert bool(ran) == (found.name == "triton")


def on(device: str, gradients: Any) -> Any:
    """Gradients of any form on a device, with their strides."""
    if isinstance(gradients, Tensor):
        return (
            gradients
            if device == "cpu"
            else torch.empty_strided(gradients.shape, gradients.stride(), dtype=gradients.dtype, device=device).copy_(
                gradients
            )
        )
    return None if gradients is None else [on(device, part) for part in gradients]


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
    whole = result if isinstance(result, Tensor) else torch.cat([part.flatten() for part in result])
    return whole.cpu()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 4, 5, 13, 40])
def test_all_forms_give_the_float64_sums(served: Served, count: int, dtype: torch.dtype) -> None:
    parts = parameters(count, dtype)
    rows = flat(parts)
    weights = torch.randn(count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for name, gradients in forms(parts).items():
        gradients = on(served.device, gradients)
        gram = gramian(gradients)
        assert gram.dtype == torch.float64 and torch.equal(gram, gram.T), name
        torch.testing.assert_close(gram.cpu(), rows @ rows.T, atol=1e-11, rtol=1e-13)
        update = joined(combine(on(served.device, weights), gradients))
        assert update.dtype == dtype
        expected = (weights @ rows).to(dtype)
        ulp = torch.finfo(dtype).eps
        torch.testing.assert_close(update, expected, atol=1e-14 if dtype == torch.float64 else 0, rtol=ulp)
        if name == "parameters":
            assert all(torch.equal(a.cpu(), b) for a, b in zip(gradients, parameters(count, dtype), strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 13, 19, 33, 64, 130])
def test_batches_of_any_size(served: Served, count: int) -> None:
    for length, dtype in ((0, torch.float32), (1, torch.float64), (7, torch.bfloat16), (260, torch.float32)):
        rows = torch.randn(2, 1, count, length, generator=torch.Generator().manual_seed(length), dtype=torch.float64)
        rows, wide = rows.to(dtype), rows.to(dtype).double()
        gram = gramian(on(served.device, rows))
        assert torch.equal(gram, gram.mT)
        torch.testing.assert_close(gram.cpu(), wide @ wide.mT, atol=1e-11, rtol=1e-13)
        weights = torch.rand(2, 1, count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        update = combine(on(served.device, weights), on(served.device, rows))
        expected = (weights[..., None, :] @ wide)[..., 0, :].to(dtype)
        torch.testing.assert_close(update.cpu(), expected, atol=1e-13, rtol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("length", [1000, 5001])
def test_many_columns_and_mixed_pieces(served: Served, length: int) -> None:
    """Columns divided among programs, pieces of several lengths and dtypes, rows that begin anywhere."""
    generator = torch.Generator().manual_seed(length)
    flat = torch.randn(3, 2 * length + 18, generator=generator, dtype=torch.float64)
    pieces = [flat[:, :length].float(), flat[:, length + 3 : length + 20].bfloat16(), flat[:, length + 1 :]]
    wide = torch.cat([piece.double() for piece in pieces], dim=1)
    weights = torch.rand(3, generator=generator, dtype=torch.float64)
    devices = [[piece[t] for piece in pieces] for t in range(3)]
    for gradients in (on(served.device, pieces), on(served.device, devices)):
        torch.testing.assert_close(gramian(gradients).cpu(), wide @ wide.T, atol=1e-11, rtol=1e-13)
        for part, piece in zip(combine(on(served.device, weights), gradients), pieces, strict=True):
            expected = (weights @ piece.double()).to(piece.dtype)
            torch.testing.assert_close(part.cpu(), expected, atol=1e-14, rtol=torch.finfo(piece.dtype).eps)


def test_equal_inputs_give_equal_bits(served: Served) -> None:
    rows = on(served.device, torch.randn(13, 3001, generator=torch.Generator().manual_seed(0)))
    weights = on(served.device, torch.rand(13, generator=torch.Generator().manual_seed(1)))
    for gradients in (rows, [[row] for row in rows]):
        once, again = gramian(gradients), gramian(gradients)
        assert torch.equal(once, again)
        assert torch.equal(joined(combine(weights, gradients)), joined(combine(weights, gradients)))


def test_nothing_is_differentiable(served: Served) -> None:
    rows = on(served.device, torch.ones(2, 3)).requires_grad_()
    assert not gramian(rows).requires_grad
    assert not combine(rows[:, 0], [rows])[0].requires_grad


def test_shapes_come_back(served: Served) -> None:
    parts = on(served.device, parameters(3, torch.float32))
    weights = on(served.device, torch.tensor([0.2, 0.3, 0.5]))
    assert [tuple(part.shape) for part in combine(weights, parts)] == SHAPES
    assert [tuple(part.shape) for part in combine(weights, forms(parts)["devices"])] == SHAPES
    assert combine(weights, forms(parts)["matrix"]).shape == (flat(parts).shape[1],)
    batch = on(served.device, torch.randn(2, 4, 3, 7))
    assert gramian(batch).shape == (2, 4, 3, 3)
    assert combine(weights.expand(2, 4, 3), batch).shape == (2, 4, 7)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    leading=st.lists(st.integers(0, 3), max_size=2),
    count=st.integers(1, 9),
    length=st.integers(0, 700),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(["plain", "columns", "every other", "transposed"]),
)
def test_batches_and_layouts(
    served: Served, leading: list[int], count: int, length: int, dtype: torch.dtype, layout: str
) -> None:
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
    rows = on(served.device, rows)
    torch.testing.assert_close(gramian(rows).cpu(), wide @ wide.mT, atol=1e-11, rtol=1e-12)
    expected = (weights[..., None, :] @ wide)[..., 0, :].to(dtype)
    torch.testing.assert_close(
        combine(on(served.device, weights), rows).cpu(),
        expected,
        atol=1e-13,
        rtol=max(1e-12, torch.finfo(dtype).eps),
    )


def test_missing_gradients_count_as_zeros(served: Served) -> None:
    one, two = on(served.device, [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])])
    devices = [[None, one, None, None], [None, one, two, None]]
    assert gramian(devices).tolist() == [[5, 5], [5, 14]]
    update = combine(on(served.device, torch.tensor([0.5, 0.25])), devices)
    assert update[0] is None and update[3] is None
    assert update[1].tolist() == [0.75, 1.5]
    assert update[2].tolist() == [[0.75]]


def test_sums_are_in_float64(served: Served) -> None:
    """In float32 the second addend would be lost, and 2²⁴ + 1 is no float32."""
    gradients = torch.cat([torch.tensor([[1.0]]), torch.full((1, 1000), 1e-5)], dim=1)
    assert float(gramian(on(served.device, gradients))) - 1 == pytest.approx(1000 * 1e-10, rel=1e-4)
    big = torch.tensor([[2.0**24], [1.0], [-(2.0**24)]])
    assert combine(on(served.device, torch.ones(3)), on(served.device, big)).tolist() == [1.0]


@pytest.mark.parametrize(("dtype", "bits"), [(torch.bfloat16, 7), (torch.float16, 10), (torch.float32, 23)])
def test_sums_are_rounded_once_and_ties_to_even(served: Served, dtype: torch.dtype, bits: int) -> None:
    if served.name == "reference":
        pytest.skip("PyTorch narrows float64 to half precision by way of float32")
    half, tiny = 2.0 ** -(bits + 1), 2.0**-24 if dtype == torch.float16 else 2.0**-40
    rows = torch.tensor([[1.0, 1, 1, 1, 0], [half, half, 3 * half, half, 0], [0, tiny, 0, -tiny, 0]]).double()
    update = combine(on(served.device, torch.ones(3)), on(served.device, rows.to(dtype)))
    assert ((update.double() - 1) / (2 * half)).tolist() == [0, 1, 2, 0, -(2.0**bits)]


@pytest.mark.parametrize("form", ["matrix", "devices"])
def test_a_gradient_of_weight_zero_does_no_harm(served: Served, form: str) -> None:
    rows = on(served.device, torch.tensor([[1.0, 2.0], [float("nan"), float("inf")]]))
    gradients = rows if form == "matrix" else [[rows[0]], [rows[1]]]
    for weights, expected in (([0.5, 0.0], [0.5, 1.0]), ([0.5, -0.5], [float("nan"), float("-inf")])):
        update = joined(combine(on(served.device, torch.tensor(weights)), gradients))
        torch.testing.assert_close(update, torch.tensor(expected), equal_nan=True)


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


THREADS_OF_TORCH = """
import os, threading, time, torch
from modnas_fast.runtime import implementations
from modnas_fast.mgd import gramian
torch.set_num_threads(2)
rows = torch.randn(13, 400_000)
wanted = rows @ rows.T  # starts torch's pool
assert implementations._openmp_of_torch() != 0
gramian(rows)
counts, ended = [], False
def watch():
    while not ended:
        counts.append(len(os.listdir("/proc/self/task")))
watcher = threading.Thread(target=watch)
watcher.start()
before = counts[-1] if counts else len(os.listdir("/proc/self/task"))
for _ in range(100):
    found = gramian(rows)
ended = True
watcher.join()
assert max(counts) <= before, (max(counts), before)
child = os.fork()
if child == 0:  # inherits none of the pool's threads
    os._exit(0 if torch.equal(gramian(rows), found) else 1)
for _ in range(600):
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        break
    time.sleep(0.1)
else:
    os.kill(child, 9)
    status = "the child hangs"
assert status == 0, status
"""


def test_threads_are_those_of_torch_and_a_forked_child_has_its_own() -> None:
    if "c++" not in implementations.available("gramian", "cpu"):
        pytest.skip("the compiled core was not built")
    if sys.platform != "linux" or not implementations._openmp_of_torch():
        pytest.skip("this torch has no OpenMP runtime to lend")
    subprocess.run([sys.executable, "-W", "ignore", "-c", THREADS_OF_TORCH], check=True, timeout=120)


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
