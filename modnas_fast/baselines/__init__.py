"""Searches to compare with under the same number of evaluated networks."""

from __future__ import annotations

from modnas_fast.baselines.problem import BudgetSpent, Problem
from modnas_fast.baselines.random_search import random_architectures
from modnas_fast.runtime.choices import BASELINES

__all__ = ["BASELINES", "BudgetSpent", "Problem", "random_architectures"]
