"""What the min-norm solver is compared with: TorchJD and quadprog, which are test extras, and the classic loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import quadprog
import torch
from torch import Tensor
from torchjd.aggregation import MGDA, MGDAWeighting

from modnas_fast.bench.classic import classic_weights


def torchjd_weights(gramian: Tensor) -> Tensor:
    """TorchJD's Frank-Wolfe with its defaults: at most 100 steps."""
    return MGDAWeighting()(gramian)


def torchjd_step(jacobian: Tensor) -> Tensor:
    """TorchJD's aggregation of a Jacobian [T, P]."""
    return MGDA()(jacobian)


def quadprog_weights(gramian: Tensor) -> Tensor:
    """The dual active-set method of Goldfarb and Idnani on one dense problem."""
    matrix = gramian.double().numpy()
    size = len(matrix)
    constraints = np.vstack([np.ones(size), np.eye(size)]).T
    bounds = np.append(1.0, np.zeros(size))
    return torch.from_numpy(quadprog.solve_qp(matrix, np.zeros(size), constraints, bounds, meq=1)[0])


SOLVERS: dict[str, Callable[[Tensor], Tensor]] = {
    "torchjd": torchjd_weights,
    "quadprog": quadprog_weights,
    "classic loop": classic_weights,
}
