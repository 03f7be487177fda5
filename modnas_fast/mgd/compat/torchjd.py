"""`MGDAWeighting` and `MGDA` for TorchJD (package `torchjd`), exact instead of 100 Frank-Wolfe steps.

from modnas_fast.mgd.compat.torchjd import MGDA        # instead of: from torchjd.aggregation import MGDA
"""

from __future__ import annotations

from torch import Tensor
from torchjd import aggregation

from modnas_fast.mgd.gramian import combine, gramian
from modnas_fast.mgd.min_norm import METHODS, Method, Zeros, min_norm


class MGDAWeighting(aggregation.MGDAWeighting):
    """The min-norm weights of a Gramian, as a TorchJD weighting of Gramians.

    Args:
        epsilon, max_iters: those of TorchJD's class, so that its calls keep working. They steer its loop and have
            no effect here: the answer is exact, or as exact as `method` makes it.
        method, zeros: as in `modnas_fast.mgd.min_norm`.

    >>> import torch
    >>> MGDAWeighting()(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([0.8000, 0.2000])
    """

    def __init__(
        self, epsilon: float = 0.001, max_iters: int = 100, *, method: Method = "exact", zeros: Zeros = "exact"
    ) -> None:
        super().__init__(epsilon=epsilon, max_iters=max_iters)
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
        self.method: Method = method
        self.zeros: Zeros = zeros

    def forward(self, gramian: Tensor, /) -> Tensor:
        """Weights [T] of a Gramian [T, T], in its number format."""
        return min_norm(gramian, method=self.method, zeros=self.zeros).weights.to(gramian.dtype)


class MGDA(aggregation.MGDA):
    """Aggregates a Jacobian [T, P] to the shortest vector in the convex hull of its rows.

    Args:
        epsilon, max_iters, method, zeros: as in `MGDAWeighting`.

    Gramian and weighted sum are `modnas_fast.mgd.gramian` and `combine`: float64 sums, one read of the Jacobian each.
    Like TorchJD's own, the result carries no gradient through the weights; here none through the sum either.

    >>> import torch
    >>> MGDA()(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    tensor([0.8000, 0.4000])
    """

    def __init__(
        self, epsilon: float = 0.001, max_iters: int = 100, *, method: Method = "exact", zeros: Zeros = "exact"
    ) -> None:
        weighting = MGDAWeighting(epsilon, max_iters, method=method, zeros=zeros)
        aggregation.GramianWeightedAggregator.__init__(self, weighting)
        # TorchJD's PSDMatrix is a tensor of which somebody has said that it is one
        self.weighting = weighting << gramian  # type: ignore[arg-type]

    @staticmethod
    def _combine(matrix: Tensor, weights: Tensor) -> Tensor:
        total: Tensor = combine(weights, matrix)
        return total
