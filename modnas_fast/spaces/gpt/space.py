"""The choices of a GPT: width, depth, MLP ratio and heads of each layer, and whether its linear layers have a bias."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.architecture import Architecture, Choice, place_of
from modnas_fast.spaces.base import SearchSpace
from modnas_fast.spaces.gpt.analytic import LayerCosts, costs
from modnas_fast.spaces.gpt.cache import cache_memory
from modnas_fast.spaces.gpt.keys import GPTKeys
from modnas_fast.spaces.gpt.network import GPTNetwork, Shape
from modnas_fast.spaces.gpt.references import designed_references, nearest_references
from modnas_fast.spaces.gpt.scales import PUBLISHED_SCALES, SCALES, Scale
from modnas_fast.supernets.prefixes import prefixes

if TYPE_CHECKING:
    from modnas_fast.report.drawings import Drawing, Sample
    from modnas_fast.spaces.gpt.published import GPTPublished
    from modnas_fast.spaces.gpt.supernet import GPTSupernet

_FORM = re.compile(r"e(\d+)_l(\d+)_m([\d.]+)_h([\d.]+)_(bias|nobias)")


class GPTSpace(SearchSpace):
    """Decoder-only transformers with parallel residuals (HW-GPT-Bench, Sukthanker et al. 2024).

    One-hots are in the published order: width, depth, MLP ratio of each layer, heads of each layer, bias (yes first).
    Strings name what is there and nothing else, one number per layer behind `m` (MLP ratio) and `h` (heads).

    Args:
        scale: small, s, m or l.
        widths, depths, ratios, heads: options instead of the scale's; None: the scale's.
        head_size: d_h; None: the scale's.

    >>> space = GPTSpace("s")
    >>> space.num_options, len(space.choices)
    (80, 27)
    >>> str(GPTSpace("small").architecture([1, 0, *[0, 2, 1, 1], *[1, 1, 2, 0], 1]))
    'e64_l2_m2.4_h4.4_nobias'
    """

    name = "gpt"
    keys = GPTKeys
    dividing = "width"
    takes_ids = True
    unpublished = "; space.scale=s, m or l has a table, with the sizes of the scale alone"
    analytic_is_differentiable = True

    def __init__(
        self,
        scale: str = "small",
        *,
        widths: Sequence[int] | None = None,
        depths: Sequence[int] | None = None,
        ratios: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        head_size: int | None = None,
    ) -> None:
        if scale not in SCALES:
            raise InputError(f"space.scale: wanted one of {', '.join(SCALES)}, got {scale!r}")
        usual = SCALES[scale]
        self.scale = Scale(
            tuple(widths or usual.widths),
            tuple(depths or usual.depths),
            tuple(ratios or usual.ratios),
            tuple(heads or usual.heads),
            head_size or usual.head_size,
        )
        own_sizes = replace(self.scale, references=()) != replace(usual, references=())
        self._published = None if own_sizes or scale not in PUBLISHED_SCALES else scale
        layers = range(self.scale.layers)
        self.choices = (
            Choice("width", tuple(f"e{width}" for width in self.scale.widths)),
            Choice("depth", tuple(f"l{depth}" for depth in self.scale.depths)),
            *(Choice(f"ratio_{layer}", tuple(f"m{ratio}" for ratio in self.scale.ratios)) for layer in layers),
            *(Choice(f"heads_{layer}", tuple(f"h{heads}" for heads in self.scale.heads)) for layer in layers),
            Choice("bias", ("bias", "nobias")),
        )

    @cached_property
    def references(self) -> tuple[str, ...]:  # type: ignore[override]  # worked out when it is asked for
        """Ten networks; those of a published table where the scale has one, see `spaces.gpt.references`."""
        codes = SCALES[self._published].references if self._published else ()
        if codes:
            return tuple(self.format(list(map(int, code))) for code in codes)
        measured = self.published.measured if self.published else None
        return nearest_references(self, measured) if measured else designed_references(self)

    @cached_property
    def published(self) -> GPTPublished | None:
        """HW-GPT-Bench's table of the scale; None where the scale has none, or has other sizes here."""
        from modnas_fast.spaces.gpt.published import GPTPublished  # made of this space

        return GPTPublished(self, self._published) if self._published else None

    def draw(self, architecture: Architecture) -> Drawing:
        """See `SearchSpace.draw`."""
        from modnas_fast.spaces.gpt.drawing import draw_gpt

        return draw_gpt(self.shape(architecture.indices), self.scale)

    @property
    def legend(self) -> tuple[Sample, ...]:
        """See `SearchSpace.legend`."""
        from modnas_fast.spaces.gpt.drawing import legend

        return legend()

    @property
    def ends(self) -> tuple[Architecture, Architecture]:
        """See `SearchSpace.ends`."""
        smallest, largest, *_ = designed_references(self)
        return self.parse(smallest), self.parse(largest)

    def format(self, indices: Sequence[int]) -> str:
        self._check_indices(indices)
        shape = self.shape(indices)
        ratios, heads = (".".join(map(str, numbers)) for numbers in (shape.ratios, shape.heads))
        return f"e{shape.width}_l{len(shape.ratios)}_m{ratios}_h{heads}_{'bias' if shape.bias else 'nobias'}"

    def parse(self, text: str) -> Architecture:
        match, scale = _FORM.fullmatch(text.strip()), self.scale
        if match is None:
            raise InputError(f"architecture: wanted e64_l2_m2.4_h4.4_nobias or the like, got {text!r}")
        width, depth = int(match[1]), int(match[2])
        ratios, heads = ([int(number) if number else 0 for number in part.split(".")] for part in (match[3], match[4]))
        if len(ratios) != depth or len(heads) != depth:
            raise InputError(
                f"architecture: {text!r} has {depth} layers, {len(ratios)} MLP ratios and {len(heads)} numbers of heads"
            )
        absent = [0] * (scale.layers - depth)
        return self.architecture(
            [
                place_of(width, scale.widths, "width", repr(text)),
                place_of(depth, scale.depths, "depth", repr(text)),
                *(place_of(ratio, scale.ratios, "MLP ratio", repr(text)) for ratio in ratios), *absent,
                *(place_of(count, scale.heads, "number of heads", repr(text)) for count in heads), *absent,
                0 if match[5] == "bias" else 1,
            ]
        )  # fmt: skip

    def canonical(self, onehot: Tensor) -> Tensor:
        """Layers beyond the depth have no influence: theirs stand at the first option."""
        layers = self.scale.layers
        groups = onehot.split(self.group_sizes, dim=-1)
        present = self.present(groups[1])  # [..., L]
        kept = []
        for layer, group in enumerate(groups[2:-1]):
            first = torch.zeros_like(group)
            first[..., 0] = 1
            kept.append(torch.lerp(first, group, present[..., layer % layers, None]))
        return torch.cat([groups[0], groups[1], *kept, groups[-1]], dim=-1)

    def present(self, depth: Tensor) -> Tensor:
        """[..., L]: whether each layer is there, of the depth's one-hot or shares [..., D]."""
        return depth @ prefixes(self.scale.depths, depth)

    @property
    def num_features(self) -> int:
        """See `features`."""
        return 5

    def features(self, onehot: Tensor) -> Tensor:
        """What predictors see, [..., 5], each from 0 to 1 and linear in each choice; costs are nearly linear in them.

        Width, layers, and over all layers the sizes of attention and of MLP, and the bias.
        """
        scale, layers = self.scale, self.scale.layers
        groups = onehot.split(self.group_sizes, dim=-1)
        present = self.present(groups[1])
        ratios, heads = torch.stack(groups[2 : 2 + layers], dim=-2), torch.stack(groups[2 + layers : -1], dim=-2)

        def size(part: Tensor, sizes: Sequence[int], power: int = 1) -> Tensor:
            return part @ torch.tensor([(each / sizes[-1]) ** power for each in sizes]).to(part)

        width, square = size(groups[0], scale.widths), size(groups[0], scale.widths, 2)
        ratio, head = size(ratios, scale.ratios), size(heads, scale.heads)
        return torch.stack(
            [
                width,
                present.mean(-1),
                width * (present * head).mean(-1),
                square * (present * ratio).mean(-1),
                groups[-1][..., 0] * present.mean(-1),
            ],
            dim=-1,
        )

    def details(self, onehot: Tensor) -> Tensor:
        """Per width: one, and as shares of the layers how many have each MLP ratio, each number of heads, and biases.

        [..., F], linear in each choice; see `SearchSpace.details`.
        """
        layers = self.scale.layers
        groups = onehot.split(self.group_sizes, dim=-1)
        present = self.present(groups[1])[..., None]  # [..., L, 1]
        ratios, heads = (
            (torch.stack(groups[2 + at : 2 + at + layers], dim=-2) * present).mean(-2) for at in (0, layers)
        )
        bias = groups[-1][..., :1] * present.mean(-2)
        own = torch.cat([torch.ones_like(bias), ratios, heads, bias], dim=-1)
        return (groups[0][..., :, None] * own[..., None, :]).flatten(-2)

    def analytic(self, onehot: Tensor, *, input_shape: Sequence[int], **network: Any) -> dict[str, Tensor]:
        """By formulas, differentiable in one-hots and relaxed samples [..., N]; see `SearchSpace.analytic`.

        The input shape is [tokens]; FLOPs are those of a forward pass over all of them. `cache_memory`, in MB, are the
        keys and values of all of them, which the last token of a sample needs.
        """
        (tokens,) = input_shape
        if tokens not in self._layer_costs:
            self._layer_costs[tokens] = LayerCosts(self, tokens)
        found = costs(self, onehot, self._layer_costs[tokens], tokens, _vocabulary(network))
        return {**found, "cache_memory": cache_memory(self, onehot, tokens)}

    @cached_property
    def _layer_costs(self) -> dict[int, LayerCosts]:
        return {}

    def build(self, architecture: Architecture, **task: Any) -> GPTNetwork:
        """A standalone network for token ids [B, L] of any length; `task`: vocabulary, how many tokens there are."""
        return GPTNetwork(self.shape(architecture.indices), _vocabulary(task), self.scale.head_size)

    def supernet(self, *, checkpoint: str | None = None, **task: Any) -> GPTSupernet:
        """Shared weights of all networks, those of the file `checkpoint` if there is one; `task` as in `build`.

        Raises InputError for a file whose weights are no supernet of this space and vocabulary.
        """
        from modnas_fast.spaces.gpt.supernet import TIED, GPTSupernet  # made of this space
        from modnas_fast.spaces.pretrained import load_pretrained

        supernet = GPTSupernet(self, _vocabulary(task))
        if checkpoint is not None:
            load_pretrained(supernet, checkpoint, TIED)
        return supernet

    def inherited(self, shared: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
        """Weights of a standalone network out of those of the supernet, by name: prefixes."""
        from modnas_fast.spaces.gpt.weights import inherited

        return inherited(shared, self.shape(architecture.indices), self.scale.head_size)

    def shape(self, indices: Sequence[int]) -> Shape:
        """What the network with option `indices[g]` in choice g is."""
        scale = self.scale
        layers, depth = scale.layers, scale.depths[indices[1]]
        ratios, heads = indices[2 : 2 + depth], indices[2 + layers : 2 + layers + depth]
        return Shape(
            scale.widths[indices[0]],
            tuple(scale.ratios[i] for i in ratios),
            tuple(scale.heads[i] for i in heads),
            indices[-1] == 0,
        )


def _vocabulary(task: Mapping[str, Any]) -> int:
    if "vocabulary" not in task:
        raise InputError("space.name: gpt takes texts, tokens of a vocabulary; the task has none")
    vocabulary: int = task["vocabulary"]
    return vocabulary
