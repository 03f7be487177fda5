"""Made-up tables over all cells of NAS-Bench-201, on which searches can be judged in no time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modnas_fast.evaluation.exact import ExactFront
from modnas_fast.spaces import NB201Space

SPACE = NB201Space()
ONEHOT = SPACE.enumerate()


class MadeUp:
    """Tables of one space: `front(...)` is a device of them."""

    space = SPACE
    architectures = tuple(architecture.text for architecture in SPACE.decode(ONEHOT))

    def smooth(self, seed: int = 0, costs: int = 1) -> ExactFront:
        """Every option adds to the cost and takes from the error, of what is left of it; and a little noise."""
        generator = torch.Generator().manual_seed(seed)
        gain = torch.rand(30, generator=generator)
        noise = torch.rand(len(ONEHOT), 1 + costs, generator=generator)
        error = 10 + 40 * (-ONEHOT @ gain).exp() + noise[:, 0]
        price = gain[:, None] + 0.5 * torch.rand(30, costs, generator=generator)
        return self._front(error, 1 + ONEHOT @ price + 0.2 * noise[:, 1:])

    def separable(self) -> ExactFront:
        """Option k of an edge takes k from the error and costs k, or k + 1 for k = 1 and 3: 13 networks are best."""
        weight = torch.arange(5.0).repeat(6)
        odd = (weight % 2).masked_fill(weight % 2 > 0, 1.0)
        return self._front(30 - ONEHOT @ weight, 1 + ONEHOT @ (weight + odd)[:, None])

    def _front(self, errors: Tensor, costs: Tensor) -> ExactFront:
        return ExactFront(errors, costs, torch.ones(len(ONEHOT), dtype=torch.bool))


@pytest.fixture(scope="session")
def made_up() -> MadeUp:
    return MadeUp()
