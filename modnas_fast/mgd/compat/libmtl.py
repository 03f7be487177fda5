"""The weighting interface of LibMTL: `class MTLmodel(architecture, weighting)` calls `weighting.backward(losses)`.

    from LibMTL.weighting.abstract_weighting import AbsWeighting
    from modnas_fast.mgd.compat.libmtl import MGDABackward

    class MGDA(MGDABackward, AbsWeighting):      # instead of: from LibMTL.weighting import MGDA
        pass

LibMTL's release on PyPI (1.1.5) and its repository share this interface. Nothing of LibMTL is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from modnas_fast.mgd.weighting import mgd_weights


class MGDABackward:
    """`backward` of LibMTL's MGDA; the rest of the interface comes from AbsWeighting beside it.

    As in LibMTL the weights γ found for the normalised gradients weigh the raw ones.

    >>> import torch
    >>> class Host(MGDABackward):  # what AbsWeighting and an architecture provide
    ...     rep_grad = False
    ...     def _get_grads(self, losses, mode):
    ...         return torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    ...     def _backward_new_grads(self, batch_weight, per_grads=None, grads=None):
    ...         self.update = batch_weight @ grads
    >>> host = Host()
    >>> host.backward([torch.tensor(1.0), torch.tensor(1.0)], mgda_gn="none").tolist(), host.update
    ([0.8..., 0.2...], tensor([0.8000, 0.4000]))
    """

    rep_grad: bool

    def backward(self, losses: Sequence[Tensor], **kwargs: Any) -> np.ndarray:
        """Puts the combined gradient into the shared parameters; returns the weights [T].

        Args:
            losses: T scalars with their graph.
            kwargs: LibMTL's dictionary of options; `mgda_gn` is `"none"` (also when missing), `"l2"`, `"loss"` or
                `"loss+"`.

        Raises:
            ValueError: another `mgda_gn`, or what `mgd_weights` refuses.
        """
        found = self._get_grads(losses, mode="backward")  # type: ignore[attr-defined]
        per_grads, grads = found if self.rep_grad else (None, found)
        weights = mgd_weights(
            grads, kwargs.get("mgda_gn", "none"), losses=[float(loss.detach()) for loss in losses]
        ).weights.to(grads)
        if self.rep_grad:
            self._backward_new_grads(weights, per_grads=per_grads)  # type: ignore[attr-defined]
        else:
            self._backward_new_grads(weights, grads=grads)  # type: ignore[attr-defined]
        return weights.cpu().numpy()
