"""The built-in hypernetworks in NumPy, on one device; `method.metahypernet` is their reference."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np

from modnas_fast.result.answers_file import AnswersFile, Array

#: logits float32 [N] of a preference float32 [M] on the simplex
Logits = Callable[[Array], Array]


def logits_on(file: AnswersFile, d: Array) -> Logits:
    """The run's hypernetwork on the device with the embedding d, float32 [E]."""
    make = {"bank": _bank, "mlp": _mlp}[file.header["hypernetwork"]["kind"]]
    return make(file, d)


def silu(x: Array) -> Array:
    """x / (1 + exp(−x)), in a form that cannot overflow."""
    return np.asarray(x * (0.5 + 0.5 * np.tanh(0.5 * x)))


def _mlp(file: AnswersFile, d: Array) -> Logits:
    bound = np.float32(file.header["hypernetwork"]["logit_bound"])
    layers = [(file[f"hypernetwork.weight{i}"], file[f"hypernetwork.bias{i}"]) for i in range(3)]

    def logits(r: Array) -> Array:
        x = 2 * np.concatenate([r, d]) - 1
        for weight, bias in layers[:-1]:
            x = weight @ x + bias
            x = silu(x)
        weight, bias = layers[-1]
        return np.asarray(bound * np.tanh((weight @ x + bias) / bound))

    return logits


def _bank(file: AnswersFile, d: Array) -> Logits:
    settings = file.header["hypernetwork"]
    divisions, interpolate = settings["divisions"], settings["interpolate"]
    attention = np.exp(np.sin(file["hypernetwork.keys"] @ d / np.float32(len(d) ** 0.5)))
    rows = np.einsum("k,ikn->in", attention / attention.sum(), file["hypernetwork.tables"])  # [I, N]

    def logits(r: Array) -> Array:
        # sums in float64, as torch forms them
        summed = np.cumsum(r[:-1], dtype=np.float64).astype(np.float32)
        position = np.clip(summed, 0, 1) * np.float32(divisions)
        if not interpolate:
            return np.asarray(rows[_row(np.rint(position).astype(int).tolist())])
        return np.asarray(sum(weight * rows[_row(corner)] for weight, corner in _corners(position.tolist(), divisions)))

    return logits


def _row(point: list[int]) -> int:
    """Row of the lattice point with rising cumulated entries, in units of 1/divisions."""
    return sum(comb(entry + axis, axis + 1) for axis, entry in enumerate(point))


def _corners(position: list[float], divisions: int) -> list[tuple[float, list[int]]]:
    """Barycentric weights and lattice points of the small simplex around a position (Freudenthal)."""
    corner = [min(int(entry), divisions - 1) for entry in position]
    shares = [entry - low for entry, low in zip(position, corner)]
    # the largest share first, of equal ones the last axis
    axes = sorted(range(len(position)), key=lambda axis: (-shares[axis], -axis))
    bounds = [1.0, *(shares[axis] for axis in axes), 0.0]
    found = [(bounds[0] - bounds[1], corner)]
    for place, axis in enumerate(axes, start=1):
        corner = [entry + (other == axis) for other, entry in enumerate(corner)]
        found.append((bounds[place] - bounds[place + 1], corner))
    return found
