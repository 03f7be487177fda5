"""Parameters, FLOPs and memory of MobileNetV3s: formulas in the choices, exact for every network."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from modnas_fast.spaces.counting import FLOAT_BYTES, MEGABYTE
from modnas_fast.spaces.mobilenetv3.scales import Scale, middle_channels, squeezed_channels

if TYPE_CHECKING:
    from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space


class Part(NamedTuple):
    """What a part of a network costs."""

    parameters: int
    #: multiplications with addition
    products: int
    #: numbers of activations that live at once, at most
    alive: int


class PartCosts:
    """What each part costs for samples of `input_shape`, by its options and the resolution.

    The parts of a network follow each other, so parameters and FLOPs add up, and of activations those of one part alone
    live at once.
    """

    def __init__(self, space: MobileNetV3Space, input_shape: tuple[int, ...], classes: int) -> None:
        scale = space.scale
        sizes = (len(scale.stages), scale.layers, len(scale.kernels), len(scale.expansions), len(scale.resolutions))
        of_blocks = torch.zeros(3, *sizes, dtype=torch.float64)
        fixed = torch.zeros(3, sizes[-1], dtype=torch.float64)
        for place, resolution in enumerate(scale.resolutions):
            ends = [_stem(scale, input_shape, resolution), _first(scale, resolution), _head(scale, resolution, classes)]
            fixed[:2, place] = torch.tensor([part[:2] for part in ends], dtype=torch.float64).sum(0)
            fixed[2, place] = max(part.alive for part in ends)
            for stage in range(len(scale.stages)):
                for layer in range(scale.layers):
                    for k, kernel in enumerate(scale.kernels):
                        for e, expansion in enumerate(scale.expansions):
                            part = _block(scale, stage, layer, kernel, expansion, resolution)
                            of_blocks[:, stage, layer, k, e, place] = torch.tensor(part, dtype=torch.float64)
        self.of_blocks = of_blocks
        """[3, J, L, kernels, expansions, R], in the order of `Part`."""
        self.fixed = fixed
        """The same of what all networks have, [3, R]."""


def costs(space: MobileNetV3Space, onehot: Tensor, part_costs: PartCosts) -> dict[str, Tensor]:
    """`parameters`, `flops` and `memory` (MB), float64 [...] each, of one-hots or relaxed samples [..., N].

    Linear in every choice, but for the memory's maximum over blocks; exact for one-hots.
    """
    parts = space.split(onehot.double())
    each = torch.einsum(
        "...jlk,...jle,...r,cjlker->c...jl", parts.kernels, parts.expansions, parts.resolution, part_costs.of_blocks
    )
    each = each * space.present(parts.depths)
    fixed = parts.resolution @ part_costs.fixed.T
    parameters, products = each[:2].sum((-2, -1)) + fixed[..., :2].movedim(-1, 0)
    alive = torch.maximum(each[2].flatten(-2).amax(-1), fixed[..., 2])
    return {
        "parameters": parameters,
        "flops": 2 * products,
        "memory": FLOAT_BYTES * (parameters + alive) / MEGABYTE,
    }


def _stem(scale: Scale, input_shape: tuple[int, ...], resolution: int) -> Part:
    """Resizing, where the sample has another size, and the first convolution."""
    colours, height, width = input_shape
    given, side = scale.stem_channels, scale.sides(resolution)[0]
    image, out = colours * resolution**2, given * side**2
    resizes = (height, width) != (resolution, resolution)
    alive = max(image + colours * height * width if resizes else 0, image + out, 2 * out)
    return Part(9 * colours * given + 2 * given, 9 * colours * out, alive)


def _first(scale: Scale, resolution: int) -> Part:
    """The block without expansion."""
    taken, given, side = scale.stem_channels, scale.first_channels, scale.sides(resolution)[0]
    inside, out = taken * side**2, given * side**2
    kept = inside if taken == given else 0
    alive = max(kept + 2 * inside, kept + inside + out, kept + 2 * out)
    return Part(9 * taken + 2 * taken + taken * given + 2 * given, 9 * inside + taken * out, alive)


def _block(scale: Scale, stage: int, layer: int, kernel: int, expansion: int, resolution: int) -> Part:
    sides, stride = scale.sides(resolution), 1 if layer else scale.strides[stage]
    taken, given = scale.channels_into(stage, layer), scale.stage_channels[stage]
    middle = middle_channels(taken, expansion)
    before, after = sides[stage if layer == 0 else stage + 1] ** 2, sides[stage + 1] ** 2
    parameters = middle * (taken + 2) + middle * (kernel**2 + 2) + given * (middle + 2)
    products = taken * middle * before + kernel**2 * middle * after + middle * given * after
    kept = taken * before if stride == 1 and taken == given else 0  # added at the end
    weighed = 0
    if scale.squeezes[stage]:
        squeezed = squeezed_channels(middle)
        parameters += 2 * middle * squeezed + squeezed + middle
        products += 2 * middle * squeezed
        weighed = middle
    alive = max(
        (taken + middle) * before,
        kept + 2 * middle * before,
        kept + middle * (before + after),
        kept + 2 * middle * after + weighed,
        kept + (middle + given) * after,
        kept + 2 * given * after,
    )
    return Part(parameters, products, alive)


def _head(scale: Scale, resolution: int, classes: int) -> Part:
    """The last expansion, the feature mix and the classifier."""
    taken, final, mix = scale.stage_channels[-1], scale.final_channels, scale.mix_channels
    pixels = scale.sides(resolution)[-1] ** 2
    parameters = final * (taken + 2) + mix * final + (mix + 1) * classes
    products = taken * final * pixels + final * mix + mix * classes
    alive = max((taken + final) * pixels, 2 * final * pixels, final * (pixels + 1), final + mix, 2 * mix, mix + classes)
    return Part(parameters, products, alive)
