"""What the sections of the configuration have in common."""

from __future__ import annotations

from typing import ClassVar

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

    @property
    def image_side(self) -> int | None:
        """Pixels that square images have at most, where the space's networks look at larger ones than by default."""
        return None
