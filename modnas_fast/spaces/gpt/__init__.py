"""The GPT space of HW-GPT-Bench: decoder-only transformers of elastic width, depth, heads and MLP ratios."""

from modnas_fast.spaces.gpt.space import GPTSpace

__all__ = ["GPTSpace"]
