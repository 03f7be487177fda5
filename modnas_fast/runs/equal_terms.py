"""Black-box searches on the shared weights of a finished search, with as many evaluated networks as it had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from modnas_fast.devices import Device, embeddings
from modnas_fast.evaluation.fronts import front
from modnas_fast.result.content import objectives_on, plain_points
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runs.searching import Answer
from modnas_fast.runtime.progress import Reporter
from modnas_fast.search.evaluator import Evaluator
from modnas_fast.search.refine import Archive
from modnas_fast.search.shared_searches import shared_searches


def search_on_equal_terms(
    inputs: Inputs, answer: Answer, answered: Sequence[str], evaluator: Evaluator, reporter: Reporter
) -> dict[str, Any]:
    """Per device and method, plain points of the front of all networks that the method evaluated.

    They ask for the same qualities and have the same predictors as the refinement; unlike the answers of a
    hypernetwork, all that they asked for counts.

    Args:
        inputs: of the run.
        answer: of its search, whose refined networks and those `answered` count as evaluated.
        answered: architectures of the answers.
        evaluator: tells the qualities and costs of what was found.
        reporter: where progress is told.
    """
    prepared, space = answer.prepared, inputs.space
    networks = answer.search.archive.networks | set(answered)
    known = prepared.measured or {}
    devices, d = prepared.devices, embeddings(prepared.search_devices)
    found: dict[str, dict[str, Any]] = {device.name: {} for device in devices}
    searches = shared_searches(len(inputs.source.metrics))
    with reporter.stage("Baselines on the same weights", len(searches)) as advance:
        for done, (name, search) in enumerate(searches.items(), 1):
            asked = Evaluator(space, prepared.objective.errors, prepared.costs)
            archive = Archive(space, asked, prepared.costs, d, known, len(networks), prepared.objective.whole)
            search(space, archive, torch.Generator().manual_seed(inputs.config.seed + 7))
            evaluator.compute_errors(archive.onehot)
            for device in devices:
                found[device.name][name] = _front_on(device, archive, evaluator, inputs)
            advance(done)
    return {"networks": len(networks), "devices": found}


def _front_on(device: Device, archive: Archive, evaluator: Evaluator, inputs: Inputs) -> list[dict[str, Any]]:
    return plain_points(front(evaluator.points(archive.onehot, device)), objectives_on(device, inputs.quality))
