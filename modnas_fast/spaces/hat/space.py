"""The choices of an encoder-decoder: widths, depths, and per layer feed-forward size, heads and reach."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.architecture import Architecture, Choice, place_of
from modnas_fast.spaces.base import SearchSpace
from modnas_fast.spaces.hat.analytic import PartBytes, costs
from modnas_fast.spaces.hat.details import details_of
from modnas_fast.spaces.hat.keys import HATKeys
from modnas_fast.spaces.hat.network import END, PADDING, HATNetwork, Shape
from modnas_fast.spaces.hat.published_form import is_published_form, read_published_form
from modnas_fast.spaces.hat.scales import SCALES, Scale
from modnas_fast.spaces.hat.weights import inherited
from modnas_fast.supernets.prefixes import prefixes

if TYPE_CHECKING:
    from modnas_fast.report.drawings import Drawing, Sample
    from modnas_fast.spaces.hat.published import HATPublished
    from modnas_fast.spaces.hat.supernet import HATSupernet

_NUMBERS = r"(\d+(?:\.\d+)*)"
_FORM = re.compile(rf"e(\d+)_f{_NUMBERS}_h{_NUMBERS}_d(\d+)_f{_NUMBERS}_h{_NUMBERS}_x{_NUMBERS}_r{_NUMBERS}")
_EXAMPLE = "e96_f64.128.256_h2.4.4_d64_f128_h4_x2_r3"


class Group(NamedTuple):
    """A choice that every layer of one side has."""

    name: str
    #: field of `Scale` with its options, and of `Shape` with what a network has of it
    options: str
    of_shape: str
    #: whether the layers are the decoder's
    decoder: bool


#: in the order of the one-hots
GROUPS = (
    Group("encoder_ffn", "encoder_ffns", "encoder_ffns", decoder=False),
    Group("decoder_ffn", "decoder_ffns", "decoder_ffns", decoder=True),
    Group("encoder_heads", "encoder_heads", "encoder_heads", decoder=False),
    Group("decoder_heads", "decoder_heads", "decoder_heads", decoder=True),
    Group("cross_heads", "cross_heads", "cross_heads", decoder=True),
    Group("reach", "reaches", "reaches", decoder=True),
)


class HATSpace(SearchSpace):
    """Encoder-decoder transformers for translation (Hardware-Aware Transformers, Wang et al., ACL 2020).

    Choices are in the published order: widths of encoder and decoder, layers of both, and per layer feed-forward sizes,
    heads of the three kinds of attention, and reaches: how many of the last encoder layers a decoder layer attends to.
    Strings name what is there and nothing else, a number per layer: of the encoder width `e`, feed-forward sizes `f`
    and heads `h`, of the decoder width `d`, `f`, `h`, heads of the attention to the encoder `x` and reaches `r`. The
    published YAML of a network is read as well.

    Args:
        scale: small, space0 or space1.
        options: options instead of the scale's, by the names of `Scale`; None: the scale's.

    >>> space = HATSpace("space0")
    >>> space.num_options, len(space.choices)
    (101, 40)
    >>> HATSpace("small").references[0]
    'e64_f64.64.64_h2.2.2_d64_f64_h2_x2_r1'
    """

    name = "hat"
    keys = HATKeys
    #: the two ends; each choice at its other end alone or with its like; and networks in between: `_reference_indices`
    references: tuple[str, ...]
    takes_ids = True
    unpublished = "; it was published of the spaces 0 and 1: set space.scale=space0, or use --preset hat"
    analytic_is_differentiable = True

    def __init__(self, scale: str = "small", **options: Sequence[int] | int | None) -> None:
        if scale not in SCALES:
            raise InputError(f"space.scale: wanted one of {', '.join(SCALES)}, got {scale!r}")
        unknown = [name for name in options if name not in Scale.__dataclass_fields__]
        if unknown:
            raise InputError(f"space.{unknown[0]}: unknown; wanted some of {', '.join(Scale.__dataclass_fields__)}")
        own: dict[str, Any] = {
            name: value if isinstance(value, int) else tuple(value) for name, value in options.items() if value
        }
        self.scale = replace(SCALES[scale], **own)
        self.choices = (
            Choice("encoder_width", tuple(f"e{width}" for width in self.scale.encoder_widths)),
            Choice("decoder_width", tuple(f"d{width}" for width in self.scale.decoder_widths)),
            Choice("encoder_depth", tuple(f"{depth} layers" for depth in self.scale.encoder_depths)),
            Choice("decoder_depth", tuple(f"{depth} layers" for depth in self.scale.decoder_depths)),
            *(
                Choice(f"{group.name}_{layer}", tuple(map(str, getattr(self.scale, group.options))))
                for group in GROUPS
                for layer in range(self.layers_of(group))
            ),
        )
        self.references = tuple(self.format(indices) for indices in self._reference_indices())

    def layers_of(self, group: Group) -> int:
        """How many layers of the deepest network have a choice."""
        return self.scale.decoder_layers if group.decoder else self.scale.encoder_layers

    def _reference_indices(self) -> list[list[int]]:
        """The two ends; widths, depths, feed-forward sizes, heads or reach at the other end alone; three between."""

        def network(widths: float, depth: float, ffns: float, heads: float, reach: float, wave: float = 0) -> list[int]:
            """Every choice at a place between its ends (0 to 1), every other layer `wave` lower."""

            def at(options: Sequence[int], place: float) -> int:
                return round(min(max(place, 0), 1) * (len(options) - 1))

            scale = self.scale
            places = {"ffn": ffns, "heads": heads, "reach": reach}
            found = [at(scale.encoder_widths, widths), at(scale.decoder_widths, widths)]
            found += [at(scale.encoder_depths, depth), at(scale.decoder_depths, depth)]
            for group in GROUPS:
                place, options = places[group.name.rpartition("_")[2]], getattr(scale, group.options)
                found += [at(options, place - wave * (layer % 2)) for layer in range(self.layers_of(group))]
            return found

        return [
            network(0, 0, 0, 0, 0),
            network(1, 1, 1, 1, 1),
            network(1, 0, 0, 0, 0),
            network(0, 1, 0, 0, 0),
            network(0, 0, 1, 0, 0),
            network(0, 1, 0, 1, 0),
            network(0, 1, 0, 0, 1),
            network(0.5, 0.5, 0.5, 0.5, 0.5),
            network(1, 0.6, 1, 1, 0.5, wave=1),
            network(0, 0.8, 1, 1, 1, wave=0.5),
        ]

    @property
    def ends(self) -> tuple[Architecture, Architecture]:
        """See `SearchSpace.ends`."""
        return self.parse(self.references[0]), self.parse(self.references[1])

    def draw(self, architecture: Architecture) -> Drawing:
        """See `SearchSpace.draw`."""
        from modnas_fast.spaces.hat.drawing import draw_hat

        return draw_hat(self.shape(architecture.indices), self.scale)

    @property
    def legend(self) -> tuple[Sample, ...]:
        """See `SearchSpace.legend`."""
        from modnas_fast.spaces.hat.drawing import legend

        return legend()

    # ---- strings ----

    def format(self, indices: Sequence[int]) -> str:
        self._check_indices(indices)
        shape = self.shape(indices)
        told = {name: ".".join(map(str, value)) for name, value in shape._asdict().items() if isinstance(value, tuple)}
        return (
            "e{encoder_width}_f{encoder_ffns}_h{encoder_heads}_"
            "d{decoder_width}_f{decoder_ffns}_h{decoder_heads}_x{cross_heads}_r{reaches}"
        ).format(**{**shape._asdict(), **told})

    def parse(self, text: str) -> Architecture:
        if is_published_form(text):
            return self._architecture(read_published_form(text), "the published form")
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise InputError(f"architecture: wanted {_EXAMPLE} or the like, got {text!r}")
        parts = [tuple(int(number) for number in part.split(".")) for part in match.groups()]
        (encoder_width,), ffns, heads, (decoder_width,), *of_decoder = parts
        return self._architecture(Shape(encoder_width, ffns, heads, decoder_width, *of_decoder), repr(text))

    def _architecture(self, shape: Shape, where: str) -> Architecture:
        """Of what a network is. Raises InputError where the space has none such."""
        scale, depths = self.scale, (len(shape.encoder_ffns), len(shape.decoder_ffns))
        for group in GROUPS:
            count = len(getattr(shape, group.of_shape))
            if count != depths[group.decoder]:
                side = "decoder" if group.decoder else "encoder"
                raise InputError(
                    f"architecture: {where} has {depths[group.decoder]} {side} layers by their feed-forward sizes, and "
                    f"{count} numbers of {group.options.replace('_', ' ')}"
                )
        indices = [
            place_of(shape.encoder_width, scale.encoder_widths, "encoder width", where),
            place_of(shape.decoder_width, scale.decoder_widths, "decoder width", where),
            place_of(depths[0], scale.encoder_depths, "encoder depth", where),
            place_of(depths[1], scale.decoder_depths, "decoder depth", where),
        ]
        for group in GROUPS:
            numbers, words = getattr(shape, group.of_shape), group.name.replace("_", " ")
            chosen = [place_of(number, getattr(scale, group.options), words, where) for number in numbers]
            indices += chosen + [0] * (self.layers_of(group) - len(chosen))
        return self.architecture(indices)

    def shape(self, indices: Sequence[int]) -> Shape:
        """What the network with option `indices[g]` in choice g is."""
        scale = self.scale
        depths = (scale.encoder_depths[indices[2]], scale.decoder_depths[indices[3]])
        layered: dict[str, tuple[int, ...]] = {}
        begin = 4
        for group in GROUPS:
            options = getattr(scale, group.options)
            layered[group.of_shape] = tuple(options[i] for i in indices[begin : begin + depths[group.decoder]])
            begin += self.layers_of(group)
        return Shape(
            encoder_width=scale.encoder_widths[indices[0]], decoder_width=scale.decoder_widths[indices[1]], **layered
        )

    # ---- one-hots ----

    def split(self, onehot: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Widths and depths [..., options] in the order of the choices; groups by name, [..., layers, options]."""
        parts = list(onehot.split(self.group_sizes, dim=-1))
        layered, begin = {}, 4
        for group in GROUPS:
            end = begin + self.layers_of(group)
            layered[group.name] = torch.stack(parts[begin:end], dim=-2)
            begin = end
        return parts[:4], layered

    def present(self, depth: Tensor, decoder: bool) -> Tensor:
        """[..., layers]: whether each layer is there, of the depth's one-hot or shares [..., options]."""
        depths = self.scale.decoder_depths if decoder else self.scale.encoder_depths
        return depth @ prefixes(depths, depth)

    def canonical(self, onehot: Tensor) -> Tensor:
        """Layers beyond the depth have no influence: theirs stand at the first option."""
        fixed, layered = self.split(onehot)
        kept = []
        for group in GROUPS:
            part = layered[group.name]
            first = torch.zeros_like(part)
            first[..., 0] = 1
            present = self.present(fixed[2 + group.decoder], group.decoder)
            kept.append(torch.lerp(first, part, present[..., None]).flatten(-2))
        return torch.cat([*fixed, *kept], dim=-1)

    @property
    def num_features(self) -> int:
        """See `features`."""
        return 10

    def features(self, onehot: Tensor) -> Tensor:
        """HAT's ten features [..., 10]: what its latencies are published by; each is 1 for the largest network.

        Width, layers, mean feed-forward size and mean heads of the encoder; the same of the decoder; mean heads of the
        attention to the encoder, and mean reach. Means are over the layers that are there.
        """
        fixed, layered = self.split(onehot)
        found = []
        for decoder in (False, True):
            widths = self.scale.decoder_widths if decoder else self.scale.encoder_widths
            depths = self.scale.decoder_depths if decoder else self.scale.encoder_depths
            present = self.present(fixed[2 + decoder], decoder)
            found += [_shares(fixed[decoder], widths), _shares(fixed[2 + decoder], depths)]
            for group in GROUPS:
                if group.decoder == decoder:
                    sizes = _shares(layered[group.name], getattr(self.scale, group.options))
                    found.append((present * sizes).sum(-1) / present.sum(-1))
        return torch.stack(found, dim=-1)

    def details(self, onehot: Tensor) -> Tensor:
        """See `details_of`."""
        return details_of(self.features(onehot))

    @property
    def published(self) -> HATPublished | None:
        """Tables of latency and a judge of BLEU for the published spaces; None for small, and with sizes of one's own.

        The same object every time: a table is read and sampled once.
        """
        return self._published

    @cached_property
    def _published(self) -> HATPublished | None:
        if self.scale not in (SCALES["space0"], SCALES["space1"]):
            return None
        from modnas_fast.spaces.hat.published import HATPublished

        return HATPublished(self)

    # ---- networks ----

    def analytic(self, onehot: Tensor, *, input_shape: Sequence[int], **network: Any) -> dict[str, Tensor]:
        """By formulas, differentiable in one-hots and relaxed samples [..., N]; see `SearchSpace.analytic`.

        The input shape is that of a pair, [2, tokens]; FLOPs are those of a pass over all tokens of both sides.
        """
        _, tokens = input_shape
        if tokens not in self._part_bytes:
            self._part_bytes[tokens] = PartBytes(self, tokens)
        return costs(self, onehot, self._part_bytes[tokens], tokens, _vocabulary(network))

    @cached_property
    def _part_bytes(self) -> dict[int, PartBytes]:
        return {}

    def build(self, architecture: Architecture, **task: Any) -> HATNetwork:
        """A standalone network for pairs of sentences [B, 2, L]; `task`: vocabulary, and `padding` and `end` tokens."""
        scale = self.scale
        return HATNetwork(
            self.shape(architecture.indices),
            _vocabulary(task),
            scale.inner,
            (scale.encoder_widths[-1], scale.decoder_widths[-1]),
            padding=task.get("padding", PADDING),
            end=task.get("end", END),
        )

    def inherited(self, shared: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
        """Weights of a standalone network, out of those of the supernet, or of an official checkpoint, by name."""
        return inherited(shared, self.shape(architecture.indices), self.scale.inner)

    def supernet(self, *, checkpoint: str | None = None, **task: Any) -> HATSupernet:
        """Shared weights of all networks, those of the file `checkpoint` if there is one; `task` as in `build`.

        Raises InputError for a file whose weights are no supernet of this space and vocabulary.
        """
        from modnas_fast.spaces.hat.supernet import LEFT_OUT, TIED, HATSupernet  # made of this space
        from modnas_fast.spaces.pretrained import load_pretrained

        supernet = HATSupernet(self, _vocabulary(task), task.get("padding", PADDING), task.get("end", END))
        if checkpoint is not None:
            load_pretrained(supernet, checkpoint, TIED, LEFT_OUT)
        return supernet


def _shares(part: Tensor, sizes: Sequence[int]) -> Tensor:
    """Sizes as shares of the largest, of one-hots or shares [..., options]."""
    return part @ torch.tensor([size / sizes[-1] for size in sizes], dtype=torch.float64).to(part)


def _vocabulary(task: Mapping[str, Any]) -> int:
    if "vocabulary" not in task:
        raise InputError("space.name: hat takes pairs of sentences, tokens of a vocabulary; the task has none")
    vocabulary: int = task["vocabulary"]
    return vocabulary
