"""The registered operators: opcheck, torch.compile without graph breaks, vmap, and no detour outside of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import gramians
import pytest
import torch
from torch import Tensor, nn

from modnas_fast.mgd import combine, gramian, mgd_weights, min_norm
from modnas_fast.mgd.min_norm import METHODS

OPTIONS = ("exact", 1e-14, 100, "raise", "exact")


def rows(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("leading", [(), (3,), (2, 2)])
def test_opcheck_min_norm(leading: tuple[int, ...], dtype: torch.dtype) -> None:
    gram = gramians.gramian(rows(*leading, 5, 9)).to(dtype)
    torch.library.opcheck(torch.ops.modnas_fast.min_norm.default, (gram, *OPTIONS))


@pytest.mark.parametrize("leading", [(), (3,)])
def test_opcheck_gramian_and_combine(leading: tuple[int, ...]) -> None:
    parts = [rows(*leading, 4, 6), rows(*leading, 4, 2, 3, dtype=torch.float32)]
    torch.library.opcheck(torch.ops.modnas_fast.gramian.default, (parts, len(leading)))
    weights = rows(*leading, 4).abs()
    torch.library.opcheck(torch.ops.modnas_fast.combine.default, (weights, parts, len(leading)))


def whole_step(matrix: Tensor) -> tuple[Tensor, Tensor]:
    found = mgd_weights(matrix, "l2")
    return combine(found.factors, matrix), found.point.gap


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_whole_step_compiles_without_breaks(dynamic: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(whole_step, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for count in (5, 7):
        matrix = rows(count, 30, dtype=torch.float32)
        for ours, theirs in zip(compiled(matrix), whole_step(matrix), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="Inductor finds no C++ compiler")
def test_a_whole_step_compiles_to_machine_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the shared cache may hold headers compiled for another instruction set (ATEN_CPU_CAPABILITY)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    matrix = rows(5, 30, dtype=torch.float32)
    devices = [[row[:12].reshape(3, 4), None, row[12:]] for row in matrix]

    def both(matrix: Tensor, devices: list[list[Tensor | None]]) -> list[Tensor]:
        update, gap = whole_step(matrix)
        first, missing, last = combine(min_norm(gramian(devices)).weights, devices)
        assert missing is None
        return [2 * update, gap + 1, first + 1, last + 1]

    compiled = torch.compile(both, fullgraph=True)  # by Inductor
    for ours, theirs in zip(compiled(matrix, devices), both(matrix, devices), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_options_survive_compilation(method: str) -> None:
    torch._dynamo.reset()

    def weights(gram: Tensor) -> Tensor:
        return min_norm(gram, method=method, max_iter=3, nonfinite="skip", zeros="ignore").weights

    gram = gramians.gramian(rows(6, 12))
    gram[1] = gram[:, 1] = torch.nan
    gram[3] = gram[:, 3] = 0.0
    torch.testing.assert_close(torch.compile(weights, fullgraph=True, backend="aot_eager")(gram), weights(gram))


def test_per_parameter_gradients_compile() -> None:
    torch._dynamo.reset()
    parts = [rows(4, 3, 2), rows(4, 5)]
    devices = [[part[t] for part in parts] for t in range(4)]
    for gradients in (parts, devices):
        compiled = torch.compile(lambda g: (gramian(g), combine(gramian(g)[0], g)), fullgraph=True, backend="aot_eager")
        gram, update = compiled(gradients)
        torch.testing.assert_close(gram, gramian(parts))
        for ours, theirs in zip(update, combine(gram[0], parts), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_vmap_of_min_norm(axis: int) -> None:
    batch = gramians.gramian(rows(6, 5, 9))
    expected = min_norm(batch)
    found = torch.func.vmap(min_norm, in_dims=axis)(batch.movedim(0, axis))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_vmap_of_a_whole_step_also_nested() -> None:
    batch = rows(3, 2, 4, 20)
    update, gap = torch.func.vmap(torch.func.vmap(whole_step))(batch)
    assert update.shape == (3, 2, 20) and gap.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(update[i, j], whole_step(batch[i, j])[0])


def test_vmap_over_some_of_the_arguments() -> None:
    parts = [rows(4, 3, 2), rows(4, 5)]
    weights = rows(6, 4)
    update = torch.func.vmap(combine, in_dims=(0, None))(weights, parts)
    torch.testing.assert_close(update[0], torch.einsum("bt,tij->bij", weights, parts[0]))
    gram = torch.func.vmap(gramian, in_dims=([0, None],))([rows(6, 4, 3), parts[1]])
    torch.testing.assert_close(gram[2], gramian([rows(6, 4, 3)[2], parts[1]]))


def test_fake_tensors_pass_through() -> None:
    with torch._subclasses.FakeTensorMode():
        answer = min_norm(torch.eye(4).expand(2, 4, 4).half())
    assert answer.weights.shape == (2, 4) and answer.weights.dtype == torch.float32


def test_plain_tensors_do_not_take_the_detour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.modnas_fast, "min_norm", lambda *a: pytest.fail("took the operator"))
    min_norm(torch.eye(3))
    min_norm(nn.Parameter(torch.eye(3)))
    with pytest.raises(pytest.fail.Exception, match="took the operator"):
        torch.func.vmap(lambda g: min_norm(g).weights)(torch.eye(3)[None])
