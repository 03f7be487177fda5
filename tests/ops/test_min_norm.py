"""min_norm: every implementation against its truth (closed forms, brute force, KKT conditions, quadprog)."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import gramians
import numpy as np
import pytest
import quadprog
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modnas_fast.mgd import MinNorm, Status, min_norm
from modnas_fast.mgd.min_norm import METHODS
from modnas_fast.runtime import implementations

module = importlib.import_module("modnas_fast.mgd.min_norm")
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 13, 19, 32, 64)
DEVICE = {"reference": "cpu", "c++": "cpu", "cuda": "cuda"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from threads, and lose much where other processes use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=list(DEVICE))
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test once per implementation; afterwards that one, and no other, must have run."""
    name, kind = request.param, DEVICE[request.param]
    if name not in implementations.available("min_norm", kind):
        pytest.skip(implementations.chosen("min_norm", kind).reason)
    ran: set[str] = set()

    def watched(key: str, solver: Callable[..., object]) -> Callable[..., object]:
        def solve(*arguments: object) -> object:
            ran.add(key)
            return solver(*arguments)

        return solve

    original = dict(module._SOLVERS)
    module._SOLVERS.update({key: watched(key, solver) for key, solver in original.items()})
    try:
        with implementations.using(name):
            yield name
    finally:
        module._SOLVERS.update(original)
    assert ran == {name}


def solve(implementation: str, gramian: Tensor, **options: object) -> MinNorm:
    """min_norm on the implementation's device, the answer back on the CPU."""
    answer = min_norm(gramian.to(DEVICE[implementation]), **options)
    return MinNorm(*(field.cpu() for field in answer))


def wide(tensor: Tensor) -> np.ndarray:
    """As an array of more than double precision, where the platform has it."""
    return tensor.double().numpy().astype(np.longdouble)


def violations(gramian: Tensor, weights: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Each point's violation of optimality relative to the lengths involved, and the gap, recomputed."""
    g, w = wide(gramian), wide(weights)
    product = np.einsum("bij,bj->bi", g, w)
    squared = (w * product).sum(-1, keepdims=True)
    length = np.sqrt(np.einsum("bii->bi", g))
    reach = (w * length).sum(-1, keepdims=True)
    size = reach * (reach + length)
    return (squared - product) / np.where(size > 0, size, 1), (squared - product).max(-1)


def assert_optimal(gramian: Tensor, answer: MinNorm) -> None:
    weights = wide(answer.weights)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1).astype(float), 1, atol=1e-14)
    relative, gap = violations(gramian, answer.weights)
    largest = gramian.diagonal(dim1=-2, dim2=-1).amax(-1).numpy()
    assert (answer.status == Status.OPTIMAL).all()
    assert relative.max() <= 1e-13
    assert (gap <= 1e-12 * largest).all()
    assert (np.abs(gap - wide(answer.gap)) <= 1e-13 * largest).all()
    product = np.einsum("bij,bj->bi", wide(gramian), weights)
    assert (np.abs((weights * product).sum(-1) - wide(answer.squared_norm)) <= 1e-13 * largest).all()


def by_brute_force(gramian: np.ndarray) -> float:
    """Least squared norm over the affine minimisers of all subsets of points that lie in their simplex."""
    size = len(gramian)
    best = np.inf
    for count in range(1, size + 1):
        for subset in itertools.combinations(range(size), count):
            part = gramian[np.ix_(subset, subset)]
            system = np.block([[part, np.ones((count, 1))], [np.ones((1, count)), np.zeros((1, 1))]])
            weights = np.linalg.lstsq(system, np.append(np.zeros(count), 1.0), rcond=None)[0][:count]
            if (weights >= -1e-12).all():
                best = min(best, float(weights @ part @ weights))
    return best


# ---- known answers ----


@pytest.mark.parametrize(
    ("gramian", "weights", "squared_norm"),
    [
        ([[3.0]], [1], 3),
        ([[1.0, 0], [0, 4]], [0.8, 0.2], 0.8),
        ([[1.0, 2], [2, 9]], [1, 0], 1),
        ([[9.0, 2], [2, 1]], [0, 1], 1),
        ([[2.0, 2], [2, 2]], [1, 0], 2),
        ([[1.0, -2], [-2, 4]], [2 / 3, 1 / 3], 0),
        ([[1.7e308, -1.7e308], [-1.7e308, 1.7e308]], [0.5, 0.5], 0),
        ([[0.0, 0], [0, 0]], [1, 0], 0),
        ([[4.0, 0, 0], [0, 0, 0], [0, 0, 0]], [0, 1, 0], 0),
        ([[5.0, 5, 5], [5, 5, 5], [5, 5, 5]], [1, 0, 0], 5),
        ([[1.0, 0, 0], [0, 1, 0], [0, 0, 2]], [0.4, 0.4, 0.2], 0.4),
        ([[2.0, -1, -1], [-1, 2, -1], [-1, -1, 2]], [1 / 3, 1 / 3, 1 / 3], 0),
    ],
)
def test_hand_values(
    implementation: str, gramian: list[list[float]], weights: list[float], squared_norm: float
) -> None:
    answer = solve(implementation, torch.tensor(gramian, dtype=torch.float64))
    torch.testing.assert_close(answer.weights, torch.tensor(weights, dtype=torch.float64), atol=1e-15, rtol=1e-14)
    assert answer.squared_norm.item() == pytest.approx(squared_norm, abs=1e-15)
    assert answer.gap.item() == pytest.approx(0, abs=1e-15)


def test_two_gradients_follow_the_closed_form(implementation: str) -> None:
    rows = gramians.gradients(2000, 2, 3, seed=0)
    first, second = rows.unbind(1)
    expected = ((second - first) * second).sum(-1) / (first - second).square().sum(-1)
    answer = solve(implementation, gramians.gramian(rows))
    torch.testing.assert_close(answer.weights[:, 0], expected.clamp(0, 1), atol=1e-12, rtol=0)
    assert (answer.iterations == 0).all()


@pytest.mark.parametrize("size", [3, 8, 19])
def test_orthogonal_gradients_are_weighted_by_inverse_squared_length(implementation: str, size: int) -> None:
    gramian = gramians.gramian(gramians.orthogonal(50, size, seed=1))
    inverse = 1 / gramian.diagonal(dim1=-2, dim2=-1)
    answer = solve(implementation, gramian)
    torch.testing.assert_close(answer.weights, inverse / inverse.sum(-1, keepdim=True), atol=1e-13, rtol=0)


# ---- optimality ----


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", ["narrow", "square", "wide"])
def test_ordinary_problems_are_optimal(implementation: str, size: int, width: str) -> None:
    batch = 8 if size > 19 else 50 if implementation == "reference" else 300
    columns = {"narrow": max(1, size // 2), "square": size, "wide": 4 * size}[width]
    for maker in (gramians.gradients, gramians.agreeing):
        gramian = gramians.gramian(maker(batch, size, columns, seed=size))
        assert_optimal(gramian, solve(implementation, gramian))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", list(gramians.HARD))
def test_hard_problems_are_optimal(implementation: str, kind: str, size: int) -> None:
    batch = 4 if size > 19 else 20 if implementation == "reference" else 300
    gramian = gramians.gramian(gramians.HARD[kind](batch, size, 100 + size))
    answer = solve(implementation, gramian)
    assert_optimal(gramian, answer)
    assert (answer.iterations < 8 * size + 8).all()


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_agrees_with_all_subsets(implementation: str, size: int) -> None:
    gramian = gramians.gramian(gramians.gradients(30, size, size, seed=7))
    expected = [by_brute_force(problem.numpy()) for problem in gramian]
    np.testing.assert_allclose(solve(implementation, gramian).squared_norm, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("size", [3, 8, 13, 32])
def test_agrees_with_quadprog(implementation: str, size: int) -> None:
    gramian = gramians.gramian(gramians.agreeing(20, size, 4 * size, seed=8))
    constraints = np.vstack([np.ones(size), np.eye(size)]).T
    bounds = np.append(1.0, np.zeros(size))
    expected = [quadprog.solve_qp(2 * g.numpy(), np.zeros(size), constraints, bounds, meq=1)[0] for g in gramian]
    np.testing.assert_allclose(solve(implementation, gramian).weights, expected, atol=1e-9)


def test_single_precision_gramians_that_are_not_quite_positive(implementation: str) -> None:
    for kind, maker in gramians.HARD.items():
        rows = maker(50, 8, 3).float()
        gramian = (rows @ rows.mT).double()
        gramian = (gramian + gramian.mT) / 2
        answer = solve(implementation, gramian)
        assert (answer.gap <= 1e-10 * gramian.diagonal(dim1=-2, dim2=-1).amax(-1)).all(), kind


# ---- properties ----


def test_units_do_not_matter(implementation: str) -> None:
    gramian = gramians.gramian(gramians.gradients(20, 8, 8, seed=2))
    base = solve(implementation, gramian)
    for exponent in (-200, -30, 30, 200):
        answer = solve(implementation, gramian * 2.0**exponent)
        assert torch.equal(answer.weights, base.weights)
        assert torch.equal(answer.squared_norm, base.squared_norm * 2.0**exponent)


def test_order_does_not_matter(implementation: str) -> None:
    gramian = gramians.gramian(gramians.agreeing(20, 8, 32, seed=3))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    answer = solve(implementation, gramian[:, order][:, :, order])
    torch.testing.assert_close(answer.weights, solve(implementation, gramian).weights[:, order], atol=1e-12, rtol=0)


def test_equal_gradients_give_the_weight_to_the_lowest_index(implementation: str) -> None:
    rows = gramians.agreeing(20, 4, 16, seed=4)
    answer = solve(implementation, gramians.gramian(torch.cat([rows, rows], dim=1)))
    assert (answer.weights[:, 4:] == 0).all()


def test_a_batch_gives_the_bits_of_its_problems(implementation: str) -> None:
    gramian = gramians.gramian(gramians.gradients(6, 8, 8, seed=5))
    together = solve(implementation, gramian)
    again = solve(implementation, gramian)
    assert all(torch.equal(a, b) for a, b in zip(together, again, strict=True))
    alone = [solve(implementation, problem) for problem in gramian]
    if implementation == "reference":  # its matrix products depend on the batch in their last bits
        torch.testing.assert_close(torch.stack([a.weights for a in alone]), together.weights, atol=1e-12, rtol=0)
    else:
        assert torch.equal(torch.stack([a.weights for a in alone]), together.weights)


@settings(max_examples=40, deadline=None)
@given(
    leading=st.lists(st.integers(0, 3), max_size=3),
    size=st.integers(1, 9),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    method=st.sampled_from(["exact", "frank_wolfe", "away", "pairwise"]),
    name=st.sampled_from(["c++", "reference"]),
)
def test_shapes_and_dtypes(
    leading: list[int], size: int, seed: int, dtype: torch.dtype, method: str, name: str
) -> None:
    if name not in implementations.available("min_norm", "cpu"):
        return
    rows = torch.randn(*leading, size, size, generator=torch.Generator().manual_seed(seed))
    gramian = (rows @ rows.mT).to(dtype)
    before = gramian.clone()
    with implementations.using(name):
        answer = min_norm(gramian, method=method)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert answer.weights.shape == (*leading, size)
    assert answer.squared_norm.shape == answer.gap.shape == answer.iterations.shape == tuple(leading)
    assert {answer.weights.dtype, answer.squared_norm.dtype, answer.gap.dtype} == {expected}
    assert answer.iterations.dtype == torch.int64
    torch.testing.assert_close(answer.weights.sum(-1), torch.ones(leading, dtype=expected))
    assert torch.equal(gramian, before)


def test_single_precision_is_the_rounded_double_result(implementation: str) -> None:
    gramian = gramians.gramian(gramians.gradients(20, 8, 8, seed=6)).float()
    for method in ("exact", "frank_wolfe"):
        single = solve(implementation, gramian, method=method)
        double = solve(implementation, gramian.double(), method=method)
        assert torch.equal(single.weights, double.weights.float())
        assert torch.equal(single.squared_norm, double.squared_norm.float())


def test_other_memory_layouts_and_gradients(implementation: str) -> None:
    gramian = gramians.gramian(gramians.gradients(8, 5, 5, seed=7))
    expected = solve(implementation, gramian).weights
    strided = gramian.permute(1, 2, 0).contiguous().permute(2, 0, 1).requires_grad_()
    answer = solve(implementation, strided)
    assert torch.equal(answer.weights, expected) or implementation == "reference"
    torch.testing.assert_close(answer.weights, expected)
    assert not answer.weights.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_at_its_limit_it_returns_its_best_point_with_its_gap(implementation: str, method: str) -> None:
    gramian = gramians.gramian(gramians.gradients(10, 16, 64, seed=9))
    before = torch.full((10,), torch.inf, dtype=torch.float64)
    for limit in range(8):
        answer = solve(implementation, gramian, method=method, max_iter=limit)
        assert (answer.iterations == limit).all()
        assert (answer.squared_norm <= before + 1e-12).all()
        assert (answer.gap > 0).all() and (answer.status == Status.LIMIT).all()
        np.testing.assert_allclose(answer.gap, violations(gramian, answer.weights)[1].astype(float), rtol=1e-10)
        before = answer.squared_norm


# ---- Frank-Wolfe ----


def published_frank_wolfe(gramian: np.ndarray, tol: float, max_iter: int) -> tuple[np.ndarray, int]:
    """Algorithm 2 of Sener and Koltun (2018), one problem, one line per line of the paper."""

    def first_weight(vv: float, vu: float, uu: float) -> float:
        return 1.0 if vu >= vv else 0.0 if vu >= uu else (uu - vu) / (vv + uu - 2 * vu)

    size = len(gramian)
    best = (np.inf, 0, 0, 0.0)
    for i, j in itertools.combinations(range(size), 2):
        c = first_weight(gramian[i, i], gramian[i, j], gramian[j, j])
        cost = c * c * gramian[i, i] + 2 * c * (1 - c) * gramian[i, j] + (1 - c) ** 2 * gramian[j, j]
        if cost < best[0] - 1e-15:
            best = (cost, i, j, c)
    weights = np.zeros(size)
    weights[best[1]], weights[best[2]] = best[3], 1 - best[3]
    for iteration in range(1, max_iter + 1):
        t = int(np.argmin(gramian @ weights))
        c = first_weight(weights @ gramian @ weights, gramian[t] @ weights, gramian[t, t])
        new = c * weights
        new[t] += 1 - c
        change = np.abs(new - weights).sum()
        weights = new
        if change < tol:
            return weights, iteration
    return weights, max_iter


@pytest.mark.parametrize("size", [3, 8, 13])
def test_frank_wolfe_follows_the_paper(implementation: str, size: int) -> None:
    gramian = gramians.gramian(gramians.agreeing(20, size, 2 * size, seed=10))
    answer = solve(implementation, gramian, method="frank_wolfe", max_iter=400)
    for problem, weights, iterations in zip(gramian, answer.weights, answer.iterations, strict=True):
        expected, count = published_frank_wolfe(problem.numpy(), 1e-5, 400)
        np.testing.assert_allclose(weights, expected, atol=1e-9)
        assert int(iterations) == count


@pytest.mark.parametrize("kind", list(gramians.HARD))
def test_frank_wolfe_stays_on_the_simplex_and_above_the_exact_answer(implementation: str, kind: str) -> None:
    gramian = gramians.gramian(gramians.HARD[kind](20, 8, 11))
    answer = solve(implementation, gramian, method="frank_wolfe")
    exact = solve(implementation, gramian)
    largest = gramian.diagonal(dim1=-2, dim2=-1).amax(-1)
    assert (answer.iterations <= 250).all()
    assert (answer.weights >= 0).all()
    np.testing.assert_allclose(answer.weights.sum(-1), 1, atol=1e-12)
    assert (answer.squared_norm >= exact.squared_norm - 1e-13 * largest).all()
    shortest = gramian.diagonal(dim1=-2, dim2=-1).amin(-1)
    assert (answer.squared_norm <= shortest + 1e-13 * largest).all()


def published_away(gramian: np.ndarray, pairwise: bool, steps: int) -> np.ndarray | None:
    """Lacoste-Julien and Jaggi (2015), Algorithms 1 and 2, one problem, from the shortest point.

    None where rounding would choose the vertex to leave: after a pairwise line search two are often equal.
    """
    weights = np.eye(len(gramian))[np.argmin(np.diag(gramian))]
    for _ in range(steps):
        product = gramian @ weights
        towards, away = np.argmin(product), np.argmax(np.where(weights > 0, product, -np.inf))
        carrying = np.sort(product[weights > 0])
        if len(carrying) > 1 and carrying[-1] - carrying[-2] < 1e-9 * carrying[-1]:
            return None
        to_vertex, from_vertex = -weights.copy(), weights.copy()
        to_vertex[towards] += 1
        from_vertex[away] -= 1
        carried = weights[away]
        if pairwise:
            direction, most = to_vertex + from_vertex, carried
        elif -(to_vertex @ product) >= -(from_vertex @ product) or carried >= 1:
            direction, most = to_vertex, 1.0
        else:
            direction, most = from_vertex, carried / (1 - carried)
        length = min(most, -(direction @ product) / (direction @ gramian @ direction))
        weights = np.maximum(weights + length * direction, 0)
        weights[weights < 1e-15] = 0
    return weights


@pytest.mark.parametrize("method", ["away", "pairwise"])
@pytest.mark.parametrize("size", [8, 13])
def test_away_and_pairwise_follow_the_paper(implementation: str, size: int, method: str) -> None:
    gramian = gramians.gramian(gramians.agreeing(20, size, 2 * size, seed=13))
    compared = 0
    for steps in (1, 2, 5):
        answer = solve(implementation, gramian, method=method, max_iter=steps)
        for problem, weights, iterations in zip(gramian, answer.weights, answer.iterations, strict=True):
            expected = published_away(problem.numpy(), method == "pairwise", steps)
            if int(iterations) == steps and expected is not None:  # else it converged before, or there was a tie
                np.testing.assert_allclose(weights, expected, atol=1e-10)
                compared += 1
    assert compared >= 20


@pytest.mark.parametrize("method", ["away", "pairwise"])
@pytest.mark.parametrize("size", [2, 3, 8, 19])
def test_away_and_pairwise_converge_to_the_optimum(implementation: str, size: int, method: str) -> None:
    gramian = gramians.gramian(gramians.agreeing(20, size, 4 * size, seed=14))
    answer = solve(implementation, gramian, method=method)
    assert (answer.status == Status.OPTIMAL).all()
    assert violations(gramian, answer.weights)[0].max() <= 1.01e-10
    torch.testing.assert_close(answer.weights, solve(implementation, gramian).weights, atol=1e-7, rtol=0)


@pytest.mark.parametrize("method", ["away", "pairwise"])
@pytest.mark.parametrize("kind", list(gramians.HARD))
def test_away_and_pairwise_say_how_far_they_came(implementation: str, kind: str, method: str) -> None:
    batch = 3 if implementation == "reference" else 20
    gramian = gramians.gramian(gramians.HARD[kind](batch, 8, 15))
    answer = solve(implementation, gramian, method=method, max_iter=300)
    assert (answer.weights >= 0).all()
    np.testing.assert_allclose(answer.weights.sum(-1), 1, atol=1e-12)
    relative, gap = violations(gramian, answer.weights)
    largest = gramian.diagonal(dim1=-2, dim2=-1).amax(-1).numpy()
    assert (np.abs(gap - wide(answer.gap)) <= 1e-12 * largest).all()
    optimal = (answer.status == Status.OPTIMAL).numpy()
    assert (relative.max(-1)[optimal] <= 1.01e-10).all()


# ---- which implementation, and errors ----


def test_the_compiled_core_serves_the_cpu_when_it_was_built() -> None:
    choice = implementations.chosen("min_norm", "cpu")
    if implementations.core() is None:
        assert choice.name == "reference" and "MODNAS_FAST_BUILD" in choice.remedy
    else:
        assert (choice.name, choice.remedy) == ("c++", "")


def test_the_reference_never_touches_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implementations, "core", lambda: pytest.fail("the reference asked for the compiled core"))
    with implementations.using("reference"):
        min_norm(torch.eye(4))


def test_the_environment_forces_the_reference() -> None:
    program = "from modnas_fast.runtime import implementations as i; print(i.chosen('min_norm', 'cpu')[2:4])"
    for value, expected in (
        ("reference", "('reference', 'MODNAS_FAST_IMPL=reference')"),
        ("fast", "must be auto or"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "", "MODNAS_FAST_IMPL": value},
        )
        assert expected in done.stdout + done.stderr


def test_an_unknown_implementation_is_named() -> None:
    with implementations.using("fpga"), pytest.raises(ValueError, match="no implementation 'fpga' on cpu"):
        min_norm(torch.eye(3))


def test_the_core_lets_other_threads_run() -> None:
    if implementations.core() is None:
        pytest.skip("the compiled core was not built")
    gramian = gramians.gramian(gramians.gradients(1500, 64, 256, seed=12))
    answer = module.empty(gramian)
    options = (1e-14, 2048, 1e-8, False, False, 1)  # tol, max_iter, asymmetry, skip, ignore, threads
    addresses = (field.data_ptr() for field in answer)
    arguments = ("exact", False, gramian.data_ptr(), 1500, 64, *options, *addresses)
    worker = threading.Thread(target=implementations.core().min_norm_cpu, args=arguments)
    turns = 0
    worker.start()
    while worker.is_alive():
        turns += 1
        time.sleep(0.001)
    assert turns > 20
    assert_optimal(gramian[:10], MinNorm(*(field[:10] for field in answer)))


ERRORS = [
    ([[1.0]], {}, TypeError, "gramian must be a torch.Tensor, not list"),
    (torch.eye(3, dtype=torch.int64), {}, TypeError, "not torch.int64"),
    (torch.eye(3, dtype=torch.complex64), {}, TypeError, "not torch.complex64"),
    (torch.ones(3), {}, ValueError, r"shape \[..., T, T\], not \[3\]"),
    (torch.ones(2, 3), {}, ValueError, r"shape \[..., T, T\], not \[2, 3\]"),
    (torch.ones(4, 0, 0), {}, ValueError, r"T = 0 in its shape \[4, 0, 0\]"),
    (torch.eye(3), {"method": "newton"}, ValueError, "not 'newton'"),
    (torch.eye(3), {"tol": -1.0}, ValueError, "tol must be a finite number >= 0, not -1.0"),
    (torch.eye(3), {"tol": float("nan")}, ValueError, "tol must be a finite number >= 0, not nan"),
    (torch.eye(3), {"max_iter": -1}, ValueError, "max_iter must be an integer"),
    (torch.eye(3), {"max_iter": 2.5}, ValueError, "max_iter must be an integer"),
    (torch.eye(3), {"nonfinite": "drop"}, ValueError, "nonfinite must be 'raise', 'skip' or 'propagate', not 'drop'"),
    (torch.eye(3), {"zeros": "keep"}, ValueError, "zeros must be 'exact' or 'ignore', not 'keep'"),
    (torch.full((2, 2), torch.nan), {}, ValueError, r"gramian: row 0 holds NaN or an infinity; nonfinite=\"skip\""),
    (
        torch.stack([torch.eye(2), torch.eye(2) * torch.inf]),
        {},
        ValueError,
        r"gramian\[1\]: row 0 holds NaN or an inf",
    ),
    (-torch.eye(2), {}, ValueError, "gramian: row 0 has a negative squared norm"),
    (torch.tensor([[1.0, 0.5], [0.4, 1.0]]), {}, ValueError, "gramian: row 1 is not symmetric"),
    (
        torch.tensor([[1.0, 0.5], [0.4, 1.0]]).expand(2, 3, 2, 2),
        {},
        ValueError,
        r"gramian\[0, 0\]: row 1 is not symmetric",
    ),
]


@pytest.mark.parametrize(("gramian", "options", "error", "text"), ERRORS)
def test_errors_say_what_was_wrong(
    implementation_free: str, gramian: Tensor, options: dict[str, object], error: type[Exception], text: str
) -> None:
    with implementations.using(implementation_free), pytest.raises(error, match=text):
        min_norm(gramian, **options)


@pytest.fixture(params=["reference", "c++"])
def implementation_free(request: pytest.FixtureRequest) -> str:
    """Each implementation's name, where none is expected to run."""
    if request.param not in implementations.available("min_norm", "cpu"):
        pytest.skip(implementations.chosen("min_norm", "cpu").reason)
    return request.param


def test_the_problem_at_fault_is_named_in_every_leading_axis() -> None:
    gramian = torch.eye(3).repeat(2, 4, 1, 1)
    gramian[1, 2, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"^gramian\[1, 2\]: row 0 holds NaN or an infinity;"):
        min_norm(gramian)


def test_rounding_of_half_precision_does_not_count_as_asymmetry() -> None:
    rows = torch.randn(100, 13, 50, generator=torch.Generator().manual_seed(1))
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        noise = 1 + torch.finfo(dtype).eps * torch.randn(100, 13, 13, generator=torch.Generator().manual_seed(2))
        min_norm((rows @ rows.mT * noise).to(dtype))
