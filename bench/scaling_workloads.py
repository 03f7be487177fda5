"""What a search step of each space takes of one rank at the paper's sizes: measured here, with made-up data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from modnas_fast.bench.runner import medians, seconds_of
from modnas_fast.bench.scaling_formula import Workload
from modnas_fast.config import Config, make_config
from modnas_fast.devices import Device
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.predictors.mlp_predictor import MLPMetaPredictor
from modnas_fast.runtime.optimizers import make_optimizer
from modnas_fast.search.bilevel import Search
from modnas_fast.spaces import NB201Space, SearchSpace
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.spaces.hat.space import HATSpace
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space
from modnas_fast.supernets.passes import Passes
from modnas_fast.supernets.supernet import Supernet

#: networks among which a search looks for the range of the costs; its 20,000 take long for many devices
CANDIDATES = 64
#: T at which what each rank does whole is measured; between, it is interpolated along lines
DEVICES = (1, 8, 32, 128, 512, 1000)
#: T from which on a step without the supernet takes seconds, and one of them tells enough
MANY = 500
#: of a device's embedding
WIDTH = 10

Minibatch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Published:
    """A space at the paper's sizes."""

    name: str
    #: T
    devices: int
    #: of a minibatch, in words and in number
    unit: str
    samples: int
    #: so many of these are measured, the rest is taken to cost as much
    measured: int
    space: Callable[[], SearchSpace]
    supernet: Callable[[SearchSpace], nn.Module]
    minibatch: Callable[[int, torch.Generator], Minibatch]
    optimizer: str

    def to_dict(self) -> dict[str, Any]:
        """Sizes for JSON."""
        return {
            "paper_devices": self.devices,
            "unit": self.unit,
            "samples": self.samples,
            "measured_samples": self.measured,
        }

    def weights(self) -> tuple[int, ...]:
        """Numbers of each tensor of w; none of them is made."""
        with torch.device("meta"):
            return tuple(parameter.numel() for parameter in self.supernet(self.space()).parameters())


def _images(side: int, classes: int) -> Callable[[int, torch.Generator], Minibatch]:
    def made(count: int, generator: torch.Generator) -> Minibatch:
        images = torch.randn(count, 3, side, side, generator=generator)
        return images, torch.randint(classes, (count,), generator=generator)

    return made


def _tokens(length: int, vocabulary: int) -> Callable[[int, torch.Generator], Minibatch]:
    def made(count: int, generator: torch.Generator) -> Minibatch:
        ids = torch.randint(vocabulary, (count, length + 1), generator=generator)
        return ids[:, :-1], ids[:, 1:]

    return made


def _pairs(length: int, vocabulary: int) -> Callable[[int, torch.Generator], Minibatch]:
    def made(count: int, generator: torch.Generator) -> Minibatch:
        ids = torch.randint(vocabulary, (count, 3, length), generator=generator)
        return ids[:, :2], ids[:, 2]

    return made


def _nb201(space: SearchSpace) -> nn.Module:
    sizes = make_config(preset="nb201-paper").space.network
    return space.supernet(image_channels=3, classes=10, input_shape=(3, 32, 32), **sizes)


def _mobilenet(space: SearchSpace) -> nn.Module:
    return space.supernet(image_channels=3, classes=1000, input_shape=(3, 224, 224))


PUBLISHED = {
    one.name: one
    for one in (
        Published("nb201", 13, "images", 256, 64, NB201Space, _nb201, _images(32, 10), "sgd"),
        Published(
            *("gpt", 4, "sequences of 1,024 tokens", 16, 1, lambda: GPTSpace("s")),
            *(lambda space: space.supernet(vocabulary=50_254), _tokens(1024, 50_254), "adamw"),
        ),
        Published(
            *("hat", 2, "pairs of 32 tokens", 128, 8, lambda: HATSpace("space0")),
            *(lambda space: space.supernet(vocabulary=32_768), _pairs(32, 32_768), "adamw"),
        ),
        Published(
            *("mobilenetv3", 11, "images of 224 × 224", 32, 4, lambda: MobileNetV3Space("published")),
            *(_mobilenet, _images(224, 1000), "sgd"),
        ),
    )
}


def measured(one: Published, rounds: int, devices: Iterable[int] = DEVICES, samples: int | None = None) -> Workload:
    """The workload of a space, by medians of so many rounds on the threads that torch has."""
    space, seen = one.space(), samples or one.measured
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = one.supernet(space)
    assert isinstance(supernet, Supernet)
    passes = _passes_seconds(space, supernet, one.minibatch(seen, torch.Generator().manual_seed(1)), rounds)
    return Workload(
        one.name,
        space.num_options,
        tuple(parameter.numel() for parameter in supernet.parameters()),
        passes * one.samples / seen,
        {count: phi_seconds(space, count, rounds) for count in devices},
        _optimizer_seconds(supernet, one.optimizer, rounds),
    )


def _passes_seconds(space: SearchSpace, supernet: Supernet, minibatch: Minibatch, rounds: int) -> float:
    """Of both passes of one network, drawn anew for each round: those of a space differ by much."""
    (x, y), generator, passes = minibatch, torch.Generator().manual_seed(2), Passes(supernet)

    def both() -> None:
        onehot = space.canonical(space.sample(1, generator))
        losses = passes.device_losses(x, onehot.clone().requires_grad_(), y, 1, hard=True)
        losses.sum().backward()
        supernet.zero_grad(set_to_none=True)
        passes.add_weight_gradients(x, onehot, y, 1, hard=True)

    both()
    return sum(seconds_of(both) for _ in range(rounds)) / rounds


def _optimizer_seconds(supernet: Supernet, kind: str, rounds: int) -> float:
    optimizer = make_optimizer(kind, supernet.parameters(), 1e-3, 1e-4)
    for parameter in supernet.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def step() -> None:
        nn.utils.clip_grad_norm_(supernet.parameters(), 1.0)
        optimizer.step()

    return medians({"step": step}, rounds)["step"]


def phi_seconds(space: SearchSpace, devices: int, rounds: int) -> float:
    """Of a step of Φ without the supernet: preferences, hypernetwork, ReinMax, costs, Gramian, MGD and Adam."""
    config = _config_of_phi()
    generator = torch.Generator().manual_seed(3)
    costs = CostModel([MLPMetaPredictor(space, WIDTH, generator=generator)]).requires_grad_(False)
    latencies = 1 + torch.rand(devices, WIDTH, generator=generator)
    made = [Device.from_reference_latencies(str(number), row) for number, row in enumerate(latencies.tolist())]
    with patch("modnas_fast.search.bilevel.CANDIDATES", CANDIDATES):
        search = Search(config, space, _NoSupernet(space.num_options), made, costs)
    step = {"step": lambda: search._hyper_step(log=False)}
    return medians(step, rounds if devices < MANY else 1, warm=devices < MANY)["step"]


def _config_of_phi() -> Config:
    return make_config(
        architect={"kind": "reinmax"},
        scalarization={"kind": "linear", "normalize": False},
        search={
            "warmup_steps": 0,
            "devices_per_step": None,
            "refine_steps": 0,
            "refine_networks": 8,
            "viability": False,
        },
    )


class _NoSupernet:
    """A task objective that costs next to nothing."""

    chance_loss, chance_error, whole, trains, device = 1.0, 1.0, 1.0, False, torch.device("cpu")
    learning_rate = 0.0

    def __init__(self, options: int) -> None:
        self._slope = torch.rand(options, generator=torch.Generator().manual_seed(4))

    def new_batch(self) -> None:
        """There is none."""

    def loss(self, onehot: Tensor, hard: bool | None = None) -> Tensor:
        """[S], linear in the samples."""
        return onehot @ self._slope

    def train_step(self, onehot: Tensor, share: float, hard: bool | None = None, teacher: int | None = None) -> None:
        """Nothing is trained."""

    def errors(self, onehot: Tensor) -> Tensor:
        """[n], in place of a quality."""
        return (onehot @ self._slope).double()

    def state_dict(self) -> dict[str, Any]:
        """Nothing is kept."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was kept."""


def chosen(names: Sequence[str]) -> list[Published]:
    """Those of these names."""
    return [PUBLISHED[name] for name in names]
