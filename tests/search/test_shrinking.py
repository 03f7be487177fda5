"""Progressive shrinking: what may differ from the largest network, and when."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.runtime.errors import InputError
from modnas_fast.search.shrinking import Shrinking
from modnas_fast.spaces import NB201Space
from modnas_fast.spaces.mobilenetv3 import MobileNetV3Space

SPACE = MobileNetV3Space("small")


def differing(share: float) -> set[str]:
    """Kinds of choices in which random networks differ from the largest one."""
    restricted = Shrinking(SPACE, [0.2, 0.5, 0.8]).restricted(SPACE.sample(60, torch.Generator().manual_seed(0)), share)
    assert torch.equal(SPACE.onehot(SPACE.indices(restricted)), restricted)
    largest = SPACE.indices(SPACE.encode([SPACE.ends[1]]))
    columns = (SPACE.indices(restricted) != largest).any(dim=0).tolist()
    return {choice.name.split("_")[0] for choice, differs in zip(SPACE.choices, columns) if differs}


def test_kinds_of_choices_become_elastic_one_after_the_other() -> None:
    assert differing(0.0) == {"resolution"}
    assert differing(0.2) == {"resolution", "kernel"}
    assert differing(0.6) == {"resolution", "kernel", "depth"}
    assert differing(0.9) == {"resolution", "kernel", "depth", "expansion"}


def test_a_space_without_an_order_and_another_number_of_shares_are_refused() -> None:
    with pytest.raises(InputError, match="space nb201 has no order of its choices"):
        Shrinking(NB201Space(), [0.1, 0.2, 0.3])
    with pytest.raises(InputError, match="wanted 3 shares, for kernel, depth, expansion, got"):
        Shrinking(SPACE, [0.5])
