"""Tasks that are no images, and an elastic network with a supernet for each: as another package would write them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.runtime.objective import Objective
from modnas_fast.spaces import Architecture, Choice, SearchSpace
from modnas_fast.supernets import Supernet
from modnas_fast.tasks.task import Batch, Part, Task

WIDTHS = (1, 2, 4, 8)
#: which of the widest layer's units each width has, [4, 8]
MASKS = torch.tensor([[float(unit < width) for unit in range(max(WIDTHS))] for width in WIDTHS])
VOCABULARY = 5


class ElasticSpace(SearchSpace):
    """Two hidden layers of elastic width; strings such as `8-2`."""

    name = "elastic"
    choices = tuple(Choice(layer, tuple(f"{width} units" for width in WIDTHS)) for layer in ("first", "second"))
    references = ("1-1", "2-1", "1-2", "2-2", "4-2", "2-4", "4-4", "8-4", "4-8", "8-8")

    def format(self, indices: Sequence[int]) -> str:
        self._check_indices(indices)
        return "-".join(str(WIDTHS[index]) for index in indices)

    def parse(self, text: str) -> Architecture:
        return self.architecture([WIDTHS.index(int(width)) for width in text.split("-")])

    def canonical(self, onehot: Tensor) -> Tensor:
        return onehot

    def build(self, architecture: Architecture, *, input_shape: Sequence[int], outputs: int, **_: Any) -> nn.Module:
        first, second = (WIDTHS[index] for index in architecture.indices)
        behind = [nn.Linear(first, second), nn.ReLU(), nn.Linear(second, outputs)]
        if len(input_shape) == 2:
            return nn.Sequential(nn.Linear(input_shape[-1], first), nn.ReLU(), *behind)
        return nn.Sequential(nn.Embedding(outputs, first), *behind)

    def supernet(self, *, input_shape: Sequence[int], outputs: int, **_: Any) -> Supernet:
        return ElasticVectors(input_shape[-1], outputs) if len(input_shape) == 2 else ElasticTokens(outputs)


def masked(x: Tensor, widths: Tensor) -> Tensor:
    """x [S or 1, B, L, 8] with the units of each sample's widths [S, 4]."""
    return x * (widths @ MASKS.to(widths))[:, None, None]


class ElasticVectors(Supernet):
    """The easy way: `predict` alone."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs, max(WIDTHS)), nn.Linear(max(WIDTHS), max(WIDTHS))
        self.last = nn.Linear(max(WIDTHS), outputs)

    def predict(self, x: Tensor, onehot: Tensor) -> Tensor:
        first, second = onehot.split(len(WIDTHS), dim=-1)
        hidden = masked(self.first(x)[None].relu(), first)
        return self.last(masked(self.second(hidden).relu(), second))


class ElasticTokens(Supernet):
    """`embed` and `predict_from`, with as many networks at a time as there are."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.table, self.second = nn.Embedding(outputs, max(WIDTHS)), nn.Linear(max(WIDTHS), max(WIDTHS))
        self.last = nn.Linear(max(WIDTHS), outputs)

    def embed(self, x: Tensor) -> Tensor:
        return self.table(x)

    def predict_from(self, state: Tensor, onehot: Tensor, **_: Any) -> Tensor:
        first, second = onehot.split(len(WIDTHS), dim=-1)
        return self.last(masked(self.second(masked(state[None], first)).relu(), second))

    def networks_at_a_time(self, x: Tensor, free: int | None) -> int:
        assert (x.dtype, x.dim(), x.device.type) == (torch.int64, 2, "meta")
        return 16


class OtherTask(Task):
    """x and y of three parts in memory."""

    def __init__(self, parts: dict[str, Batch]) -> None:
        self.parts = parts

    @property
    def device(self) -> torch.device:
        return self.parts["train"][0].device

    def to(self, device: torch.device | str) -> OtherTask:
        return type(self)({name: (x.to(device), y.to(device)) for name, (x, y) in self.parts.items()})

    def _whole(self, part: Part) -> Batch:
        x, y = zip(*(self.parts[name] for name in part.split("+")))
        return torch.cat(x), torch.cat(y)

    def size(self, part: Part) -> int:
        return len(self._whole(part)[0])

    def stream(self, part: Part, batch_size: int, seed: int, augment: bool = False) -> Draws:
        return Draws(self._whole(part), batch_size, seed)

    def batches(self, part: Part, batch_size: int) -> Iterator[Batch]:
        x, y = self._whole(part)
        yield from zip(x.split(batch_size), y.split(batch_size))


class Draws:
    """Random rows, with replacement."""

    def __init__(self, whole: Batch, batch_size: int, seed: int) -> None:
        self._whole, self._size, self._generator = whole, batch_size, torch.Generator().manual_seed(seed)

    def __next__(self) -> Batch:
        x, y = self._whole
        rows = torch.randint(len(x), (min(self._size, len(x)),), generator=self._generator)
        return x[rows], y[rows]

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._generator.set_state(state["generator"])


class Regression(OtherTask):
    """y = |x₁| + x₂ of vectors [1, 3]; quality is the root of the mean squared error."""

    name, notes = "hills", ("made up",)
    quality = Objective("rmse", "m")
    chance, chance_loss = 1.16, 1.35  # standard deviation and variance of y
    network = {"input_shape": (1, 3), "outputs": 1}

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs.flatten(2) - y).square().flatten(1).mean(dim=1)

    def counts(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs.flatten(2) - y).double().square().flatten(1).sum(dim=1)

    def quality_of(self, counts: Tensor, part: Part) -> Tensor:
        return (counts / self.size(part)).sqrt()


class Language(OtherTask):
    """Token ids [6], of which each says what follows, but for one in ten; quality is the perplexity."""

    name = "tokens"
    quality = Objective("perplexity")
    chance, chance_loss = float(VOCABULARY), math.log(VOCABULARY)
    network = {"input_shape": (6,), "outputs": VOCABULARY}

    def inputs(self, count: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(count, *self.input_shape, dtype=torch.int64, device=device)

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        targets = y.expand(len(outputs), *y.shape)
        losses = nn.functional.cross_entropy(outputs.movedim(-1, 1), targets, reduction="none")
        return losses.flatten(1).mean(dim=1)

    def counts(self, outputs: Tensor, y: Tensor) -> Tensor:
        nats = self.losses(outputs.double(), y) * y.numel()
        return torch.stack([nats, torch.full_like(nats, y.numel())], dim=-1)

    def quality_of(self, counts: Tensor, part: Part) -> Tensor:
        return (counts[:, 0] / counts[:, 1]).exp()


def regression() -> Regression:
    def part(count: int, seed: int) -> Batch:
        x = torch.randn(count, 1, 3, generator=torch.Generator().manual_seed(seed))
        return x, x[..., 0].abs() + x[..., 1]

    return Regression({"train": part(200, 1), "validation": part(90, 2), "test": part(70, 3)})


def language() -> Language:
    def part(count: int, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randint(VOCABULARY, (count, 6), generator=generator)
        other = torch.randint(VOCABULARY, x.shape, generator=generator)
        return x, torch.where(torch.rand(x.shape, generator=generator) < 0.1, other, (2 * x + 1) % VOCABULARY)

    return Language({"train": part(200, 1), "validation": part(90, 2), "test": part(70, 3)})
