"""The keys of the configuration's section `space` for MobileNetV3; light to load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from modnas_fast.config.section import SpaceKeys
from modnas_fast.spaces.mobilenetv3.scales import SCALES

Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


class MobileNetV3Keys(SpaceKeys):
    """The choices of image networks: a scale, and what is to differ from it."""

    of_supernet: ClassVar[tuple[str, ...]] = ("checkpoint",)
    paths: ClassVar[tuple[str, ...]] = ("checkpoint",)
    of_space: ClassVar[tuple[str, ...]] = ("scale", "width", "resolutions", "kernels", "expansions", "depths")

    sizes: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"width": 0.25, "resolutions": (48, 64, 80)},
        {"width": 0.5, "resolutions": (48, 64, 80, 96)},
        {"width": 0.75, "resolutions": (80, 96, 112, 128)},
        {"width": 1.0, "resolutions": (96, 128, 160)},
        {"width": 1.2, "resolutions": (128, 160, 192, 224)},
    )

    scale: Literal["small", "published"] = "small"
    """published is Once-for-All's for ImageNet; small is for a CPU."""
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Multiplies all numbers of channels (published: 1.2; small: 0.5); None, here and below: the scale's."""
    resolutions: Sizes | None = None
    """Sides of the images that networks take, in pixels, rising (published: 128, 132, …, 224)."""
    kernels: Sizes | None = None
    """Sides of a block's depth-wise kernel, rising and odd (3, 5, 7)."""
    expansions: Sizes | None = None
    """Channels inside a block as multiples of those it takes, rising (published: 3, 4, 6; small: 2, 3, 4)."""
    depths: Sizes | None = None
    """Blocks of a stage, rising (published: 2, 3, 4; small: 1, 2, 3)."""
    checkpoint: Annotated[str, Field(min_length=1)] | None = None
    """A file with the weights of a pretrained supernet of this scale, by the official keys in either spelling: what
    torch.save wrote, or .safetensors; None: w begins at random. Where its classes are others in number, the classifier
    begins at random."""

    @property
    def image_side(self) -> int:
        """The largest resolution."""
        return (self.resolutions or SCALES[self.scale].resolutions)[-1]
