"""The GPT space of HW-GPT-Bench: decoder-only transformers of elastic width, depth, heads and MLP ratios."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.space import GPTSpace

__all__ = ["GPTSpace"]

__getattr__ = names_from(__name__, {"GPTSpace": "modnas_fast.spaces.gpt.space"})
