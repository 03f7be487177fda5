"""How much memory a pass through the supernet of a GPT space takes, and how many networks fit at a time.

Of R = B · L tokens a network of width e, h heads of d_h channels and u hidden channels keeps until the backward pass

    per layer   R · (2 e + 4 h d_h + 2 u + h + 2)   numbers, computed with prefixes
                R · (m E + 7 H d_h + 2 U + 2 H + 8)  with masks, whatever the network
    once        R · 5 e + 2 R                       or, with masks, R · (8 E + 8)

and, for the gradient by the output matrix, V · e numbers where V ≤ R; m is 6 for the gradient by weights and 10 for
that by samples. Formulas below are those of the largest network. Where layers are computed once more in the backward
pass, they keep their inputs.
"""

from __future__ import annotations

from typing import NamedTuple

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.free_memory import SHARE
from modnas_fast.spaces.gpt.scales import Scale
from modnas_fast.supernets.linear_outputs import keeps_gradient, logits_at_a_time
from modnas_fast.supernets.supernet import Plan

#: bytes that networks computed one after the other keep, at most: more leaves a CPU's caches and gains little
CPU_BUDGET = 48 * 2**20
#: networks whose quality is computed side by side, at most
EVALUATED_TOGETHER = 16


class Pass(NamedTuple):
    """What memory depends on."""

    scale: Scale
    #: B and L of the minibatch
    batch: int
    length: int
    #: V
    vocabulary: int
    #: bytes of a number
    itemsize: int
    #: whether networks are computed one after the other with prefixes of the weights; False: side by side with masks
    prefixes: bool
    #: whether the gradient by weights is wanted
    by_weights: bool

    @property
    def rows(self) -> int:
        """R."""
        return self.batch * self.length

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """E, H, H · d_h and U of the largest network."""
        scale = self.scale
        width, heads = scale.widths[-1], scale.heads[-1]
        return width, heads, heads * scale.head_size, scale.ratios[-1] * width


def activation_bytes(given: Pass, recompute: bool = False) -> tuple[int, int]:
    """Bytes at most of one network's activations: kept until the backward pass, and working space beside.

    >>> from modnas_fast.spaces.gpt.scales import SCALES
    >>> kept, working = activation_bytes(Pass(SCALES["s"], 16, 1024, 50_254, 4, prefixes=True, by_weights=True))
    >>> round(kept / 2**30, 2), round(working / 2**30, 2)
    (8.12, 1.81)
    """
    layer, layers = _of_layer(given), given.scale.layers
    width = given.sizes[0]
    kept = layers * (given.rows * width if recompute else layer)
    kept += given.rows * (5 * width + 2 if given.prefixes else 8 * width + 8)
    if given.by_weights and keeps_gradient(given.rows, given.vocabulary):
        kept += given.vocabulary * width
    return kept * given.itemsize, (_working(given) + (layer if recompute else 0)) * given.itemsize


def _of_layer(given: Pass) -> int:
    """Numbers that one layer keeps."""
    width, heads, channels, hidden = given.sizes
    if given.prefixes:
        return given.rows * (2 * width + 4 * channels + 2 * hidden + heads + 2)
    return given.rows * ((6 if given.by_weights else 10) * width + 7 * channels + 2 * hidden + 2 * heads + 8)


def _working(given: Pass) -> int:
    """Numbers that exist for a while: gradients by activations of a layer, logits of a chunk, gradients by weights."""
    width, _, channels, hidden = given.sizes
    logits = 3 * logits_at_a_time(given.rows, given.vocabulary, "cpu" if given.prefixes else "cuda")
    of_layer = given.rows * (4 * width + 7 * channels + 2 * hidden)
    weights = 0
    if given.by_weights or not given.prefixes:
        matrices = 4 * channels * width + 2 * hidden * width
        weights = 2 * (given.scale.layers * matrices + given.vocabulary * width)
    return max(of_layer, logits) + weights


def plan(given: Pass, networks: int, free: int | None, workers: int = 1) -> Plan:
    """As many of `networks` at a time as fit, computing layers once more where not even one would fit otherwise.

    Args:
        given: the pass.
        networks: S.
        free: bytes, None where not known.
        workers: parts of the networks that are worked on at the same time.

    Raises InputError where the activations of one network take more than there is.
    """
    free = None if free is None else free // workers
    networks = -(-networks // workers)
    for recompute in (False, True):
        kept, working = activation_bytes(given, recompute)
        if free is None or kept + working <= SHARE * free:
            break
    if free is not None and kept + working > free:
        raise InputError(
            f"search.batch_size: one network on {given.batch} × {given.length} tokens takes up to "
            f"{(kept + working) / 1e9:.3g} GB, of which {free / 1e9:.3g} GB are free; lower it, or task.context, or "
            "choose a smaller space.scale"
        )
    room = networks * (kept + working) if free is None else SHARE * free
    if given.prefixes and recompute:
        return Plan(1, recompute)
    if given.prefixes:
        return Plan(_within(networks, min(CPU_BUDGET, room - working) // kept), recompute)
    return Plan(_within(networks, room // (kept + working)), recompute)


def networks_at_a_time(given: Pass, free: int | None) -> int:
    """How many networks are predicted side by side without a gradient: at most `EVALUATED_TOGETHER`.

    Raises InputError where not even one fits.
    """
    if free is None:
        return EVALUATED_TOGETHER
    hidden = given.rows * given.sizes[0] * given.itemsize
    one = (_of_layer(given) + _working(given)) * given.itemsize
    for count in range(EVALUATED_TOGETHER, 0, -1):
        needed = hidden * (count + 1) + one * (1 if given.prefixes else count)
        if needed <= SHARE * free:
            return count
    raise InputError(
        f"evaluation.batch_size: the quality of a network on {given.batch} × {given.length} tokens at a time takes "
        f"about {needed / 1e9:.3g} GB, of which {free / 1e9:.3g} GB are free; lower it, or task.context, or choose a "
        "smaller space.scale"
    )


def _within(networks: int, count: float) -> int:
    return max(1, min(networks, int(count)))
