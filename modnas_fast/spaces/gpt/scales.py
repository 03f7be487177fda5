"""The scales of the GPT space: which widths, depths, MLP ratios and heads its networks may have."""

from __future__ import annotations

from dataclasses import dataclass

from modnas_fast.runtime.errors import InputError


@dataclass(frozen=True)
class Scale:
    """The options of every choice, each rising, so that networks are prefixes of the largest."""

    #: e, channels of the embedding
    widths: tuple[int, ...]
    #: ℓ, layers
    depths: tuple[int, ...]
    #: hidden channels of a layer's MLP, as multiples of e
    ratios: tuple[int, ...]
    #: attention heads of a layer
    heads: tuple[int, ...]
    #: d_h, channels of a head, whatever e is
    head_size: int
    #: strings of the ten reference networks, see `GPTSpace.references`
    references: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("widths", "depths", "ratios", "heads"):
            options = getattr(self, name)
            if not options or list(options) != sorted(set(options)) or options[0] < 1:
                raise InputError(f"space.{name}: wanted rising whole numbers from 1 on, got {list(options)}")
        if self.head_size < 4 or self.head_size % 4:
            raise InputError(f"space.head_size: wanted a multiple of 4, half of it is rotated, got {self.head_size}")

    @property
    def layers(self) -> int:
        """L, layers of the deepest network."""
        return self.depths[-1]


#: s, m and l are those of HW-GPT-Bench; small is for a CPU
SCALES = {
    "small": Scale((32, 64, 96), (2, 3, 4), (2, 3, 4), (2, 4, 6), 16),
    "s": Scale((192, 384, 768), (10, 11, 12), (2, 3, 4), (4, 8, 12), 64),
    "m": Scale((256, 512, 1024), (22, 23, 24), (2, 3, 4), (8, 12, 16), 64),
    "l": Scale((320, 640, 1280), (34, 35, 36), (2, 3, 4), (8, 16, 20), 64),
}
