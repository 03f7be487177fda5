"""Update schemes: which devices each update of Φ uses, and how their gradients are weighed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from modnas_fast.mgd.min_norm import min_norm
from modnas_fast.runtime.choices import SCHEMES


class UpdateScheme(Protocol):
    """What `mgd.scheme` names; without a state, as a continued run makes a new one."""

    def groups(self, devices: int, generator: torch.Generator) -> list[Tensor]:
        """The devices of each Φ update of one search step, as index tensors into 0 … `devices` − 1."""
        ...

    def weights(self, gram: Tensor) -> Tensor:
        """Weights [t] on the simplex of t gradients with Gramian [t, t], float64.

        A gradient that is zero stands there as one orthogonal to all others; its weight has no effect.
        """
        ...


class Mean:
    """One update with all devices, weighed equally."""

    def groups(self, devices: int, generator: torch.Generator) -> list[Tensor]:
        """All devices at once."""
        return [torch.arange(devices)]

    def weights(self, gram: Tensor) -> Tensor:
        """1/t each."""
        return torch.full_like(gram[0], 1 / len(gram))


class MultipleGradientDescent(Mean):
    """One update with all devices along the min-norm point of their gradients' convex hull (Désidéri 2012)."""

    def weights(self, gram: Tensor) -> Tensor:
        """The min-norm point's."""
        return min_norm(gram).weights


class Sequential(Mean):
    """One update per device, in order."""

    def groups(self, devices: int, generator: torch.Generator) -> list[Tensor]:
        """Each device alone."""
        return list(torch.arange(devices).split(1))


class Sample(Mean):
    """One update with one device, drawn uniformly."""

    def groups(self, devices: int, generator: torch.Generator) -> list[Tensor]:
        """The device drawn."""
        return [torch.randint(devices, (1,), generator=generator)]


def make_scheme(name: str, options: Mapping[str, Any] | None = None) -> UpdateScheme:
    """The update scheme that a name of `mgd.scheme` stands for: built in, `torchjd:NAME`, or a user's.

    Raises InputError for an unknown name, and for an object of a user's that is none.

    >>> make_scheme("mean").weights(torch.eye(2))
    tensor([0.5000, 0.5000])
    """
    scheme: UpdateScheme = SCHEMES.find(name, options)()
    for method in ("groups", "weights"):
        if not callable(getattr(scheme, method, None)):
            raise SCHEMES.fault(name, f"gives a {type(scheme).__name__} without a method {method}")
    return scheme
