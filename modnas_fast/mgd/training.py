"""Multiple gradient descent in any training loop: one call in place of `loss.backward()`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modnas_fast.mgd.gramian import combine, gramian
from modnas_fast.mgd.loss_graph import check_graph
from modnas_fast.mgd.loss_scale import common_scale, weigh_scaled
from modnas_fast.mgd.min_norm import Method, Nonfinite, Zeros
from modnas_fast.mgd.replicas import Group, Replicas, Row, average, check_whole, replicas
from modnas_fast.mgd.sparse_rows import Touched, touched_rows
from modnas_fast.mgd.training_arguments import Parameters, checked_losses, checked_parameters
from modnas_fast.mgd.weighting import MGDWeights, Normalize, check_normalization, weigh


class _Gradients(NamedTuple):
    """Gradients of T losses for K parameters."""

    update: list[Row]  # [T][K], of which the weighted sum goes to `.grad`
    averaged: list[Row]  # [T][K], over all replicas
    losses: Tensor  # [T], over all replicas
    touched: list[Touched | None]  # [K], where the rows of a sparse gradient belong


def mgd_backward(
    losses: Tensor | Sequence[Tensor],
    parameters: Parameters,
    normalize: Normalize = "none",
    *,
    batched: bool = False,
    method: Method = "exact",
    nonfinite: Nonfinite = "raise",
    zeros: Zeros = "exact",
    retain_graph: bool = False,
    allow_unused: bool = False,
    process_group: Group = "auto",
) -> MGDWeights:
    """Adds the min-norm combination of the losses' gradients to `.grad` of the parameters, as `backward` does.

    What reaches `.grad` is what `torch.autograd.backward(losses, found.factors, inputs=parameters)` would add, by the
    same road: in place where `.grad` is there, with all hooks on accumulation. Tensor hooks of a parameter change each
    loss's gradient too, before the weights are found.

    Args:
        losses: T scalars, or one tensor [T], with their graph.
        parameters: those that share the combined gradient, such as a trunk's, each counted once: a module, a tensor or
            an iterable of tensors. One that no loss reaches keeps its `.grad`; parameters of single tasks are left to
            an ordinary backward pass (retain_graph=True).
        normalize, method, zeros: as in `mgd_weights`.
        nonfinite: what is done about a loss, or a gradient, that is NaN or infinite: `"raise"`, `"skip"` to leave that
            loss out, `"propagate"` to make `.grad` NaN. Where `GradScaler.scale` made the losses, a gradient that is
            not finite is an overflow for the scaler to see, and makes `.grad` NaN whatever is said here.
        batched: one backward pass vectorised over the losses instead of one each; faster for small models where
            every operation of the graph allows it. Not with `nonfinite="skip"`, which needs them apart.
        retain_graph: keep the graph for another backward pass.
        allow_unused: a loss that reaches none of the parameters counts as one with a gradient of zeros.
        process_group: replicas of the model on several processes, over which each loss's gradient and value are
            averaged before the weights are found. `"auto"` is the group of a DistributedDataParallel given as
            `parameters`; None takes this process alone.

    Returns:
        The weights used; `factors` are those of the raw gradients. NaN after an overflow.

    Raises:
        TypeError, ValueError: bad losses or parameters, by their number; a loss that reaches none of them; a graph or
            parameters that allow no backward pass per loss; several processes without a word on them; as `mgd_weights`.
            On CUDA nothing is raised for values: `.grad` is NaN then.

    >>> x = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> mgd_backward([x[0] ** 2, 2 * x[1] ** 2], [x]).weights.tolist()
    [0.8, 0.2]
    >>> x.grad
    tensor([1.6000, 0.8000])
    """
    check_normalization(normalize)
    terms, shared = checked_losses(losses), checked_parameters(parameters)
    check_whole(shared)
    check_graph(terms)
    scale = common_scale(terms)  # while the graph is there
    among = replicas(parameters, process_group)
    hooked = _hooked(shared, among)
    together = batched and nonfinite != "skip"  # NaN of one loss would reach the others by 0 × NaN
    own = _own_gradients(terms, shared, together, retain_graph or hooked)
    gradients = _gradients(own, shared, terms, among)
    _check_reached(gradients.averaged, allow_unused)
    gram = gramian(gradients.averaged)
    if scale is not None:
        found = weigh_scaled(gram, gradients.losses, scale, normalize, method, nonfinite, zeros)
    else:
        if nonfinite == "raise" and gram.device.type == "cpu":  # elsewhere it would wait
            _check_finite(gram, gradients.losses)
        found = weigh(gram, normalize, gradients.losses, method, nonfinite, zeros)
    if hooked:
        _backward_of_losses(found.factors, terms, shared, retain_graph)
    else:
        _accumulate(found.factors, gradients, shared)
    return found


def _grad(parameter: Tensor) -> Tensor | None:
    """`.grad`, without torch's warning that no backward pass fills it where it is no leaf."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parameter.grad


def _hooked(parameters: Sequence[Tensor], among: Replicas | None) -> bool:
    """Whether a hook may change a gradient on its way to `.grad`."""
    hooked = any(parameter._backward_hooks for parameter in parameters)
    if hooked and among is not None and not among.reduces:
        raise ValueError(
            "parameters: with hooks on parameters and a process_group, pass the DistributedDataParallel module itself"
        )
    return hooked


def _own_gradients(losses: list[Tensor], parameters: list[Tensor], together: bool, retain: bool) -> list[Row]:
    """Each loss's gradient [T][K], of this process."""
    retained = [(parameter, _grad(parameter)) for parameter in parameters if not parameter.is_leaf]
    found = (_batched if together else _one_by_one)(losses, parameters, retain)
    for parameter, grad in retained:  # retain_grad() keeps the gradient of each pass
        parameter.grad = grad
    return found


def _gradients(own: list[Row], parameters: list[Tensor], terms: list[Tensor], among: Replicas | None) -> _Gradients:
    losses = torch.stack([term.detach().reshape(()).double() for term in terms])
    touched: list[Touched | None] = [None] * len(parameters)
    if any(part is not None and part.is_sparse for row in own for part in row):
        if among is not None:
            raise ValueError(
                "parameters: one has sparse gradients, which are not averaged over processes; make its layer with "
                "sparse=False"
            )
        columns = [touched_rows(column) for column in zip(*own, strict=True)]
        own = [list(row) for row in zip(*(column for column, _ in columns), strict=True)]
        touched = [where for _, where in columns]
    if among is None:
        return _Gradients(own, own, losses, touched)
    averaged, losses = average(own, parameters, losses, among)
    return _Gradients(own if among.reduces else averaged, averaged, losses, touched)


def _check_reached(gradients: Sequence[Row], allow_unused: bool) -> None:
    reached = [any(part is not None for part in row) for row in gradients]
    if not any(reached):
        raise ValueError("losses: none of them reaches any of the parameters")
    if not (allow_unused or all(reached)):
        raise ValueError(
            f"losses[{reached.index(False)}] reaches none of the parameters; leave it out, or pass allow_unused=True "
            "(its gradient then counts as zeros)"
        )


def _check_finite(gram: Tensor, losses: Tensor) -> None:
    """Raises a ValueError that names the first loss that is not finite, or else has such a gradient."""
    bad, squares = ~losses.isfinite(), gram.diagonal()
    wrong = bad if bad.any() else ~squares.isfinite()
    if wrong.any():
        t = int(wrong.nonzero()[0])
        what = f"is {float(losses[t])}" if bad[t] else "has a gradient with NaN or an infinity"
        raise ValueError(
            f'losses[{t}] {what}; nonfinite="skip" leaves such losses out, "propagate" makes .grad NaN '
            "(a GradScaler sees to overflows of scaler.scale(loss))"
        )


def _backward_of_losses(factors: Tensor, losses: list[Tensor], parameters: list[Tensor], retain: bool) -> None:
    """Adds the weighted sum by one more backward pass, for hooks that change gradients, without losses of weight 0."""
    kept = [t for t, factor in enumerate(factors.tolist()) if factor != 0]
    if kept:
        cotangents = [factors[t].to(losses[t]).reshape(losses[t].shape) for t in kept]
        torch.autograd.backward([losses[t] for t in kept], cotangents, retain_graph=retain, inputs=parameters)


def _accumulate(factors: Tensor, gradients: _Gradients, parameters: list[Tensor]) -> None:
    """Adds the weighted sum to `.grad` as the end of a backward pass does, with what hangs on accumulation."""
    leaves, directions = [], []
    for parameter, rows, touched in zip(parameters, combine(factors, gradients.update), gradients.touched, strict=True):
        if rows is None:
            continue
        direction = rows if touched is None else touched.sparse(rows)
        if parameter.is_leaf:
            leaves.append(parameter)
            directions.append(direction)
        else:
            before = _grad(parameter)
            parameter.grad = direction if before is None else before.add_(direction)
    if leaves:
        with torch.enable_grad():
            _Handover.apply(directions, *leaves).backward()


class _Handover(torch.autograd.Function):
    """Hands gradients to leaves when its result goes backward; faster than `backward` of the leaves."""

    @staticmethod
    def forward(ctx: Any, directions: list[Tensor], *leaves: Tensor) -> Tensor:
        ctx.directions = directions
        return leaves[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.directions)


def _one_by_one(losses: Sequence[Tensor], parameters: list[Tensor], retain: bool) -> list[Row]:
    last = len(losses) - 1
    return [
        list(torch.autograd.grad(loss, parameters, retain_graph=retain or t < last, allow_unused=True))
        for t, loss in enumerate(losses)
    ]


def _batched(losses: Sequence[Tensor], parameters: list[Tensor], retain: bool) -> list[Row]:
    stacked = torch.stack([loss.reshape(()) for loss in losses])
    eye = torch.eye(len(losses), dtype=stacked.dtype, device=stacked.device)
    together = torch.autograd.grad(
        stacked, parameters, eye, retain_graph=retain, allow_unused=True, is_grads_batched=True
    )
    return [[None if part is None else part[t] for part in together] for t in range(len(losses))]
