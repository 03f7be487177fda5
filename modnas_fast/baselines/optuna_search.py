"""Optuna's samplers: NSGA-II, the tree-structured Parzen estimator and Gaussian processes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler

from modnas_fast.baselines.moves import PATIENCE, neighbours, unknown
from modnas_fast.baselines.problem import Problem


def nsga2(problem: Problem, seed: int, population: int = 30) -> None:
    """NSGA-II (Deb et al. 2002) with uniform crossover."""
    _minimise(problem, NSGAIISampler(population_size=population, seed=seed), seed)


def tpe(problem: Problem, seed: int) -> None:
    """Multi-objective tree-structured Parzen estimator (Ozaki et al. 2022), drawing all choices jointly."""
    with _quiet():
        sampler = TPESampler(multivariate=True, seed=seed)
    _minimise(problem, sampler, seed)


def gaussian_process(problem: Problem, seed: int) -> None:
    """Gaussian processes with expected hypervolume improvement (Daulton et al. 2020)."""
    _minimise(problem, TableGPSampler(problem, seed), seed)


class TableGPSampler(GPSampler):
    """GPSampler for choices alone: takes the best of a few hundred networks that were not evaluated yet.

    Optuna's own search for the acquisition function's maximum is made for numbers: here it would take seconds per
    network and often return one that is known. `_optimize_acqf` is the method that Optuna names for this.
    """

    #: random candidates; the neighbours of up to five of the best networks come on top
    CANDIDATES = 128

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(seed=seed, warn_independent_sampling=False)
        self._problem = problem
        self._random = Random(seed)
        self._n_qmc_samples_ehvi = 32  # a quarter of Optuna's, for time and memory; the ranking hardly changes

    def _optimize_acqf(self, acqf: Any, best_params: np.ndarray | None) -> np.ndarray:
        drawn = [unknown(self._problem, self._random) for _ in range(self.CANDIDATES)]
        # Categorical parameters stand for themselves in Optuna's normalised coordinates, in the order of their names.
        free = _free_groups(self._problem)
        best = np.zeros((0 if best_params is None else len(best_params), len(self._problem.space.choices)), dtype=int)
        if best_params is not None:
            best[:, free] = best_params
        near = [n for b in best.tolist() for n in neighbours(self._problem, b) if not self._problem.knows(n)]
        candidates = np.array(drawn + near, dtype=float)[:, free]
        return candidates[acqf.eval_acqf_no_grad(candidates).argmax()]


def _minimise(problem: Problem, sampler: BaseSampler, seed: int) -> None:
    """Asks the sampler until the budget is spent.

    A network that it asks for again is answered again, at no cost. After many repeats in a row a random network takes
    the place of its next proposal.
    """
    random, repeats = Random(seed), 0
    free = _free_groups(problem)
    distributions: dict[str, BaseDistribution] = {
        _name(group): CategoricalDistribution(tuple(range(problem.space.group_sizes[group]))) for group in free
    }
    with _quiet():
        study = optuna.create_study(directions=["minimize"] * problem.num_objectives, sampler=sampler)
        while problem.left:
            if repeats >= PATIENCE:
                fresh = unknown(problem, random)
                study.enqueue_trial({_name(group): fresh[group] for group in free})
            trial = study.ask(distributions)
            network = tuple(trial.params.get(_name(group), 0) for group in range(len(problem.space.choices)))
            repeats = repeats + 1 if problem.knows(network) else 0
            study.tell(trial, problem.evaluate(network))


def _free_groups(problem: Problem) -> list[int]:
    """Choices that have more than one option: Optuna's samplers leave out the others."""
    return [group for group, size in enumerate(problem.space.group_sizes) if size > 1]


def _name(group: int) -> str:
    """Parameter of a choice; sorted as the choices are."""
    return f"choice_{group:04d}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log lines and its warnings that a part of its interface may change."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
