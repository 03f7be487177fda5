"""The arguments of mixed_cell as its kernels take them, and what they leave behind."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor

_ELEMENTS = 1024  # pixels times channels of a tile of elementwise kernels
_NUMBERS = 4096  # of float64 that a program adding partial sums holds at a time


class Tiles(NamedTuple):
    """Sizes of tiles; what kernels take besides follows from them."""

    convolved_pixels: int  # of convolve
    gathered_pixels: int  # of gather_gradient
    inner: int  # channels over which both sum at a time
    outer: int  # channels that they and multiply_gradients give
    weight_pixels: int  # over which multiply_gradients sums at a time
    weight_columns: int  # taps times input channels that it gives of 3×3 kernels, and at most of 1×1 ones


# By bytes per number and channels. All fit into registers, 4 warps per program: tests/ops/test_mixed_cell_triton.py
# compiles them and looks. They have not been timed.
_TILES = {
    (2, 16): Tiles(128, 64, 16, 16, 64, 64),
    (2, 32): Tiles(128, 64, 32, 32, 32, 64),
    (2, 64): Tiles(64, 64, 32, 64, 32, 64),
    (4, 16): Tiles(128, 64, 16, 16, 16, 128),
    (4, 32): Tiles(64, 32, 16, 32, 16, 64),
    (4, 64): Tiles(64, 32, 16, 32, 16, 64),
    (8, 16): Tiles(64, 64, 16, 16, 16, 128),
    (8, 32): Tiles(64, 32, 16, 32, 16, 64),
    (8, 64): Tiles(64, 32, 16, 32, 16, 64),
}


class Cell(NamedTuple):
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
        """Memory for units."""
        return torch.empty((count, *self.x.shape[1:]), dtype=self.x.dtype, device=self.x.device)

    def sums(self, *shape: int) -> Tensor:
        """Memory for sums."""
        return torch.empty(shape, dtype=self.sample.dtype, device=self.x.device)

    @property
    def elementwise_pixels(self) -> int:
        """Pixels that elementwise kernels take at a time."""
        return _ELEMENTS // self.block

    def sums_at_a_time(self, count: int) -> int:
        """Of `count` partial sums per channel, how many are added at a time."""
        return min(_NUMBERS // self.block, max(16, triton.next_power_of_2(count)))

    def node(self, nodes: Tensor, node: int) -> Tensor:
        """Units [S] of node 0 or, from units [2 T], [T] of another."""
        return nodes[(node - 1) * self.devices : node * self.devices] if node else self.x


class Run(NamedTuple):
    """What a forward pass leaves behind."""

    nodes: Tensor  # units [2 T] of nodes 1 and 2
    convolved: Tensor  # units, see cell_layout
    statistics: Tensor  # [6, 2, T, 2, C]
