"""The exact method against quadprog on thousands of problems, and at sizes up to 1,024."""

from __future__ import annotations

import gramians
import numpy as np
import pytest
import quadprog
from torch import Tensor

from modnas_fast.mgd import Status, min_norm
from modnas_fast.runtime import implementations

pytestmark = pytest.mark.skipif(
    "c++" not in implementations.available("min_norm", "cpu"), reason="the compiled core was not built"
)
KINDS = {
    **gramians.HARD,
    "agreeing": lambda batch, size, seed: gramians.agreeing(batch, size, size + 10, seed),
    "narrow": lambda batch, size, seed: gramians.gradients(batch, size, max(1, size // 2), seed),
}


def relative_gap(gramian: Tensor, weights: Tensor) -> float:
    """The largest (γᵀGγ - (Gγ)_i) / (a (a + ‖g_i‖)), a = Σ γ_t ‖g_t‖, recomputed in more than double precision."""
    g, w = gramian.numpy().astype(np.longdouble), weights.numpy().astype(np.longdouble)
    product = np.einsum("bij,bj->bi", g, w)
    squared = (w * product).sum(-1, keepdims=True)
    length = np.sqrt(np.einsum("bii->bi", g))
    reach = (w * length).sum(-1, keepdims=True)
    size = reach * (reach + length)
    return float(((squared - product) / np.where(size > 0, size, 1)).max())


def by_quadprog(gramian: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and squared norm. quadprog wants a definite matrix, so a little is added to the diagonal; where the
    Gramian is singular its weights miss the simplex by up to 1e-9, so they are put back on it."""
    size = len(gramian)
    scale = gramian.diagonal().max()
    definite = gramian / scale + 1e-13 * np.eye(size)
    constraints = np.vstack([np.ones(size), np.eye(size)]).T
    weights = quadprog.solve_qp(definite, np.zeros(size), constraints, np.append(1.0, np.zeros(size)), meq=1)[0]
    weights = np.maximum(weights, 0)
    weights /= weights.sum()
    return weights, float(weights @ gramian @ weights)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 13, 19, 32, 64])
def test_never_longer_than_quadprogs_on_thousands_of_problems(size: int) -> None:
    batch = 400 if size < 32 else 60
    for width in (max(1, size // 2), size, 4 * size):
        gramian = gramians.gramian(gramians.agreeing(batch, size, width, seed=size))
        answer = min_norm(gramian)
        largest = gramian.diagonal(dim1=-2, dim2=-1).amax(-1).numpy()
        for b in range(batch):
            weights, squared = by_quadprog(gramian[b].numpy())
            assert answer.squared_norm[b] <= squared + 1e-13 * largest[b]
            # What is compared with is itself near the optimum.
            assert squared <= answer.squared_norm[b] + (1e-13 if width > size else 1e-8) * largest[b]
            if width > size:  # then the weights are unique and well determined
                np.testing.assert_allclose(answer.weights[b], weights, atol=1e-9)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("size", [128, 512])
def test_hard_problems_of_many_gradients_are_certified(kind: str, size: int) -> None:
    gramian = gramians.gramian(KINDS[kind](1, size, size))
    answer = min_norm(gramian)
    assert (answer.status == Status.OPTIMAL).all()
    assert relative_gap(gramian, answer.weights) <= 1e-10
    assert answer.weights.min() >= 0 and float(answer.weights.sum()) == pytest.approx(1, abs=1e-13)
    assert int(answer.iterations) <= 4 * size


@pytest.mark.parametrize("kind", ["conditioned", "scales", "near_flat", "origin_inside", "orthogonal"])
def test_a_thousand_gradients(kind: str) -> None:
    gramian = gramians.gramian(KINDS[kind](1, 1024, 7))
    answer = min_norm(gramian)
    assert (answer.status == Status.OPTIMAL).all()
    assert relative_gap(gramian, answer.weights) <= 1e-10
