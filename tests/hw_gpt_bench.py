"""A made-up HW-GPT-Bench: raw files, network of perplexity and table of a scale, as small as they go."""

from __future__ import annotations

import pickle
import zlib
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modnas_fast.spaces.gpt import convert
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.spaces.gpt.table import texts_of


def networks(scale: str, count: int) -> list[str]:
    """Strings of distinct networks, the references first."""
    space = GPTSpace(scale)
    drawn = space.decode(space.canonical(space.sample(2 * count, torch.Generator().manual_seed(0))))
    return list(dict.fromkeys([*space.references, *(architecture.text for architecture in drawn)]))[:count]


def costs_of(text: str, device: int, scale: str = "s") -> tuple[float, float, float]:
    """Perplexity, latency in ms and energy in Wh: of the sizes, a little of the device, some noise in the energy."""
    space = GPTSpace(scale)
    shape = space.shape(space.parse(text).indices)
    width = shape.width / space.scale.widths[-1]
    heads, ratios = sum(shape.heads), sum(shape.ratios)
    perplexity = 20 + 20 * (1 - width) + 5 * (1 - ratios / 48) + 3 * (1 - heads / 144)
    latency = (1 + device) * (0.2 + width * (0.02 * heads + (0.1 + 0.05 * device) * ratios))
    noise = 1 + 0.02 * np.random.default_rng(zlib.crc32(f"{text} {device}".encode())).standard_normal()
    return perplexity, latency, 1e-4 * (1 + latency + 0.1 * len(shape.heads)) * noise


def arch_of(text: str, scale: str = "s") -> dict[str, Any]:
    """As raw records have it: lists as long as the deepest network, the bias as text in some."""
    space = GPTSpace(scale)
    shape = space.shape(space.parse(text).indices)
    rest = space.scale.layers - len(shape.heads)
    return {
        "sample_embed_dim": shape.width,
        "sample_n_layer": len(shape.heads),
        "sample_n_head": [*shape.heads, *[space.scale.heads[0]] * rest],
        "sample_mlp_ratio": [*shape.ratios, *[space.scale.ratios[-1]] * rest],
        "sample_bias": str(shape.bias) if len(shape.heads) % 2 else shape.bias,
    }


def write_raw(folder: Path, scale: str, count: int) -> list[str]:
    """The raw files of a scale in two parts each, in orders of their own; returns the networks in the table's order."""
    folder.mkdir(parents=True, exist_ok=True)
    texts, ending = networks(scale, count), "" if scale == "s" else f"_{scale}"
    half = count // 2

    def write(name: str, records: list[dict[str, Any]]) -> None:
        for part, rows in enumerate((records[:half], records[half:])):
            (folder / f"{name}_{part * half}_{part * half + len(rows)}.pkl").write_bytes(pickle.dumps(rows))

    for name, device in convert.FOLDERS.items():
        order = texts if device == convert.LEADER else texts[::-1]
        kind, number = "cpu" if device.startswith("cpu") else "gpu", convert.DEVICES.index(device)
        records, energies = [], []
        for text in order:
            _, latency, energy = costs_of(text, number, scale)
            times = [latency * (1 + 0.01 * (k - 2)) for k in range(5)]
            records.append({
                "arch": arch_of(text, scale),
                f"times_profiler_{kind}": [t / 1e3 if k % 2 else t for k, t in enumerate(times)],
                f"unit_{kind}": ["s" if k % 2 else "ms" for k in range(5)], "flops": 2, "macs": 1, "params": 7,
                "mean_energy_cpu": energy, "std_energy_cpu": 0.0,
            })  # fmt: skip
            energies.append({
                "arch": arch_of(text, scale), "energy_gpu": [energy, np.float64(energy), 100 * energy],
                "emissions_gpu": [50.0, 60.0, 70.0],
            })  # fmt: skip
        write(f"{name}{ending}+efficiency_observations", records)
        if kind == "gpu":
            write(f"{name}{ending}+efficiency_energy_observations_tracker", energies)
    for place, name in enumerate(convert.MEMORY):
        memory = [{"arch": arch_of(text, scale), "mean_mem": 100.0 + place} for text in texts]
        write(f"{name}{ending}+efficiency_observations", memory)
    told = [{"arch": arch_of(t, scale), "perplexity": costs_of(t, 0, scale)[0], "accuracy": 0.4} for t in texts]
    write(f"arch_ppl_bench_{scale}+ppl_observations_tracker", told)
    return texts


def write_net(file: Path, scale: str) -> None:
    """A network that tells perplexities of the sizes, untrained but of the right form."""
    space, generator = GPTSpace(scale), torch.Generator().manual_seed(0)
    sizes = [space.num_options, 6, 1]
    state = {}
    for place, (inputs, outputs) in enumerate(pairwise(sizes)):
        state[f"layers.{place}.weight"] = torch.rand(outputs, inputs, generator=generator) / inputs
        state[f"layers.{place}.bias"] = torch.full((outputs,), 4.0)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, file)


@cache
def _arrays(scale: str, count: int) -> dict[str, np.ndarray]:
    space, texts = GPTSpace(scale), networks(scale, count)
    shapes = [space.shape(space.parse(text).indices) for text in texts]
    layers, devices = space.scale.layers, convert.DEVICES

    def padded(rows: list[tuple[int, ...]]) -> np.ndarray:
        return np.array([[*row, *[0] * (layers - len(row))] for row in rows], np.int8)

    told = np.array([[costs_of(text, device, scale) for text in texts] for device in range(len(devices))], np.float32)
    return {
        "device": np.array(devices),
        "embed_dim": np.array([shape.width for shape in shapes], np.int16),
        "n_layer": np.array([len(shape.heads) for shape in shapes], np.int8),
        "n_head": padded([shape.heads for shape in shapes]),
        "mlp_ratio": padded([shape.ratios for shape in shapes]),
        "bias": np.array([shape.bias for shape in shapes]),
        "perplexity": told[0, :, 0],
        "perplexity_mlp": told[0, :, 0],
        "params": np.full(len(texts), 7),
        "bfloat16_memory_mb": np.full(len(texts), 100, np.float32),
        "float16_memory_mb": np.full(len(texts), 101, np.float32),
        "latency_ms": np.repeat(told[:, :, 1, None], 10, axis=-1),
        "energy_wh_mean": told[:, :, 2],
        "energy_wh_median": told[:, :, 2],
    }


def write_table(home: Path, scale: str = "s", count: int = 400) -> Path:
    """The data folder with table and network of a scale in it, as MODNAS_DATA names it."""
    (home / "gpt").mkdir(parents=True, exist_ok=True)
    arrays = _arrays(scale, count)
    assert texts_of(arrays) == tuple(networks(scale, count))
    np.savez(home / "gpt" / f"hw_gpt_bench_{scale}.npz", **arrays)
    write_net(home / "gpt" / f"perplexity_{scale}.pt", scale)
    return home
