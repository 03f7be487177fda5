"""A `reproduction.json` made from formulas, with magnitudes as a reproduction has them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

SEARCH = (
    "1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r", "samsung_a50", "pixel3",
    "essential_ph_1", "samsung_s7", "titanx_1", "titanx_32", "titanx_256", "gold_6240",
)  # fmt: skip
UNSEEN = ("titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss")
METHODS = (
    ("modnas", "MODNAS, default", "300 for all devices together", 0.990, 14.0),
    ("paper", "MODNAS, the paper's setting", "300 for all devices together", 0.935, 3.2),
    ("random", "Random search", "300 per device", 0.962, 12.0),
    ("nsga2", "NSGA-II", "300 per device", 0.979, 15.0),
    ("tpe", "TPE", "300 per device", 0.970, 11.0),
    ("gp", "Gaussian process", "300 per device", 0.972, 10.0),
)
FACTORS = {
    "Φ update": (("mgd", 0.0), ("mean", 0.002), ("sequential", 0.014), ("sample", 0.009)),
    "scalarization": (("smooth Chebyshev", 0.0), ("linear", 0.031), ("linear + cosine", 0.02)),
    "sampler": (("ReinMax", 0.0), ("GDAS", 0.006), ("Gumbel-softmax", 0.011)),
}
BOARDS = ("pi5_litert", "pi5_onnx", "pi5_torchmobile")


def make_reproduction(
    search: tuple[str, ...] = SEARCH, unseen: tuple[str, ...] = UNSEEN, seeds: int = 3
) -> dict[str, Any]:
    """The whole content of the file."""
    rng = np.random.default_rng(0)
    named = [(name, "search") for name in search] + [(name, "unseen") for name in unseen]
    devices = [_device(name, split, rng) for name, split in named]
    return {
        "schema": 1,
        "package": {"name": "modnas-fast", "version": "0.1.0"},
        "machine": {"cpu": "Example CPU at 2.5 GHz", "cores": 2, "torch": "2.13.0", "threads": 2, "gpus": []},
        "command": "modnas-fast reproduce nb201 --seeds 3",
        "targets": {"search": 0.985, "unseen": 0.98, "lowest": 0.96, "networks": 10},
        "protocol": ["341 of the 15,625 networks learned nothing."],
        "source": "surrogate", "task": "cifar10", "seeds": list(range(seeds)), "quick": False,
        "seconds": 2512.3, "evaluations": 300,
        "notes": ["Baselines evaluate true errors and latencies of every device."],
        "devices": devices,
        "methods": [
            {"name": name, "label": label, "evaluations_note": note,
             "runs": _runs(devices, level, networks, seeds, rng, curve=True)}
            for name, label, note, level, networks in METHODS
        ],
        "predictor": _predictor(devices, rng),
        "ablations": _ablations(seeds, rng),
        "transfer": [
            {"task": task, "runs": _runs(devices, level, 13.0, seeds, rng, curve=False)}
            for task, level in (("cifar100", 0.987), ("ImageNet16-120", 0.981))
        ],
        "splits": [
            {"search": names[place::2], "unseen": names[1 - place :: 2],
             "runs": _runs(devices, 0.985 - 0.01 * place, 12.0, seeds, rng, curve=False)}
            for place in (0, 1) for names in ([*search, *unseen],)
        ],
        "three_objectives": _three_objectives(seeds, rng),
        "supernet": _supernet(rng),
    }  # fmt: skip


def write_reproduction_json(folder: Path, content: dict[str, Any]) -> Path:
    """The folder with the file in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reproduction.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _device(name: str, split: str, rng: np.random.Generator) -> dict[str, Any]:
    latency = np.geomspace(0.003, 1.0, 36)
    error = 0.03 * (latency**-0.55 - 1) * (1 + 0.1 * rng.random())
    low = float(math.exp(rng.uniform(0.5, 4)))
    return {
        "name": name, "split": split, "exact_hypervolume": 0.96 + 0.015 * rng.random(),
        "exact_front": [[0.0, 1.0], *np.column_stack([error, latency])[-2::-1].tolist()],
        "quality_range": [5.63, 53.75], "cost_range": [low, low * rng.uniform(4, 9)],
    }  # fmt: skip


def _runs(
    devices: list[dict[str, Any]], level: float, networks: float, seeds: int, rng: np.random.Generator, curve: bool
) -> list[dict[str, Any]]:
    runs = []
    for seed in range(seeds):
        scores = {device["name"]: _score(device, level, networks, rng) for device in devices}
        means = {
            split: float(np.mean([scores[d["name"]]["ratio"] for d in devices if d["split"] == split] or [level]))
            for split in ("search", "unseen")
        }
        run = {"seed": seed, "seconds": 95 + 10 * rng.random(), "evaluations": 300, "devices": scores}
        runs.append(run | {"curve": _curve(means, run["seconds"])} if curve else run)
    return runs


def _score(device: dict[str, Any], level: float, networks: float, rng: np.random.Generator) -> dict[str, Any]:
    ratio = min(1.0, level + 0.004 * rng.normal() - 0.004 * (device["split"] == "unseen"))
    count = max(2, round(networks + 2 * rng.normal()))
    exact = np.array(device["exact_front"])
    chosen = np.sort(rng.choice(len(exact), min(count, len(exact)), replace=False))
    front = exact[chosen] + (1 - ratio) * np.abs(rng.normal(size=(len(chosen), 2))) * [1.0, 0.6]
    return {
        "hypervolume": ratio * device["exact_hypervolume"], "ratio": ratio, "igd_plus": 0.3 * (1 - ratio),
        "networks": len(chosen), "front": np.minimum(front, 1.0).round(6).tolist(),
    }  # fmt: skip


def _curve(last: dict[str, float], seconds: float) -> list[dict[str, Any]]:
    shares = np.geomspace(0.08, 1, 9)
    return [
        {"seconds": seconds * share, "evaluations": round(300 * share),
         "ratio": {split: value - 0.12 * (math.exp(-4 * share) - math.exp(-4)) for split, value in last.items()}}
        for share in shares
    ]  # fmt: skip


def _predictor(devices: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    parts = {}
    for device in devices:
        unseen = device["split"] == "unseen"
        first = {
            "spearman": 0.985 - 0.15 * unseen * rng.random(),
            "kendall": 0.9,
            "relative_error": 0.02 + 0.1 * unseen,
        }
        adapted = {"spearman": 0.975, "kendall": 0.88, "relative_error": 0.04} if unseen else None
        parts[device["name"]] = {"split": device["split"], **first, "adapted": adapted}
    return {"seconds": 31.0, "devices": parts}


def _ablations(seeds: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {"factor": factor, "value": value, "default": loss == 0.0,
         "runs": [_ablation_run(seed, loss, rng) for seed in range(seeds)]}
        for factor, values in FACTORS.items() for value, loss in values
    ]  # fmt: skip


def _ablation_run(seed: int, loss: float, rng: np.random.Generator) -> dict[str, Any]:
    ratio = 0.989 - loss + 0.002 * rng.normal()
    return {
        "seed": seed, "ratio": {"search": ratio, "unseen": ratio - 0.006},
        "networks": {"search": 14 - 300 * loss, "unseen": 13 - 300 * loss}, "seconds": 40 + 5 * rng.random(),
        "gradient_cosine": 0.12 + 0.05 * rng.normal(), "weights_spread": 0.05 * rng.random(),
    }  # fmt: skip


def _three_objectives(seeds: int, rng: np.random.Generator) -> dict[str, Any]:
    fronts = {}
    for name in BOARDS:
        latency = np.geomspace(0.01, 1, 60)
        energy = np.clip(latency * np.exp(0.4 * rng.normal(size=60)), 0, 1)
        fronts[name] = np.column_stack([0.04 * (latency**-0.6 - 1), latency, energy])
    runs = [
        {"seed": seed, "seconds": 120.0 + seed, "devices": {n: _spatial_score(f, rng) for n, f in fronts.items()}}
        for seed in range(seeds)
    ]
    return {
        "devices": list(BOARDS), "objectives": ["error", "latency", "energy"],
        "exact_hypervolume": dict.fromkeys(BOARDS, 0.93),
        "exact_front": {name: front.round(6).tolist() for name, front in fronts.items()}, "runs": runs,
    }  # fmt: skip


def _spatial_score(front: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    ratio = 0.975 + 0.01 * rng.random()
    found = front[np.sort(rng.choice(len(front), 18, replace=False))] + 0.01 * rng.random((18, 3))
    return {"hypervolume": 0.93 * ratio, "ratio": ratio, "igd_plus": 0.008, "networks": 18, "front": found.tolist()}


def _supernet(rng: np.random.Generator) -> dict[str, Any]:
    true = 5.7 + 25 * rng.beta(1, 4, 200)
    inherited = 30 + 1.3 * true + 6 * rng.normal(size=200)
    return {
        "seconds": 1800.0, "setting": "C=8, N=1, 16×16 images, 20 epochs", "spearman": 0.62, "networks": 200,
        "points": np.column_stack([inherited, true]).round(3).tolist(),
        "hypervolume_ratio": {"search": 0.958, "unseen": 0.951},
    }  # fmt: skip
