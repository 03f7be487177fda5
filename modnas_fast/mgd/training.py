"""Multiple gradient descent in any training loop: one call in place of `loss.backward()`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from modnas_fast.mgd.gramian import combine
from modnas_fast.mgd.min_norm import Method, Nonfinite, Zeros
from modnas_fast.mgd.weighting import MGDWeights, Normalize, mgd_weights


def mgd_backward(
    losses: Tensor | Sequence[Tensor],
    parameters: Iterable[Tensor],
    normalize: Normalize = "none",
    *,
    batched: bool = False,
    method: Method = "exact",
    nonfinite: Nonfinite = "raise",
    zeros: Zeros = "exact",
    retain_graph: bool = False,
) -> MGDWeights:
    """Adds the min-norm combination of the losses' gradients to `.grad` of the parameters.

    Args:
        losses: T scalars, or one tensor [T], with their graph.
        parameters: those that share the combined gradient, such as a trunk's. One that no loss reaches keeps
            its `.grad`; parameters of single tasks are left to an ordinary backward pass (retain_graph=True).
        normalize, method, nonfinite, zeros: as in `mgd_weights`.
        batched: one backward pass vectorised over the losses instead of one each; faster for small models where
            every operation of the graph allows it.
        retain_graph: keep the graph for another backward pass.

    Returns:
        The weights used; `factors` are those of the raw gradients.

    Raises:
        ValueError: no losses or no parameters, or a loss that is no scalar; as `mgd_weights`.

    >>> x = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> mgd_backward([x[0] ** 2, 2 * x[1] ** 2], [x]).weights.tolist()
    [0.8, 0.2]
    >>> x.grad
    tensor([1.6000, 0.8000])
    """
    terms = list(losses.unbind(0)) if isinstance(losses, Tensor) and losses.ndim == 1 else losses
    if isinstance(terms, Tensor) or not len(terms):
        raise ValueError("losses: wanted T scalars or one tensor [T] with T >= 1")
    for t, term in enumerate(terms):
        if term.numel() != 1:
            raise ValueError(f"losses[{t}] must be a scalar, not of shape {list(term.shape)}; reduce it first")
    shared = [parameter for parameter in parameters if parameter.requires_grad]
    if not shared:
        raise ValueError("parameters: wanted at least one that requires a gradient, got none")
    if batched:
        stacked = losses if isinstance(losses, Tensor) else torch.stack([term.reshape(()) for term in terms])
        gradients = _batched(stacked, shared, retain_graph)
    else:
        gradients = _one_by_one(terms, shared, retain_graph)
    values = torch.stack([term.detach().reshape(()) for term in terms]).double()
    found = mgd_weights(
        gradients,
        normalize,
        losses=values if normalize in ("loss", "loss+") else None,
        method=method,
        nonfinite=nonfinite,
        zeros=zeros,
    )
    update = iter(combine(found.factors, gradients))
    for parameter in shared:
        direction = next(update)
        if direction is not None:
            parameter.grad = direction if parameter.grad is None else parameter.grad + direction
    return found


def _one_by_one(losses: Sequence[Tensor], parameters: list[Tensor], retain: bool) -> list[tuple[Tensor | None, ...]]:
    last = len(losses) - 1
    return [
        torch.autograd.grad(loss, parameters, retain_graph=retain or t < last, allow_unused=True)
        for t, loss in enumerate(losses)
    ]


def _batched(losses: Tensor, parameters: list[Tensor], retain: bool) -> list[list[Tensor | None]]:
    count = len(losses)
    eye = torch.eye(count, dtype=losses.dtype, device=losses.device)
    together = torch.autograd.grad(
        losses, parameters, eye, retain_graph=retain, allow_unused=True, is_grads_batched=True
    )
    return [[None if part is None else part[t] for part in together] for t in range(count)]
