"""What the sections of the configuration have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the configuration: unknown keys are errors, and nothing changes once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class SpaceKeys(Section):
    """The keys of `space` that a search space declares for itself, in the attribute `keys` of its class.

    They are keyword arguments of its `build`, `supernet` and `analytic`, beside those that the task gives.
    """

    #: names of the keys that `supernet` alone takes
    of_supernet: ClassVar[tuple[str, ...]] = ()
    #: names of the keys that hold paths of files that a run reads
    paths: ClassVar[tuple[str, ...]] = ()
    #: names of the keys that the space itself is made with, which decide on its choices
    of_space: ClassVar[tuple[str, ...]] = ()

    #: settings of some of `of_space` by rising cost of the networks, among which a budget chooses
    sizes: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    @property
    def image_side(self) -> int | None:
        """Pixels that square images have at most, where the space's networks look at larger ones than by default."""
        return None
