"""The HAT space of Hardware-Aware Transformers: encoder-decoders of elastic widths, depth, heads and reach."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.spaces.hat.space import HATSpace

__all__ = ["HATSpace"]

__getattr__ = names_from(__name__, {"HATSpace": "modnas_fast.spaces.hat.space"})
