"""The two passes of a search step through a supernet, a part of the devices at a time.

Each device's loss depends on its own sample alone, and the weights want the sum over devices: both gradients are exact
however devices are divided, and only one part's activations exist at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.supernets.mixed_cell_composed import Memo
from modnas_fast.supernets.nb201 import NB201Supernet, cross_entropies


def device_losses(
    supernet: NB201Supernet, x: Tensor, onehot: Tensor, y: Tensor, chunk: int | None = None, **how: bool | None
) -> Tensor:
    """Task losses [T] with a gradient by the samples, where they want one, but none by the weights.

    Args:
        supernet, x, onehot, y: as in `NB201Supernet.forward`.
        chunk: devices whose activations exist at a time; None: all.
        how: keywords of `NB201Supernet.predict`.

    The gradient is computed at once, so that activations are gone when this returns; it cannot be differentiated again.
    """
    return _DeviceLosses.apply(onehot, supernet, x, y, chunk or len(onehot), how)


class _DeviceLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, onehot: Tensor, supernet: NB201Supernet, x: Tensor, y: Tensor, chunk: int, how: dict[str, Any]
    ) -> Tensor:
        losses, gradients, constants = [], [], Memo()
        with frozen(supernet):
            state = supernet.embed(x)
            for part in onehot.split(chunk):
                loss, gradient = _loss_and_gradient(supernet, state, part, y, ctx.needs_input_grad[0], constants, how)
                losses.append(loss)
                gradients.append(gradient)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = ctx.saved_tensors
        return cotangent[:, None] * gradients, None, None, None, None, None


def _loss_and_gradient(
    supernet: NB201Supernet,
    state: Tensor,
    onehot: Tensor,
    y: Tensor,
    wanted: bool,
    constants: Memo,
    how: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Losses [t] of a part of the devices, and ∂loss_t/∂onehot_t [t, N] where it is wanted."""
    with torch.set_grad_enabled(wanted):
        leaf = onehot.detach().requires_grad_(wanted)
        losses = cross_entropies(supernet.predict_from(state, leaf, constants=constants, **how), y)
        gradient = torch.autograd.grad(losses.sum(), leaf)[0] if wanted else leaf
    return losses.detach(), gradient


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within the block no gradient is asked for by the module's parameters."""
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def add_weight_gradients(
    supernet: NB201Supernet, x: Tensor, onehot: Tensor, y: Tensor, chunk: int | None = None, **how: bool | None
) -> Tensor:
    """Task losses [T]; the gradient of their mean is added to `.grad` of the weights.

    Arguments as in `device_losses`; samples get no gradient.
    """
    onehot, losses = onehot.detach(), []
    state = supernet.embed(x)
    leaf = state.detach().requires_grad_()
    for part in onehot.split(chunk or len(onehot)):
        part_losses = cross_entropies(supernet.predict_from(leaf, part, **how), y)
        (part_losses.sum() / len(onehot)).backward()
        losses.append(part_losses.detach())
    if leaf.grad is not None:
        state.backward(leaf.grad)
    return torch.cat(losses)
