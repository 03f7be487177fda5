"""Evaluation of a hypernetwork: MAP architectures on rays, their objectives, fronts and hypervolumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import moocore
import numpy as np
import torch
from torch import Tensor, nn

from modnas_fast.datasets import ImageTask, Split
from modnas_fast.devices import Device, embeddings
from modnas_fast.method.metahypernet import logits_on_host
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.method.preferences import rays
from modnas_fast.spaces import SearchSpace

REFERENCE_POINT = (1.0, 1.0)
#: architectures whose predicted cost sets the bounds where a space is too large to enumerate
BOUND_SAMPLE = 20_000


@dataclass(frozen=True)
class Point:
    """One network on one device: error in percent, predicted latency in ms; `preference` where a ray led to it."""

    architecture: str
    error: float
    latency_ms: float
    preference: tuple[float, ...] | None = None


_P = TypeVar("_P", bound=Point)


@dataclass(frozen=True)
class Bounds:
    """What is 0 and 1 in the hypervolume's two axes."""

    error: tuple[float, float]
    latency_ms: tuple[float, float]

    def normalize(self, points: Sequence[Point]) -> np.ndarray:
        """[n, 2] in the hypervolume's units."""
        values = np.array([[point.error, point.latency_ms] for point in points], dtype=float).reshape(-1, 2)
        low = np.array([self.error[0], self.latency_ms[0]])
        high = np.array([self.error[1], self.latency_ms[1]])
        return (values - low) / (high - low)


def hypervolume(points: Sequence[Point], bounds: Bounds) -> float:
    """Hypervolume of the points with reference point (1, 1), both objectives minimised.

    >>> bounds = Bounds(error=(0.0, 90.0), latency_ms=(1.0, 3.0))
    >>> hypervolume([Point("a", 45.0, 2.0)], bounds)
    0.25
    """
    if not points:
        return 0.0
    return float(moocore.hypervolume(bounds.normalize(points), ref=np.array(REFERENCE_POINT)))


def nondominated(points: Sequence[Point]) -> list[bool]:
    """Per point, whether no other has both objectives at least as good and one better; of equal points the first."""
    if not points:
        return []
    values = np.array([[point.error, point.latency_ms] for point in points], dtype=float)
    return moocore.is_nondominated(values).tolist()


def front(points: Sequence[_P]) -> list[_P]:
    """The distinct non-dominated points, by rising latency."""
    return sorted(
        (point for point, keep in zip(points, nondominated(points)) if keep), key=lambda point: point.latency_ms
    )


def front_membership(errors: Tensor, costs: Tensor) -> Tensor:
    """Whether each of n networks is on the front of each of T devices, bool [n, T]; of equal points the first is.

    Args:
        errors: the same on every device, [n].
        costs: [n, T, C].

    >>> front_membership(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[[2.0]], [[1.0]], [[1.5]]])).flatten().tolist()
    [True, True, False]
    """
    points = torch.cat([errors.double()[:, None, None].expand(-1, costs.shape[1], 1), costs.double()], dim=-1)
    return torch.stack([torch.from_numpy(moocore.is_nondominated(p.numpy())) for p in points.unbind(1)], dim=-1)


def even_batch_size(images: int, most: int) -> int:
    """At most `most`, so that the last batch is as large as the others: it has statistics of its own.

    >>> even_batch_size(300, 256)
    150
    """
    count = -(-images // most)
    return -(-images // count)


class SupernetErrors:
    """Errors in percent [n] of one-hots [n, N] on the CPU with the supernet's inherited weights.

    Args:
        supernet: with trained weights; on the task's device.
        task: errors are those on `split`, with the batch statistics of batches in fixed order.
        split: usually the validation part: the test part stays for the verification.
        batch_size: images per batch, at most.
        at_a_time: networks that are computed side by side, at most; errors do not depend on it.
    """

    def __init__(
        self, supernet: nn.Module, task: ImageTask, split: Split, batch_size: int, at_a_time: int | None = None
    ) -> None:
        self._supernet = supernet
        self._task = task
        self._split = split
        self._batch_size = batch_size
        self._at_a_time = at_a_time

    @torch.no_grad()
    def __call__(self, onehot: Tensor) -> Tensor:
        wrong = torch.zeros(len(onehot), dtype=torch.long, device=self._split.labels.device)
        parts = onehot.split(self._at_a_time or max(1, len(onehot)))
        for x, y in self._task.batches(self._split, self._even_batch_size):
            wrong += torch.cat([(self._supernet.predict(x, part).argmax(-1) != y).sum(dim=1) for part in parts])
        return 100 * wrong.cpu().double() / len(self._split)

    @property
    def _even_batch_size(self) -> int:
        return even_batch_size(len(self._split), self._batch_size)


class Evaluator:
    """Objectives of architectures: errors from their source, latency by the MetaPredictor.

    The error of an architecture is computed once per state of the source: `forget()` after changing it.

    Args:
        space: the search space.
        source: errors in percent [n] of canonical one-hots [n, N].
        costs: frozen; latency is the first.
    """

    def __init__(self, space: SearchSpace, source: Callable[[Tensor], Tensor], costs: CostModel) -> None:
        self._space = space
        self._source = source
        self._costs = costs
        self._errors: dict[str, float] = {}

    def forget(self) -> None:
        """Drops remembered errors."""
        self._errors.clear()

    @torch.no_grad()
    def map_architectures(self, hypernet: nn.Module, device: Device, preferences: Tensor) -> Tensor:
        """The viable MAP architecture of every preference [n, M] on a device, canonical one-hots [n, N]."""
        d = embeddings([device]).expand(len(preferences), -1)
        return self._space.canonical(self._space.viable_mode(logits_on_host(hypernet, preferences, d)))

    def points(self, onehot: Tensor, device: Device, preferences: Tensor | None = None) -> list[Point]:
        """The points of canonical architectures [n, N] on a device; errors must be known by `compute_errors`."""
        latency = self.latencies(onehot, device).tolist()
        names = [architecture.text for architecture in self._space.decode(onehot)]
        chosen = [None] * len(names) if preferences is None else [tuple(r) for r in preferences.tolist()]
        return [Point(n, self._errors[n], ms, r) for n, ms, r in zip(names, latency, chosen)]

    @torch.no_grad()
    def latencies(self, onehot: Tensor, device: Device) -> Tensor:
        """Predicted latency in ms, [n]."""
        return device.denormalize(self._costs(onehot, embeddings([device]))[..., 0])

    @torch.no_grad()
    def compute_errors(
        self, onehot: Tensor, chunk: int = 16, on_chunk: Callable[[int], None] = lambda done: None
    ) -> None:
        """Errors in percent of canonical architectures [n, N] not seen before, `chunk` networks at a time."""
        texts = [architecture.text for architecture in self._space.decode(onehot)]
        new = list({text: row for row, text in enumerate(texts) if text not in self._errors}.items())
        for start in range(0, len(new), chunk):
            part = new[start : start + chunk]
            errors = self._source(onehot[[row for _, row in part]])
            self._errors.update(zip([text for text, _ in part], errors.tolist()))
            on_chunk(start + len(part))

    def errors(self, onehot: Tensor) -> Tensor:
        """Errors in percent of canonical architectures [n, N], computed where they are not known yet."""
        self.compute_errors(onehot)
        return torch.tensor([self._errors[architecture.text] for architecture in self._space.decode(onehot)])

    def latency_bounds(self, device: Device) -> tuple[float, float]:
        """Predicted latency in ms of the fastest and the slowest network of the space (of a sample of a large one)."""
        if self._space.num_architectures <= BOUND_SAMPLE:
            onehot = self._space.enumerate()
        else:
            onehot = self._space.sample(BOUND_SAMPLE, torch.Generator().manual_seed(0))
        latency = self.latencies(onehot, device)
        return float(latency.min()), float(latency.max())

    def ray_points(
        self,
        hypernet: nn.Module,
        devices: Sequence[Device],
        count: int,
        on_chunk: Callable[[int], None] = lambda done: None,
    ) -> list[list[Point]]:
        """Per device, the points of the MAP architectures on `count` rays."""
        preferences = rays(count, 2)
        chosen = [self.map_architectures(hypernet, device, preferences) for device in devices]
        self.compute_errors(torch.cat(chosen), on_chunk=on_chunk)
        return [self.points(onehot, device, preferences) for onehot, device in zip(chosen, devices)]
