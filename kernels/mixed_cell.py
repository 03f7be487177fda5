"""One cell of NAS-Bench-201 for T devices: what is launched, in which order, and what is kept for the way back.

Forward, per source node: its convolutions, their statistics, then the sum that is the next node. Backward, per
target node from the last: the sums that batch normalisation and samples need, the gradients of its convolutions, then
the gradient of the node before, gathered from all edges that leave it; at last the gradients of all kernels. Which
operations run is read on the device, nothing waits for it, and sums are made in a fixed order: equal inputs give equal
bits.

Memory in units of B·C·H·W numbers: 2 T + 3 T K + 3 (2 if S = 1 else T K) are kept for the backward pass beside x,
where K = 1 for a single path and 2 otherwise, none with `recompute`; the backward pass needs 2 T + 6 T K more for a
while.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from modnas_fast.kernels.cell_arguments import Cell, Run
from modnas_fast.kernels.mixed_convolution import convolve
from modnas_fast.kernels.mixed_gather import gather_gradient
from modnas_fast.kernels.mixed_gradient import differentiate
from modnas_fast.kernels.mixed_reduction import reduce_gradient
from modnas_fast.kernels.mixed_sum import add_edges
from modnas_fast.kernels.mixed_weights import multiply_gradients


def mixed_cell(
    x: Tensor,
    kernels_1x1: Tensor,
    kernels_3x3: Tensor,
    sample: Tensor,
    active: Tensor,
    *,
    recompute: bool,
    single_path: bool,
) -> Tensor:
    """As `modnas_fast.supernets.mixed_cell.mixed_cell`, which has checked the arguments."""
    return _MixedCell.apply(x, kernels_1x1, kernels_3x3, sample, active, recompute, single_path)


class _MixedCell(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        kernels_1x1: Tensor,
        kernels_3x3: Tensor,
        sample: Tensor,
        active: Tensor,
        recompute: bool,
        single_path: bool,
    ) -> Tensor:
        cell = _cell(x, kernels_1x1, kernels_3x3, sample, active, single_path)
        out = cell.units(cell.devices)
        with torch.cuda.device_of(x):
            run = _forward(cell, out)
        ctx.single_path = single_path
        # packed is small, but would be one more copy of all weights: it is made again.
        ctx.save_for_backward(cell.x, kernels_1x1, kernels_3x3, sample, active, *(() if recompute else run))
        return out.movedim(-1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, kernels_1x1, kernels_3x3, sample, active, *run = ctx.saved_tensors
        cell = _cell(images.movedim(-1, 2), kernels_1x1, kernels_3x3, sample, active, ctx.single_path)
        of_x, of_1x1, of_3x3, of_sample = ctx.needs_input_grad[:4]
        with torch.cuda.device_of(images):
            done = Run(*run) if run else _forward(cell, None)
            found = _backward(cell, done, gradient.movedim(2, -1).contiguous(), of_x, (of_1x1, of_3x3), of_sample)
        x_gradient, (small, large), sample_gradient = found
        return (
            x_gradient.movedim(-1, 2) if of_x else None,
            small[:, :, 0].to(kernels_1x1.dtype) if of_1x1 else None,
            large.mT.contiguous().view_as(kernels_3x3).to(kernels_3x3.dtype) if of_3x3 else None,
            sample_gradient.to(sample.dtype) if of_sample else None,
            None,
            None,
            None,
        )


def _cell(
    x: Tensor, kernels_1x1: Tensor, kernels_3x3: Tensor, sample: Tensor, active: Tensor, single_path: bool
) -> Cell:
    kinds = 1 if single_path else 2
    return Cell(
        x.movedim(2, -1).contiguous(),
        _packed(kernels_1x1, kernels_3x3).to(x.dtype),
        sample.to(torch.promote_types(x.dtype, torch.float32)).contiguous(),
        active.contiguous().view(torch.uint8),
        # Devices that share the input may choose different kinds on one edge.
        first_kinds=2 if len(x) == 1 else kinds,
        kinds=kinds,
    )


def _packed(kernels_1x1: Tensor, kernels_3x3: Tensor) -> Tensor:
    """[6, C out, 10, C in] of kernels [6, C, C] and [6, C, C, 3, 3]."""
    return torch.cat([kernels_1x1[:, :, None], kernels_3x3.flatten(3).mT], dim=2)


def _forward(cell: Cell, out: Tensor | None) -> Run:
    """Computes nodes 1, 2 and, into `out` where given, 3."""
    devices, channels = cell.devices, cell.x.shape[-1]
    units = 3 * cell.first_kinds * len(cell.x) + 3 * cell.kinds * devices
    run = Run(cell.units(2 * devices), cell.units(units), cell.sums(6, 2, devices, 2, channels))
    for target in (1, 2, 3):
        convolve(cell, run, target - 1)
        written = cell.node(run.nodes, target) if target < 3 else out
        if written is not None:
            add_edges(cell, run, target, written)
    return run


def _backward(
    cell: Cell, run: Run, out_gradient: Tensor, of_x: bool, of_kinds: tuple[bool, bool], of_sample: bool
) -> tuple[Tensor | None, list[Tensor | None], Tensor | None]:
    """The gradients of x, of the kernels of each kind as [6, C out, taps, C in], and of the sample, where wanted."""
    devices, channels = cell.devices, cell.x.shape[-1]
    gradients, own = cell.units(2 * devices), cell.units(6 * cell.kinds * devices)
    means = cell.sums(devices, 6, 3, channels)
    sample_gradient = torch.empty_like(cell.sample) if of_sample else None
    first = 0 if of_x or any(of_kinds) else 1
    for target in (3, 2, 1):
        gradient = out_gradient if target == 3 else cell.node(gradients, target)
        reduce_gradient(cell, run, gradient, means, sample_gradient, target)
        if target > first:
            differentiate(cell, run, gradient, means, own, target, first)
        if target > 1:
            gather_gradient(cell, run, own, gradients, out_gradient, target - 1, cell.node(gradients, target - 1))
    x_gradient = torch.empty_like(cell.x) if of_x else None
    if x_gradient is not None:
        gather_gradient(cell, run, own, gradients, out_gradient, 0, x_gradient)
    of_kernels = [multiply_gradients(cell, run, own, kind) if wanted else None for kind, wanted in enumerate(of_kinds)]
    return x_gradient, of_kernels, sample_gradient
