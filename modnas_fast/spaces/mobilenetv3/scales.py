"""The scales of the MobileNetV3 space: its widths, and which kernels, expansions, depths and resolutions there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from modnas_fast.runtime.errors import InputError

Activation = Literal["relu", "hswish"]

#: channels are multiples of this
DIVISOR = 8
#: of the rounding: a number of channels is never less than this share of what it stands for
LEAST_SHARE = 0.9
#: the smallest resolution: the stem and the stages halve it five times
LEAST_RESOLUTION = 32


class Shape(NamedTuple):
    """What one network is: a tuple per stage, a number per block that is there."""

    resolution: int
    #: sides of the depth-wise kernels
    kernels: tuple[tuple[int, ...], ...]
    #: channels inside a block as multiples of those it takes
    expansions: tuple[tuple[int, ...], ...]


def channels(value: float) -> int:
    """A number of channels as published: the nearest multiple of 8, unless it is less than 90 % of `value`.

    >>> channels(16 * 1.2), channels(134.4), channels(12)
    (24, 136, 16)
    """
    rounded = max(DIVISOR, int(value + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded + DIVISOR if rounded < LEAST_SHARE * value else rounded


@dataclass(frozen=True)
class Scale:
    """The options of every choice, each rising, and the widths that all networks share.

    >>> SCALES["published"].stem_channels, SCALES["published"].stage_channels
    (24, (32, 48, 96, 136, 192))
    """

    #: multiplies all numbers of channels
    width: float
    #: sides of the images that networks take, in pixels
    resolutions: tuple[int, ...]
    #: sides of a block's depth-wise kernel; odd, so that they have a centre
    kernels: tuple[int, ...] = (3, 5, 7)
    #: channels inside a block as multiples of those it takes
    expansions: tuple[int, ...] = (3, 4, 6)
    #: blocks of a stage
    depths: tuple[int, ...] = (2, 3, 4)
    #: channels before `width`: of the stem, the first block, the stages, the last expansion, and the feature mix
    stem: int = 16
    first: int = 16
    stages: tuple[int, ...] = (24, 40, 80, 112, 160)
    final: int = 960
    mix: int = 1280
    #: per stage: stride of its first block, activation, and whether it has squeeze-and-excite
    strides: tuple[int, ...] = (2, 2, 2, 1, 2)
    activations: tuple[Activation, ...] = ("relu", "relu", "hswish", "hswish", "hswish")
    squeezes: tuple[bool, ...] = (False, True, False, True, True)

    def __post_init__(self) -> None:
        if not 0 < self.width < float("inf"):
            raise InputError(f"space.width: wanted a multiple of the channels, as 1.2, got {self.width}")
        least = {"resolutions": LEAST_RESOLUTION, "kernels": 1, "expansions": 1, "depths": 1}
        for name, start in least.items():
            options = getattr(self, name)
            if not options or list(options) != sorted(set(options)) or options[0] < start:
                raise InputError(f"space.{name}: wanted rising whole numbers from {start} on, got {list(options)}")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise InputError(f"space.kernels: wanted odd sides, as 3, 5 and 7, got {list(self.kernels)}")

    @property
    def layers(self) -> int:
        """Blocks of a stage of the deepest network."""
        return self.depths[-1]

    @property
    def blocks(self) -> int:
        """Blocks of the deepest network, besides the first one, which all share."""
        return len(self.stages) * self.layers

    @property
    def stem_channels(self) -> int:
        """What the stem gives."""
        return channels(self.stem * self.width)

    @property
    def first_channels(self) -> int:
        """What the first block gives."""
        return channels(self.first * self.width)

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """What the blocks of each stage give."""
        return tuple(channels(stage * self.width) for stage in self.stages)

    @property
    def final_channels(self) -> int:
        """Of the last expansion."""
        return channels(self.final * self.width)

    @property
    def mix_channels(self) -> int:
        """What the classifier takes."""
        return channels(self.mix * self.width)

    def sides(self, resolution: int) -> tuple[int, ...]:
        """Sides in pixels of what the stem gives, which the first block keeps, and of what each stage does.

        >>> SCALES["published"].sides(160), SCALES["published"].sides(132)
        ((80, 40, 20, 10, 10, 5), (66, 33, 17, 9, 9, 5))
        """
        found = [-(-resolution // 2)]
        for stride in self.strides:
            found.append(-(-found[-1] // stride))
        return tuple(found)

    def channels_into(self, stage: int, layer: int) -> int:
        """What a block takes: what the stage before gives, if it is the first of its own.

        >>> SCALES["published"].channels_into(0, 0), SCALES["published"].channels_into(1, 2)
        (24, 48)
        """
        if layer:
            return self.stage_channels[stage]
        return self.stage_channels[stage - 1] if stage else self.first_channels


def middle_channels(taken: int, expansion: int) -> int:
    """Channels inside a block that takes `taken`.

    >>> middle_channels(24, 3), middle_channels(136, 6)
    (72, 816)
    """
    return channels(round(taken * expansion))


def squeezed_channels(middle: int) -> int:
    """Channels inside the squeeze-and-excite of a block with so many of its own.

    >>> squeezed_channels(96), squeezed_channels(408)
    (24, 104)
    """
    return channels(middle // 4)


#: published is Once-for-All's for ImageNet; small is for a CPU
SCALES = {
    "small": Scale(width=0.5, resolutions=(48, 64, 80, 96), expansions=(2, 3, 4), depths=(1, 2, 3)),
    "published": Scale(width=1.2, resolutions=tuple(range(128, 225, 4))),
}
