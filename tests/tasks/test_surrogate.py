"""Errors from few true ones: counted queries, the Gaussian process against linear algebra, and what is queried."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hw_gpt_bench import costs_of, networks
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern
from torch import Tensor

from modnas_fast.evaluation.exact import ExactFront
from modnas_fast.evaluation.fronts import front_membership
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.tasks.surrogate import (
    JITTER,
    OPTIMISM,
    CountedTruth,
    ErrorSurrogate,
    QueryBudgetExceeded,
    SurrogateObjective,
    make_fit,
    query,
)

SPACE = NB201Space()
CANDIDATES = SPACE.candidates(5000, torch.Generator().manual_seed(0))
GAIN = torch.tensor([0.0, 0.3, 0.8, 1.0, 0.2]).repeat(6) * torch.linspace(0.6, 1.4, 6).repeat_interleave(5)
PRICE = torch.tensor([0.0, 0.1, 1.0, 4.0, 0.6]).repeat(6)


def true_errors(onehot: Tensor) -> Tensor:
    """In percent: every operation takes its share of what is left."""
    return 5 + 60 * (-onehot.double() @ GAIN.double()).exp()


def costs(onehot: Tensor) -> Tensor:
    """On two devices, [n, 2, 1]."""
    return torch.stack([1 + onehot @ PRICE, 2 + onehot @ PRICE.flip(0)], dim=1)[..., None]


def some(count: int, seed: int = 0) -> Tensor:
    return CANDIDATES[torch.randperm(len(CANDIDATES), generator=torch.Generator().manual_seed(seed))[:count]]


# ---- counting ----


class Truth:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, onehot: Tensor) -> Tensor:
        self.asked += [architecture.text for architecture in SPACE.decode(onehot)]
        return true_errors(onehot)


def test_every_network_costs_one_query_the_first_time() -> None:
    truth, networks = Truth(), some(5)
    counted = CountedTruth(SPACE, truth, 6)
    texts = [architecture.text for architecture in SPACE.decode(networks)]
    assert counted(networks[[0, 1, 0]]).tolist() == true_errors(networks[[0, 1, 0]]).tolist()
    assert (counted.left, sorted(truth.asked)) == (4, sorted(texts[:2]))
    assert counted(networks).tolist() == true_errors(networks).tolist()
    assert (counted.left, list(counted.known)) == (1, texts) and sorted(truth.asked) == sorted(texts)
    assert counted(networks.flip(0)).tolist() == true_errors(networks.flip(0)).tolist() and counted.left == 1


def test_what_the_budget_does_not_cover_is_not_asked_at_all() -> None:
    truth, networks = Truth(), some(5)
    counted = CountedTruth(SPACE, truth, 3)
    counted(networks[:2])
    with pytest.raises(QueryBudgetExceeded, match="queries: 3 more wanted, 1 of 3 are left"):
        counted(networks)
    assert (len(truth.asked), counted.left) == (2, 1)
    assert counted(networks[[1, 0, 4, 4]]).tolist() == true_errors(networks[[1, 0, 4, 4]]).tolist()
    assert counted.left == 0


# ---- the Gaussian process ----


def reference(surrogate: ErrorSurrogate, onehot: Tensor, errors: Tensor) -> GaussianProcessRegressor:
    """scikit-learn's process with the fitted hyperparameters, on standardised log-errors."""
    length, signal, noise = surrogate._parameters.exp().tolist()
    kernel = ConstantKernel(signal, "fixed") * Matern(length, "fixed", nu=2.5)
    target = errors.log()
    process = GaussianProcessRegressor(kernel, alpha=noise + JITTER, optimizer=None)
    return process.fit(onehot.double().numpy(), ((target - target.mean()) / target.std()).numpy())


@pytest.mark.parametrize("count", [4, 30, 120])
def test_mean_and_deviation_equal_another_implementation(count: int) -> None:
    known, new = some(count), some(200, seed=1)
    errors = true_errors(known)
    surrogate = ErrorSurrogate(known, errors)
    mean, deviation = reference(surrogate, known, errors).predict(new.double().numpy(), return_std=True)
    center, width = float(errors.log().mean()), float(errors.log().std())
    np.testing.assert_allclose(surrogate.log_error(new).numpy(), mean * width + center, atol=1e-5)
    bound, found = surrogate.optimistic(new, OPTIMISM)
    np.testing.assert_allclose(found.numpy(), deviation * width, atol=1e-4)
    torch.testing.assert_close(bound, surrogate.log_error(new) - OPTIMISM * found)


def test_hyperparameters_raise_the_marginal_likelihood() -> None:
    known = some(60)
    errors = true_errors(known) * (0.05 * torch.randn(60, generator=torch.Generator().manual_seed(0))).exp()
    surrogate = ErrorSurrogate(known, errors)
    fitted = reference(surrogate, known, errors).log_marginal_likelihood_value_
    surrogate._parameters = torch.tensor([2.0, 1.0, 0.01], dtype=torch.float64).log()
    assert fitted > reference(surrogate, known, errors).log_marginal_likelihood_value_ + 1


def test_predictions_follow_what_is_known_and_generalise() -> None:
    known, new = some(150), some(300, seed=1)
    surrogate = ErrorSurrogate(known, true_errors(known))
    assert (surrogate.log_error(known) - true_errors(known).log()).abs().max() < 0.05
    residual = surrogate.log_error(new) - true_errors(new).log()
    assert residual.square().mean() < 0.1 * true_errors(new).log().var()
    again = ErrorSurrogate(known, true_errors(known))
    assert torch.equal(again.log_error(new), surrogate.log_error(new))


def test_features_of_a_space_tell_what_a_few_networks_cannot() -> None:
    space = GPTSpace("s")
    texts = networks("s", 460)
    onehot = space.encode([space.parse(text) for text in texts])
    values = torch.tensor([costs_of(text, 0)[0] for text in texts], dtype=torch.float64)
    plain = make_fit("gaussian_process")(onehot[:60], values[:60])
    informed = make_fit("gaussian_process", space=space)(onehot[:60], values[:60])
    missed = [(made.log_error(onehot[60:]).exp() - values[60:]).abs().mean() for made in (plain, informed)]
    assert missed[1] < 0.5 * missed[0]
    network = onehot[70:71].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(informed.log_error(network).sum(), network)
    width = gradient[0, :3]
    assert width[2] < width[1] < width[0], "a wider network has the lower perplexity"
    bound, deviation = informed.optimistic(onehot[:70], 1.0)
    assert deviation[60:].mean() > 2 * deviation[:60].mean() and bool((bound < informed.log_error(onehot[:70])).all())
    assert make_fit("gaussian_process", space=SPACE) is ErrorSurrogate, "of a space without features"


def test_equal_errors_are_predicted_as_such() -> None:
    surrogate = ErrorSurrogate(some(6), torch.full((6,), 20.0))
    predicted = surrogate.log_error(some(9, seed=1)).exp()
    torch.testing.assert_close(predicted, torch.full((9,), 20.0, dtype=torch.float64))


def test_the_gradient_equals_finite_differences() -> None:
    known = some(40)
    surrogate = ErrorSurrogate(known, true_errors(known))
    soft = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    soft = soft.softmax(-1).flatten(1).requires_grad_()
    assert torch.autograd.gradcheck(surrogate.log_error, soft)
    hard = known[:1].double().requires_grad_()
    (gradient,) = torch.autograd.grad(surrogate.log_error(hard).sum(), hard)
    assert gradient.isfinite().all() and gradient.any(), "a known network lies at distance 0 from itself"


# ---- what is queried ----


def ask(budget: int, seed: int = 0, known: int = 0) -> tuple[CountedTruth, Truth, ErrorSurrogate, list[int]]:
    truth, told = Truth(), []
    counted = CountedTruth(SPACE, truth, budget)
    if known:
        counted(some(known, seed=9))
    truth.asked.clear()
    surrogate = query(SPACE, counted, CANDIDATES, lambda: costs(CANDIDATES), seed, told.append)
    return counted, truth, surrogate, told


@pytest.mark.parametrize("budget", [8, 37])
def test_the_budget_is_spent_exactly_and_told(budget: int) -> None:
    counted, truth, _, told = ask(budget)
    assert counted.left == 0 and len(truth.asked) == len(set(truth.asked)) == budget
    assert told == sorted(set(told)) and told[-1] == budget


def test_what_is_known_already_is_not_asked_again() -> None:
    counted, truth, surrogate, told = ask(40, known=25)
    assert counted.left == 0 and len(truth.asked) == 15 and told[0] == 25
    known = SPACE.encode([SPACE.parse(text) for text in counted.known])
    other = ErrorSurrogate(known, torch.tensor([*counted.known.values()], dtype=torch.float64))
    assert torch.equal(surrogate.log_error(some(20)), other.log_error(some(20))), "all that is known is used"
    assert ask(25, known=25)[1].asked == []


def test_a_seed_is_an_answer() -> None:
    first, again, other = (ask(9, seed)[0].known for seed in (0, 0, 1))
    assert first == again and first.keys() != other.keys()


def test_a_space_smaller_than_the_budget_is_asked_whole() -> None:
    truth = CountedTruth(SPACE, true_errors, 50)
    query(SPACE, truth, CANDIDATES[:30], lambda: costs(CANDIDATES[:30]), 0)
    assert len(truth.known) == 30


def test_queries_lie_on_the_fronts_rather_than_anywhere() -> None:
    on_front = front_membership(true_errors(CANDIDATES), costs(CANDIDATES)).any(dim=1)
    front = {architecture.text for architecture in SPACE.decode(CANDIDATES[on_front])}
    counted, *_ = ask(60)
    found = len(front & counted.known.keys())
    lucky = [len(front & {a.text for a in SPACE.decode(some(60, seed))}) for seed in range(20)]
    assert found >= 5 and found > 2 * max(lucky), (found, lucky, len(front))
    fronts = [ExactFront(true_errors(CANDIDATES), cost, on_front | True) for cost in costs(CANDIDATES).unbind(1)]
    rows = (CANDIDATES[:, None] == SPACE.encode([SPACE.parse(text) for text in counted.known])).all(-1).any(1)
    for table in fronts:
        by_chance = [
            table.score(torch.randperm(len(CANDIDATES), generator=torch.Generator().manual_seed(seed))[:60].tolist())
            for seed in range(20)
        ]
        assert table.score(rows.nonzero().flatten().tolist()).ratio > max(score.ratio for score in by_chance)


# ---- as a task objective ----


def make_objective(known: int = 60) -> tuple[SurrogateObjective, ErrorSurrogate, Tensor]:
    networks = some(known)
    surrogate = ErrorSurrogate(networks, true_errors(networks))
    texts = [architecture.text for architecture in SPACE.decode(networks)]
    truth = dict(zip(texts[:2], (1.5, 2.5)))
    return SurrogateObjective(SPACE, surrogate, truth, 90.0), surrogate, networks


def test_true_errors_go_before_predictions() -> None:
    objective, surrogate, networks = make_objective()
    errors = objective.errors(networks[:4])
    assert errors[:2].tolist() == [1.5, 2.5] and not errors.requires_grad
    torch.testing.assert_close(errors[2:], surrogate.log_error(networks[2:4]).exp().float())


def test_a_cut_network_guesses() -> None:
    objective, surrogate, _ = make_objective()
    assert (objective.chance_loss, objective.chance_error, objective.trains) == (0.9, 90.0, False)
    cut = SPACE.encode([SPACE.architecture([3, 0, 0, 0, 0, 0]), SPACE.architecture([0, 0, 0, 1, 0, 0])])
    loss = objective.loss(cut)
    assert loss.dtype == torch.float32 and float(loss[0]) == pytest.approx(0.9)
    assert float(loss[1]) == pytest.approx(float(surrogate.log_error(cut[1:]).exp()) / 100)


def test_operations_without_influence_change_no_loss() -> None:
    objective, _, _ = make_objective()
    written = SPACE.encode([SPACE.architecture([3, 0, 0, 1, 0, 0])])  # edge 0→1 leads nowhere
    assert torch.equal(objective.loss(written), objective.loss(SPACE.canonical(written)))
    soft = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(0)).softmax(-1).flatten(1).double()
    assert torch.autograd.gradcheck(objective.loss, soft.requires_grad_())


def test_nothing_of_it_changes_during_a_search() -> None:
    objective, _, networks = make_objective()
    before = objective.loss(networks)
    objective.new_batch()
    objective.train_step(networks, 0.5)
    objective.load_state_dict(objective.state_dict())
    assert torch.equal(objective.loss(networks), before) and objective.state_dict() == {}
