"""Searches to compare with under the same number of evaluated networks."""

from __future__ import annotations

from collections.abc import Callable

from modnas_fast.baselines.evolution import regularised_evolution
from modnas_fast.baselines.local_search import local_search
from modnas_fast.baselines.problem import BudgetSpent, Problem
from modnas_fast.baselines.random_hypernet import random_hypernetwork
from modnas_fast.baselines.random_search import random_architectures, random_search

__all__ = ["BASELINES", "BudgetSpent", "Problem", "random_architectures"]

Baseline = Callable[[Problem, int], None]


def _optuna(name: str) -> Baseline:
    """A function of optuna_search; Optuna is loaded when it is called."""

    def search(problem: Problem, seed: int) -> None:
        from modnas_fast.baselines import optuna_search

        getattr(optuna_search, name)(problem, seed)

    return search


#: by name: spends the budget of a problem; the same seed asks for the same networks
BASELINES: dict[str, Baseline] = {
    "random": random_search,
    "random-hypernet": random_hypernetwork,
    "nsga2": _optuna("nsga2"),
    "tpe": _optuna("tpe"),
    "gp": _optuna("gaussian_process"),
    "local-search": local_search,
    "evolution": regularised_evolution,
}
