"""The files that a finished run leaves: what its stages found, brought together and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modnas_fast.devices import Device, fingerprint
from modnas_fast.devices.cost_source import CostSource
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.evaluation.fronts import Bounds
from modnas_fast.result.content import (
    common_bounds,
    compose_history,
    device_entry,
    objectives_on,
    result_content,
    verified_entry,
    with_baselines,
    with_measures,
)
from modnas_fast.result.folder import HISTORY_FILE, QUALITY_FILE, TABLE_FILE
from modnas_fast.result.kept_table import keep_table
from modnas_fast.runs.coverage import with_coverage
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runs.judging import predictor_entries
from modnas_fast.runs.preparation import Prepared
from modnas_fast.runs.searching import Answer
from modnas_fast.runtime.files import write_json
from modnas_fast.runtime.objective import costs_of
from modnas_fast.search.evaluator import predicted_costs
from modnas_fast.spaces.published import CostTable, Fit
from modnas_fast.tasks.task_objective import SupernetObjective


@dataclass(frozen=True)
class Outcomes:
    """What the stages behind the search left, each with its `seconds`."""

    #: per device `rays`, `random` and `cost_bounds`
    evaluation: dict[str, Any]
    #: further ones of `networks`, by architecture and name
    measures: dict[str, Any]
    #: per device fronts by method, of as many evaluated `networks` each; empty: none were asked for
    baselines: dict[str, Any]
    #: `test` quality by architecture, and what trained networks show
    verification: dict[str, Any]


def compose(
    inputs: Inputs, folder: Path, answer: Answer, outcomes: Outcomes, seconds: dict[str, float]
) -> dict[str, Any]:
    """The content of result.json; the history, the predictors' quality and the run's table are left in the folder.

    Args:
        inputs: of the run, its source of costs finished.
        folder: of the run.
        answer: of the search.
        outcomes: of the stages behind it.
        seconds: per stage.
    """
    source, prepared = inputs.source, answer.prepared
    evaluation, verification = outcomes.evaluation, outcomes.verification
    devices, benchmark = prepared.devices, _benchmark(inputs, prepared.devices)
    bounds = _bounds(inputs, evaluation, benchmark, prepared.objective.chance_error)
    quality = predictor_entries(source, devices, prepared.costs, inputs.config.seed + 6)
    _keep_table(inputs, folder, devices)
    write_json(folder / HISTORY_FILE, compose_history(answer.search.history, bounds, costs_of(source.metrics)))
    entries = [
        device_entry(
            device,
            inputs.quality,
            evaluation["devices"][device.name],
            quality[device.name]["costs"],
            bounds[device.name],
            noise=source.noise(device.name),
            doubts=source.doubts(device.name),
            measured=source.found(device.name),
            exact=benchmark.fronts[device.name] if benchmark else None,
            tested=verification["test"],
        )
        for device in devices
    ]
    shown = verification.get("shown", {})
    predicted = _predicted(inputs, prepared, list(verification["test"]))
    write_json(folder / QUALITY_FILE, {"devices": with_coverage(quality, predicted, entries)})
    content = result_content(
        inputs.config,
        inputs.space,
        _with_notes(_task_content(inputs, prepared), evaluation.get("notes", [])),
        objectives_on(devices[0], inputs.quality),
        source.kinds,
        inputs.truth.kind if inputs.truth else "inherited",
        fingerprint(),
        entries,
        [
            {
                **verified_entry(text, test, entries, inputs.quality, predicted, evaluation.get("familiar", {})),
                **shown.get(text, {}),
            }
            for text, test in verification["test"].items()
        ],
        seconds,
    )
    return with_measures(with_baselines(content, outcomes.baselines), outcomes.measures)


def _benchmark(inputs: Inputs, devices: Sequence[Device]) -> Benchmark | None:
    """What judges the answer, where all qualities and costs are known or judged."""
    truth, source = inputs.truth, inputs.source
    if truth is None or not inputs.has_benchmark:
        return None
    if not source.judges:
        values = {device.name: source.listed(device.name, truth.architectures) for device in devices}
        table = CostTable(truth.architectures, source.metrics, values)
        return Benchmark(inputs.space, truth.task, table, truth.values, truth.kept, tuple(devices), truth.chance)
    texts = tuple(source.tabulated) or truth.architectures  # a table of parts has no networks of its own
    values = {device.name: source.listed(device.name, texts) for device in devices}
    if source.tabulated:
        values = {device.name: source.table_costs(device.name) for device in devices}
    table = CostTable(texts, source.metrics, values, _SourceJudge(source)).in_order(truth.architectures)
    devices = tuple(devices)
    return Benchmark(
        inputs.space, truth.task, table, truth.values, truth.kept, devices, truth.chance, truth.judge, truth.quality
    )


class _SourceJudge:
    """Costs as a source lists them in answers: judged, and exact ones beside."""

    def __init__(self, source: CostSource) -> None:
        self._source = source

    def __call__(self, device: str, onehot: Tensor) -> Tensor:
        return self._source.listed(device, [architecture.text for architecture in self._source.space.decode(onehot)])

    def fits(self, device: str) -> list[Fit]:
        return []


def _bounds(
    inputs: Inputs, evaluation: dict[str, Any], benchmark: Benchmark | None, chance: float
) -> dict[str, Bounds]:
    if benchmark is None:
        return common_bounds(evaluation, inputs.quality, chance)
    return {
        name: Bounds(tuple(exact.low.tolist()), tuple(exact.high.tolist())) for name, exact in benchmark.fronts.items()
    }


def _of_weights(prepared: Prepared) -> tuple[str, ...]:
    """What is told of where the shared weights began."""
    return prepared.objective.supernet.notes if isinstance(prepared.objective, SupernetObjective) else ()


def _keep_table(inputs: Inputs, folder: Path, devices: Sequence[Device]) -> None:
    """Leaves what the run's table holds for queries of the answer; the search has ended."""
    source, texts = inputs.source, inputs.source.tabulated
    if texts:
        costs = {}
        for device in devices:
            columns = zip(costs_of(device.metrics), source.table_costs(device.name).unbind(-1))
            costs[device.name] = {c.key: column for c, column in columns if source.kinds[c.name] == "tabulated"}
        keep_table(folder / TABLE_FILE, texts, inputs.truth.of(texts) if inputs.truth else None, costs)


def _predicted(inputs: Inputs, prepared: Prepared, texts: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Costs by key that the predictors give networks, per device and network; exact costs as they are."""
    found: dict[str, dict[str, dict[str, float]]] = {device.name: {} for device in prepared.devices}
    if texts:
        onehot = inputs.space.encode([inputs.space.parse(text) for text in texts])
        exact = torch.tensor([kind == "exact" for kind in inputs.source.kinds.values()])
        for device in prepared.devices:
            keys = [cost.key for cost in costs_of(device.metrics)]
            predicted = predicted_costs(prepared.costs, onehot, device).double()
            rows = torch.where(exact, inputs.source.listed(device.name, texts), predicted).tolist()
            found[device.name] = {text: dict(zip(keys, row)) for text, row in zip(texts, rows)}
    return found


def _with_notes(task: dict[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """What is told of the task, with notes before the others."""
    return {**task, "notes": [*notes, *task["notes"]]}


def _task_content(inputs: Inputs, prepared: Prepared) -> dict[str, Any]:
    """What result.json tells of the task, with notes on where all numbers come from."""
    notes, truth = list(inputs.source.notes), inputs.truth
    files, still = inputs.config.space.files, "" if inputs.config.search.train_weights else ", and w stood still"
    if files:
        named = ", ".join(Path(path).name for path in files.values())
        notes[:0] = [f"the search began with the weights of {named}{still}", *_of_weights(prepared)]
    elif inputs.space.begins_trained:
        began = f"the search, and the training of verified networks, began with the weights of the model{still}"
        notes[:0] = [began, *_of_weights(prepared)]
    if truth is None:
        task = inputs.task.description()
        return {**task, "notes": [*task["notes"], *notes]}
    notes.insert(0, f"{truth.quality.name}: {truth.origin}")
    if truth.judge is not None:
        notes.insert(1, f"{truth.quality.name} of an answer is judged, by {truth.judged_by}")
    if inputs.trains:
        task = inputs.task.description()
        notes.append("it read no true error: it used those inherited from a supernet trained on the images")
        return {**task, "name": truth.task, "notes": [*task["notes"], *notes]}
    asked = "true errors" if truth.quality.name == "error" else f"values of the {truth.quality.name}"
    notes.append(f"it knew {len(prepared.queried)} {asked}, for all devices together")
    told = {key: list(value) if isinstance(value, tuple) else value for key, value in truth.network.items()}
    return {"name": truth.task, **truth.description, "network": told, "notes": notes}
