"""Benchmarks of MobileNetV3s whose latencies are exact sums over tables of blocks, published of two devices.

Nobody knows the front of some 10¹⁹ networks: an evolution by judged networks on each device stands in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from modnas_fast.config import Config
from modnas_fast.datasets.home import locate
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.reproduction.constraints import ConstrainedGroup, evolve
from modnas_fast.reproduction.reference import is_found, reference_networks, write_reference
from modnas_fast.reproduction.searching import source_of
from modnas_fast.reproduction.trial import Variant
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.spaces import make_space
from modnas_fast.spaces.mobilenetv3.block_table import BlockTable, join_block_tables
from modnas_fast.spaces.mobilenetv3.published import IMAGENET
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space
from modnas_fast.spaces.published import CostTable, Fit, Truth

NOTE10, CORE_I7 = "note10", "i7-8700K"
#: of the data folder; the first has a file per resolution
NOTE10_FOLDER, CORE_I7_FILE = "ofa/ofa-tutorial/latency_table@note10", "ofa/i7-8700K_lut.yaml"
#: judged networks that the reference search asks for on each device
REFERENCE_EVALUATIONS = 5000


class SumsJudge:
    """Costs as sums over parts: a `CostJudge` that is exact."""

    def __init__(self, table: BlockTable) -> None:
        self._table = table

    def __call__(self, device: str, onehot: Tensor) -> Tensor:
        return self._table.costs(device, onehot)

    def fits(self, device: str) -> list[Fit]:
        return [Fit(1.0, 1.0)] * len(self._table.metrics)


@dataclass(frozen=True)
class BlocksGroup(ConstrainedGroup):
    """A group on the tables of blocks.

    Args:
        reference: file of the reference networks, see `find_reference`.
    """

    reference: str = ""

    def benchmark(self) -> Benchmark:
        """The two devices, both searched, with the reference fronts."""
        return blocks_benchmark(self.config(Variant("")), Path(self.reference))


def tables_of(space: MobileNetV3Space) -> BlockTable:
    """Both tables. Raises InputError where one is missing, or has not all blocks of the space."""
    files = [locate(f"{NOTE10_FOLDER}/{side}_lookup_table.yaml") for side in space.scale.resolutions]
    return join_block_tables([files[0].parent, locate(CORE_I7_FILE)], space)


def table_of_core_i7(space: MobileNetV3Space) -> BlockTable:
    """The table that has two widths. Raises InputError as `tables_of`."""
    return join_block_tables([locate(CORE_I7_FILE)], space)


def find_reference(file: Path, config: Config, evaluations: int, reporter: Reporter) -> None:
    """Writes the networks that an evolution of the front asked for on each device, unless they are there.

    Raises InputError where the file has a reference of other length.
    """
    if is_found(file, evaluations):
        return
    space, table, truth = _published(config)
    networks = {}
    with reporter.stage("Finding the reference fronts", len(table.devices)) as advance:
        for done, device in enumerate(table.devices):
            judge = partial(_judged, truth, table, device)
            onehot, _ = evolve(space, judge, evaluations, torch.Generator().manual_seed(done))
            networks[device] = [architecture.text for architecture in space.decode(onehot)]
            advance(done + 1)
    write_reference(file, evaluations, networks)


def _published(config: Config) -> tuple[MobileNetV3Space, BlockTable, Truth]:
    """The space of a configuration, its latencies and its judge."""
    space = make_space(config.space.name, config.space.arguments)
    assert isinstance(space, MobileNetV3Space) and space.published is not None
    return space, tables_of(space), space.published.truth(IMAGENET)


def _judged(truth: Truth, table: BlockTable, device: str, onehot: Tensor) -> Tensor:
    """Error and latency, float64 [n, 2], of canonical one-hots."""
    assert truth.judge is not None
    return torch.cat([truth.judge(onehot)[:, None], table.costs(device, onehot)], dim=1)


def blocks_benchmark(config: Config, reference: Path) -> Benchmark:
    """The benchmark of a configuration; the fronts are those of all networks that a reference has, on every device."""
    space, table, truth = _published(config)
    assert truth.judge is not None
    texts = reference_networks(reference)
    onehot = space.encode([space.parse(text) for text in texts])
    values = {device: table.costs(device, onehot) for device in table.devices}
    known = Benchmark(
        space,
        truth.task,
        CostTable(texts, table.metrics, values, SumsJudge(table)),
        truth.judge(onehot),
        torch.ones(len(texts), dtype=torch.bool),
        (),
        truth.chance,
        truth.judge,
        truth.quality,
        asks_judge=True,
        part_table=table,
    )
    source = source_of(config, known, table.devices, ())
    source.begin(Silent())
    return known.with_devices(source.devices)
