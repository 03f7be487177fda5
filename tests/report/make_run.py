"""Run folders made from formulas, in the shape that a search writes them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
COSTS = (0.0, 0.04, 0.45, 1.0, 0.22)
QUALITIES = (0.0, 0.5, 0.75, 1.0, 0.4)
EDGE_WEIGHTS = (0.8, 0.9, 0.8, 1.4, 1.0, 1.1)

SEARCH = ("cpu_threads1_batch1_float32", "cpu_threads2_batch1_float32", "cpu_threads2_batch32_float32")
UNSEEN = ("cpu_threads1_batch32_float32", "cpu_threads1_batch1_bfloat16")


def cell_text(operations: list[int]) -> str:
    """The NAS-Bench-201 text of six operations, edges in the order 0-1, 0-2, 1-2, 0-3, 1-3, 2-3."""
    names = [OPERATIONS[i] for i in operations]
    parts = [f"{name}~{source}" for name, source in zip(names, (0, 0, 1, 0, 1, 2), strict=True)]
    return f"|{parts[0]}|+|{parts[1]}|{parts[2]}|+|{parts[3]}|{parts[4]}|{parts[5]}|"


def make_result(search: tuple[str, ...] = SEARCH, unseen: tuple[str, ...] = UNSEEN, seed: int = 0) -> dict[str, Any]:
    """The content of `result.json`: fronts from a formula, four verified networks of the first device."""
    rng = np.random.default_rng(seed)
    names = [(name, "search") for name in search] + [(name, "unseen") for name in unseen]
    devices = [_device(name, split, 0.15 * 1.6**place, rng) for place, (name, split) in enumerate(names)]
    return {
        "schema": 1,
        "package": {"name": "modnas-fast", "version": "0.1.0"},
        "space": {"name": "nb201", "channels": 8, "cells": 1, "num_architectures": 15625},
        "task": {
            "name": "digits", "classes": 10, "image": [1, 8, 8],
            "sizes": {"train": 719, "validation": 718, "test": 360},
            "notes": ["scikit-learn's 1,797 handwritten digits, split by seed"],
        },
        "objectives": [{"name": "error", "unit": "%"}, {"name": "latency", "unit": "ms"}],
        "seed": seed,
        "configuration": {"search": {"steps": 1200, "scheme": "mgd"}, "hypernet": {"tables": 50}},
        "machine": {"cpu": "Example CPU at 2.5 GHz", "cores": 2, "torch": "2.13.0", "threads": 2, "gpus": []},
        "seconds": {"measure": 41.2, "predictor": 22.9, "search": 121.4, "evaluate": 6.3, "verify": 38.8},
        "hypervolume_protocol": {
            "reference_point": [1.0, 1.0],
            "normalisation": "Error over 0 to 90 %, latency over the measured range of each device.",
        },
        "devices": devices,
        "verified": _verify(devices, rng),
    }  # fmt: skip


def make_history(search: tuple[str, ...] = SEARCH, unseen: tuple[str, ...] = UNSEEN) -> dict[str, Any]:
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
        "latency": (0.3 + 0.2 * fall + 0.1 * rng.random((len(steps), count))).tolist(),
        "mgd_weights": weights.tolist(),
        "gradient_cosine": (0.2 + 0.3 * rng.random(len(steps))).tolist(),
        "learning_rate_w": (0.3 * (1 + np.cos(math.pi * steps / 1200)) / 2).tolist(),
        "hypervolume": {"step": logged.tolist(), "devices": [*search, *unseen], "values": values.tolist()},
    }


def make_predictor(search: tuple[str, ...] = SEARCH, unseen: tuple[str, ...] = UNSEEN) -> dict[str, Any]:
    """The content of `predictor.json`: 24 held-out networks per device."""
    rng = np.random.default_rng(2)
    devices = {}
    for place, name in enumerate((*search, *unseen)):
        cells = [rng.integers(0, 5, 6).tolist() for _ in range(24)]
        predicted = [_latency(cell, 0.15 * 1.6**place) for cell in cells]
        measured = [value * math.exp(0.06 * rng.normal()) for value in predicted]
        devices[name] = {
            "split": "search" if name in search else "unseen",
            "spearman": 0.97 - 0.01 * place, "kendall": 0.86, "mape": 0.05,
            "architectures": [cell_text(cell) for cell in cells],
            "predicted_ms": predicted, "measured_ms": measured,
        }  # fmt: skip
    return {"devices": devices}


def write_run(folder: Path, result: Any = None, history: Any = None, predictor: Any = None) -> Path:
    """A run folder with these contents; None leaves a file out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("result", result), ("history", history), ("predictor", predictor)):
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_whole_run(folder: Path, search: tuple[str, ...] = SEARCH, unseen: tuple[str, ...] = UNSEEN) -> Path:
    """A run folder with all three files."""
    parts = make_result(search, unseen), make_history(search, unseen), make_predictor(search, unseen)
    return write_run(folder, *parts)


def _device(name: str, split: str, scale: float, rng: np.random.Generator) -> dict[str, Any]:
    rays = [_ray(angle, scale, rng) for angle in np.linspace(0, math.pi / 2, 24)]
    _mark_nondominated(rays)
    unique = {ray["architecture"]: dict(ray) for ray in rays if ray["nondominated"]}
    front = sorted(unique.values(), key=lambda ray: ray["latency_ms"])
    low, high = 0.35 * scale, 0.35 * scale + scale * 5.2
    return {
        "name": name, "split": split, "metrics": {"latency": "ms"}, "embedding": rng.random(10).tolist(),
        "latency_range_ms": [low, high],
        "hypervolume_bounds": {"error": [0.0, 90.0], "latency_ms": [low, high]},
        "noise": 0.01 + 0.04 * rng.random(), "spearman": 0.99 - 0.08 * rng.random(), "spearman_networks": 24,
        "hypervolume": 0.92 + 0.03 * rng.random(), "hypervolume_random": 0.88 + 0.03 * rng.random(),
        "distinct_nondominated": len(front), "rays": rays, "front": front,
        "random": [_network(rng.integers(0, 5, 6).tolist(), scale, rng) for _ in range(24)],
    }  # fmt: skip


def _ray(angle: float, scale: float, rng: np.random.Generator) -> dict[str, Any]:
    weight = float(math.cos(angle) / (math.cos(angle) + math.sin(angle)))
    scores = weight * np.array(QUALITIES) - (1 - weight) * np.array(COSTS)
    cell = [int(np.argmax(scores * w + 0.05 * rng.gumbel(size=5))) for w in EDGE_WEIGHTS]
    return {"preference": [weight, 1 - weight], "nondominated": False} | _network(cell, scale, rng)


def _network(cell: list[int], scale: float, rng: np.random.Generator) -> dict[str, Any]:
    quality = sum(QUALITIES[op] * w for op, w in zip(cell, EDGE_WEIGHTS, strict=True))
    error = 1.5 + 75 * math.exp(-0.75 * quality) * (1 + 0.05 * rng.normal())
    return {"architecture": cell_text(cell), "error": min(90.0, error), "latency_ms": _latency(cell, scale)}


def _latency(cell: list[int], scale: float) -> float:
    return scale * (0.4 + sum(COSTS[op] for op in cell) * 0.85)


def _mark_nondominated(rays: list[dict[str, Any]]) -> None:
    for ray in rays:
        ray["nondominated"] = not any(
            other["error"] <= ray["error"]
            and other["latency_ms"] <= ray["latency_ms"]
            and (other["error"], other["latency_ms"]) != (ray["error"], ray["latency_ms"])
            for other in rays
        )


def _verify(devices: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    front = devices[0]["front"]
    chosen = [front[i] for i in sorted({0, len(front) // 3, 2 * len(front) // 3, len(front) - 1})]
    verified = []
    for point in chosen:
        latency = {}
        for place, device in enumerate(devices):
            predicted = point["latency_ms"] * 1.6**place
            measured = predicted * math.exp(0.09 * rng.normal())
            latency[device["name"]] = {"predicted": predicted, "measured": measured}
            _enter(device, point["architecture"], 0.75 * point["error"], measured)
        verified.append(
            {
                "architecture": point["architecture"], "supernet_error": point["error"],
                "test_error": 0.75 * point["error"], "latency_ms": latency,
            }
        )  # fmt: skip
    return verified


def _enter(device: dict[str, Any], architecture: str, test_error: float, measured: float) -> None:
    for point in device["front"]:
        if point["architecture"] == architecture:
            point["test_error"], point["measured_latency_ms"] = test_error, measured
