"""The surrogate task objective: errors of all networks from the true errors of at most Q of them.

A Gaussian process on log-errors (Rasmussen & Williams 2006, ch. 2 and 5) with a Matérn-5/2 kernel on canonical
one-hots. Where the space has features, another kernel on them is added (sums of kernels: Duvenaud et al. 2013): a few
sizes then tell most of what hundreds of options do. Which networks to query is chosen round by round: those that lie,
by an optimistic estimate, on the front of most devices (GP-UCB for fronts, Srinivas et al. 2010). All devices share the
queries. HW-GPT-Bench's way of an error surrogate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from modnas_fast.evaluation.fronts import front_membership
from modnas_fast.runtime.choices import SURROGATES
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import SearchSpace

#: share of the queries that are random, before the first choice
FIRST_SHARE = 0.2
#: further rounds
ROUNDS = 10
#: standard deviations below the mean that count as possible in the first choice; falls to 0 in the last, which checks
#: what would be answered
OPTIMISM = 1.0
#: Adam steps on the marginal likelihood
FIT_STEPS = 100
#: added to the noise's variance for the Cholesky decomposition
JITTER = 1e-5


class QueryBudgetExceeded(InputError):
    """More true errors were asked for than allowed."""


class CountedTruth:
    """True errors, counted: each network costs one query the first time.

    Args:
        space: the search space.
        truth: true errors in percent [n] of canonical one-hots [n, N].
        budget: Q, queries at most.
    """

    def __init__(self, space: SearchSpace, truth: Callable[[Tensor], Tensor], budget: int) -> None:
        self._space = space
        self._truth = truth
        self.budget = budget
        self.known: dict[str, float] = {}

    @property
    def left(self) -> int:
        """Queries not yet spent."""
        return self.budget - len(self.known)

    def __call__(self, onehot: Tensor) -> Tensor:
        """Errors in percent [n]. Raises QueryBudgetExceeded, and asks nothing, where the budget does not suffice."""
        texts = [architecture.text for architecture in self._space.decode(onehot)]
        new = {text: row for row, text in enumerate(texts) if text not in self.known}
        if len(new) > self.left:
            raise QueryBudgetExceeded(f"queries: {len(new)} more wanted, {self.left} of {self.budget} are left")
        if new:
            self.known.update(zip(new, self._truth(onehot[list(new.values())]).tolist()))
        return torch.tensor([self.known[text] for text in texts], dtype=torch.float64)


class Regression(Protocol):
    """What `task.surrogate` gives: fitted to the logarithms of known errors."""

    def log_error(self, onehot: Tensor) -> Tensor:
        """Mean of ln(error in percent) [n] of canonical one-hots [n, N], with a gradient where they have one."""
        ...

    def optimistic(self, onehot: Tensor, optimism: float) -> tuple[Tensor, Tensor]:
        """Mean less `optimism` standard deviations of ln(error), and that deviation, [n] each, float64."""
        ...


#: fits a regression to canonical one-hots [n, N] and errors in percent [n]
Fit = Callable[[Tensor, Tensor], Regression]
#: how much networks with costs [n, T, C] count on T devices, [n, T]
Emphasis = Callable[[Tensor], Tensor]


def make_fit(kind: str, options: Mapping[str, Any] | None = None, space: SearchSpace | None = None) -> Fit:
    """What fits the regression `kind`: `gaussian_process` or a user's, with `options` as its keyword arguments.

    The built-in one sees the features of the space, too, where that is given and has some.
    """
    fit = SURROGATES.find(kind, options)
    if kind in SURROGATES and space is not None and space.num_features is not None:
        fit = partial(fit, features=space.features)
    made: Fit = fit
    return made


class ErrorSurrogate:
    """A Gaussian process from canonical one-hots to log-errors.

    Args:
        onehot: networks whose errors are known, [n, N].
        errors: in percent, above 0, [n].
        features: [n, F] of one-hots, differentiable; a second kernel sees them, with a length scale for each.

    Hyperparameters (length scales, signal and noise variances) maximise the marginal likelihood. Deterministic.
    """

    def __init__(self, onehot: Tensor, errors: Tensor, features: Callable[[Tensor], Tensor] | None = None) -> None:
        self._features = features
        self._x = self._inputs(onehot)
        log_errors = errors.double().log()
        self._mean, self._width = log_errors.mean(), log_errors.std().clamp(min=1e-6)
        self._fit((log_errors - self._mean) / self._width)

    def _inputs(self, onehot: Tensor) -> Inputs:
        onehot = onehot.double()
        return Inputs(onehot, self._features(onehot) if self._features else onehot[:, :0])

    def _fit(self, target: Tensor) -> None:
        start = [math.log(2.0), 0.0, math.log(0.01)]
        if self._features:  # most is told by the features, what is left by the options
            lengths = (3.0 * _spread(self._x.features)).log()
            start = [math.log(3.0), math.log(0.1), math.log(0.01), 0.0, *lengths.tolist()]
        parameters = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        first = parameters.detach().clone()
        optimizer = torch.optim.Adam([parameters], lr=0.05)
        for _ in range(FIT_STEPS):
            optimizer.zero_grad()
            factor = self._cholesky(parameters)
            solved = torch.cholesky_solve(target[:, None], factor)[:, 0]
            prior = 0.05 * parameters[0] ** 2  # keeps the length scale of few points within reason
            prior = prior + 0.02 * (parameters - first)[4:].square().sum()  # and those of features that tell nothing
            (0.5 * target @ solved + factor.diagonal().log().sum() + prior).backward()
            optimizer.step()
        self._parameters = parameters.detach()
        self._factor = self._cholesky(self._parameters)
        self._solved = torch.cholesky_solve(target[:, None], self._factor)[:, 0]

    def _cholesky(self, parameters: Tensor) -> Tensor:
        noise = (parameters[2].exp() + JITTER) * torch.eye(len(self._x.onehot), dtype=torch.float64)
        factor: Tensor = torch.linalg.cholesky(_kernel(self._x, self._x, parameters) + noise)
        return factor

    def log_error(self, onehot: Tensor) -> Tensor:
        """Mean of ln(error in percent) [n] of canonical one-hots [n, N], with a gradient where they have one."""
        kernel = _kernel(self._inputs(onehot), self._x, self._parameters)
        return (kernel @ self._solved) * self._width + self._mean

    @torch.no_grad()
    def optimistic(self, onehot: Tensor, optimism: float) -> tuple[Tensor, Tensor]:
        """Mean less `optimism` standard deviations of ln(error), and that deviation, [n] each."""
        kernel = _kernel(self._inputs(onehot), self._x, self._parameters)
        explained = torch.linalg.solve_triangular(self._factor, kernel.T, upper=False).square().sum(0)
        signal = self._parameters[[1, 3] if self._x.features.shape[1] else [1]].exp().sum()
        deviation = (signal - explained).clamp(min=1e-9).sqrt() * self._width
        return (kernel @ self._solved) * self._width + self._mean - optimism * deviation, deviation


class Inputs(NamedTuple):
    """What a kernel sees of n networks: canonical one-hots [n, N] and features [n, F], F may be 0."""

    onehot: Tensor
    features: Tensor


def _spread(features: Tensor) -> Tensor:
    """Standard deviation of each feature, [F]; 1 of one that is the same everywhere."""
    spread = (features - features.mean(dim=0)).square().mean(dim=0).sqrt()
    return torch.where(spread > 1e-9, spread, 1.0)


def _kernel(left: Inputs, right: Inputs, parameters: Tensor) -> Tensor:
    """Matérn-5/2 of one-hots, and of features in their length scales; [left, right].

    Parameters are logarithms: length scale, signal variance and noise variance, then signal variance and length
    scales of the features.
    """
    kernel = _matern(_squared_distances(left.onehot, right.onehot), parameters[0], parameters[1])
    if left.features.shape[1]:
        scales = parameters[4:].exp()
        distances = _squared_distances(left.features / scales, right.features / scales)
        kernel = kernel + _matern(distances, distances.new_zeros(()), parameters[3])
    return kernel


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    squares = left.square().sum(1)[:, None] + right.square().sum(1)
    return (squares - 2 * left @ right.T).clamp(min=1e-12)


def _matern(distances: Tensor, log_length: Tensor, log_variance: Tensor) -> Tensor:
    """Matérn-5/2 of squared distances."""
    scaled = (5 * distances).sqrt() / log_length.exp()
    return log_variance.exp() * (1 + scaled + scaled.square() / 3) * torch.exp(-scaled)


def query(
    space: SearchSpace,
    truth: CountedTruth,
    candidates: Tensor,
    costs: Callable[[], Tensor],
    seed: int,
    on_query: Callable[[int], None] = lambda done: None,
    fit: Fit = ErrorSurrogate,
    counts: Emphasis | None = None,
) -> Regression:
    """Spends the budget of `truth` on networks near the devices' fronts; the surrogate of all that is known then.

    Args:
        space: the search space.
        truth: counts; what it knows already, from an earlier process, is used and not asked again.
        candidates: canonical one-hots [n, N] of the networks considered.
        costs: their costs [n, T, C] on the search devices; asked anew in every round, so that networks measured
            meanwhile may stand there with their measurements.
        seed: of the first, random networks.
        on_query: called with the number of networks known.
        fit: makes the surrogate of what is known.
        counts: how much each place on the devices' fronts does; None: all alike.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = {architecture.text: row for row, architecture in enumerate(space.decode(candidates))}
    first = torch.randperm(len(candidates), generator=generator)[: max(4, round(FIRST_SHARE * truth.budget))]
    if not truth.known:
        truth(candidates[first])
    choices, batch = truth.left, max(1, -(-truth.left // ROUNDS))
    while True:
        on_query(len(truth.known))
        known = torch.tensor([rows[text] for text in truth.known])
        errors = torch.tensor(list(truth.known.values()), dtype=torch.float64)
        surrogate = fit(candidates[known], errors)
        if truth.left <= 0 or len(known) == len(candidates):
            return surrogate
        count = min(batch, truth.left)
        share = (truth.left - count) / max(choices - batch, 1)  # 1 in the first round, 0 in the last
        estimate = surrogate.optimistic(candidates, OPTIMISM * share)
        truth(candidates[promising(estimate, costs(), known, errors, count, generator, counts)])


def promising(
    estimate: tuple[Tensor, Tensor],
    cost: Tensor,
    known: Tensor,
    errors: Tensor,
    count: int,
    generator: torch.Generator,
    counts: Emphasis | None = None,
) -> Tensor:
    """Rows of unknown candidates that lie on the estimated front of most devices; random ones where those end.

    Args:
        estimate: of ln(error) of the candidates, and its standard deviation, [n] each; the first changes in place.
        cost: of the candidates, [n, T, C].
        known: rows that are known.
        errors: theirs in percent.
        count: how many rows at most.
        generator: decides between equals.
        counts: how much each place on the devices' fronts does; None: all alike.
    """
    bound, deviation = estimate
    bound[known] = errors.log()
    membership = front_membership(bound, cost).double()
    votes = (membership if counts is None else membership * counts(cost)).sum(dim=1)
    votes += 0.5 * deviation / deviation.max() * (votes > 0)  # between equals the less certain one
    votes += 1e-3 * torch.rand(len(votes), generator=generator, dtype=torch.float64)
    votes[known] = -1
    return votes.topk(min(count, int((votes >= 0).sum()))).indices


class SurrogateObjective:
    """ln(error) by a surrogate as the task loss, and the errors that it and the queries give.

    Args:
        space: the search space.
        surrogate: fitted.
        known: true errors in percent by architecture string; they go before the surrogate's.
        chance_error: error in percent of a guess.
        whole: what errors are divided by to be shares.
    """

    trains = False
    learning_rate = 0.0
    device = torch.device("cpu")

    def __init__(
        self,
        space: SearchSpace,
        surrogate: Regression,
        known: dict[str, float],
        chance_error: float,
        whole: float = 100.0,
    ) -> None:
        self._space = space
        self._surrogate = surrogate
        self._known = known
        self.chance_error = chance_error
        self.whole = whole
        self.chance_loss = chance_error / whole

    def new_batch(self) -> None:
        """Nothing changes: a surrogate knows no minibatches."""

    def loss(self, onehot: Tensor, hard: bool | None = None) -> Tensor:
        """Predicted error [S], as a share, of samples [S, N], with a gradient where they have one; cut ones guess."""
        predicted = self._surrogate.log_error(self._space.canonical(onehot)).exp().to(onehot.dtype) / self.whole
        alive = self._space.viable(onehot)
        return alive * predicted + (1 - alive) * self.chance_loss

    def train_step(self, onehot: Tensor, share: float, hard: bool | None = None, teacher: int | None = None) -> None:
        """Nothing: there are no weights."""

    @torch.no_grad()
    def errors(self, onehot: Tensor) -> Tensor:
        """Errors in percent [n] of canonical architectures [n, N]: true ones where they were queried."""
        predicted = self._surrogate.log_error(onehot).exp().tolist()
        texts = [architecture.text for architecture in self._space.decode(onehot)]
        return torch.tensor([self._known.get(text, value) for text, value in zip(texts, predicted)])

    def state_dict(self) -> dict[str, Any]:
        """Empty: nothing changes during a search."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
