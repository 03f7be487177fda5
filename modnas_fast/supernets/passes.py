"""The two passes of a search step through a supernet, a part of the devices at a time.

Each device's loss depends on its own sample alone, and the weights want the sum over devices: both gradients are exact
however devices are divided, and only one part's activations exist at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.supernets.mixed_cell_composed import Memo
from modnas_fast.supernets.nb201 import NB201Supernet, cross_entropies

#: losses [t] of samples [t, N]
PartLosses = Callable[[Tensor], Tensor]


class Passes:
    """The passes through one supernet.

    Both methods take images x, samples onehot [T, N] and labels y as `NB201Supernet.forward` does, the number of devices
    whose activations exist at a time (`chunk`; None: all), and the keywords of `NB201Supernet.predict`.
    """

    def __init__(self, supernet: NB201Supernet) -> None:
        self._supernet = supernet

    def device_losses(
        self, x: Tensor, onehot: Tensor, y: Tensor, chunk: int | None = None, **how: bool | None
    ) -> Tensor:
        """Task losses [T] with a gradient by the samples, where they want one, but none by the weights.

        The gradient is computed at once: activations are gone when this returns. It cannot be differentiated again.
        """
        with frozen(self._supernet):
            return _DeviceLosses.apply(onehot, self._frozen_losses(x, y, how), chunk or len(onehot))

    def add_weight_gradients(
        self, x: Tensor, onehot: Tensor, y: Tensor, chunk: int | None = None, **how: bool | None
    ) -> Tensor:
        """Task losses [T] without a gradient; that of their mean is added to `.grad` of the weights."""
        state = self._supernet.embed(x)
        leaf = state.detach().requires_grad_()
        losses = backward_in_parts(
            lambda part: cross_entropies(self._supernet.predict_from(leaf, part, **how), y), onehot, chunk
        )
        if leaf.grad is not None:
            state.backward(leaf.grad)
        return losses

    def _frozen_losses(self, x: Tensor, y: Tensor, how: dict[str, bool | None]) -> PartLosses:
        state, memo = self._supernet.embed(x), Memo()
        return lambda part: cross_entropies(self._supernet.predict_from(state, part, memo_of_state=memo, **how), y)


class _DeviceLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, onehot: Tensor, losses_of: PartLosses, chunk: int) -> Tensor:
        wanted, losses, gradients = ctx.needs_input_grad[0], [], []
        for part in onehot.detach().split(chunk):
            with torch.set_grad_enabled(wanted):
                leaf = part.detach().requires_grad_(wanted)
                found = losses_of(leaf)
                if wanted:
                    gradients += torch.autograd.grad(found.sum(), leaf)
            losses.append(found.detach())
        if wanted:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = ctx.saved_tensors
        return cotangent[:, None] * gradients, None, None


def backward_in_parts(losses_of: PartLosses, onehot: Tensor, chunk: int | None) -> Tensor:
    """Losses [T]; the gradient of their mean is added to what `losses_of` depends on."""
    losses = []
    for part in onehot.detach().split(chunk or len(onehot)):
        found = losses_of(part)
        (found.sum() / len(onehot)).backward()
        losses.append(found.detach())
    return torch.cat(losses)


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
