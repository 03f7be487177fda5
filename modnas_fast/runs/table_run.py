"""One run on a tabular benchmark from start to answer: measure a part of the table, search, score against all of it.

The stages are those of `table_search`; errors and latencies of the answer are the table's own. Files are those of
`runfolder`, less the verification's: there is nothing left to verify.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from torch import nn

from modnas_fast.baselines import random_architectures
from modnas_fast.config.presets import OWN_IMAGES
from modnas_fast.devices import Device, embeddings, fingerprint
from modnas_fast.evaluation.benchmark import Benchmark, load_benchmark
from modnas_fast.evaluation.fronts import Bounds, Point
from modnas_fast.method.preferences import rays
from modnas_fast.predictors.metapredictor import predictor_quality
from modnas_fast.result.content import compose_history, device_entry, objectives_on, plain_points, result_content
from modnas_fast.result.folder import (
    CHECKPOINT_FILE,
    EVALUATION_FILE,
    HISTORY_FILE,
    HYPERNETWORK_FILE,
    QUALITY_FILE,
    SUPERNET_FILE,
    TABLE_FILE,
)
from modnas_fast.result.kept_table import keep_table
from modnas_fast.runs.stages import StagedRun
from modnas_fast.runs.table_resume import prepare_once, search_on
from modnas_fast.runs.table_search import Answer, Prepared, TableSearch, map_rows
from modnas_fast.runtime.allocator import keep_freed_memory
from modnas_fast.runtime.checkpoint import save_weights
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import write_json
from modnas_fast.search.bilevel import Search
from modnas_fast.tasks.make import check_task
from modnas_fast.tasks.task_objective import SupernetObjective

#: side of the images in pixels that the table's networks were trained on
IMAGE_SIDE = {"cifar10": 32, "cifar100": 32, "imagenet16-120": 16}
#: random networks per device whose predicted and true latencies are kept for the report
SHOWN_NETWORKS = 200
NORMALIZATION = (
    "networks that learned nothing are left out; error and latency from the least to the largest of the rest of the "
    "table, per device (the published protocol of NAS-Bench-201)"
)


class TableRun(StagedRun):
    """The stages of one run on a table; see `StagedRun` for the arguments. `config.devices.table` must be set."""

    def _check(self) -> None:
        """See `StagedRun.check`: the table, and the images' place and classes where they are wanted."""
        super()._check()
        if self.config.task.source == "supernet":
            self._check_named()
            check_task(self.config)
        _ = self._benchmark

    def _run_stages(self) -> dict[str, Any]:
        benchmark = self._benchmark
        with self._search_threads():
            objective = self._supernet_objective()
            stages = TableSearch(self.config, benchmark, objective, self._reporter)
            prepared = prepare_once(stages, self.folder, self.config, benchmark, objective)
            answer = self._search(stages, prepared)
            save_weights(self.folder / HYPERNETWORK_FILE, answer.hypernet)
            if objective is not None:
                save_weights(self.folder / SUPERNET_FILE, objective.supernet)
            evaluation = self._once(EVALUATION_FILE, lambda: self._evaluate(answer.hypernet))
            quality = self._quality(prepared)
        bounds = {device.name: self._bounds(device) for device in benchmark.devices}
        found = evaluation["devices"]
        entries = [self._entry(device, found[device.name], quality[device.name]) for device in benchmark.devices]
        self._keep_table()
        write_json(self.folder / QUALITY_FILE, {"devices": quality})
        write_json(self.folder / HISTORY_FILE, compose_history(answer.search.history, bounds))
        return result_content(
            self.config,
            benchmark.space,
            self._task_content(prepared),
            objectives_on(benchmark.devices[0]),
            "true",
            fingerprint(),
            entries,
            [],
            NORMALIZATION,
            {**prepared.seconds, "search": answer.seconds, "evaluate": evaluation["seconds"]},
        )

    # ---- what the stages rest on ----

    @cached_property
    def _benchmark(self) -> Benchmark:
        options = self.config.devices
        assert options.table is not None, "a run on a table has one"
        unseen = None if options.unseen == "auto" else options.unseen
        benchmark = load_benchmark(self.config.task.table, options.table, options.search, unseen, options.metrics)
        if benchmark.table.metrics != {"latency": "ms"}:
            found = ", ".join(f"{name} in {unit}" for name, unit in benchmark.table.metrics.items())
            raise InputError(
                f"devices.metrics: search takes latency in ms alone, got {found}; set devices.metrics=[latency] "
                "(`modnas-fast reproduce nb201` shows three objectives)"
            )
        return benchmark

    def _supernet_objective(self) -> SupernetObjective | None:
        """Shared weights for the table's task; None where a surrogate gives the errors."""
        options = self.config.task
        if options.source == "surrogate":
            return None
        self._check_named()
        classes = self._classes
        if (found := self._task.network["classes"]) != classes:
            raise InputError(
                f"--data: {options.data} has {found} classes, the table's task {options.table} has "
                f"{classes}; give its images or another task.table"
            )
        keep_freed_memory()  # nothing is measured here that it would change
        return SupernetObjective(self.config, self._benchmark.space, self._task)

    def _check_named(self) -> None:
        options = self.config.task
        if options.data in (OWN_IMAGES, "digits"):
            raise InputError(
                f"--data: with devices.table, the supernet wants the images of {options.table} (`modnas-fast data "
                "fetch cifar10` brings CIFAR-10); --preset nb201 searches without images"
            )

    @property
    def _classes(self) -> int:
        return round(1 / (1 - self._benchmark.chance_error / 100))

    def _task_content(self, prepared: Prepared) -> dict[str, Any]:
        options = self.config.task
        content = {"name": options.table, "classes": self._classes}
        notes = [
            "errors: true test errors of the networks trained for 200 epochs (NATS-Bench)",
            f"latencies: measurements of the table {self.config.devices.table}",
            f"the search knew the latencies of {len(prepared.measured)} networks on each search device and of ten on "
            "an unseen one",
        ]
        if options.source == "surrogate":
            notes.append(f"it knew {len(prepared.queried)} true errors, for all devices together")
            side = IMAGE_SIDE[options.table]
            return {**content, "image": [3, side, side], "sizes": {}, "notes": notes}
        notes.append("it read no true error: it used those inherited from a supernet trained on the images")
        return {**self._task.description(), **content, "notes": [*self._task.notes, *notes]}

    # ---- search and evaluation ----

    def _search(self, stages: TableSearch, prepared: Prepared) -> Answer:
        def track(search: Search) -> None:
            if search.evaluation_due:
                points = {d.name: self._ray_points(search.hypernet, d) for d in self._benchmark.devices}
                plain = {name: [list(p.values) for p in row] for name, row in points.items()}
                search.history.tracked.append({"step": search.finished_steps, "points": plain})

        every = self.config.search.checkpoint_every
        return search_on(stages, prepared, self.folder / CHECKPOINT_FILE, every, self._reporter, self._stopper, track)

    def _evaluate(self, hypernet: nn.Module) -> dict[str, Any]:
        """Per device the rays' networks and as many random ones, as the table knows them."""
        benchmark, entries = self._benchmark, {}
        generator = torch.Generator().manual_seed(self.config.seed + 5)
        with self._reporter.stage("Evaluating", len(benchmark.devices)) as advance:
            for done, device in enumerate(benchmark.devices):
                drawn = random_architectures(benchmark.space, self.config.evaluation.rays, generator)
                entries[device.name] = {
                    "rays": plain_points(self._ray_points(hypernet, device), objectives_on(device)),
                    "random": plain_points(self._points(device, benchmark.rows(drawn)), objectives_on(device)),
                }
                advance(done + 1)
        return {"devices": entries}

    def _ray_points(self, hypernet: nn.Module, device: Device) -> list[Point]:
        objectives = 1 + len(self._benchmark.table.metrics)
        preferences = [tuple(r) for r in rays(self.config.evaluation.rays, objectives).tolist()]
        return self._points(device, map_rows(self._benchmark, hypernet, device, self.config), preferences)

    def _points(
        self, device: Device, rows: Sequence[int], preferences: Sequence[tuple[float, ...]] | None = None
    ) -> list[Point]:
        """Rows of the table as points on a device."""
        table = self._benchmark.table
        errors = self._benchmark.errors[rows].tolist()
        costs = table.values[device.name][rows].tolist()
        texts = [table.architectures[row] for row in rows]
        chosen: Sequence[tuple[float, ...] | None] = preferences or [None] * len(texts)
        return [Point(text, (error, *row), r) for text, error, row, r in zip(texts, errors, costs, chosen)]

    # ---- what is told of each device ----

    def _keep_table(self) -> None:
        """Leaves errors and latencies of all networks for queries of the answer; the search has ended."""
        table = self._benchmark.table
        latencies = {device.name: table.values[device.name][:, 0] for device in self._benchmark.devices}
        keep_table(self.folder / TABLE_FILE, table.architectures, self._benchmark.errors, latencies)

    def _bounds(self, device: Device) -> Bounds:
        table = self._benchmark.fronts[device.name]
        return Bounds(tuple(table.low.tolist()), tuple(table.high.tolist()))

    def _entry(self, device: Device, found: dict[str, Any], quality: dict[str, Any]) -> dict[str, Any]:
        entry = device_entry(device, found["rays"], found["random"], quality, self._bounds(device), noise=None)
        exact = self._benchmark.fronts[device.name].hypervolume
        return {**entry, "hypervolume_exact": exact, "hypervolume_ratio": entry["hypervolume"] / exact}

    @torch.no_grad()
    def _quality(self, prepared: Prepared) -> dict[str, dict[str, Any]]:
        """Per device, how well all latencies of the table are predicted, with a sample of random networks."""
        benchmark = self._benchmark
        count = len(benchmark.errors)
        onehot = benchmark.space.encode(benchmark.architectures(range(count)))
        predicted = prepared.costs.on_devices(onehot, embeddings(benchmark.devices))[..., 0].double()
        generator = torch.Generator().manual_seed(self.config.seed + 6)
        shown = torch.randperm(count, generator=generator)[:SHOWN_NETWORKS].tolist()
        quality = {}
        for column, device in enumerate(benchmark.devices):
            latency = device.denormalize(predicted[:, column])
            measured = benchmark.table.values[device.name][:, 0]
            quality[device.name] = {
                "split": device.split,
                **asdict(predictor_quality(latency.tolist(), measured.tolist())),
                "networks": count,
                "judged_ms": [float(measured.min()), float(measured.max())],
                "architectures": [benchmark.table.architectures[row] for row in shown],
                "predicted_ms": latency[shown].tolist(),
                "measured_ms": measured[shown].tolist(),
            }
        return quality
