"""Fronts inside the parts of a space that one choice divides it into: where devices really differ.

Most of what separates networks may be a single choice, such as a GPT's width, in which all devices agree. Inside one of
its options each front is normalised over the table's networks there, and compared with theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from modnas_fast.devices import Device, embeddings
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.evaluation.exact import ExactFront, Score
from modnas_fast.method.metahypernet import logits_on_host
from modnas_fast.method.preferences import rays
from modnas_fast.spaces import SearchSpace


def parts_of(space: SearchSpace) -> dict[str, int]:
    """The options of the choice that divides a space, with their places in one-hots; empty where none does.

    >>> from modnas_fast.spaces.gpt import GPTSpace
    >>> parts_of(GPTSpace("s"))
    {'e192': 0, 'e384': 1, 'e768': 2}
    """
    begin = 0
    for choice in space.choices:
        if choice.name == space.dividing:
            return {option: begin + place for place, option in enumerate(choice.options)}
        begin += len(choice.options)
    return {}


class Divided:
    """A benchmark's devices, part by part.

    Args:
        benchmark: of a space that a choice divides.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._space = benchmark.space
        self.parts = parts_of(benchmark.space)
        onehot = self._space.encode([self._space.parse(text) for text in benchmark.table.architectures])
        self._rows = {part: (onehot[:, column] > 0.5).numpy() for part, column in self.parts.items()}
        self._fronts: dict[tuple[str, str], ExactFront] = {}

    def front(self, part: str, device: str) -> ExactFront:
        """That of the table's networks in a part."""
        if (part, device) not in self._fronts:
            whole = self._benchmark.fronts[device]
            measured = self._inside(whole.measured, part) if whole.measured else None
            self._fronts[part, device] = self._inside(whole, part, measured)
        return self._fronts[part, device]

    def _inside(self, whole: ExactFront, part: str, measured: ExactFront | None = None) -> ExactFront:
        rows = self._rows[part]
        values = torch.from_numpy(_in_units(whole, whole.values[rows]))
        return ExactFront(values[:, 0], values[:, 1:], torch.from_numpy(whole.kept[rows]), measured)

    @torch.no_grad()
    def of_hypernetwork(self, hypernet: nn.Module, device: Device, count: int) -> dict[str, Score]:
        """By part, the score of the most probable networks of `count` rays in it."""
        preferences = rays(count, 1 + len(self._benchmark.table.metrics))
        logits = logits_on_host(hypernet, preferences, embeddings([device]).expand(len(preferences), -1))
        found = {}
        for part, column in self.parts.items():
            inside = self._space.canonical(self._space.viable_mode(self._fixed(logits, column)))
            found[part] = self._scored(part, device.name, self._benchmark.points(inside, device.name))
        return found

    def of_rows(self, device: str, rows: Sequence[int]) -> dict[str, Score]:
        """By part, the score of the table's networks in these rows that are in it."""
        whole, found = self._benchmark.fronts[device], {}
        for part, inside in self._rows.items():
            found[part] = self._scored(part, device, whole.points([row for row in rows if inside[row]]))
        return found

    def _fixed(self, logits: Tensor, column: int) -> Tensor:
        """Logits in which the option of a part stands above all others of its choice."""
        columns = list(self.parts.values())
        fixed = logits.clone()
        fixed[..., columns] = logits.amin() - 1e3
        fixed[..., column] = logits.amax()
        return fixed

    def _scored(self, part: str, device: str, points: np.ndarray) -> Score:
        """Of objectives [n, M] that are normalised over the whole table."""
        front = self.front(part, device)
        return front.score_points(front.normalize(_in_units(self._benchmark.fronts[device], points)))


def _in_units(front: ExactFront, values: np.ndarray) -> np.ndarray:
    """Normalised objectives [n, M] as they were."""
    found: np.ndarray = front.low + values * (front.high - front.low)
    return found
