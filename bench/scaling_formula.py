"""The time of a search step on R ranks, by a formula of what one rank computes and what its network takes.

    t(R) = c ⌈T/D⌉ / B + φ(T) + o + e(4 T (N + 1)) + e(4 W) + Σ e(message of w)

T devices of a step, R = D × B ranks on the mesh of `search.mesh=auto`, N options, W tensors of w. c: both passes of
one device's network on a whole minibatch, which ranks divide; φ(T): hypernetwork, Gramian, MGD and Adam, and o:
clipping and optimiser of w, which each rank does whole. A sum of n bytes over R ranks takes, with the network's latency
a and bandwidth b (Thakur, Rabenseifner and Gropp 2005),

    ring   e(n) = 2 (R − 1) (a + n / (R b))
    tree   e(n) = 2 ⌈log₂ R⌉ (a + n / b)

Nothing is assumed to overlap, though messages of w are under way together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from modnas_fast.runtime.mesh import BUCKET_BYTES, shape_of_mesh

#: bytes of a number that is exchanged
NUMBER = 4
#: samples of a minibatch that may be divided, which is more than any mesh here needs
UNDIVIDED = 2**30

Sums = Literal["ring", "best"]


class Network(NamedTuple):
    """What connects ranks."""

    #: a, of one message between two ranks
    latency_s: float
    #: b, from one rank to another
    bytes_per_s: float
    #: how sums are made: in a ring, or in a ring or a tree, whichever is quicker, as NCCL chooses
    sums: Sums = "ring"
    #: whether the two numbers were measured here
    measured: bool = True


class Workload(NamedTuple):
    """What a search step of one space takes of a rank."""

    space: str
    #: N
    options: int
    #: numbers of each tensor of w
    weights: tuple[int, ...]
    #: c
    network_s: float
    #: φ, by T
    phi_s: Mapping[int, float]
    #: o
    optimizer_s: float


class Predicted(NamedTuple):
    """A step on R ranks, in seconds."""

    ranks: int
    #: T
    devices: int
    #: D × B
    mesh: tuple[int, int]
    divided_s: float
    repeated_s: float
    exchange_s: float

    @property
    def step_s(self) -> float:
        """t(R)."""
        return self.divided_s + self.repeated_s + self.exchange_s

    @property
    def devices_per_rank_s(self) -> float:
        """Devices per second that each rank adds."""
        return self.devices / (self.ranks * self.step_s)


def phi_bytes(devices: int, options: int, number: int = NUMBER) -> int:
    """What each rank gives to a step of Φ: losses [T] and their gradients [T, N].

    >>> phi_bytes(13, 30)
    1612
    """
    return number * devices * (options + 1)


def weight_messages(weights: Sequence[int], number: int = NUMBER) -> list[int]:
    """Bytes of the messages of a step of w: a flag per tensor, then gradients, a bucket at a time.

    >>> weight_messages([10, 6_553_600, 20])
    [12, 26214440, 80]
    """
    messages, filling = [4 * len(weights)], 0
    for numbers in weights:
        filling += number * numbers
        if filling >= BUCKET_BYTES:
            messages.append(filling)
            filling = 0
    return messages + [filling] * bool(filling)


def sum_seconds(size: int, ranks: int, network: Network) -> float:
    """e(n): a sum of `size` bytes over all ranks.

    >>> round(sum_seconds(1000, 4, Network(1.0, 100.0)), 6), sum_seconds(1000, 1, Network(1.0, 100.0))
    (21.0, 0.0)
    """
    if ranks == 1:
        return 0.0
    ring = 2 * (ranks - 1) * (network.latency_s + size / (ranks * network.bytes_per_s))
    tree = 2 * (ranks - 1).bit_length() * (network.latency_s + size / network.bytes_per_s)
    return min(ring, tree) if network.sums == "best" else ring


def fitted(sizes: Sequence[int], seconds: Sequence[float]) -> Network:
    """Latency and bandwidth of sums between two ranks, by least squares of relative errors; neither is negative.

    >>> found = fitted([1000, 10_000, 10**6], [2e-4 + n / 1e9 for n in (1000, 10_000, 10**6)])
    >>> round(found.latency_s, 9), round(found.bytes_per_s)
    (0.0001, 1000000000)
    """
    from scipy.optimize import nnls

    times = np.asarray(seconds)
    columns = np.stack([np.full(len(times), 2.0), np.asarray(sizes, dtype=float) / 1e9], axis=1) / times[:, None]
    (latency, seconds_per_gb), _ = nnls(columns, np.ones(len(times)))
    return Network(float(latency), 1e9 / float(max(seconds_per_gb, 1e-6)))


def _phi_seconds(work: Workload, devices: int) -> float:
    """φ(T): along lines between what was measured, and as T² beyond, like the Gramian; a single one is for any T."""
    places = sorted(work.phi_s)
    beyond = max(1.0, devices / places[-1]) if len(places) > 1 else 1.0
    return float(np.interp(devices, places, [work.phi_s[place] for place in places])) * beyond**2


def predicted(work: Workload, ranks: int, devices: int, network: Network) -> Predicted:
    """A step of T devices on R ranks."""
    along, data = shape_of_mesh("auto", ranks, devices, UNDIVIDED)
    messages = [phi_bytes(devices, work.options), *weight_messages(work.weights)]
    return Predicted(
        ranks,
        devices,
        (along, data),
        work.network_s * -(-devices // along) / data,
        _phi_seconds(work, devices) + work.optimizer_s,
        sum(sum_seconds(size, ranks, network) for size in messages),
    )


def weak(work: Workload, ranks: Iterable[int], per_rank: int, most: int, network: Network) -> list[Predicted]:
    """Steps whose devices grow with the ranks, `per_rank` on each, up to `most`; the first is that of one rank."""
    return [predicted(work, count, min(per_rank * count, most), network) for count in (1, *ranks)]


def strong(work: Workload, ranks: Iterable[int], devices: int, network: Network) -> list[Predicted]:
    """Steps of T devices whatever the ranks are; the first is that of one rank."""
    return [predicted(work, count, devices, network) for count in (1, *ranks)]


def efficiency(steps: Sequence[Predicted]) -> list[float]:
    """Of each but the first: the devices per second that a rank adds, over those of one rank alone."""
    return [step.devices_per_rank_s / steps[0].devices_per_rank_s for step in steps[1:]]
