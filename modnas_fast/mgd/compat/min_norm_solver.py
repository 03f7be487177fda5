"""`MinNormSolver` and `gradient_normalizers` with the interface of Sener and Koltun's code (NeurIPS 2018).

from modnas_fast.mgd.compat.min_norm_solver import MinNormSolver, gradient_normalizers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from modnas_fast.mgd.gramian import gramian
from modnas_fast.mgd.min_norm import MinNorm, min_norm

Key = TypeVar("Key")
Vectors = Sequence[Any]


class MinNormSolver:
    """The shortest vector in the convex hull of vectors; a namespace of static methods, as the original is.

    The original projects gradients or runs Frank-Wolfe without a certificate and keeps its line searches 0.001 away
    from their ends; here the first method is exact and the second is the paper's Algorithm 2.
    """

    MAX_ITER = 250
    STOP_CRIT = 1e-5

    @staticmethod
    def find_min_norm_element(vecs: Vectors) -> tuple[np.ndarray, float]:
        """Weights [T] on the simplex and the squared norm of the weighted sum, exact.

        Args:
            vecs: T vectors, each a tensor, a NumPy array, or a sequence of such (one per parameter), of any shape.
                None, of a parameter that a task does not reach, counts as zeros.

        Raises:
            TypeError, ValueError: as `modnas_fast.mgd.gramian` and `min_norm`.

        >>> sol, cost = MinNormSolver.find_min_norm_element([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])])
        >>> sol.round(6).tolist(), round(cost, 6)
        ([0.8, 0.2], 0.8)
        """
        return _answer(min_norm(gramian(_vectors(vecs))))

    @staticmethod
    def find_min_norm_element_FW(vecs: Vectors) -> tuple[np.ndarray, float]:
        """As `find_min_norm_element`, by Frank-Wolfe with MAX_ITER and STOP_CRIT."""
        return _answer(
            min_norm(
                gramian(_vectors(vecs)),
                method="frank_wolfe",
                tol=MinNormSolver.STOP_CRIT,
                max_iter=MinNormSolver.MAX_ITER,
            )
        )


def gradient_normalizers(
    grads: Mapping[Key, Sequence[Tensor | None]], losses: Mapping[Key, Any], normalization_type: str
) -> dict[Key, float]:
    """What to divide each task's gradients by.

    Args:
        grads: task -> its gradients, one tensor per parameter; None counts as zeros.
        losses: task -> its loss, a number or a tensor of one; read for `"loss"` and `"loss+"` only.
        normalization_type: `"l2"` the norm, `"loss"` the loss, `"loss+"` their product, `"none"` 1.

    Raises:
        ValueError: another type. (The original prints a line and goes on.)

    >>> gradient_normalizers({"a": [torch.tensor([3.0, 4.0])]}, {"a": 2.0}, "loss+")
    {'a': 10.0}
    """
    if normalization_type not in ("l2", "loss", "loss+", "none"):
        raise ValueError(f"normalization_type must be 'l2', 'loss', 'loss+' or 'none', not {normalization_type!r}")
    found = {}
    for task, parts in grads.items():
        factor = float(losses[task]) if normalization_type in ("loss", "loss+") else 1.0
        if normalization_type in ("l2", "loss+"):
            parts = [part for part in parts if part is not None]
            factor *= float(gramian([parts]).sqrt()) if parts else 0.0
        found[task] = factor
    return found


def _vectors(vecs: Vectors) -> list[list[Tensor | None]]:
    """T lists of tensors, whatever came."""
    if len(vecs) == 0:
        raise ValueError("vecs: wanted at least one vector, got none")
    lists = [[vector] if isinstance(vector, Tensor | np.ndarray) else vector for vector in vecs]
    width = next((len(parts) for parts in lists if parts is not None), 0)
    return [
        [None] * width if parts is None else [None if part is None else torch.as_tensor(part) for part in parts]
        for parts in lists
    ]


def _answer(found: MinNorm) -> tuple[np.ndarray, float]:
    return found.weights.cpu().numpy(), float(found.squared_norm)
