"""Run folders made from formulas, in the shape that a search writes them: with two objectives, three or four.

Parameters are exact, other costs predicted unless `tabulate` makes a table know them.
"""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from modnas_fast.report.drawings import Drawings, write_drawings
from modnas_fast.spaces import NB201Space

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
COSTS = {
    "latency_ms": (0.0, 0.04, 0.45, 1.0, 0.22),
    "energy_mj": (0.0, 0.10, 0.30, 1.4, 0.75),
    "parameters": (0.0, 0.0, 0.11, 1.0, 0.0),
}
"""Of every operation, before a device's scale; parameters are the same on every device."""
OBJECTIVES = {
    "error": {"name": "error", "unit": "%", "key": "error"},
    "latency_ms": {"name": "latency", "unit": "ms", "key": "latency_ms"},
    "energy_mj": {"name": "energy", "unit": "mJ", "key": "energy_mj"},
    "parameters": {"name": "parameters", "unit": "", "key": "parameters"},
}
EXACT = ("parameters",)
TWO, THREE, FOUR = tuple(COSTS)[:1], tuple(COSTS)[:2], tuple(COSTS)
"""Costs of runs with so many objectives."""
WITH_PARAMETERS = ("latency_ms", "parameters")
QUALITIES = (0.0, 0.5, 0.75, 1.0, 0.4)
EDGE_WEIGHTS = (0.8, 0.9, 0.8, 1.4, 1.0, 1.1)

SEARCH = ("cpu_threads1_batch1_float32", "cpu_threads2_batch1_float32", "cpu_threads2_batch32_float32")
UNSEEN = ("cpu_threads1_batch32_float32", "cpu_threads1_batch1_bfloat16")


def cell_text(operations: list[int]) -> str:
    """The NAS-Bench-201 text of six operations, edges in the order 0-1, 0-2, 1-2, 0-3, 1-3, 2-3."""
    names = [OPERATIONS[i] for i in operations]
    parts = [f"{name}~{source}" for name, source in zip(names, (0, 0, 1, 0, 1, 2), strict=True)]
    return f"|{parts[0]}|+|{parts[1]}|{parts[2]}|+|{parts[3]}|{parts[4]}|{parts[5]}|"


def make_result(
    search: tuple[str, ...] = SEARCH, unseen: tuple[str, ...] = UNSEEN, seed: int = 0, costs: tuple[str, ...] = TWO
) -> dict[str, Any]:
    """The content of `result.json`: fronts from a formula, four verified networks of the first device."""
    rng = np.random.default_rng(seed)
    names = [(name, "search") for name in search] + [(name, "unseen") for name in unseen]
    devices = [_device(name, split, 0.15 * 1.6**place, costs, rng) for place, (name, split) in enumerate(names)]
    return {
        "schema": 2,
        "package": {"name": "modnas-fast", "version": "0.1.0"},
        "space": {"name": "nb201", "channels": 8, "cells": 1, "num_architectures": 15625},
        "task": {
            "name": "digits", "classes": 10, "image": [1, 8, 8],
            "sizes": {"train": 719, "validation": 718, "test": 360},
            "notes": ["scikit-learn's 1,797 handwritten digits, split by seed"],
        },
        "quality_kind": "inherited",
        "objectives": [dict(OBJECTIVES[key]) for key in ("error", *costs)],
        "cost_sources": {key: "exact" if key in EXACT else "measured" for key in costs},
        "seed": seed,
        "configuration": {"search": {"steps": 1200, "scheme": "mgd"}, "hypernet": {"tables": 50}},
        "machine": {"cpu": "Example CPU at 2.5 GHz", "cores": 2, "torch": "2.13.0", "threads": 2, "gpus": []},
        "seconds": {"measure": 41.2, "predictor": 22.9, "search": 121.4, "evaluate": 6.3, "verify": 38.8},
        "hypervolume_protocol": {
            "reference_point": [1.0] * (1 + len(costs)),
            "normalisation": "Error over 0 to 90 %, costs over the measured range of each device.",
        },
        "devices": devices,
        "verified": _verify(devices, costs, rng),
    }  # fmt: skip


def make_history(
    search: tuple[str, ...] = SEARCH, unseen: tuple[str, ...] = UNSEEN, costs: tuple[str, ...] = TWO
) -> dict[str, Any]:
    """The content of `history.json`: 240 logged steps and 13 hypervolumes."""
    rng = np.random.default_rng(1)
    steps, count = np.arange(0, 1200, 5), len(search)
    weights = rng.dirichlet([6.0] * count, len(steps))
    fall = np.exp(-steps / 300)[:, None]
    logged = np.arange(0, 1201, 100)
    rise = 1 - 0.35 * np.exp(-logged / 250)[:, None]
    values = rise * (0.93 + 0.03 * rng.random(count + len(unseen))) + 0.004 * rng.normal(size=(len(logged), 1))
    return {
        "devices": list(search),
        "step": steps.tolist(),
        "task_loss": (0.25 + 2.0 * fall + 0.08 * rng.random((len(steps), count))).tolist(),
        "costs": {cost: (0.3 + 0.2 * fall + 0.1 * rng.random((len(steps), count))).tolist() for cost in costs},
        "mgd_weights": weights.tolist(),
        "gradient_cosine": (0.2 + 0.3 * rng.random(len(steps))).tolist(),
        "learning_rate_w": (0.3 * (1 + np.cos(math.pi * steps / 1200)) / 2).tolist(),
        "hypervolume": {"step": logged.tolist(), "devices": [*search, *unseen], "values": values.tolist()},
    }


def make_predictor(
    search: tuple[str, ...] = SEARCH, unseen: tuple[str, ...] = UNSEEN, costs: tuple[str, ...] = TWO
) -> dict[str, Any]:
    """The content of `predictor.json`: 24 held-out networks per device and cost, none for exact costs."""
    rng = np.random.default_rng(2)
    devices = {}
    for place, name in enumerate((*search, *unseen)):
        parts = {}
        for cost in costs:
            if cost in EXACT:
                continue
            cells = [rng.integers(0, 5, 6).tolist() for _ in range(24)]
            predicted = [_cost(cost, cell, 0.15 * 1.6**place) for cell in cells]
            measured = [value * math.exp(0.06 * rng.normal()) for value in predicted]
            parts[cost] = {
                "spearman": 0.97 - 0.01 * place, "kendall": 0.86, "mape": 0.05,
                "judged": [min(measured), max(measured)], "architectures": [cell_text(cell) for cell in cells],
                "predicted": predicted, "measured": measured,
            }  # fmt: skip
        devices[name] = {"split": "search" if name in search else "unseen", "costs": parts}
    return {"devices": devices}


def write_run(folder: Path, result: Any = None, history: Any = None, predictor: Any = None) -> Path:
    """A run folder with these contents; None leaves a file out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("result", result), ("history", history), ("predictor", predictor)):
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_whole_run(
    folder: Path, search: tuple[str, ...] = SEARCH, unseen: tuple[str, ...] = UNSEEN, costs: tuple[str, ...] = TWO
) -> Path:
    """A run folder with all files."""
    result, *others = (make(search, unseen, costs=costs) for make in (make_result, make_history, make_predictor))
    write_drawings(folder, make_drawings(result))
    return write_run(folder, result, *others)


def make_drawings(result: dict[str, Any]) -> Drawings:
    """The drawings of the networks on the fronts, as the space makes them."""
    space = NB201Space()
    texts = {point["architecture"] for device in result["devices"] for point in device["front"]}
    return Drawings(legend=space.legend, networks={text: space.draw(space.parse(text)) for text in texts})


def tabulate(result: dict[str, Any], cost: str, every: int = 1) -> dict[str, Any]:
    """The result, whose table knows a cost of every so-manieth network; the first of all is one of them."""
    known = set(sorted(_architectures(result))[::every])
    for device in result["devices"]:
        for point in (*device["rays"], *device["front"], *device["random"]):
            if point["architecture"] in known:
                point["sources"] = point["sources"] | {cost: "tabulated"}
    result["cost_sources"][cost] = "tabulated"
    return result


def _architectures(result: dict[str, Any]) -> set[str]:
    return {point["architecture"] for device in result["devices"] for point in (*device["rays"], *device["random"])}


def _device(name: str, split: str, scale: float, costs: tuple[str, ...], rng: np.random.Generator) -> dict[str, Any]:
    keys = ("error", *costs)
    rays = [_ray(preference, scale, costs, rng) for preference in _preferences(len(keys))]
    _mark_nondominated(rays, keys)
    unique = {ray["architecture"]: dict(ray) for ray in rays if ray["nondominated"]}
    front = sorted(unique.values(), key=lambda ray: ray[costs[0]])
    for point in front:
        del point["nondominated"]
    ranges = {cost: [_cost(cost, [0] * 6, scale), _cost(cost, [3] * 6, scale)] for cost in costs}
    judged = {cost: range_ for cost, range_ in ranges.items() if cost not in EXACT}
    return {
        "name": name, "split": split, "embedding": rng.random(10).tolist(),
        "metrics": {OBJECTIVES[cost]["name"]: OBJECTIVES[cost]["unit"] for cost in costs},
        "ranges": ranges, "judged": judged, "noise": {cost: 0.01 + 0.04 * rng.random() for cost in judged},
        "predictor": {cost: {"spearman": 0.99 - 0.08 * rng.random(), "networks": 24} for cost in judged},
        "hypervolume_bounds": {"error": [0.0, 90.0], **ranges},
        "hypervolume": 0.92 + 0.03 * rng.random(), "hypervolume_random": 0.88 + 0.03 * rng.random(),
        "distinct_nondominated": len(front), "front_networks": len(front), "rays": rays, "front": front,
        "random": [_network(rng.integers(0, 5, 6).tolist(), scale, costs, rng) for _ in range(24)], "measured": {},
    }  # fmt: skip


def _preferences(objectives: int) -> list[list[float]]:
    """24 on a quarter circle with two objectives, a simplex lattice with more."""
    if objectives == 2:
        angles = np.linspace(0, math.pi / 2, 24)
        weights = np.cos(angles) / (np.cos(angles) + np.sin(angles))
        return [[float(weight), float(1 - weight)] for weight in weights]
    levels = 6 if objectives == 3 else 4
    lattice = product(range(levels + 1), repeat=objectives)
    return [[share / levels for share in shares] for shares in lattice if sum(shares) == levels]


def _ray(preference: list[float], scale: float, costs: tuple[str, ...], rng: np.random.Generator) -> dict[str, Any]:
    scores = preference[0] * np.array(QUALITIES)
    for weight, cost in zip(preference[1:], costs, strict=True):
        scores = scores - weight * np.array(COSTS[cost])
    cell = [int(np.argmax(scores * w + 0.05 * rng.gumbel(size=5))) for w in EDGE_WEIGHTS]
    return {"preference": preference, "nondominated": False} | _network(cell, scale, costs, rng)


def _network(cell: list[int], scale: float, costs: tuple[str, ...], rng: np.random.Generator) -> dict[str, Any]:
    quality = sum(QUALITIES[op] * w for op, w in zip(cell, EDGE_WEIGHTS, strict=True))
    error = 1.5 + 75 * math.exp(-0.75 * quality) * (1 + 0.05 * rng.normal())
    found = {cost: _cost(cost, cell, scale) for cost in costs}
    sources = {cost: "exact" for cost in costs if cost in EXACT}
    return {"architecture": cell_text(cell), "error": min(90.0, error), **found, "sources": sources}


def _cost(cost: str, cell: list[int], scale: float) -> float:
    if cost in EXACT:
        return 800.0 + sum(COSTS[cost][op] * 2320 for op in cell)
    return scale * (0.4 + sum(COSTS[cost][op] for op in cell) * 0.85)


def _mark_nondominated(rays: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    values = [[ray[key] for key in keys] for ray in rays]
    for ray, own in zip(rays, values, strict=True):
        ray["nondominated"] = not any(
            other != own and all(theirs <= ours for theirs, ours in zip(other, own, strict=True)) for other in values
        )


def _verify(devices: list[dict[str, Any]], costs: tuple[str, ...], rng: np.random.Generator) -> list[dict[str, Any]]:
    front = devices[0]["front"]
    chosen = [front[i] for i in sorted({0, len(front) // 3, 2 * len(front) // 3, len(front) - 1})]
    verified = []
    for point in chosen:
        found: dict[str, Any] = {device["name"]: {} for device in devices}
        for place, device in enumerate(devices):
            for cost in costs:
                if cost not in EXACT:
                    predicted = point[cost] * 1.6**place
                    measured = predicted * math.exp(0.09 * rng.normal())
                    found[device["name"]][cost] = {"predicted": predicted, "measured": measured}
                    device["measured"].setdefault(point["architecture"], {})[cost] = measured
            _enter(device, point["architecture"], 0.75 * point["error"])
        inherited, test = point["error"], 0.75 * point["error"]
        verified.append({"architecture": point["architecture"], "inherited": inherited, "test": test, "costs": found})
    return verified


def _enter(device: dict[str, Any], architecture: str, test_error: float) -> None:
    for point in device["front"]:
        if point["architecture"] == architecture:
            point |= {"test": {"error": test_error}, "measured": device["measured"][architecture]}
