"""The Triton kernels of mixed_cell: interpreted on the CPU, run on CUDA where there is any, and compiled."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from machine_code import SPILLED, Compiled, resources
from mixed_cells import FLOATS, Inputs, errors_nearby, gradients, make
from torch import Tensor

from modnas_fast.runtime import implementations
from modnas_fast.spaces.nb201.mixed_cell import mixed_cell

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
needs_compilation = pytest.mark.skipif(INTERPRETED, reason="TRITON_INTERPRET=1 leaves nothing to compile")
#: in the order of their first launches, with their modules
KERNELS = {
    "_convolve": "mixed_convolution",
    "_normalise": "mixed_convolution",
    "_add_edges": "mixed_sum",
    "_reduce_gradient": "mixed_reduction",
    "_add_groups": "mixed_reduction",
    "_differentiate": "mixed_gradient",
    "_gather_gradient": "mixed_gather",
    "_multiply_gradients": "mixed_weights",
    "_add_splits": "mixed_weights",
}


@needs_triton
def test_the_interpreted_kernels_agree_with_the_reference() -> None:
    """In a process of its own, since the interpreter must be asked for before triton is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", __file__]
    few = "" if os.environ.get("MODNAS_FAST_LONG_TESTS") == "1" else " and not cancel"
    done = subprocess.run(
        [*command, "-k", f"interpreted and not agree{few}"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and " skipped" not in done.stdout, done.stdout


@pytest.fixture(params=["interpreted", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the kernels run. Memory that they get holds NaN at first: what is not written must not be read."""
    if request.param == "interpreted":
        if not INTERPRETED:
            pytest.skip("run under TRITON_INTERPRET=1 by another test of this file")
        usable = implementations.Availability(True, "interpreted")
        monkeypatch.setitem(implementations._FAST["mixed_cell"], "cpu", [("triton", lambda: usable)])
    elif implementations.chosen("mixed_cell", "cuda").name != "triton":
        pytest.skip(implementations.chosen("mixed_cell", "cuda").reason)
    poisoned = []
    for name in ("empty", "empty_like"):

        def with_nan(*arguments: object, make: object = getattr(torch, name), **options: object) -> Tensor:
            memory = make(*arguments, **options)
            if memory.is_floating_point():
                poisoned.append(memory.fill_(torch.nan))
            return memory

        monkeypatch.setattr(torch, name, with_nan)
    with implementations.using("triton"):
        yield "cpu" if request.param == "interpreted" else "cuda"
    assert poisoned, "no kernel ran"


def fast(inputs: Inputs, device: str, needed: tuple[str, ...] = FLOATS, **options: bool) -> dict[str, Tensor]:
    found = gradients(mixed_cell, Inputs(*(tensor.to(device) for tensor in inputs)), needed, **options)
    return {name: tensor.cpu() for name, tensor in found.items()}


def reference(inputs: Inputs) -> dict[str, Tensor]:
    with implementations.using("reference"):
        return gradients(mixed_cell, inputs)


class Case(NamedTuple):
    """Shape [B, C, H, W], T, and what is computed how."""

    shape: tuple[int, int, int, int]
    devices: int
    selection: str
    dtype: torch.dtype
    shared: bool = False
    single_path: bool = False


# Of the error beside the truth's norm: in a small image one number that is rounded to the other side of relu's kink
# counts for as much, the more often the fewer bits there are.
FLOORS = {dtype: 4 * torch.finfo(dtype).eps for dtype in (torch.float32, torch.float16)}
FLOORS[torch.bfloat16] = 12 * torch.finfo(torch.bfloat16).eps
FLOORS[torch.float64] = 1e-12  # here the reference is the truth, and has no error of its own to compare with
CASES = [
    Case((1, 3, 9, 8), 1, "path", torch.float64),  # several tiles
    Case((1, 1, 2, 3), 1, "mixture", torch.float64),
    Case((2, 3, 3, 5), 2, "some", torch.float32, shared=True),
    Case((1, 17, 4, 3), 1, "path", torch.float32, single_path=True),
    Case((1, 70, 2, 2), 1, "path", torch.float32),  # more channels than one block holds
    Case((3, 16, 3, 3), 3, "path", torch.bfloat16, shared=True, single_path=True),
    Case((2, 16, 3, 4), 1, "some", torch.bfloat16),
    Case((2, 5, 4, 1), 1, "some", torch.float16),
    Case((2, 3, 1, 2), 2, "none", torch.float32, shared=True),
]


@needs_triton
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(part).replace("torch.", "") for part in case))
def test_outputs_and_gradients_are_as_close_as_the_reference(device: str, case: Case) -> None:
    exact = make(case.shape, case.devices, case.selection, case.shared, seed=sum(case.shape))
    others = torch.promote_types(case.dtype, torch.float32)
    given = exact.to(others)._replace(x=exact.x.to(case.dtype))
    expected, plain = reference(exact), reference(given)
    found = fast(given, device, single_path=case.single_path)
    for name, truth in expected.items():
        assert found[name].dtype == plain[name].dtype and found[name].shape == truth.shape
        own = torch.linalg.vector_norm(plain[name].double() - truth)
        floor = FLOORS[case.dtype] * (1 + torch.linalg.vector_norm(truth))
        error = torch.linalg.vector_norm(found[name].double() - truth)
        assert error <= 2 * own + floor, f"{name}: {error} beside {own}, floor {floor}"


# Tiny images whose true gradient nearly cancels: beside the reference on these very images the kernels err too much.
CANCELLING = {((1, 17, 1, 3), 3, "path", True): 447039275, ((2, 1, 11, 3), 3, "path", False): 942528206}


@needs_triton
@pytest.mark.parametrize("case", CANCELLING, ids=str)
def test_errors_of_gradients_that_cancel_are_those_of_the_reference_nearby(
    device: str, case: tuple[tuple[int, int, int, int], int, str, bool]
) -> None:
    exact = make(*case, seed=CANCELLING[case])
    truth, found = reference(exact), fast(exact.to(torch.float32), device)
    largest = errors_nearby(reference, exact)
    for name, wanted in truth.items():
        error = torch.linalg.vector_norm(found[name].double() - wanted)
        floor = FLOORS[torch.float32] * (1 + torch.linalg.vector_norm(wanted))
        assert error <= 2 * largest[name] + floor, f"{name}: {error} beside {largest[name]}, floor {floor}"


class Counted:
    """A kernel that notes its launches."""

    def __init__(self, name: str, kernel: object, launched: list[str]) -> None:
        self.name, self.kernel, self.launched = name, kernel, launched

    def __getitem__(self, grid: tuple[int, ...]) -> object:
        self.launched.append(self.name)
        return self.kernel[grid]


def replace_kernels(monkeypatch: pytest.MonkeyPatch, made: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Puts something made of each kernel in its place."""
    replaced = {}
    for name, home in KERNELS.items():
        module = importlib.import_module(f"modnas_fast.kernels.{home}")
        replaced[name] = made(name, getattr(module, name))
        monkeypatch.setattr(module, name, replaced[name])
    return replaced


@needs_triton
def test_only_what_is_wanted_is_computed_and_always_the_same(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits depend neither on what is recomputed or wanted besides, nor on the layout of x."""
    launched: list[str] = []
    replace_kernels(monkeypatch, lambda name, kernel: Counted(name, kernel, launched))

    def launches() -> dict[str, int]:
        counted = {name: launched.count(name) for name in KERNELS if name in launched}
        launched.clear()
        return counted

    inputs = make((1, 2, 6, 11), 1, "path", seed=4).to(torch.float32)
    first = fast(inputs, device)
    assert launches() == dict(zip(KERNELS, (3, 3, 3, 3, 3, 3, 3, 2, 2)))
    strided = inputs._replace(x=inputs.x.contiguous())
    samples = fast(strided, device, ("sample",), recompute=True, single_path=True)
    assert launches() == dict(zip(KERNELS, (6, 6, 5, 3, 3, 2, 2)))  # neither node 3 again nor the gradient of x
    weights = fast(inputs, device, ("kernels_1x1",))
    assert launches() == dict(zip(KERNELS, (3, 3, 3, 3, 3, 3, 2, 1, 1)))
    for again in (samples, weights):
        assert all(torch.equal(first[name], tensor) for name, tensor in again.items())


def needs_cuda() -> None:
    choice = implementations.chosen("mixed_cell", "cuda")
    if choice.name != "triton":
        pytest.skip(f"mixed_cell on cuda: {choice.reason}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("selection", "shared"), [("path", True), ("path", False), ("mixture", False)])
def test_sizes_of_a_search_on_cuda(dtype: torch.dtype, selection: str, shared: bool) -> None:
    """Against the reference on the same GPU, many programs at once; and the same bits again."""
    needs_cuda()
    for channels, side in ((16, 32), (32, 16), (64, 8)):
        exact = make((32, channels, side, side), 5, selection, shared, seed=channels)
        exact = Inputs(*(tensor.cuda() for tensor in exact))
        given = exact.to(torch.float32)._replace(x=exact.x.to(dtype))
        expected, plain = reference(exact), reference(given)
        found, again = fast(given, "cuda"), fast(given, "cuda", recompute=True, single_path=selection == "path")
        for name, truth in expected.items():
            own = torch.linalg.vector_norm(plain[name].double() - truth)
            error = torch.linalg.vector_norm(found[name].cuda().double() - truth)
            assert error <= 2 * own + FLOORS[dtype] * (1 + torch.linalg.vector_norm(truth)), name
            assert torch.equal(found[name], again[name]), name


def test_a_captured_cell_follows_its_inputs() -> None:
    """Nothing waits for the GPU, and which operations run is read there."""
    needs_cuda()
    inputs = Inputs(*(tensor.cuda() for tensor in make((8, 16, 8, 8), 3, "path").to(torch.float32)))

    def step() -> list[Tensor]:
        floats = [tensor.detach().requires_grad_() for tensor in inputs[:4]]
        out = mixed_cell(*floats, inputs.active)
        return [out.detach(), *torch.autograd.grad(out.sum(), floats)]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # a kernel's first launch loads it, which cannot be captured
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for seed in (1, 2):
        for old, new in zip(inputs, make((8, 16, 8, 8), 3, "some", seed=seed), strict=True):
            old.copy_(new)
        graph.replay()
        assert all(map(torch.equal, captured, step()))


def compiled_configurations() -> list[tuple[int, torch.dtype, int]]:
    """(generation, dtype, channels): some of the paper's search, or with MODNAS_FAST_COMPILE_ALL=1 all, in minutes."""
    if os.environ.get("MODNAS_FAST_COMPILE_ALL") != "1":
        return [(80, torch.bfloat16, 16), (80, torch.float32, 32), (90, torch.bfloat16, 64)]
    dtypes = (torch.bfloat16, torch.float32, torch.float16, torch.float64)
    return [(sm, dtype, channels) for sm in (80, 90) for dtype in dtypes for channels in (16, 32, 64, 128)]


@needs_triton
@needs_compilation
@pytest.mark.parametrize(("generation", "dtype", "channels"), compiled_configurations(), ids=str)
def test_kernels_compile_without_spilling_registers(
    generation: int, dtype: torch.dtype, channels: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from modnas_fast.kernels.mixed_cell import mixed_cell

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels = replace_kernels(monkeypatch, lambda name, kernel: Once(kernel, generation))
    small = make((1, channels, 1, 2), 1, "mixture").to(torch.float32)
    x = torch.zeros(1, 32, 32, 32, channels, dtype=dtype).movedim(-1, 2)  # partial sums as numerous as in a search
    # nothing is launched, so that the promise of a single path need not hold; the first node has both kinds anyway
    out = mixed_cell(*small._replace(x=x).requiring(*FLOATS), recompute=False, single_path=True)
    out.backward(torch.zeros_like(out))
    limit = {80: 163, 90: 227}[generation] * 1024
    for name, kernel in kernels.items():
        two = name == "_multiply_gradients" or (name == "_convolve" and dtype.itemsize == 2)
        assert len(kernel.found) == 1 + two, "a form per kind, or for one kind at most on an edge and for both"
        for code in kernel.found:
            used = resources(code)
            # For others the assembler trades a few numbers of a thread for more threads.
            few = SPILLED if dtype in (torch.bfloat16, torch.float32) else 32
            assert used["STACK"] <= few, f"{name} spills: {used}"
            assert code.metadata.shared <= limit, f"{name} takes {code.metadata.shared} bytes of shared memory"
            if name in ("_convolve", "_gather_gradient", "_multiply_gradients") and dtype != torch.float32:
                assert "mma" in code.asm["ptx"], f"{name} leaves the tensor cores idle"
            if name == "_multiply_gradients" and dtype == torch.bfloat16 and channels <= 64:
                assert used["REG"] <= 128, "four programs per multiprocessor"


class Once(Compiled):
    """Compiles each form of a kernel the first time only."""

    def __init__(self, kernel: Any, capability: int) -> None:
        super().__init__(kernel, capability)
        self.forms: set[object] = set()

    def compile(self, *arguments: object, **options: object) -> None:
        form = options.get("KIND"), options.get("APART")
        if form not in self.forms:
            self.forms.add(form)
            super().compile(*arguments, **options)
