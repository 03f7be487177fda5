"""Scalarization: one number ℓ per device from its M losses L and its preference r; all are minimised."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from modnas_fast.runtime.choices import SCALARIZATIONS

Scalarization = Callable[[Tensor, Tensor], Tensor]


def linear(losses: Tensor, preference: Tensor) -> Tensor:
    """Σ_m r_m L_m, of shape [...], from losses L [..., M] and preference r [..., M] (they broadcast).

    Raises ValueError where the last axes differ. On a concave front its minima are the corners alone.

    >>> linear(torch.tensor([2.0, 4.0]), torch.tensor([0.75, 0.25]))
    tensor(2.5000)
    """
    _check(losses, preference)
    return (preference * losses).sum(-1)


def smooth_chebyshev(
    losses: Tensor,
    preference: Tensor,
    *,
    mu: float = 0.1,
    ideal: float | Sequence[float] | Tensor = 0.0,
) -> Tensor:
    """μ ln Σ_m exp(r_m (L_m − z_m) / μ), of shape [...], from L [..., M] and r [..., M].

    Lin et al. 2024, "Smooth Tchebycheff Scalarization for Multi-Objective Optimization". `mu` > 0 is the
    smoothing: towards 0 the value tends to max_m r_m (L_m − z_m), which it exceeds by at most μ ln M. `ideal`
    z is one number or one per objective, at most the least loss possible. Every Pareto-optimal point is the
    minimum of some r, also on a concave front. Raises ValueError for unequal last axes.

    >>> smooth_chebyshev(torch.tensor([2.0, 4.0]), torch.tensor([0.5, 0.5]), mu=1.0)
    tensor(2.3133)
    """
    _check(losses, preference)
    offset = losses.new_tensor(ideal) if isinstance(ideal, Sequence) else ideal
    return mu * torch.logsumexp(preference * (losses - offset) / mu, dim=-1)


def cosine(losses: Tensor, preference: Tensor, *, penalty: float = 1.0, detach_penalty: bool = False) -> Tensor:
    """Σ_m r_m L_m − λ cos(r, L), of shape [...], from L [..., M] and r [..., M].

    Ruchte & Grabocka 2021 (COSMOS); `penalty` is λ ≥ 0. The cosine pulls the losses towards the
    direction r. With `detach_penalty` it changes the value but has no gradient, as in the published MODNAS
    code, which rebuilds the loss vector outside the graph. Where L or r is 0 the cosine is 0, with gradient
    0. Raises ValueError for unequal last axes.

    >>> cosine(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0]), penalty=2.0)
    tensor(1.8000)
    """
    _check(losses, preference)
    similarity = _cosine_similarity(losses, preference)
    return (preference * losses).sum(-1) - penalty * (similarity.detach() if detach_penalty else similarity)


def task_alone(losses: Tensor, preference: Tensor) -> Tensor:
    """L_0, of shape [...]: the task's loss, whatever the preference [..., M] is and whatever networks cost.

    What Φ learns from in the published code of the experiments on translation. Raises ValueError for unequal last axes.

    >>> task_alone(torch.tensor([2.0, 4.0]), torch.tensor([0.5, 0.5]))
    tensor(2.)
    """
    _check(losses, preference)
    return losses[..., 0].expand(torch.broadcast_shapes(losses.shape, preference.shape)[:-1])


def _cosine_similarity(left: Tensor, right: Tensor) -> Tensor:
    """cos(left, right) over the last axis; 0 with gradient 0 where one of them is the zero vector."""
    (left, left_zero), (right, right_zero) = _direction(left), _direction(right)
    value = (left * right).sum(-1) / (left.norm(dim=-1) * right.norm(dim=-1))
    return torch.where(left_zero | right_zero, 0.0, value)


def _direction(vector: Tensor) -> tuple[Tensor, Tensor]:
    """`vector` scaled to a largest entry of 1, and where it is zero (there, ones in its place)."""
    size = vector.detach().abs().amax(-1, keepdim=True)
    zero = size < torch.finfo(size.dtype).tiny  # subnormal: its gradient, of order 1 / size, would overflow
    # Constant factors leave the cosine as it is; without them the squares of small losses vanish.
    scaled = torch.where(zero, 1.0, vector) / torch.where(zero, 1.0, size)
    return scaled, zero.squeeze(-1)


def _check(losses: Tensor, preference: Tensor) -> None:
    if losses.dim() == 0 or preference.dim() == 0 or losses.shape[-1] != preference.shape[-1]:
        raise ValueError(
            f"preference: wanted one entry per loss, got losses {list(losses.shape)} "
            f"and preference {list(preference.shape)}"
        )


#: keyword arguments of the built-in kinds
PARAMETERS = {
    "linear": (),
    "smooth_chebyshev": ("mu", "ideal"),
    "cosine": ("penalty", "detach_penalty"),
    "task_alone": (),
}


def make_scalarization(kind: str, **parameters: Any) -> Scalarization:
    """The function (L [..., M], r [..., M]) → ℓ [...] named `kind`: one of `PARAMETERS`, or a user's.

    `parameters` are the keyword arguments of that function. Raises ValueError for an unknown kind or
    parameter and for impossible values: mu must be above 0, penalty at least 0, ideal finite.

    >>> scalarize = make_scalarization("smooth_chebyshev", mu=1.0)
    >>> scalarize(torch.tensor([2.0, 4.0]), torch.tensor([0.5, 0.5]))
    tensor(2.3133)
    """
    if kind not in SCALARIZATIONS:
        return _checked(kind, SCALARIZATIONS.find(kind, parameters))
    function, names = SCALARIZATIONS.find(kind), PARAMETERS[kind]
    for name, value in parameters.items():
        if name not in names:
            wanted = ", ".join(names) or "no parameter"
            raise ValueError(f"{name}: {kind} takes {wanted}")
        _check_parameter(name, value)
    return partial(function, **parameters)


def _checked(kind: str, function: Scalarization) -> Scalarization:
    """A user's function, whose result would otherwise broadcast in silence where its shape is wrong."""

    def scalarize(losses: Tensor, preference: Tensor) -> Tensor:
        value = function(losses, preference)
        wanted = torch.broadcast_shapes(losses.shape, preference.shape)[:-1]
        if value.shape != wanted:
            raise SCALARIZATIONS.fault(
                kind, f"wanted to return {list(wanted)}, one number per row, got {list(value.shape)}"
            )
        return value

    return scalarize


def _check_parameter(name: str, value: object) -> None:
    if name == "detach_penalty":
        if not isinstance(value, bool):
            raise ValueError(f"detach_penalty: wanted true or false, got {value!r}")
        return
    values: list[Any] = list(value) if isinstance(value, Sequence) and name == "ideal" else [value]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values):
        raise ValueError(f"{name}: wanted a finite number, got {value!r}")
    if name == "mu" and not values[0] > 0:
        raise ValueError(f"mu: wanted a number above 0, got {value!r}")
    if name == "penalty" and values[0] < 0:
        raise ValueError(f"penalty: wanted a number of at least 0, got {value!r}")
