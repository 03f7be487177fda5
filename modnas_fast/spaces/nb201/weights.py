"""A standalone network's weights out of the supernet's, by name alone: no supernet is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from modnas_fast.spaces.nb201.network import EDGES, KERNEL_SIZES

#: of a reduction, names of a supernet's layers and norms, and of those of a network
_RESIDUAL = {"reduce": "body.0.1", "refine": "body.1.1", "project": "project"}
_RESIDUAL_NORMS = {"reduce_norm": "body.0.2", "refine_norm": "body.1.2"}
_POOL, _POOL_NORMS = {"project": "1"}, {"project_norm": "2"}


def inherited(shared: Mapping[str, Tensor], indices: Sequence[int]) -> dict[str, Tensor]:
    """All of `NB201Network.state_dict()`: shared weights, and neutral norms where the supernet's have no scale.

    Args:
        shared: by the names that an `NB201Supernet` has.
        indices: option index per edge, with edges that lead nowhere set to `none`.
    """
    found = {"stem.0.weight": shared["stem.weight"]}
    found |= _norm(shared, "stem_norm", "stem.1", len(shared["stem.weight"]))
    layers = 1 + max(int(name.split(".")[1]) for name in shared if name.startswith("layers."))
    for layer in (f"layers.{number}" for number in range(layers)):
        found |= dict(_cell(shared, layer, indices) if f"{layer}.kernels_3x3" in shared else _reduction(shared, layer))
    found |= _norm(shared, "final_norm", "final_norm", shared["classifier.weight"].shape[1])
    found |= {name: shared[name] for name in ("classifier.weight", "classifier.bias")}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def _reduction(shared: Mapping[str, Tensor], layer: str) -> Iterator[tuple[str, Tensor]]:
    residual = f"{layer}.reduce.weight" in shared
    names, norms = (_RESIDUAL, _RESIDUAL_NORMS) if residual else (_POOL, _POOL_NORMS)
    for there, here in names.items():
        yield f"{layer}.{here}.weight", shared[f"{layer}.{there}.weight"]
    for there, here in norms.items():
        yield from _norm(shared, f"{layer}.{there}", f"{layer}.{here}", len(shared[f"{layer}.project.weight"])).items()


def _cell(shared: Mapping[str, Tensor], layer: str, indices: Sequence[int]) -> Iterator[tuple[str, Tensor]]:
    large = shared[f"{layer}.kernels_3x3"]
    small = shared.get(f"{layer}.kernels_1x1", large[..., 1, 1])  # entangled: the centre
    for edge, ((source, target), index) in enumerate(zip(EDGES, indices, strict=True)):
        if index in KERNEL_SIZES:
            here = f"{layer}.operations.{source}_{target}"
            yield f"{here}.1.weight", small[edge, :, :, None, None] if KERNEL_SIZES[index] == 1 else large[edge]
            yield from _norm(shared, "", f"{here}.2", large.shape[1]).items()


def _norm(shared: Mapping[str, Tensor], there: str, here: str, channels: int) -> dict[str, Tensor]:
    """Scale and shift, 1 and 0 where there are none, and statistics to be computed."""
    neutral = {"weight": torch.ones(channels), "bias": torch.zeros(channels)}
    affine = {name: shared.get(f"{there}.{name}", value) for name, value in neutral.items()}
    statistics = {"running_mean": torch.zeros(channels), "running_var": torch.ones(channels)}
    count = {"num_batches_tracked": torch.tensor(0)}
    return {f"{here}.{name}": value for name, value in {**affine, **statistics, **count}.items()}
