"""The two passes of a search step through a supernet, a part of the devices at a time.

Each device's loss depends on its own sample alone, and the weights want the sum over devices: both gradients are exact
however devices are divided. On a GPU one part's activations exist at a time, on a CPU those of a part per thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from modnas_fast.supernets.batch_statistics import shared_statistics
from modnas_fast.supernets.memo import Memo
from modnas_fast.supernets.parallel import in_parallel, workers
from modnas_fast.supernets.supernet import How, Losses, Outputs, Supernet, cross_entropies

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: losses [t] of samples [t, N]
PartLosses = Callable[[Tensor], Tensor]


class Passes:
    """The passes through one supernet.

    Args:
        supernet: whose outputs are wanted.
        losses: the task's, of outputs.
        training_losses: those that train weights; None: the same.

    Both methods take x, samples onehot [T, N] and y as `Supernet.forward` does, the number of devices whose activations
    exist at a time (`chunk`; None: all), a factor of the losses (`weight`), and the keywords of
    `Supernet.predict_from`.
    """

    def __init__(
        self, supernet: Supernet, losses: Losses = cross_entropies, training_losses: Losses | None = None
    ) -> None:
        self._supernet = supernet
        self._losses = losses
        self._training_losses = training_losses or losses

    def device_losses(
        self,
        x: Tensor,
        onehot: Tensor,
        y: Tensor,
        chunk: int | None = None,
        weight: Tensor | float = 1.0,
        **how: Unpack[How],
    ) -> Tensor:
        """Task losses [T] with a gradient by the samples, where they want one, but none by the weights.

        The gradient is computed at once: activations are gone when this returns. It cannot be differentiated again.
        """
        with frozen(self._supernet):
            return self._device_losses(x, onehot, y, chunk, weight, how)

    def _device_losses(
        self, x: Tensor, onehot: Tensor, y: Tensor, chunk: int | None, weight: Tensor | float, how: How
    ) -> Tensor:
        losses_of = self._frozen_losses(x, y, how)

        def weighed(part: Tensor) -> Tensor:
            return weight * losses_of(part)

        losses: Tensor = _DeviceLosses.apply(onehot, weighed, chunk or len(onehot), self._at_a_time)
        return losses

    def add_weight_gradients(
        self,
        x: Tensor,
        onehot: Tensor,
        y: Tensor,
        chunk: int | None = None,
        weight: Tensor | float = 1.0,
        **how: Unpack[How],
    ) -> Tensor:
        """Task losses [T] without a gradient; that of their mean is added to `.grad` of the weights."""
        return self._add_gradients(x, onehot, y, chunk, self._training_losses, len(onehot), weight, how)

    def add_distilled_gradients(
        self,
        x: Tensor,
        onehot: Tensor,
        y: Tensor,
        teacher: int,
        distilled: Callable[[Outputs, Tensor, Outputs], Tensor],
        chunk: int | None = None,
        rows: slice = slice(None),
        weight: Tensor | float = 1.0,
        **how: Unpack[How],
    ) -> None:
        """As `add_weight_gradients`, where others learn from the outputs of one network on the same minibatch, too.

        In-place distillation (Yu et al. 2020, BigNAS): that network has the task's training losses.

        Args:
            x, onehot, y, chunk, weight, how: as there.
            teacher: its row.
            distilled: losses [s] of outputs of others for y, and the outputs [1, B, ...] of that network.
            rows: those whose gradients are wanted; the mean is over all in any case.
        """
        wanted, first = list(range(len(onehot))[rows]), onehot[teacher : teacher + 1]
        told: list[Outputs] = []

        def tells(outputs: Outputs, y: Tensor) -> Tensor:
            told.append(outputs.detach())
            return self._training_losses(outputs, y)

        if teacher in wanted:
            self._add_gradients(x, first, y, chunk, tells, len(onehot), weight, how)
        else:
            with torch.no_grad():
                tells(self._supernet.predict_from(self._supernet.embed(x), first, **how), y)
        if others := [row for row in wanted if row != teacher]:
            learns = partial(_learns, distilled=distilled, told=told[0])
            self._add_gradients(x, onehot[others], y, chunk, learns, len(onehot), weight, how)

    def _add_gradients(
        self,
        x: Tensor,
        onehot: Tensor,
        y: Tensor,
        chunk: int | None,
        losses_of: Losses,
        count: int,
        weight: Tensor | float,
        how: How,
    ) -> Tensor:
        """Losses [t] of samples; the gradient of their sum, `weight` over `count`, is added to that of the weights."""
        state = self._supernet.embed(x)
        leaf = state.detach().requires_grad_(state.requires_grad)
        wanted = [tensor for tensor in (leaf, *self._supernet.parameters()) if tensor.requires_grad]

        def part_of_sum(part: Tensor) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            with torch.enable_grad():
                losses = weight * losses_of(self._supernet.predict_from(leaf, part, **how), y)
                mean = losses.sum() / count
                return losses.detach(), torch.autograd.grad(mean, wanted, allow_unused=True)

        parts = onehot.detach().split(chunk or len(onehot))
        found = in_parallel(part_of_sum, parts, self._at_a_time(x.device, len(parts)))
        for _, gradients in found:  # in the order of the devices, whoever was first
            for tensor, gradient in zip(wanted, gradients, strict=True):
                if gradient is not None:
                    tensor.grad = gradient if tensor.grad is None else tensor.grad.add_(gradient)
        if leaf.grad is not None:
            state.backward(leaf.grad)
        return torch.cat([losses for losses, _ in found])

    @staticmethod
    def _at_a_time(device: torch.device, parts: int) -> int:
        """How many parts are computed side by side; messages between ranks need one order of them."""
        return 1 if shared_statistics() else workers(device, parts)

    def _frozen_losses(self, x: Tensor, y: Tensor, how: How) -> PartLosses:
        state, memo = self._supernet.embed(x), Memo()
        return lambda part: self._losses(self._supernet.predict_from(state, part, memo_of_state=memo, **how), y)


def _learns(
    outputs: Outputs, y: Tensor, distilled: Callable[[Outputs, Tensor, Outputs], Tensor], told: Outputs
) -> Tensor:
    return distilled(outputs, y, told)


class _DeviceLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, onehot: Tensor, losses_of: PartLosses, chunk: int, at_a_time: Callable[[torch.device, int], int]
    ) -> Tensor:
        wanted = ctx.needs_input_grad[0]

        def losses_and_gradient(part: Tensor) -> tuple[Tensor, Tensor]:
            with torch.set_grad_enabled(wanted):
                leaf = part.detach().requires_grad_(wanted)
                losses = losses_of(leaf)
                return losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0] if wanted else leaf

        parts = onehot.detach().split(chunk)
        found = in_parallel(losses_and_gradient, parts, at_a_time(onehot.device, len(parts)))
        if wanted:
            ctx.save_for_backward(torch.cat([gradient for _, gradient in found]))
        return torch.cat([losses for losses, _ in found])

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = ctx.saved_tensors
        return cotangent[:, None] * gradients, None, None, None


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
