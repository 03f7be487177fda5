"""min_norm's stated policies: zeros, numbers that are not finite, equal and indefinite input, statuses, threads."""

from __future__ import annotations

import gramians
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modnas_fast.mgd import MinNorm, Status, min_norm
from modnas_fast.mgd.min_norm import METHODS
from modnas_fast.runtime import implementations

NAN, INF = float("nan"), float("inf")
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(params=["reference", "c++"])
def implementation(request: pytest.FixtureRequest) -> str:
    if request.param not in implementations.available("min_norm", "cpu"):
        pytest.skip(implementations.chosen("min_norm", "cpu").reason)
    return request.param


def solve(implementation: str, gramian: Tensor, **options: object) -> MinNorm:
    with implementations.using(implementation):
        return min_norm(gramian, **options)


def with_bad_rows(gramian: Tensor, rows: list[int], value: float) -> Tensor:
    bad = gramian.clone()
    for row in rows:
        bad[..., row, :] = bad[..., :, row] = value
    return bad


# ---- numbers that are not finite ----


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("rows", [[0], [3], [1, 4]])
def test_skip_solves_the_problem_of_the_other_gradients(
    implementation: str, method: str, value: float, rows: list[int]
) -> None:
    whole = gramians.gramian(gramians.agreeing(1, 6, 24, seed=1))[0]
    rest = [i for i in range(6) if i not in rows]
    answer = solve(implementation, with_bad_rows(whole, rows, value), method=method, nonfinite="skip")
    expected = solve(implementation, whole[rest][:, rest], method=method)
    # The other methods may take ties of rounding differently on their way to their tolerance.
    torch.testing.assert_close(
        answer.weights[rest], expected.weights, atol=1e-12 if method == "exact" else 1e-6, rtol=0
    )
    torch.testing.assert_close(answer.squared_norm, expected.squared_norm)
    assert (answer.weights[rows] == 0).all() and answer.status == expected.status
    with pytest.raises(ValueError, match=rf'^gramian: row {rows[0]} holds NaN or an infinity; nonfinite="skip"'):
        solve(implementation, with_bad_rows(whole, rows, value), method=method)


def test_where_nothing_is_left_all_weights_are_zero(implementation: str) -> None:
    gramian = torch.stack([torch.eye(3), torch.full((3, 3), NAN)])
    answer = solve(implementation, gramian, nonfinite="skip")
    assert answer.status.tolist() == [Status.OPTIMAL, Status.EMPTY]
    assert answer.weights[1].tolist() == [0, 0, 0] and answer.squared_norm[1] == answer.gap[1] == 0
    assert answer.weights[0].sum() == 1


def test_an_inner_product_that_is_not_finite_condemns_both_gradients(implementation: str) -> None:
    gramian = torch.eye(4)
    gramian[1, 3] = gramian[3, 1] = NAN
    assert solve(implementation, gramian, nonfinite="skip").weights.tolist() == [0.5, 0, 0.5, 0]


@pytest.mark.parametrize("left", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_skip_may_leave_one_or_two(implementation: str, left: int, method: str) -> None:
    gramian = torch.diag(torch.tensor([1.0, 4.0, 9.0, 9.0]).double())
    answer = solve(implementation, with_bad_rows(gramian, [0, 1, 2, 3][left:], NAN), method=method, nonfinite="skip")
    expected = [[1, 0, 0, 0], [0.8, 0.2, 0, 0]][left - 1]
    torch.testing.assert_close(answer.weights, torch.tensor(expected).double())
    assert answer.status == Status.OPTIMAL


# ---- zero gradients ----


@pytest.mark.parametrize("method", METHODS)
def test_a_zero_gradient_carries_the_weight_unless_it_is_ignored(implementation: str, method: str) -> None:
    whole = gramians.gramian(gramians.agreeing(1, 5, 20, seed=2))[0]
    gramian = with_bad_rows(whole, [2, 4], 0.0)
    exact = solve(implementation, gramian, method=method)
    assert exact.squared_norm == 0 and exact.gap == 0 and exact.weights.tolist() == [0, 0, 1, 0, 0]
    ignored = solve(implementation, gramian, method=method, zeros="ignore")
    rest = [0, 1, 3]
    expected = solve(implementation, whole[rest][:, rest], method=method)
    torch.testing.assert_close(ignored.weights[rest], expected.weights, atol=1e-6, rtol=0)
    assert ignored.weights[2] == ignored.weights[4] == 0


def test_zeros_are_not_ignored_where_all_are(implementation: str) -> None:
    answer = solve(implementation, torch.zeros(2, 3, 3), zeros="ignore")
    assert answer.weights.tolist() == [[1, 0, 0]] * 2 and (answer.status == Status.OPTIMAL).all()


def test_both_policies_together(implementation: str) -> None:
    gramian = with_bad_rows(torch.diag(torch.tensor([1.0, 0.0, 5.0, 4.0])), [2], NAN)
    answer = solve(implementation, gramian, nonfinite="skip", zeros="ignore")
    torch.testing.assert_close(answer.weights, torch.tensor([0.8, 0, 0, 0.2]))


# ---- ties ----


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [2, 3, 7])
def test_of_equal_gradients_the_first_carries_the_weight(implementation: str, size: int, method: str) -> None:
    answer = solve(implementation, torch.full((size, size), 4.0), method=method)
    assert answer.weights.tolist() == [1] + [0] * (size - 1) and answer.squared_norm == 4


# ---- input that no gradients have ----


@settings(max_examples=60, deadline=None)
@given(size=st.integers(2, 8), seed=st.integers(0, 10_000), method=st.sampled_from(METHODS))
def test_an_indefinite_matrix_gives_a_point_of_the_simplex_and_ends(size: int, seed: int, method: str) -> None:
    raw = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gramian = (raw + raw.T) / 2
    gramian.diagonal().abs_()
    for name in implementations.available("min_norm", "cpu"):
        answer = solve(name, gramian, method=method, max_iter=200)
        assert (answer.weights >= 0).all() and answer.weights.sum() == pytest.approx(1)
        assert answer.squared_norm >= 0 and answer.gap >= 0
        if answer.status == Status.OPTIMAL and method == "exact":
            product = gramian @ answer.weights
            assert answer.weights @ product - product.min() <= 1e-9 * gramian.abs().max()


FORMATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def rounded_twice(gramian: Tensor, dtype: torch.dtype, seed: int) -> Tensor:
    """As a product of matrices in that format may leave it on some machine: one number rounded in two ways."""
    symmetric = gramian.to(dtype)
    up = torch.rand(gramian.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    return torch.where(up, torch.nextafter(symmetric, torch.full_like(symmetric, torch.inf)), symmetric)


@pytest.mark.parametrize("seen", FORMATS)
@pytest.mark.parametrize("made", FORMATS)
def test_a_gramian_made_in_any_format_is_averaged_in_any(
    implementation: str, made: torch.dtype, seen: torch.dtype
) -> None:
    for seed in range(10):
        uneven = rounded_twice(gramians.gramian(gramians.agreeing(1, 5, 20, seed))[0], made, seed).to(seen)
        wide = uneven.double() if seen == torch.float64 else uneven.float()
        even = wide / 2 + wide.mT / 2
        answer, expected = solve(implementation, uneven), solve(implementation, even)
        assert answer.status == Status.OPTIMAL
        torch.testing.assert_close(answer.weights, expected.weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize("made", FORMATS)
def test_products_of_matrices_in_any_format_are_accepted(implementation: str, made: torch.dtype) -> None:
    for seed in range(5):
        rows = gramians.scales(1, 6, seed)[0].clamp(-30, 30) if seed else gramians.agreeing(1, 6, 3000, seed)[0] / 10
        product = rows.to(made) @ rows.to(made).mT
        for seen in FORMATS:
            assert solve(implementation, product.to(seen)).status != Status.ASYMMETRIC


def test_a_squared_norm_below_the_range_of_its_format_is_no_asymmetry(implementation: str) -> None:
    """(1e-5)² is 0 in float16, while the product with a long gradient is there, rounded in two ways."""
    gramian = torch.tensor([[0.0, 0.0100], [0.0101, 100.0]], dtype=torch.float16)
    for seen in FORMATS:
        assert solve(implementation, gramian.to(seen)).weights.tolist() == [1, 0]


@pytest.mark.parametrize("seen", FORMATS)
def test_asymmetry_that_no_rounding_explains_is_refused(implementation: str, seen: torch.dtype) -> None:
    gramian = torch.tensor([[1.0, 0.5, 0.0], [0.5, 2.0, 0.3], [0.0, 0.3, 3.0]], dtype=seen)
    assert solve(implementation, gramian).status == Status.OPTIMAL
    gramian[2, 1] += 0.25  # a tenth of the product of the lengths
    with pytest.raises(ValueError, match=r"^gramian: row 2 is not symmetric"):
        solve(implementation, gramian)
    rows = gramians.agreeing(1, 4, 4, seed=1)[0].to(seen)
    with pytest.raises(ValueError, match="is not symmetric|negative squared norm"):
        solve(implementation, rows)  # the gradients themselves


def test_propagate_answers_nan_for_refused_problems_alone(implementation: str) -> None:
    gramian = torch.stack([torch.eye(2), torch.full((2, 2), NAN), -torch.eye(2), torch.tensor([[1.0, 1], [-1, 1]])])
    answer = solve(implementation, gramian, nonfinite="propagate")
    assert answer.status.tolist() == [Status.OPTIMAL, Status.NONFINITE, Status.NEGATIVE, Status.ASYMMETRIC]
    assert answer.weights[0].tolist() == [0.5, 0.5] and answer.weights[1:].isnan().all()


def test_the_first_refused_problem_is_named(implementation: str) -> None:
    gramian = torch.eye(3).repeat(2, 3, 1, 1)
    gramian[1, 0, 2, 2] = -1
    gramian[1, 2, 0, 0] = NAN
    with pytest.raises(ValueError, match=r"^gramian\[1, 0\]: row 2 has a negative squared norm"):
        solve(implementation, gramian)


# ---- threads and shapes ----


@pytest.mark.parametrize("method", METHODS)
def test_threads_do_not_change_a_bit(method: str) -> None:
    if "c++" not in implementations.available("min_norm", "cpu"):
        pytest.skip("the compiled core was not built")
    gramian = gramians.gramian(gramians.agreeing(500, 13, 30, seed=3))
    before = torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            answers.append(min_norm(gramian, method=method))
    finally:
        torch.set_num_threads(before)
    for answer in answers[1:]:
        assert all(torch.equal(a, b) for a, b in zip(answer, answers[0], strict=True))


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 4, 4), (1, 1, 1, 1)])
def test_empty_batches_and_unit_axes(implementation: str, shape: tuple[int, ...]) -> None:
    answer = solve(implementation, torch.ones(shape))
    assert answer.weights.shape == shape[:-1]
    assert answer.squared_norm.shape == answer.status.shape == shape[:-2]


def test_statuses_have_the_numbers_of_the_core() -> None:
    assert [status.name for status in Status] == [
        "OPTIMAL", "LIMIT", "STALLED", "EMPTY", "NONFINITE", "NEGATIVE", "ASYMMETRIC",
    ]  # fmt: skip
    assert [int(status) for status in Status] == list(range(7))
