"""One cell of NAS-Bench-201 for T devices: what is launched, in which order, and what is kept for the way back.

Forward, per source node: its convolutions, their statistics, then the sum that is the next node. Backward, per target
node from the last: the sums that batch normalisation and samples need, then the gradient of the node before, gathered
from all edges that leave it; at last the gradients of all kernels. Which operations run is read on the device, nothing
waits for it, and sums are made in a fixed order: equal inputs give equal bits.

Memory in units of B·C·H·W numbers: 2 T + 3 T K + 3 (2 if S = 1 else T K) are kept for the backward pass beside x, where
K = 1 for a single path and 2 otherwise, none with `recompute`; the backward pass needs 2 T more for a while.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from modnas_fast.kernels.mixed_convolution import convolve, normalise
from modnas_fast.kernels.mixed_gather import gather_gradient
from modnas_fast.kernels.mixed_reduction import add_groups, reduce_gradient
from modnas_fast.kernels.mixed_sum import add_edges
from modnas_fast.kernels.mixed_weights import add_splits, multiply_gradients

_ELEMENTS = 1024  # pixels times channels of a tile of elementwise kernels
_NUMBERS = 4096  # of float64 that a program adding partial sums holds at a time
_GROUP = 8  # tiles that one program of reduce_gradient sums
_PROGRAMS = 512  # of multiply_gradients, about


class Tiles(NamedTuple):
    """Sizes of tiles; what kernels take besides follows from them."""

    convolved_pixels: int  # of convolve
    gathered_pixels: int  # of gather_gradient
    inner: int  # channels over which both sum at a time
    outer: int  # channels that they and multiply_gradients give
    weight_pixels: int  # over which multiply_gradients sums at a time
    weight_columns: int  # taps times input channels that it gives


# By bytes per number and channels. All fit into registers, 4 warps per program: tests/ops/test_mixed_cell_triton.py
# compiles them and looks. They have not been timed.
_TILES = {
    (2, 16): Tiles(128, 64, 16, 16, 32, 256),
    (2, 32): Tiles(128, 64, 32, 32, 32, 128),
    (2, 64): Tiles(64, 64, 32, 64, 32, 128),
    (4, 16): Tiles(128, 64, 16, 16, 16, 256),
    (4, 32): Tiles(64, 32, 16, 32, 16, 128),
    (4, 64): Tiles(64, 32, 16, 32, 16, 128),
    (8, 16): Tiles(64, 64, 16, 16, 16, 128),
    (8, 32): Tiles(64, 32, 16, 32, 16, 64),
    (8, 64): Tiles(64, 32, 16, 32, 16, 64),
}


class _Cell(NamedTuple):
    """The arguments as kernels take them."""

    x: Tensor  # [S, B, H, W, C]
    packed: Tensor  # [6, C out, 10, C in]
    sample: Tensor  # [T, 6, 5] in the format in which sums are made
    active: Tensor  # uint8 [T, 6, 5]
    first_kinds: int  # kinds of convolutions for which edges out of node 0 have room
    kinds: int  # other edges

    @property
    def tiles(self) -> Tiles:
        return _TILES[self.x.element_size(), self.block]

    @property
    def block(self) -> int:
        """Channels that elementwise kernels take at a time, a power of 2 from 16 to 64."""
        return min(64, max(16, triton.next_power_of_2(self.x.shape[-1])))

    @property
    def devices(self) -> int:
        return len(self.sample)

    @property
    def pixels(self) -> int:
        return self.x.shape[1:4].numel()

    @property
    def image(self) -> tuple[int, int, int]:
        """Pixels of a unit, height, width."""
        return self.pixels, *self.x.shape[2:4]

    @property
    def room(self) -> tuple[int, int, int, int]:
        """How units lie: S, T, first_kinds, kinds."""
        return len(self.x), self.devices, self.first_kinds, self.kinds

    def units(self, count: int) -> Tensor:
        return torch.empty((count, *self.x.shape[1:]), dtype=self.x.dtype, device=self.x.device)

    def sums(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.sample.dtype, device=self.x.device)


class _Run(NamedTuple):
    """What a forward pass leaves behind."""

    nodes: Tensor  # units [2 T] of nodes 1 and 2
    convolved: Tensor  # units, see cell_layout
    statistics: Tensor  # [6, 2, T, 2, C]


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
        ctx.dtypes = kernels_1x1.dtype, kernels_3x3.dtype, sample.dtype
        ctx.kinds = cell.first_kinds, cell.kinds
        # packed is small, but would be one more copy of all weights: it is made again.
        ctx.save_for_backward(cell.x, kernels_1x1, kernels_3x3, sample, active, *(() if recompute else run))
        return out.movedim(-1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, kernels_1x1, kernels_3x3, sample, active, *run = ctx.saved_tensors
        cell = _cell(images.movedim(-1, 2), kernels_1x1, kernels_3x3, sample, active, ctx.kinds[1] == 1)
        of_x, of_1x1, of_3x3, of_sample = ctx.needs_input_grad[:4]
        with torch.cuda.device_of(images):
            done = _Run(*run) if run else _forward(cell, None)
            found = _backward(cell, done, gradient.movedim(2, -1).contiguous(), of_x, of_1x1 or of_3x3, of_sample)
        x_gradient, packed_gradient, sample_gradient = found
        small, large = _unpacked(packed_gradient) if packed_gradient is not None else (None, None)
        return (
            x_gradient.movedim(-1, 2) if of_x else None,
            small.to(kernels_1x1.dtype) if of_1x1 else None,
            large.to(kernels_3x3.dtype) if of_3x3 else None,
            sample_gradient.to(sample.dtype) if of_sample else None,
            None,
            None,
            None,
        )


def _cell(
    x: Tensor, kernels_1x1: Tensor, kernels_3x3: Tensor, sample: Tensor, active: Tensor, single_path: bool
) -> _Cell:
    kinds = 1 if single_path else 2
    return _Cell(
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


def _unpacked(packed: Tensor) -> tuple[Tensor, Tensor]:
    return packed[:, :, 0].contiguous(), packed[:, :, 1:].mT.contiguous().unflatten(3, (3, 3))


def _forward(cell: _Cell, out: Tensor | None) -> _Run:
    """Computes nodes 1, 2 and, into `out` where given, 3."""
    devices, channels = cell.devices, cell.x.shape[-1]
    units = 3 * cell.first_kinds * len(cell.x) + 3 * cell.kinds * devices
    run = _Run(cell.units(2 * devices), cell.units(units), cell.sums(6, 2, devices, 2, channels))
    for source, target in ((0, 1), (1, 2), (2, 3)):
        _convolve(cell, run, source)
        if target < 3:
            _add_edges(cell, run, target, run.nodes[(target - 1) * devices :])
        elif out is not None:
            _add_edges(cell, run, target, out)
    return run


def _node(cell: _Cell, nodes: Tensor, node: int) -> Tensor:
    """Units [S] of node 0 or [T] of another."""
    return nodes[(node - 1) * cell.devices : node * cell.devices] if node else cell.x


def _convolve(cell: _Cell, run: _Run, source: int) -> None:
    tiles, channels = cell.tiles, cell.x.shape[-1]
    node = _node(cell, run.nodes, source)
    count, convolutions = triton.cdiv(cell.pixels, tiles.convolved_pixels), 2 * (3 - source)
    partial = cell.sums(convolutions, len(node), count, 2, channels)
    states, devices, *kinds = cell.room
    convolve[(convolutions * triton.cdiv(channels, tiles.outer) * count * len(node),)](
        node,
        cell.packed,
        cell.active,
        run.convolved,
        partial,
        source,
        states,
        len(node),
        devices,
        *kinds,
        *cell.image,
        count,
        C=channels,
        PIXELS=tiles.convolved_pixels,
        IN=tiles.inner,
        OUT=tiles.outer,
        num_warps=4,
    )
    normalise[(convolutions * len(node) * triton.cdiv(channels, cell.block),)](
        partial,
        cell.active,
        run.statistics,
        source,
        states,
        len(node),
        devices,
        cell.pixels,
        count,
        C=channels,
        TILE=tiles.convolved_pixels,
        TILES=_rows(cell, count),
        CHANNELS=cell.block,
        num_warps=8,
    )


def _rows(cell: _Cell, count: int) -> int:
    """Partial sums per channel that are added at a time."""
    return min(_NUMBERS // cell.block, max(16, triton.next_power_of_2(count)))


def _add_edges(cell: _Cell, run: _Run, target: int, out: Tensor) -> None:
    pixels, channels = _ELEMENTS // cell.block, cell.x.shape[-1]
    count = triton.cdiv(cell.pixels, pixels)
    add_edges[(triton.cdiv(channels, cell.block) * count * cell.devices,)](
        cell.x,
        *run,
        cell.sample,
        cell.active,
        out,
        target,
        *cell.room,
        *cell.image,
        count,
        C=channels,
        PIXELS=pixels,
        CHANNELS=cell.block,
        num_warps=4,
    )


def _backward(
    cell: _Cell, run: _Run, out_gradient: Tensor, of_x: bool, of_kernels: bool, of_sample: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of x, of the packed kernels and of the sample, where wanted."""
    devices, channels = cell.devices, cell.x.shape[-1]
    gradients = cell.units(2 * devices)
    means = cell.sums(devices, 6, 3, channels)
    sample_gradient = torch.empty_like(cell.sample) if of_sample else None
    for target in (3, 2, 1):
        gradient = out_gradient if target == 3 else _node(cell, gradients, target)
        _reduce(cell, run, gradient, means, sample_gradient, target)
        if target > 1:
            _gather(cell, run, means, gradients, out_gradient, target - 1, _node(cell, gradients, target - 1))
    x_gradient = torch.empty_like(cell.x) if of_x else None
    if x_gradient is not None:
        _gather(cell, run, means, gradients, out_gradient, 0, x_gradient)
    packed_gradient = _multiply(cell, run, means, gradients, out_gradient) if of_kernels else None
    return x_gradient, packed_gradient, sample_gradient


def _reduce(
    cell: _Cell, run: _Run, gradient: Tensor, means: Tensor, sample_gradient: Tensor | None, target: int
) -> None:
    pixels, channels, devices = _ELEMENTS // cell.block, cell.x.shape[-1], cell.devices
    groups = triton.cdiv(cell.pixels, pixels * _GROUP)
    partial = cell.sums(devices, groups, target, 5, channels)
    reduce_gradient[(target * triton.cdiv(channels, cell.block) * groups * devices,)](
        cell.x,
        *run,
        cell.active,
        gradient,
        partial,
        target,
        *cell.room,
        *cell.image,
        groups,
        _GROUP,
        C=channels,
        PIXELS=pixels,
        CHANNELS=cell.block,
        SAMPLES=sample_gradient is not None,
        num_warps=4,
    )
    add_groups[(target * devices,)](
        partial,
        cell.active,
        means,
        means if sample_gradient is None else sample_gradient,
        target,
        devices,
        cell.pixels,
        groups,
        C=channels,
        GROUPS=_rows(cell, groups),
        CHANNELS=cell.block,
        SAMPLES=sample_gradient is not None,
        num_warps=8,
    )


def _gather(
    cell: _Cell, run: _Run, means: Tensor, gradients: Tensor, out_gradient: Tensor, source: int, written: Tensor
) -> None:
    tiles, channels = cell.tiles, cell.x.shape[-1]
    node = _node(cell, run.nodes, source)
    count = triton.cdiv(cell.pixels, tiles.gathered_pixels)
    states, *rest = cell.room
    gather_gradient[(triton.cdiv(channels, tiles.outer) * count * len(node),)](
        node,
        cell.packed,
        run.convolved,
        run.statistics,
        means,
        cell.sample,
        cell.active,
        gradients,
        out_gradient,
        written,
        source,
        states,
        len(node),
        *rest,
        *cell.image,
        count,
        C=channels,
        PIXELS=tiles.gathered_pixels,
        IN=tiles.outer,
        OUT=tiles.inner,
        num_warps=4,
        num_stages=2,
    )


def _multiply(cell: _Cell, run: _Run, means: Tensor, gradients: Tensor, out_gradient: Tensor) -> Tensor:
    """The gradient of the packed kernels, in the format of sums."""
    tiles, channels = cell.tiles, cell.x.shape[-1]
    count = triton.cdiv(cell.pixels, tiles.weight_pixels)
    blocks = sum(triton.cdiv(taps * channels, tiles.weight_columns) for taps in (1, 9))
    blocks *= 6 * triton.cdiv(channels, tiles.outer)
    splits = max(1, min(_PROGRAMS // blocks, count))
    partial = cell.sums(splits, *cell.packed.shape)
    multiply_gradients[(blocks * splits,)](
        cell.x,
        *run,
        means,
        cell.sample,
        cell.active,
        gradients,
        out_gradient,
        partial,
        *cell.room,
        *cell.image,
        count,
        splits,
        C=channels,
        PIXELS=tiles.weight_pixels,
        OUT=tiles.outer,
        COLUMNS=tiles.weight_columns,
        num_warps=4,
        num_stages=3,
    )
    packed_gradient = cell.sums(*cell.packed.shape)
    at_a_time = min(64, max(1, triton.next_power_of_2(splits)))
    numbers = _NUMBERS // 4 // at_a_time
    add_splits[(triton.cdiv(packed_gradient.numel(), numbers),)](
        partial, packed_gradient, splits, packed_gradient.numel(), SPLITS=at_a_time, NUMBERS=numbers
    )
    return packed_gradient
