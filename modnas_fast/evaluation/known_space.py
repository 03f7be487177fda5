"""Networks that others trained and measured, of a space all or some: where searches are compared without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from modnas_fast.evaluation.exact import ExactFront
from modnas_fast.spaces import SearchSpace


@dataclass(frozen=True)
class KnownSpace:
    """Networks of a space, in the order of the tables, and their exact front per device.

    A search asks for what was `measured`, and is scored by `fronts`; None: both are the same, nothing is judged. With
    `judge` it may ask for any network of the space: normalised objectives [n, M] on a device of one-hots [n, N].
    """

    space: SearchSpace
    task: str
    architectures: tuple[str, ...]
    fronts: dict[str, ExactFront]
    measured: dict[str, ExactFront] | None = None
    judge: Callable[[str, Tensor], np.ndarray] | None = None
