"""HAT's benchmark: a reference front per device, found by evolution among judged networks, for none is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modnas_fast.baselines.evolution import regularised_evolution
from modnas_fast.baselines.open_problem import OpenProblem
from modnas_fast.config import Config
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.reproduction.reference import is_found, reference_networks, write_reference
from modnas_fast.reproduction.searching import source_of
from modnas_fast.reproduction.trial import Group, Variant
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.spaces import SearchSpace, make_space
from modnas_fast.spaces.hat.published import PAPER_SEARCH, PAPER_UNSEEN, WMT14_EN_DE
from modnas_fast.spaces.published import CostJudge, CostTable, Truth
from modnas_fast.spaces.rows import RowTable

TABLE = "hat"
#: judged networks that the reference search asks for on each device
REFERENCE_EVALUATIONS = 2000


@dataclass(frozen=True)
class HATGroup(Group):
    """A group on HAT's tables.

    Args:
        reference: file of the reference networks, see `find_reference`.
    """

    reference: str = ""

    def benchmark(self) -> Benchmark:
        """The devices as this seed and these rows know them, with the reference fronts."""
        return hat_benchmark(self.config(Variant("")), Path(self.reference))


def published_of(space: SearchSpace) -> tuple[RowTable, Truth]:
    """The tables. Raises InputError where the space has none."""
    if space.published is None or TABLE not in space.published.tables:
        raise InputError(f"space.scale: nothing was published of it{space.unpublished}")
    table = space.published.costs(TABLE)
    assert isinstance(table, RowTable)
    return table, space.published.truth(WMT14_EN_DE)


def find_reference(file: Path, config: Config, evaluations: int, reporter: Reporter) -> None:
    """Writes the networks that evolution asked for on each device, unless they are there.

    Raises InputError where the file has a reference of other length.
    """
    if is_found(file, evaluations):
        return
    space = make_space(config.space.name, config.space.arguments)
    table, truth = published_of(space)
    devices = (*PAPER_SEARCH, *PAPER_UNSEEN)
    networks = {}
    with reporter.stage("Finding the reference fronts", len(devices)) as advance:
        for done, device in enumerate(devices):
            problem = OpenProblem(space, partial(_judged, truth, table.judge, device), evaluations)
            regularised_evolution(problem, done)
            networks[device] = problem.rows
            advance(done + 1)
    write_reference(file, evaluations, networks)


def _judged(truth: Truth, costs: CostJudge, device: str, onehot: Tensor) -> np.ndarray:
    """Objectives [n, M] in their units."""
    assert truth.judge is not None
    values: np.ndarray = torch.cat([truth.judge(onehot)[:, None], costs(device, onehot)], dim=1).numpy()
    return values


def hat_benchmark(config: Config, reference: Path) -> Benchmark:
    """The benchmark of a configuration; the fronts are those of all networks that a reference has, on every device."""
    space = make_space(config.space.name, config.space.arguments)
    rows, truth = published_of(space)
    assert truth.judge is not None
    texts = reference_networks(reference)
    onehot = space.encode([space.parse(text) for text in texts])
    splits = {**dict.fromkeys(PAPER_SEARCH, "search"), **dict.fromkeys(PAPER_UNSEEN, "unseen")}
    values = {device: rows.judge(device, onehot) for device in splits}
    table = CostTable(texts, rows.metrics, values, rows.judge)
    kept = torch.ones(len(texts), dtype=torch.bool)
    known = Benchmark(
        space, truth.task, table, truth.judge(onehot), kept, (), truth.chance, truth.judge, truth.quality, True, rows
    )
    source = source_of(config, known, PAPER_SEARCH, PAPER_UNSEEN)
    source.begin(Silent())
    return known.with_devices(source.devices)
