"""MinNormSolver and gradient_normalizers against the formulas of the original."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modnas_fast.mgd import min_norm
from modnas_fast.mgd.compat.min_norm_solver import MinNormSolver, gradient_normalizers


def vectors(count: int, seed: int = 0) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        [1 + torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 4), (5,), ())]
        for _ in range(count)
    ]


def flat(vecs: list[list[Tensor]]) -> np.ndarray:
    return np.stack([np.concatenate([part.numpy().ravel() for part in vec]) for vec in vecs])


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_weights_and_cost_are_those_of_the_shortest_vector(count: int) -> None:
    vecs = vectors(count)
    sol, cost = MinNormSolver.find_min_norm_element(vecs)
    rows = flat(vecs)
    assert isinstance(sol, np.ndarray) and sol.shape == (count,) and isinstance(cost, float)
    shortest = sol @ rows
    assert cost == pytest.approx(shortest @ shortest)
    assert sol.sum() == pytest.approx(1) and (sol >= 0).all()
    assert (rows @ shortest >= cost - 1e-10).all()


def test_frank_wolfe_comes_near_and_keeps_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    vecs = vectors(6)
    exact, least = MinNormSolver.find_min_norm_element(vecs)
    sol, cost = MinNormSolver.find_min_norm_element_FW(vecs)
    np.testing.assert_allclose(sol, exact, atol=0.05)
    assert least <= cost <= 1.001 * least
    monkeypatch.setattr(MinNormSolver, "MAX_ITER", 0)
    early, worse = MinNormSolver.find_min_norm_element_FW(vecs)
    assert np.count_nonzero(early) == 2 and worse > cost


def test_flat_tensors_and_arrays_are_vectors_too() -> None:
    rows = flat(vectors(4))
    expected = min_norm(torch.from_numpy(rows @ rows.T)).weights.numpy()
    for vecs in (list(rows), list(torch.from_numpy(rows)), [[row] for row in rows], torch.from_numpy(rows)):
        np.testing.assert_allclose(MinNormSolver.find_min_norm_element(vecs)[0], expected, atol=1e-10)


@pytest.mark.parametrize("solve", [MinNormSolver.find_min_norm_element, MinNormSolver.find_min_norm_element_FW])
def test_none_counts_as_zeros(solve: Callable[[Any], tuple[np.ndarray, float]]) -> None:
    vecs = vectors(3)
    missing = [[None, vecs[0][1], None], [vecs[1][0], None, None], [vecs[2][0], vecs[2][1], None]]
    filled = [
        [torch.zeros_like(like) if part is None else part for part, like in zip(vec, vecs[0], strict=True)]
        for vec in missing
    ]
    sol, cost = solve(missing)
    expected, least = solve(filled)
    np.testing.assert_allclose(sol, expected, atol=1e-12)
    assert cost == pytest.approx(least)
    for whole in ([None, vecs[1]], [None, vecs[1][0]]):
        sol, cost = solve(whole)
        assert sol.tolist() == [1, 0] and cost == 0
    with pytest.raises(ValueError, match="at least one tensor"):
        solve([[None], [None]])


def test_normalizers_of_missing_gradients() -> None:
    grads = {"a": [None, torch.tensor([3.0, 4.0])], "b": [None, None]}
    assert gradient_normalizers(grads, {"a": 2.0, "b": 3.0}, "l2") == {"a": 5, "b": 0}
    assert gradient_normalizers(grads, {"a": 2.0, "b": 3.0}, "loss+") == {"a": 10, "b": 0}
    assert gradient_normalizers(grads, {"a": 2.0, "b": 3.0}, "loss") == {"a": 2, "b": 3}


@pytest.mark.parametrize(
    ("kind", "expected"), [("l2", [5.0, 2.0]), ("loss", [0.5, 3.0]), ("loss+", [2.5, 6.0]), ("none", [1.0, 1.0])]
)
def test_normalizers(kind: str, expected: list[float]) -> None:
    grads = {"seg": [torch.tensor([[3.0]]), torch.tensor([4.0])], 7: [torch.zeros(1, 1), torch.tensor([2.0])]}
    found = gradient_normalizers(grads, {"seg": torch.tensor(0.5), 7: 3.0}, kind)
    assert list(found) == ["seg", 7] and list(found.values()) == pytest.approx(expected)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one vector"):
        MinNormSolver.find_min_norm_element([])
    with pytest.raises(ValueError, match="not 'l1'"):
        gradient_normalizers({}, {}, "l1")
