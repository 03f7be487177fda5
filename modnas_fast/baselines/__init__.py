"""Searches to compare with under the same number of evaluated networks."""

from modnas_fast.baselines.random_search import random_architectures

__all__ = ["random_architectures"]
