"""The choices of a MobileNetV3: kernel and expansion of each block, resolution, and blocks of each stage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.architecture import Architecture, Choice
from modnas_fast.spaces.base import SearchSpace
from modnas_fast.spaces.mobilenetv3.analytic import PartCosts, costs
from modnas_fast.spaces.mobilenetv3.features import details, features
from modnas_fast.spaces.mobilenetv3.keys import MobileNetV3Keys
from modnas_fast.spaces.mobilenetv3.published_form import is_published_form, read_published_form
from modnas_fast.spaces.mobilenetv3.references import PUBLISHED_REFERENCES, designed_references
from modnas_fast.spaces.mobilenetv3.scales import SCALES, Shape

if TYPE_CHECKING:
    from modnas_fast.report.drawings import Drawing, Sample
    from modnas_fast.spaces.mobilenetv3.block_table import BlockTable
    from modnas_fast.spaces.mobilenetv3.network import MobileNetV3
    from modnas_fast.spaces.mobilenetv3.published import MobileNetV3Published
    from modnas_fast.spaces.mobilenetv3.supernet import MobileNetV3Supernet
    from modnas_fast.spaces.parts import Part

_FORM = re.compile(r"r(\d+)_k([\d.-]+)_e([\d.-]+)")


class Parts(NamedTuple):
    """One-hots or relaxed samples by choice; J stages of L places for blocks."""

    #: [..., J, L, kernels]
    kernels: Tensor
    #: [..., J, L, expansions]
    expansions: Tensor
    #: [..., resolutions]
    resolution: Tensor
    #: [..., J, depths]
    depths: Tensor


class MobileNetV3Space(SearchSpace):
    """Image networks of inverted residual blocks (Once-for-All, Cai et al., ICLR 2020).

    One-hots are in the published order: kernel of each place for a block, expansion of each, resolution, blocks of each
    stage. Strings name what is there and nothing else: the resolution `r`, and per stage, with `-` between them, a
    number per block, of its kernel `k` and of its expansion `e`. The dictionaries and network configurations of
    Once-for-All are read as well.

    Args:
        scale: small or published.
        options: width, resolutions, kernels, expansions and depths instead of the scale's; None: the scale's.

    >>> space = MobileNetV3Space("published")
    >>> space.num_options, len(space.choices)
    (160, 46)
    >>> MobileNetV3Space("small").references[0]
    'r48_k3-3-3-3-3_e2-2-2-2-2'
    """

    name = "mobilenetv3"
    keys = MobileNetV3Keys
    shrinking = ("kernel", "depth", "expansion")
    analytic_is_differentiable = True
    references: tuple[str, ...]

    unpublished = "; space.scale=published has tables, with Once-for-All's options and widths alone"

    def __init__(self, scale: str = "small", **options: Sequence[int] | float | None) -> None:
        if scale not in SCALES:
            raise InputError(f"space.scale: wanted one of {', '.join(SCALES)}, got {scale!r}")
        unknown = [name for name in options if name not in MobileNetV3Keys.of_space]
        if unknown:
            known = ", ".join(MobileNetV3Keys.of_space)
            raise InputError(f"space.{unknown[0]}: unknown; wanted some of {known}")
        own: dict[str, Any] = {
            name: value if isinstance(value, int | float) else tuple(value)
            for name, value in options.items()
            if value is not None
        }
        self.scale = replace(SCALES[scale], **own)
        #: whether it is all of the space of which others have measured networks
        self.is_published = self.scale == SCALES["published"]
        places = [f"{stage}_{layer}" for stage in range(self.stages) for layer in range(self.scale.layers)]
        self.choices = (
            *(Choice(f"kernel_{place}", tuple(f"k{kernel}" for kernel in self.scale.kernels)) for place in places),
            *(Choice(f"expansion_{place}", tuple(f"e{ratio}" for ratio in self.scale.expansions)) for place in places),
            Choice("resolution", tuple(f"r{side}" for side in self.scale.resolutions)),
            *(
                Choice(f"depth_{stage}", tuple(f"{depth} blocks" for depth in self.scale.depths))
                for stage in range(self.stages)
            ),
        )
        if self.is_published:
            self.references = PUBLISHED_REFERENCES
        else:
            self.references = tuple(map(self.format, designed_references(self.scale)))

    @property
    def stages(self) -> int:
        """J, how many stages there are."""
        return len(self.scale.stages)

    @property
    def ends(self) -> tuple[Architecture, Architecture]:
        """See `SearchSpace.ends`."""
        smallest, largest, *_ = designed_references(self.scale)
        return self.architecture(smallest), self.architecture(largest)

    @cached_property
    def published(self) -> MobileNetV3Published | None:
        """HELP's tables and Once-for-All's network of accuracies; None where a network has other sizes."""
        from modnas_fast.spaces.mobilenetv3.judge import is_judged
        from modnas_fast.spaces.mobilenetv3.published import MobileNetV3Published  # made of this space

        return MobileNetV3Published(self) if is_judged(self) else None

    def draw(self, architecture: Architecture) -> Drawing:
        """See `SearchSpace.draw`."""
        from modnas_fast.spaces.mobilenetv3.drawing import draw_mobilenetv3

        return draw_mobilenetv3(self.shape(architecture.indices), self.scale)

    @property
    def legend(self) -> tuple[Sample, ...]:
        """See `SearchSpace.legend`."""
        from modnas_fast.spaces.mobilenetv3.drawing import legend

        return legend(self.scale)

    @property
    def familiar(self) -> Architecture:
        """The one scaled uniformly: every choice in its middle."""
        return self.architecture([len(choice.options) // 2 for choice in self.choices])

    # ---- strings ----

    def format(self, indices: Sequence[int]) -> str:
        self._check_indices(indices)
        shape = self.shape(indices)
        kernels, ratios = (
            "-".join(".".join(map(str, stage)) for stage in stages) for stages in (shape.kernels, shape.expansions)
        )
        return f"r{shape.resolution}_k{kernels}_e{ratios}"

    def parse(self, text: str) -> Architecture:
        if is_published_form(text):
            return self.of_shape(read_published_form(text, self.stages), "the published form")
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise InputError(f"architecture: wanted {self.references[0]} or the like, got {text!r}")
        kernels, ratios = (
            tuple(tuple(int(number or 0) for number in stage.split(".")) for stage in part.split("-"))
            for part in match.groups()[1:]
        )
        return self.of_shape(Shape(int(match[1]), kernels, ratios), repr(text))

    def of_shape(self, shape: Shape, where: str = "the network") -> Architecture:
        """The architecture of what a network is, called `where` in the InputError where the space has none such."""
        depths = [len(stage) for stage in shape.kernels]
        if len(depths) != self.stages or depths != [len(stage) for stage in shape.expansions]:
            raise InputError(
                f"architecture: {where} has kernels of {depths} blocks and expansions of "
                f"{[len(stage) for stage in shape.expansions]}, wanted the same for {self.stages} stages"
            )
        scale, indices = self.scale, list[int]()
        of_depths = [_place("depth", depth, scale.depths, where) for depth in depths]
        for what, stages, options in (
            ("kernel", shape.kernels, scale.kernels),
            ("expansion", shape.expansions, scale.expansions),
        ):
            for stage in stages:
                indices += [_place(what, number, options, where) for number in stage]
                indices += [0] * (scale.layers - len(stage))
        resolution = _place("resolution", shape.resolution, scale.resolutions, where)
        return self.architecture([*indices, resolution, *of_depths])

    def shape(self, indices: Sequence[int]) -> Shape:
        """What the network with option `indices[g]` in choice g is."""
        scale, blocks = self.scale, self.scale.blocks
        depths = [scale.depths[index] for index in indices[2 * blocks + 1 :]]

        def per_stage(begin: int, options: Sequence[int]) -> tuple[tuple[int, ...], ...]:
            return tuple(
                tuple(options[index] for index in indices[begin + stage * scale.layers :][:depth])
                for stage, depth in enumerate(depths)
            )

        resolution = scale.resolutions[indices[2 * blocks]]
        return Shape(resolution, per_stage(0, scale.kernels), per_stage(blocks, scale.expansions))

    # ---- one-hots ----

    def split(self, onehot: Tensor) -> Parts:
        """Samples [..., N] by choice."""
        scale, places = self.scale, (self.stages, self.scale.layers)
        blocks, stages = scale.blocks, self.stages
        sizes = [blocks * len(scale.kernels), blocks * len(scale.expansions)]
        sizes += [len(scale.resolutions), stages * len(scale.depths)]
        kernels, ratios, resolution, depths = onehot.split(sizes, dim=-1)
        return Parts(
            kernels.unflatten(-1, (*places, len(scale.kernels))),
            ratios.unflatten(-1, (*places, len(scale.expansions))),
            resolution,
            depths.unflatten(-1, (stages, len(scale.depths))),
        )

    def present(self, depths: Tensor) -> Tensor:
        """[..., J, L]: whether each block is there, of the depths' one-hots or shares [..., J, depths]."""
        layers = torch.arange(self.scale.layers, device=depths.device)
        return depths @ (layers < torch.tensor(self.scale.depths, device=depths.device)[:, None]).to(depths)

    def canonical(self, onehot: Tensor) -> Tensor:
        """Blocks beyond the depth have no influence: theirs stand at the first option."""
        parts = self.split(onehot)
        present = self.present(parts.depths)[..., None]
        kept = []
        for part in (parts.kernels, parts.expansions):
            first = torch.zeros_like(part)
            first[..., 0] = 1
            kept.append(torch.lerp(first, part, present).flatten(-3))
        return torch.cat([*kept, parts.resolution, parts.depths.flatten(-2)], dim=-1)

    @property
    def num_features(self) -> int:
        """See `features`."""
        return 9 + self.stages

    def features(self, onehot: Tensor) -> Tensor:
        """See `spaces.mobilenetv3.features`."""
        return features(self, onehot)

    def details(self, onehot: Tensor) -> Tensor:
        """See `spaces.mobilenetv3.features`."""
        return details(self, onehot)

    def part_table(self, path: Path) -> BlockTable:
        """See `SearchSpace.part_table` and `spaces.mobilenetv3.block_table`."""
        from modnas_fast.spaces.mobilenetv3.block_table import load_block_table

        return load_block_table(path, self)

    def parts(self, **network: Any) -> Iterator[Part]:
        """See `SearchSpace.parts`; of networks for `network`'s `classes`."""
        from modnas_fast.spaces.mobilenetv3.blocks_apart import parts_of

        return parts_of(self, network["classes"])

    def analytic(self, onehot: Tensor, *, input_shape: Sequence[int], **network: Any) -> dict[str, Tensor]:
        """By formulas, differentiable in one-hots and relaxed samples [..., N]; see `SearchSpace.analytic`.

        >>> space = MobileNetV3Space("published")
        >>> onehot = space.encode([space.ends[1]])
        >>> found = space.analytic(onehot, input_shape=(3, 224, 224), classes=1000)
        >>> round(found["parameters"].item() / 1e6, 2), round(found["flops"].item() / 2e6)
        (10.7, 843)
        """
        key = (tuple(input_shape), network["classes"])
        if key not in self._part_costs:
            self._part_costs[key] = PartCosts(self, *key)
        return costs(self, onehot, self._part_costs[key])

    @cached_property
    def _part_costs(self) -> dict[tuple[tuple[int, ...], int], PartCosts]:
        return {}

    # ---- networks ----

    def build(
        self, architecture: Architecture, *, input_shape: Sequence[int] | None = None, **task: Any
    ) -> MobileNetV3:
        """A standalone network for images of any `input_shape`; `task`: image_channels and classes."""
        from modnas_fast.spaces.mobilenetv3.network import MobileNetV3

        return MobileNetV3(
            self.shape(architecture.indices),
            self.scale,
            classes=task["classes"],
            input_channels=task.get("image_channels", 3),
        )

    def inherited(self, shared: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
        """Weights of a standalone network, out of those of the supernet, or of an official checkpoint, by name.

        The statistics of its batch normalisations are to be computed anew: `supernets.running_statistics`.
        """
        from modnas_fast.spaces.mobilenetv3.weights import inherited

        return inherited(shared, self.shape(architecture.indices), self.scale)

    def supernet(
        self, *, input_shape: Sequence[int] | None = None, checkpoint: str | None = None, **task: Any
    ) -> MobileNetV3Supernet:
        """Shared weights of all networks, those of the file `checkpoint` if there is one; `task` as in `build`.

        Raises InputError for images that are smaller than the smallest resolution, and for a file whose weights are no
        supernet of this space.
        """
        from modnas_fast.spaces.mobilenetv3.supernet import MobileNetV3Supernet
        from modnas_fast.spaces.mobilenetv3.weights import load_checkpoint

        if "classes" not in task:
            raise InputError("space.name: mobilenetv3 takes images of classes; the task has none")
        least = self.scale.resolutions[0]
        if input_shape is not None and min(input_shape[-2:]) < least:
            raise InputError(
                f"space.resolutions: the images have {input_shape[-1]}×{input_shape[-2]} pixels, the smallest "
                f"resolution is {least}; give larger images, smaller resolutions, or leave out space.name=mobilenetv3"
            )
        supernet = MobileNetV3Supernet(self, task["classes"], input_channels=task.get("image_channels", 3))
        if checkpoint is not None:
            load_checkpoint(supernet, checkpoint)
        return supernet


def _place(what: str, value: int, options: Sequence[int], where: str) -> int:
    if value not in options:
        raise InputError(f"architecture: {what} {value} in {where}; wanted one of {', '.join(map(str, options))}")
    return list(options).index(value)
