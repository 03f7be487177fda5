"""The table of a scale of HW-GPT-Bench: arrays of an .npz, checked, and its networks as strings."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from modnas_fast.runtime.errors import InputError

Arrays = dict[str, np.ndarray]

#: axes of each array, by its size: D devices, N networks, L layers, R repeats
SHAPES = {
    "device": "D",
    **dict.fromkeys(("embed_dim", "n_layer", "bias", "perplexity", "perplexity_mlp", "params"), "N"),
    **dict.fromkeys(("n_head", "mlp_ratio"), "NL"),
    **dict.fromkeys(("bfloat16_memory_mb", "float16_memory_mb"), "N"),
    "latency_ms": "DNR",
    **dict.fromkeys(("energy_wh_mean", "energy_wh_median"), "DN"),
}


def load_table(file: Path) -> Arrays:
    """The arrays that `SHAPES` names. Raises InputError where the file is not such a table."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in SHAPES}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise InputError(
            f"{file} is no table of HW-GPT-Bench ({reason}); delete it and use: modnas-fast data fetch gpt"
        ) from None
    sizes: dict[str, int] = {}
    for name, axes in SHAPES.items():
        shape = arrays[name].shape
        if len(shape) != len(axes) or any(sizes.setdefault(a, size) != size for a, size in zip(axes, shape)):
            raise InputError(f"{file} is damaged: {name} has the shape {list(shape)}")
    return arrays


def texts_of(arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The networks as strings of the space, in the order of the rows."""
    columns = (arrays[name].tolist() for name in ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias"))
    return tuple(
        f"e{width}_l{depth}_m{_joined(ratios[:depth])}_h{_joined(heads[:depth])}_{'bias' if bias else 'nobias'}"
        for width, depth, ratios, heads, bias in zip(*columns)
    )


def _joined(numbers: list[int]) -> str:
    return ".".join(map(str, numbers))
