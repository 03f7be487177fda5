"""A search space: ordered categorical choices, and the maps between architectures, strings and one-hots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from modnas_fast.config import SpaceKeys
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.architecture import Architecture, Choice
from modnas_fast.spaces.counting import Counts, count
from modnas_fast.spaces.parts import Part, PartTable
from modnas_fast.spaces.published import Published
from modnas_fast.supernets.supernet import Supernet

if TYPE_CHECKING:  # loads what pages need
    from modnas_fast.report.drawings import Drawing, Sample


class Graph(NamedTuple):
    """Networks as directed graphs over V nodes, for predictors; every entry is between 0 and 1.

    One node is the input, one the output, and one more, the global node, is connected with all.
    """

    #: one-hot of what each node is, [..., V, K]
    kinds: Tensor
    #: whether the input leads to the node, [..., V]
    reached: Tensor
    #: whether the node leads to the output, [..., V]
    used: Tensor
    #: entry (i, j): whether node j takes what node i gives, [..., V, V]
    adjacency: Tensor


class SearchSpace(ABC):
    """The data and rules of one family of networks; knows nothing about training.

    A one-hot [..., N] concatenates one group of n_g entries per choice, in the order of `choices`.
    """

    name: str
    choices: tuple[Choice, ...]
    #: strings of the ten fixed networks whose metric values on a device form its embedding
    references: tuple[str, ...]
    #: the keys of the configuration's section `space` that it declares
    keys: ClassVar[type[SpaceKeys]] = SpaceKeys
    #: name of the choice inside whose options fronts are compared besides: devices agree on it, and differ there
    dividing: ClassVar[str | None] = None
    #: for progressive shrinking, in order: which choices, by the beginnings of their names, may then differ from the
    #: largest network's; all others may from the start
    shrinking: ClassVar[tuple[str, ...]] = ()
    #: whether networks take ids, such as those of tokens, instead of numbers
    takes_ids = False
    #: whether networks, alone and with shared weights, begin with weights that were trained
    begins_trained = False
    #: behind the complaint that nothing is published of the space as it is made, what helps
    unpublished: ClassVar[str] = ""
    #: whether `analytic` has a gradient in the samples, so that a search needs no predictor of these costs
    analytic_is_differentiable = False

    @cached_property
    def group_sizes(self) -> tuple[int, ...]:
        """n_g, the number of options of each choice."""
        return tuple(len(choice.options) for choice in self.choices)

    @property
    def num_options(self) -> int:
        """N, the number of options over all choices."""
        return sum(self.group_sizes)

    @property
    def num_architectures(self) -> int:
        """How many option combinations the space holds."""
        count = 1
        for size in self.group_sizes:
            count *= size
        return count

    @abstractmethod
    def format(self, indices: Sequence[int]) -> str:
        """The canonical string of a network given the option index per choice."""

    @abstractmethod
    def parse(self, text: str) -> Architecture:
        """The architecture of a canonical string. Raises InputError that shows what is wrong with the string."""

    @abstractmethod
    def canonical(self, onehot: Tensor) -> Tensor:
        """One-hot [..., N] in which choices without influence on the function stand at one fixed option.

        Differentiable, so that a cost predictor that sees it gives no gradient to what costs nothing.
        Two networks that differ only in such choices map to the same one-hot.
        """

    @property
    def num_features(self) -> int | None:
        """F, features of a network that a predictor sees; None: it counts the options chosen."""
        return None

    def features(self, onehot: Tensor) -> Tensor:
        """Features [..., F] of one-hots or relaxed samples [..., N], differentiable.

        For spaces whose costs are nearly linear in something else than how often each option is chosen. Raises
        InputError where there are none.
        """
        raise InputError(f"space {self.name} has no features of its own: predictors count its options")

    def details(self, onehot: Tensor) -> Tensor:
        """More features [..., F] than `features`, in which costs are linear as closely as many measurements can tell.

        Raises InputError where there are none.
        """
        raise InputError(f"predictor.kind: space {self.name} has no detailed counts of its networks; choose additive")

    def viable(self, onehot: Tensor) -> Tensor:
        """[...]: 1 where the network's output depends on its input, 0 where it does not; linear in each choice.

        Its gradient with respect to a hard sample is therefore the exact effect of changing one choice. Where every
        network is viable it is 1.
        """
        return torch.ones_like(onehot[..., 0])

    def graph(self, onehot: Tensor) -> Graph:
        """The networks of one-hots or relaxed samples [..., N] as written, differentiable in them.

        Graphs of `canonical(onehot)` show only what has influence. Raises InputError where the space has no graphs.
        """
        raise InputError(f"space {self.name} has no graphs of its networks: choose the additive metapredictor")

    @abstractmethod
    def build(self, architecture: Architecture, **task: Any) -> nn.Module:
        """A standalone network of this architecture."""

    def supernet(self, **task: Any) -> Supernet:
        """Shared weights of all networks; `task` as in `build`, and what it takes besides.

        Raises InputError where the space has none: it is searched on tables alone.
        """
        raise InputError(f"space {self.name} has no supernet: search it on a table with task.source=surrogate")

    def inherited(self, shared: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor] | None:
        """Weights of a standalone network out of those of the supernet, by name; None: they cannot be cut out."""
        return None

    def draw(self, architecture: Architecture) -> Drawing | None:
        """A drawing for the report; None: it shows the architecture's string."""
        return None

    @property
    def legend(self) -> tuple[Sample, ...]:
        """What the strokes of the drawings mean."""
        return ()

    @property
    def ends(self) -> tuple[Architecture, Architecture] | None:
        """The smallest and the largest network, where all others are parts of this one and have that one in them."""
        return None

    @property
    def familiar(self) -> Architecture | None:
        """A network that one would take without a search, which is verified beside the answers; None: none is."""
        return None

    @property
    def published(self) -> Published | None:
        """What others trained and measured of the space; None where nothing is known."""
        return None

    def part_table(self, path: Path) -> PartTable | None:
        """Costs of all networks by a table of their parts in a file or folder; None: the space reads none.

        Raises InputError where it is no such table, or lacks parts of the networks.
        """
        return None

    def parts(self, **network: Any) -> Iterator[Part]:
        """Every part of the networks once, to measure a table for `part_table`; `network` as in `build`.

        Raises InputError where the space has no such tables.
        """
        raise InputError(f"space {self.name} has no tables of parts of its networks")

    def analytic(self, onehot: Tensor, *, input_shape: Sequence[int], **network: Any) -> dict[str, Tensor]:
        """What networks cost wherever they run: `parameters`, `flops` and `memory` (MB), float64 [...] each.

        Everything is counted for one sample in float32, in inference, of the standalone network as it is written:

        - parameters: numbers in its parameters, without buffers;
        - flops: 2 per multiplication with addition, of what `torch.utils.flop_counter` counts: convolutions, products
          of matrices, attention;
        - memory: 4 bytes per parameter and the largest sum of the activations that live at once, in 10⁶ bytes. An
          activation is a buffer that an operation makes, or the sample; it lives from that operation to the last one
          that reads it, both included, and the network's output to the end. What stands in its place shares its
          buffer, such as views and operations that change their input; what an operation needs inside is not counted.

        Here the networks are built and run without numbers (torch's meta device), one by one, each of them once; a
        space that knows formulas puts them in the place of this and sets `analytic_is_differentiable`.

        Args:
            onehot: one-hots [..., N].
            input_shape: of one sample, such as (3, 32, 32).
            network: keyword arguments of `build`.
        """
        rows = self.indices(self.canonical(onehot)).cpu().reshape(-1, len(self.choices))
        counts = [self._counts(tuple(indices), tuple(input_shape), network) for indices in rows.tolist()]
        values = torch.tensor(counts, dtype=torch.float64, device=onehot.device)
        return dict(zip(Counts._fields, values.reshape(*onehot.shape[:-1], len(Counts._fields)).unbind(-1)))

    def _counts(self, indices: tuple[int, ...], input_shape: tuple[int, ...], network: dict[str, Any]) -> Counts:
        key = (indices, input_shape, repr(sorted(network.items())))
        if key not in self._counted:
            self._counted[key] = count(
                lambda: self.build(self.architecture(indices), input_shape=input_shape, **network),
                input_shape,
                self.takes_ids,
            )
        return self._counted[key]

    @cached_property
    def _counted(self) -> dict[tuple[object, ...], Counts]:
        return {}

    def architecture(self, indices: Sequence[int]) -> Architecture:
        """The architecture with option `indices[g]` in choice g."""
        indices = tuple(int(index) for index in indices)
        return Architecture(indices, self.format(indices))

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniformly random one-hots, float32 [count, N]."""
        groups = [torch.randint(size, (count,), generator=generator) for size in self.group_sizes]
        return self.onehot(torch.stack(groups, dim=-1))

    def mutate(self, onehot: Tensor, changes: int, generator: torch.Generator | None = None) -> Tensor:
        """One-hots [n, N] with one random choice set to a random option, `changes` times over."""
        indices, sizes = self.indices(onehot), torch.tensor(self.group_sizes)
        rows = torch.arange(len(indices))
        for _ in range(changes):
            choice = torch.randint(len(self.choices), (len(indices),), generator=generator)
            draw = torch.rand(len(indices), generator=generator)
            indices[rows, choice] = (draw * sizes[choice]).long().clamp(max=sizes[choice] - 1)
        return self.onehot(indices)

    def onehot(self, indices: Tensor) -> Tensor:
        """One-hots, float32 [..., N], from option indices, int64 [..., G]."""
        groups = [nn.functional.one_hot(column, size) for column, size in zip(indices.unbind(-1), self.group_sizes)]
        return torch.cat(groups, dim=-1).float()

    def indices(self, onehot: Tensor) -> Tensor:
        """Option indices, int64 [..., G], of one-hots or logits [..., N]; ties go to the lowest index."""
        return torch.stack([group.argmax(-1) for group in onehot.split(self.group_sizes, dim=-1)], dim=-1)

    def mode(self, logits: Tensor) -> Tensor:
        """The most probable architecture (MAP) of logits [..., N], as one-hots [..., N] of the same dtype."""
        return self.onehot(self.indices(logits).cpu()).to(logits)

    def viable_mode(self, logits: Tensor) -> Tensor:
        """The most probable architecture of logits [..., N], as one-hots; where it is not viable, a change away.

        That change of one choice is the one that leaves the most probable viable architecture. Where no change of one
        choice helps, the answer is the mode all the same.
        """
        mode = self.mode(logits)
        if bool((self.viable(mode) > 0.5).all()):
            return mode
        option = torch.eye(self.num_options).to(logits)
        group = torch.block_diag(*(torch.ones(size, size) for size in self.group_sizes)).to(logits)
        changed = mode[..., None, :] * (1 - group) + option  # [..., N, N]: row k has option k chosen
        score = (changed * logits[..., None, :]).sum(-1).masked_fill(self.viable(changed) < 0.5, -torch.inf)
        best = changed.take_along_dim(score.argmax(-1)[..., None, None], dim=-2).squeeze(-2)
        keep = (self.viable(mode) > 0.5) | score.isinf().all(-1)
        return torch.where(keep[..., None], mode, best)

    def encode(self, architectures: Sequence[Architecture]) -> Tensor:
        """One-hots, float32 [n, N]."""
        indices = torch.tensor([a.indices for a in architectures], dtype=torch.int64)
        return self.onehot(indices.reshape(-1, len(self.choices)))

    def decode(self, onehot: Tensor) -> list[Architecture]:
        """The architectures of one-hots [n, N]."""
        return [self.architecture(row) for row in self.indices(onehot).tolist()]

    def enumerate(self) -> Tensor:
        """Every architecture of the space as one-hots, float32 [num_architectures, N]."""
        axes = [torch.arange(size) for size in self.group_sizes]
        return self.onehot(torch.cartesian_prod(*axes))

    def candidates(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Distinct viable networks, canonical one-hots [n, N]: all where the space has at most `count`, else a sample.

        >>> from modnas_fast.spaces import NB201Space
        >>> len(NB201Space().candidates(20_000))
        9444
        """
        onehot = self.enumerate() if self.num_architectures <= count else self.sample(count, generator)
        distinct: Tensor = torch.unique(self.canonical(onehot), dim=0)
        return distinct[self.viable(distinct) > 0.5]

    def _check_indices(self, indices: Sequence[int]) -> None:
        if len(indices) != len(self.choices):
            raise InputError(
                f"architecture: space {self.name} has {len(self.choices)} choices, got {len(indices)} indices"
            )
        for choice, index in zip(self.choices, indices):
            if not 0 <= index < len(choice.options):
                raise InputError(
                    f"architecture: choice {choice.name} has options 0..{len(choice.options) - 1}, got {index}"
                )
