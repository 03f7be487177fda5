"""Trials: searches that start from the same measurements and queries, each kept as one JSON file."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modnas_fast.config import Config, make_config
from modnas_fast.devices import Device, embeddings
from modnas_fast.devices.cost_source import Judging
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.evaluation.exact import front_of
from modnas_fast.predictors.graph_predictor import GraphMetaPredictor, adapt
from modnas_fast.predictors.metapredictor import predictor_quality
from modnas_fast.reproduction.equal_total import equal_total
from modnas_fast.reproduction.searching import prepare, search
from modnas_fast.reproduction.tables import load_benchmark
from modnas_fast.reproduction.whole_front import whole_front
from modnas_fast.runs.preparation import Prepared
from modnas_fast.runs.searching import Answer
from modnas_fast.runtime.files import read_json, write_json
from modnas_fast.search.divided import Divided
from modnas_fast.search.scores import map_points, mean_by_split, scores
from modnas_fast.spaces import make_space
from modnas_fast.spaces.nb201.published import HELP

Entry = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One search of a group: its name, and what it changes of the group's configuration (`a.b=c`)."""

    name: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Searches with one seed on one benchmark, prepared once.

    `search` and `unseen` are names of the table's devices, None for the paper's (see `load_benchmark`).
    """

    name: str
    seed: int
    variants: tuple[Variant, ...]
    preset: str = "nb201"
    overrides: tuple[str, ...] = ()
    task: str = "cifar10"
    table: str = HELP
    search: tuple[str, ...] | None = None
    unseen: tuple[str, ...] | None = None
    metrics: tuple[str, ...] = ("latency",)
    #: name of the task's quality
    quality: str = "error"

    def file(self, variant: Variant) -> str:
        """Name of the file with the variant's entry."""
        return f"{self.name}+{variant.name}.json"

    def config(self, variant: Variant) -> Config:
        """The configuration of a variant's search."""
        fixed = (
            f"seed={self.seed}",
            f"task.table={self.task}",
            f"objectives=[{','.join([self.quality, *self.metrics])}]",
        )
        return make_config(preset=self.preset, overrides=[*fixed, *self.overrides, *variant.overrides])

    def benchmark(self) -> Benchmark:
        """The tables that the group searches."""
        space = self.config(Variant("")).space
        made = make_space(space.name, space.arguments)
        return load_benchmark(self.task, self.table, self.search, self.unseen, self.metrics, made)

    def told(self, benchmark: Benchmark, config: Config, answer: Answer) -> Entry:
        """What an entry tells besides of a search of this group."""
        return {}


def missing(group: Group, folder: Path) -> list[Variant]:
    """The variants without an entry in `folder`."""
    return [variant for variant in group.variants if not (folder / group.file(variant)).exists()]


def run_group(group: Group, folder: Path) -> str:
    """Runs the variants that have no entry yet; each leaves its entry by rename. Returns the group's name."""
    left = missing(group, folder)
    if left:
        benchmark = group.benchmark()
        prepared = prepare(group.config(Variant("")), benchmark)
        for variant in left:
            config = group.config(variant)
            answer = search(config, benchmark, prepared)
            entry = {**run_entry(benchmark, config, answer), **group.told(benchmark, config, answer)}
            if variant == group.variants[0]:
                entry["predictor"] = predictor_entry(benchmark, prepared)
                entry["whole"] = whole_front(benchmark, config, answer)
                entry["shared"] = equal_total(benchmark, prepared, group.seed)
            write_json(folder / group.file(variant), entry)
    return group.name


def entries(group: Group, folder: Path) -> dict[str, Entry]:
    """The entries of a finished group by variant."""
    return {variant.name: read_json(folder / group.file(variant)) for variant in group.variants}


def run_entry(benchmark: Benchmark, config: Config, answer: Answer) -> Entry:
    """Plain values of one search: scores and fronts per device, the way there, and how much the devices disagreed."""
    found = scores(benchmark, answer.hypernet, config.num_rays)
    divided = Divided(benchmark) if benchmark.space.dividing else None
    devices, inside = {}, {}
    for device in benchmark.devices:
        best = front_of(map_points(benchmark, answer.hypernet, device, config.num_rays))
        devices[device.name] = {**found[device.name].to_dict(), "front": best.round(5).tolist()}
        if divided:
            of_parts = divided.of_hypernetwork(answer.hypernet, device, config.num_rays)
            inside[device.name] = {part: score.to_dict() for part, score in of_parts.items()}
    history = answer.search.history
    cosines = [*history.gradient_cosine, *(entry["gradient_cosine"] for entry in history.refinement)]
    weights = [*history.mgd_weights, *(entry["mgd_weights"] for entry in history.refinement)]
    return {
        "seed": config.seed,
        "seconds": answer.total_seconds,
        "search_seconds": answer.seconds,
        "stages": answer.prepared.seconds,
        "evaluations": len(answer.prepared.queried),
        "measured": answer.prepared.source.count_known(benchmark.search_devices[0].name),
        "devices": devices,
        "parts": inside,
        "ratio": mean_by_split(benchmark, found, "ratio"),
        "networks": mean_by_split(benchmark, found, "networks"),
        "curve": answer.curve,
        "gradient_cosine": _mean([value for value in cosines if value is not None]),
        "weights_spread": _mean([statistics.pstdev(row) for row in weights]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def predictor_entry(benchmark: Benchmark, prepared: Prepared) -> Entry:
    """How well the first metric is predicted for what judges it on every device, and after adaptation.

    Of a table those are all networks, of a table of rows those that the search did not know.
    """
    space = benchmark.space
    references = space.encode([space.parse(text) for text in space.references])
    predictor = prepared.costs.predictors[0]
    devices = {}
    for device in benchmark.devices:
        d = embeddings([device])[0, : len(space.references)]
        judging = prepared.source.judged_by(device.name)
        entry = {"split": device.split, **_quality(judging, device, predictor, d), "adapted": None}
        if device.split == "unseen" and isinstance(predictor, GraphMetaPredictor):
            adapted = adapt(predictor, references, d, d)
            entry["adapted"] = _quality(judging, device, adapted, d)
        devices[device.name] = entry
    seconds = sum(spent for stage, spent in prepared.seconds.items() if stage.startswith("predict"))
    return {"seconds": seconds, "devices": devices}


@torch.no_grad()
def _quality(judging: Judging, device: Device, predictor: torch.nn.Module, d: torch.Tensor) -> Entry:
    """Rank correlations and the median relative error; the mean would be that of a few broken measurements."""
    predicted = device.denormalize(predictor(judging.onehot, d).double(), next(iter(device.metrics)))
    measured = judging.values[:, 0]
    quality = predictor_quality(predicted.tolist(), measured.tolist())
    relative_error = float(((predicted - measured).abs() / measured).median())
    return {"spearman": quality.spearman, "kendall": quality.kendall, "relative_error": relative_error}
