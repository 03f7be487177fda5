"""Every estimator's gradient against its closed form, the samples' law, and the sampler's contract."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from scipy import stats
from torch import Tensor

from modnas_fast.method.architect import ARCHITECTS, Groups, gumbel, make_architect, one_hot_of_max

SIZES = ([3, 3], [2, 4, 1, 3])
HARD = ("reinmax", "gdas")
#: estimators that differentiate through the sample; leave_one_out, which does not, has tests of its own
PATHWISE = tuple(kind for kind in ARCHITECTS if kind != "leave_one_out")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(sizes: list[int], rows: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Logits that ask for a gradient, noise and a cotangent: float64 [rows, N]."""
    generator = seeded(sum(sizes))
    shape = (rows, sum(sizes))
    logits = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    noise = torch.rand(shape, generator=generator, dtype=torch.float64)
    return logits, noise, torch.randn(shape, generator=generator, dtype=torch.float64)


def softmax_jacobian(probabilities: Tensor) -> Tensor:
    return torch.diag(probabilities) - torch.outer(probabilities, probabilities)


def closed_form(kind: str, logits: Tensor, noise: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Sample and Jacobian of one group, straight from the papers' formulas."""
    perturbed = logits + gumbel(noise)
    if kind == "softmax":
        p = (logits / tau).softmax(-1)
        return p, softmax_jacobian(p) / tau
    p = (perturbed / tau).softmax(-1)
    if kind == "gumbel_softmax":
        return p, softmax_jacobian(p) / tau
    hard = one_hot_of_max(perturbed)
    if kind == "gdas":
        return hard, softmax_jacobian(p) / tau
    p0, p1 = logits.softmax(-1), 0.5 * (hard + (logits / tau).softmax(-1))
    return hard, 2 * softmax_jacobian(p1) - 0.5 * softmax_jacobian(p0)


@pytest.mark.parametrize("tau", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", PATHWISE)
def test_sample_and_gradient_equal_the_closed_form(kind: str, sizes: list[int], tau: float) -> None:
    logits, noise, cotangent = inputs(sizes)
    sample = make_architect(kind, sizes, tau_max=tau, tau_min=tau)(logits, noise)
    (gradient,) = torch.autograd.grad(sample, logits, cotangent)
    for row in range(len(logits)):
        for piece in group_slices(sizes):
            at = (row, piece)
            wanted, jacobian = closed_form(kind, logits.detach()[at], noise[at], tau)
            torch.testing.assert_close(sample.detach()[at], wanted)
            torch.testing.assert_close(gradient[at], jacobian.T @ cotangent[at])


def group_slices(sizes: list[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


@pytest.mark.parametrize("kind", ["softmax", "gumbel_softmax"])
def test_soft_estimators_pass_gradcheck(kind: str) -> None:
    logits, noise, _ = inputs([2, 3])
    assert torch.autograd.gradcheck(make_architect(kind, [2, 3], temperature=0.7), (logits, noise))


def test_reinmax_equals_algorithm_2_written_with_detach() -> None:
    logits, noise, cotangent = inputs([4])
    hard = one_hot_of_max(logits.detach() + gumbel(noise))
    p0 = logits.softmax(-1)
    p1 = 0.5 * (hard + (logits / 1.3).softmax(-1))
    p1 = ((p1.log() - logits).detach() + logits).softmax(-1)
    p2 = 2 * p1 - 0.5 * p0
    (wanted,) = torch.autograd.grad(p2 - p2.detach() + hard, logits, cotangent)
    (got,) = torch.autograd.grad(make_architect("reinmax", [4], 1.3)(logits, noise), logits, cotangent)
    torch.testing.assert_close(got, wanted)


def test_reinmax_is_unbiased_for_a_quadratic_and_straight_through_is_not() -> None:
    """Heun's rule is exact on a quadratic, so the mean over all categories must be the true gradient."""
    sizes, generator = [2, 3], seeded(5)
    matrix = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    logits = torch.randn(5, generator=generator, dtype=torch.float64).requires_grad_()

    def objective(d: Tensor) -> Tensor:
        return d @ matrix @ d + matrix[0] @ d

    architect = make_architect("reinmax", sizes)
    probabilities = make_architect("softmax", sizes)(logits)
    value, reinmax, straight_through = 0.0, torch.zeros(5).double(), torch.zeros(5).double()
    for choice in itertools.product(range(2), range(3)):
        picked = [choice[0], 2 + choice[1]]
        noise = torch.full((5,), 1e-3, dtype=torch.float64)
        noise[picked] = 1 - 1e-14
        sample = architect(logits, noise)
        assert sample.nonzero().flatten().tolist() == picked
        weight = probabilities[picked].prod()
        value = value + weight * objective(sample.detach())
        (gradient,) = torch.autograd.grad(objective(sample), logits)
        reinmax += weight.detach() * gradient
        leaf = sample.detach().requires_grad_()
        (slope,) = torch.autograd.grad(objective(leaf), leaf)
        (gradient,) = torch.autograd.grad(probabilities, logits, slope, retain_graph=True)
        straight_through += weight.detach() * gradient
    (truth,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(reinmax, truth)
    assert (straight_through - truth).norm() > 0.05 * truth.norm()


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("sizes", SIZES)
def test_options_are_drawn_with_softmax_probabilities(kind: str, sizes: list[int]) -> None:
    logits = torch.randn(sum(sizes), generator=seeded(1), dtype=torch.float64)
    draws = make_architect(kind, sizes)(logits.expand(50_000, -1), generator=seeded(2))
    counts = draws.sum(0)
    expected = 50_000 * make_architect("softmax", sizes)(logits)
    for piece in group_slices(sizes):
        if piece.stop - piece.start > 1:
            assert stats.chisquare(counts[piece], expected[piece]).pvalue > 0.001


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", HARD)
def test_hard_samples_are_exact_one_hots(kind: str, sizes: list[int], dtype: torch.dtype) -> None:
    logits = torch.randn(500, sum(sizes), generator=seeded(3)).to(dtype).requires_grad_()
    sample = make_architect(kind, sizes)(logits, generator=seeded(4))
    assert sample.dtype == dtype and sample.requires_grad
    assert ((sample == 0) | (sample == 1)).all()
    for piece in group_slices(sizes):
        assert (sample[:, piece].float().sum(-1) == 1).all()


@pytest.mark.parametrize("kind", PATHWISE)
def test_each_device_depends_on_its_own_row_alone(kind: str) -> None:
    logits, noise, cotangent = inputs([2, 4])
    architect = make_architect(kind, [2, 4])
    together = architect(logits, noise)
    (gradient,) = torch.autograd.grad(together, logits, cotangent)
    for row in range(len(logits)):
        alone = architect(logits[row], noise[row])
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-15)  # log has two kernels, by place in a row
        (one,) = torch.autograd.grad(alone, logits, cotangent[row])
        torch.testing.assert_close(gradient[row], one[row])
    assert architect(logits[:1], noise[:1]).shape == (1, 6)
    assert architect(logits[:, None], noise[:, None]).shape == (4, 1, 6)


@pytest.mark.parametrize("kind", PATHWISE)
def test_inputs_and_the_global_generator_stay_unchanged(kind: str) -> None:
    logits, noise, cotangent = inputs([3, 3])
    before = logits.detach().clone(), noise.clone(), cotangent.clone(), torch.get_rng_state()
    architect = make_architect(kind, [3, 3])
    architect(logits, noise).backward(cotangent)
    architect(logits, generator=seeded())
    after = logits.detach(), noise, cotangent, torch.get_rng_state()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", PATHWISE)
@pytest.mark.parametrize("sizes", SIZES)
def test_extreme_noise_and_logits_stay_finite(kind: str, sizes: list[int]) -> None:
    logits = torch.tensor([0.0, 300.0, -300.0]).repeat(4)[: sum(sizes)].expand(2, -1).clone().requires_grad_()
    noise = torch.tensor([[0.0], [1.0]]).expand(2, sum(sizes))
    sample = make_architect(kind, sizes, tau_max=0.1, tau_min=0.1)(logits, noise)
    sample.square().sum().backward()
    assert sample.isfinite().all() and logits.grad.isfinite().all()


def test_a_generator_gives_the_same_sample_twice() -> None:
    logits = torch.zeros(50, 5)
    architect = make_architect("reinmax", [5])
    first, second = (architect(logits, generator=seeded(9)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, architect(logits, generator=seeded(10)))


def test_ties_go_to_the_lowest_index() -> None:
    logits = torch.zeros(2, 4)
    wanted = torch.tensor([1.0, 0.0, 1.0, 0.0]).expand(2, 4)
    for kind in HARD:
        assert torch.equal(make_architect(kind, [2, 2])(logits, torch.full((2, 4), 0.5)), wanted)


def test_gradients_of_single_devices_by_vmap() -> None:
    logits, noise, cotangent = inputs([2, 2])

    def value(row: Tensor, u: Tensor, g: Tensor) -> Tensor:
        return (architect(row, u) * g).sum()

    for kind in PATHWISE:
        architect = make_architect(kind, [2, 2])
        (wanted,) = torch.autograd.grad(architect(logits, noise), logits, cotangent)
        got = torch.func.vmap(torch.func.grad(value))(logits.detach(), noise, cotangent)
        torch.testing.assert_close(got, wanted)


def test_groups_split_and_join_are_inverse() -> None:
    values = torch.arange(10.0).expand(2, 10)
    groups = Groups([2, 4, 1, 3])
    split = groups.split(values, fill=-1.0)
    assert split.shape == (2, 4, 4) and (split == -1).sum() == 2 * 6
    assert torch.equal(groups.join(split), values)


def test_temperature_schedule() -> None:
    gdas = make_architect("gdas", [2])
    temperatures = []
    for fraction in (0.0, 0.5, 1.0):
        gdas.set_progress(fraction)
        temperatures.append(gdas.temperature)
    assert temperatures == pytest.approx([10.0, 5.05, 0.1])
    constant = make_architect("gumbel_softmax", [2], temperature=0.5)
    constant.set_progress(1.0)
    assert constant.temperature == 0.5
    falling = make_architect("gumbel_softmax", [2], tau_max=4.0, tau_min=2.0)
    falling.set_progress(0.25)
    assert falling.temperature == 3.5
    with pytest.raises(ValueError, match="fraction"):
        gdas.set_progress(1.5)


def test_hard_and_noisy_flags() -> None:
    flags = {kind: (make_architect(kind, [2]).hard, make_architect(kind, [2]).noisy) for kind in PATHWISE}
    assert flags == {
        "reinmax": (True, True),
        "gdas": (True, True),
        "gumbel_softmax": (False, True),
        "softmax": (False, False),
    }
    logits = torch.randn(2, 2, generator=seeded())
    softmax = make_architect("softmax", [2])
    assert torch.equal(softmax(logits), softmax(logits, torch.rand(2, 2, generator=seeded())))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("darts", [2]), {}, "architect.kind: wanted 'reinmax', .* got 'darts'"),
        (("reinmax", []), {}, "group_sizes"),
        (("reinmax", [2, 0]), {}, "group_sizes"),
        (("reinmax", [2.0]), {}, "group_sizes"),
        (("reinmax", [2], 0.0), {}, "temperature"),
        (("reinmax", [2], float("nan")), {}, "temperature"),
        (("gdas", [2]), {"tau_max": 1.0}, "both or neither"),
        (("gdas", [2]), {"tau_max": 1.0, "tau_min": -1.0}, "tau_min"),
    ],
)
def test_bad_configuration(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_architect(*arguments, **options)


def test_bad_calls() -> None:
    architect = make_architect("reinmax", [2, 3])
    noise = torch.full((1, 5), 0.5)
    with pytest.raises(ValueError, match=r"\[..., 5\] for groups of \[2, 3\] options, got \[1, 4\]"):
        architect(torch.zeros(1, 4), noise)
    with pytest.raises(ValueError, match="noise: wanted the shape"):
        architect(torch.zeros(2, 5), noise)
    with pytest.raises(ValueError, match="exactly one"):
        architect(torch.zeros(1, 5))
    with pytest.raises(ValueError, match="exactly one"):
        architect(torch.zeros(1, 5), noise, generator=seeded())
    with pytest.raises(TypeError, match="floating-point"):
        architect(torch.zeros(1, 5, dtype=torch.int64), noise)


def test_a_weighty_entropy_of_unequal_groups_has_a_finite_gradient() -> None:
    """Places that a small group does not have are −∞ and add nothing, however large the factor."""
    logits = torch.randn(3, 5, generator=seeded(1)).requires_grad_()
    entropy = make_architect("reinmax", (3, 2), 1.0).entropy(logits)
    (gradient,) = torch.autograd.grad(1e4 * entropy.sum(), logits)
    each = [torch.distributions.Categorical(logits=part).entropy() for part in logits.split([3, 2], dim=-1)]
    (wanted,) = torch.autograd.grad(1e4 * (each[0] + each[1]).sum(), logits)
    torch.testing.assert_close(entropy, each[0] + each[1])
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-2)
