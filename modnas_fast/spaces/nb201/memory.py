"""How much memory a pass through the supernet of NAS-Bench-201 takes, and how many devices fit at a time.

An *image set* of stage s is what one device holds at one place there: B · 2^s C · ⌈H/2^s⌉ · ⌈W/2^s⌉ numbers. Until the
backward pass, a device keeps at most

    Σ over stages s of [ N · k · I_s + (r if s > 0) · I_s ] + 3 · I_2,

I_s the bytes of an image set, N cells per stage, k image sets per cell (`KEPT_PER_CELL`) and r per reduction
(`KEPT_PER_REDUCTION`). Beside that, `WORKING` image sets of the first stage exist for a while: of all devices that are
computed side by side, of one where they are computed one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.free_memory import SHARE
from modnas_fast.spaces.nb201.shared_layers import SharedCell, SharedResidual
from modnas_fast.supernets.supernet import Plan

if TYPE_CHECKING:
    from modnas_fast.spaces.nb201.supernet import NB201Supernet

#: image sets that a cell keeps per device, by what computes it and what it computes: one operation per edge for the
#: gradient by weights, the same for that by samples, or all operations
KEPT_PER_CELL = {
    "composed": {"weights": 9, "samples": 15, "all": 33},
    "triton": {"weights": 9, "samples": 9, "all": 15},
    "reference": {"weights": 34, "samples": 58, "all": 58},
}
#: where a cell is computed once more in the backward pass, it keeps its input
KEPT_BY_RECOMPUTATION = 1
KEPT_PER_REDUCTION = {"residual": 10, "pool": 6}
#: of the first stage, that exist for a while
WORKING = {"composed": 16, "triton": 36, "reference": 60}
#: the same where no gradient is wanted, network by network: of one network, and of each for the sake of the others
EVALUATED_ALONE, EVALUATED_SHARED = 20, 6
#: networks whose errors are computed side by side, at most
EVALUATED_TOGETHER = 16
#: of a CPU: activations that leave the caches anyway gain nothing from more devices at a time, but cost page faults
CPU_BUDGET = 256 * 2**20


def activation_bytes(
    supernet: NB201Supernet,
    images: torch.Size,
    itemsize: int,
    implementation: str,
    computed: str,
    recompute: bool = False,
) -> tuple[int, int]:
    """Bytes at most of one device's activations: kept until the backward pass, and working space beside.

    Args:
        supernet: its C, N and reductions count.
        images: [B, image_channels, H, W] of the minibatch.
        itemsize: bytes per number: 4 for float32, 2 for bfloat16.
        implementation: of mixed_cell, "composed", "triton" or "reference".
        computed: "weights", "samples" or "all", see `KEPT_PER_CELL`.
        recompute: as in `NB201Supernet.predict`; where networks are computed one after the other it changes nothing.

    >>> from modnas_fast.spaces.nb201.supernet import NB201Supernet
    >>> net = NB201Supernet(image_channels=3, classes=10, channels=16, cells=5)
    >>> kept, working = activation_bytes(net, torch.Size([256, 3, 32, 32]), 2, "triton", "weights")
    >>> round(kept / 2**30, 2), round(working / 2**30, 2)
    (0.68, 0.28)
    """
    batch, _, height, width = images
    of_cell = KEPT_PER_CELL[implementation][computed]
    if recompute and implementation != "composed":
        of_cell = KEPT_BY_RECOMPUTATION
    kept, stage = 0.0, 0
    for layer in supernet.layers:
        if isinstance(layer, SharedCell):
            kept += of_cell * _image_set(supernet, stage, batch, height, width)
        else:
            stage += 1
            kind = "residual" if isinstance(layer, SharedResidual) else "pool"
            kept += KEPT_PER_REDUCTION[kind] * _image_set(supernet, stage, batch, height, width)
    kept += 3 * _image_set(supernet, 2, batch, height, width)
    working = WORKING[implementation] * _image_set(supernet, 0, batch, height, width)
    return int(kept * itemsize), int(working * itemsize)


def _image_set(supernet: NB201Supernet, stage: int, batch: int, height: int, width: int) -> int:
    """Numbers of one device's images at one place of a stage."""
    shrink = 2**stage
    return batch * supernet.stem.out_channels * shrink * -(-height // shrink) * -(-width // shrink)


def plan(
    supernet: NB201Supernet,
    images: torch.Size,
    itemsize: int,
    devices: int,
    implementation: str,
    computed: str,
    free: int | None,
    workers: int = 1,
) -> Plan:
    """As many of `devices` at a time as fit, recomputing where not even one would fit otherwise.

    Args:
        supernet, images, itemsize, implementation, computed: as in `activation_bytes`.
        devices: T.
        free: bytes, None where not known.
        workers: parts of the devices that are worked on at the same time.

    Raises InputError where the activations of one device take more than there is.
    """
    free = None if free is None else free // workers
    devices = -(-devices // workers)
    for recompute in (False, True):
        kept, working = activation_bytes(supernet, images, itemsize, implementation, computed, recompute)
        if free is None or kept + working <= SHARE * free:
            break
    if free is not None and kept + working > free:
        raise InputError(
            f"search.batch_size: one network on {images[0]} images takes up to {(kept + working) / 1e9:.3g} GB, of "
            f"which {free / 1e9:.3g} GB are free; lower it, or set space.channels or task.resize lower"
        )
    room = devices * (kept + working) if free is None else SHARE * free
    if implementation == "composed":
        return Plan(_within(devices, (min(CPU_BUDGET, room) - working) // kept), recompute)
    return Plan(_within(devices, room // (kept + working)), recompute)


def _within(devices: int, count: float) -> int:
    return max(1, min(devices, int(count)))


def evaluation_bytes(
    supernet: NB201Supernet, images: torch.Size, itemsize: int, networks: int, implementation: str
) -> int:
    """Bytes at most that logits of some networks side by side take, without a gradient.

    Arguments as in `activation_bytes`. Network by network, what they share of the first cell is kept for the others.
    """
    one = _image_set(supernet, 0, images[0], *images[2:]) * itemsize
    if implementation == "composed":
        return (EVALUATED_ALONE + EVALUATED_SHARED * networks) * one
    return WORKING[implementation] * networks * one


def networks_at_a_time(
    supernet: NB201Supernet, images: torch.Size, itemsize: int, implementation: str, free: int | None
) -> int:
    """How many networks' errors are computed side by side: at most `EVALUATED_TOGETHER`.

    Args:
        supernet, images, itemsize, implementation: as in `activation_bytes`.
        free: bytes; None where not known.

    Raises InputError where not even one fits.
    """
    if free is None:
        return EVALUATED_TOGETHER
    for count in range(EVALUATED_TOGETHER, 0, -1):
        needed = evaluation_bytes(supernet, images, itemsize, count, implementation)
        if needed <= SHARE * free:
            return count
    raise InputError(
        f"evaluation.batch_size: the error of a network on {images[0]} images at a time takes about {needed / 1e9:.3g} "
        f"GB, of which {free / 1e9:.3g} GB are free; lower it, or set space.channels or task.resize lower"
    )
