"""Preferences: random vectors r on the simplex for the search, and fixed rays for the evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from modnas_fast.runtime.choices import PREFERENCES

#: draws preferences [T, M] of T devices
Sampler = Callable[[int, torch.Generator], Tensor]


def dirichlet(
    num_devices: int,
    num_objectives: int,
    beta: float | Sequence[float] = 1.0,
    *,
    shared: bool = False,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Preferences r [T, M] ~ Dirichlet(β): each row is ≥ 0 and sums to 1; on the generator's device.

    `beta` > 0 is one number or one per objective; 1 is uniform on the simplex and the paper's choice. With
    `shared` all T rows are the same draw; without it each device has its own, as in the published code. The
    draw is exact: normalised Gamma(β) numbers, as Gamma(β + 1) times u^(1/β) in logarithms (Marsaglia & Tsang
    2000), so that a small β cannot underflow to 0/0. Raises ValueError for counts below 1, a β that is
    not above 0, and a wrong number of them.

    >>> r = dirichlet(4, 2, generator=torch.Generator().manual_seed(0))
    >>> tuple(r.shape), torch.allclose(r.sum(-1), torch.ones(4))
    ((4, 2), True)
    """
    _at_least_one(num_devices=num_devices, num_objectives=num_objectives)
    concentration = torch.tensor(_concentration(beta, num_objectives), dtype=torch.float64)
    rows = 1 if shared else num_devices
    concentration = concentration.expand(rows, num_objectives).to(generator.device)
    # torch.distributions takes no generator; this is the primitive beneath its Gamma.
    gamma = torch._standard_gamma(concentration + 1.0, generator=generator)
    uniform = 1.0 - torch.rand(
        concentration.shape, generator=generator, device=generator.device, dtype=torch.float64
    )  # in (0, 1]
    weights = (gamma.log() + uniform.log() / concentration).softmax(-1)
    return weights.to(dtype).expand(num_devices, num_objectives).contiguous()


def sobol(
    num_devices: int,
    num_objectives: int,
    *,
    shared: bool = False,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Preferences r [T, M], each uniform on the simplex, those of one call spread evenly over it.

    Scrambled Sobol points (Owen 1998) of the unit cube, whose sorted coordinates divide [0, 1] into M shares. So the
    devices of a step ask for unlike things where Dirichlet's draws would bunch; `shared` and errors as in `dirichlet`.

    >>> r = sobol(8, 2, generator=torch.Generator().manual_seed(0))
    >>> sorted((8 * r[:, 0]).long().tolist())  # one in each eighth
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    _at_least_one(num_devices=num_devices, num_objectives=num_objectives)
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    if num_objectives == 1:
        return torch.ones(num_devices, 1, dtype=dtype, device=generator.device)
    engine = torch.quasirandom.SobolEngine(num_objectives - 1, scramble=True, seed=seed)
    cuts = engine.draw(1 if shared else num_devices, dtype=torch.float64).sort(-1).values
    weights = torch.diff(cuts, prepend=torch.zeros_like(cuts[:, :1]), append=torch.ones_like(cuts[:, :1]))
    return weights.to(generator.device, dtype).expand(num_devices, num_objectives).contiguous()


def make_preferences(kind: str, num_objectives: int, parameters: Mapping[str, Any]) -> Sampler:
    """A function (devices, generator) → r [devices, M] that draws with the sampler `kind`: `dirichlet`, `sobol` or a
    user's.

    `parameters` are its keyword arguments. Raises InputError for an unknown kind; the function, for a user's draw that
    is no float tensor [devices, M] on the simplex.

    >>> draw = make_preferences("dirichlet", 2, {"beta": 1.0, "shared": True})
    >>> draw(3, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """
    sample = PREFERENCES.find(kind, parameters)

    def draw(devices: int, generator: torch.Generator) -> Tensor:
        r = sample(devices, num_objectives, generator=generator)
        if kind not in PREFERENCES:
            _check_draw(kind, r, (devices, num_objectives))
        return r

    return draw


def _check_draw(kind: str, r: Tensor, wanted: tuple[int, int]) -> None:
    if r.shape != wanted or r.dtype != torch.float32:
        raise PREFERENCES.fault(kind, f"wanted to return float32 {list(wanted)}, got {r.dtype} {list(r.shape)}")
    if not ((r >= 0).all() and ((r.sum(-1) - 1).abs() < 1e-3).all()):
        raise PREFERENCES.fault(kind, "wanted to return rows that are not negative and sum to 1")


def _concentration(beta: float | Sequence[float], num_objectives: int) -> list[float]:
    values = [float(b) for b in beta] if isinstance(beta, Sequence) else [float(beta)] * num_objectives
    if len(values) != num_objectives:
        raise ValueError(f"beta: wanted {num_objectives} numbers, one per objective, got {len(values)}")
    if not all(value > 0 and math.isfinite(value) for value in values):
        raise ValueError(f"beta: wanted finite numbers above 0, got {beta!r}")
    return values


def rays(
    count: int,
    num_objectives: int,
    *,
    normalize: str = "l1",
    margin: float = 1e-6,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Evaluation preferences [count, M], spread evenly, every entry above 0; the same rows at every call.

    M = 2: (cos φ, sin φ) with φ evenly spaced from `margin` to π/2 − `margin` radians, ends included: the
    published protocol with its margin of 1e-6. The first row asks for a low task loss only, the last for a
    low cost only; a single ray lies in the middle. M ≥ 3: the Das-Dennis lattice (Das & Dennis 1998) where
    one has exactly `count` points, otherwise the `count` points of a finer one that farthest-point selection
    takes, the M corners first; each is then moved by `margin` towards the centre. `normalize` is "l1" (rows
    sum to 1, as in the search) or "l2" (unit length, as the published code feeds its hypernetwork for M = 2).
    Raises ValueError for counts below 1, another `normalize`, and a margin outside [0, 0.1].

    >>> rays(3, 2)
    tensor([[1.0000e+00, 1.0000e-06],
            [5.0000e-01, 5.0000e-01],
            [1.0000e-06, 1.0000e+00]])
    >>> rays(6, 3, margin=0.0)[:3]
    tensor([[1.0000, 0.0000, 0.0000],
            [0.5000, 0.5000, 0.0000],
            [0.5000, 0.0000, 0.5000]])
    """
    _at_least_one(count=count, num_objectives=num_objectives)
    if normalize not in ("l1", "l2"):
        raise ValueError(f"normalize: wanted l1 or l2, got {normalize!r}")
    if not 0.0 <= margin <= 0.1:
        raise ValueError(f"margin: wanted a number in [0, 0.1], got {margin!r}")
    if num_objectives == 2:
        points = _quarter_circle(count, margin)
    else:
        points = _lattice_rays(count, num_objectives) * (1.0 - margin) + margin / num_objectives
    norm = points.sum(-1, keepdim=True) if normalize == "l1" else points.norm(dim=-1, keepdim=True)
    return (points / norm).to(dtype)


def _quarter_circle(count: int, margin: float) -> Tensor:
    if count == 1:
        angles = torch.tensor([math.pi / 4], dtype=torch.float64)
    else:
        angles = torch.linspace(margin, math.pi / 2 - margin, count, dtype=torch.float64)
    return torch.stack((angles.cos(), angles.sin()), dim=-1).clamp_min(0.0)


def _lattice_rays(count: int, num_objectives: int) -> Tensor:
    if num_objectives == 1:
        return torch.ones(count, 1, dtype=torch.float64)
    divisions = _divisions(count, num_objectives)
    if math.comb(divisions + num_objectives - 1, divisions) != count:
        divisions = _divisions(8 * count, num_objectives)
    lattice = torch.tensor(list(_compositions(divisions, num_objectives)))
    if len(lattice) != count:
        lattice = _farthest(lattice, count)
    return lattice.double() / divisions


def _divisions(count: int, num_objectives: int) -> int:
    """The fewest divisions of the simplex's edges that give at least `count` Das-Dennis points."""
    divisions = 1
    while math.comb(divisions + num_objectives - 1, divisions) < count:
        divisions += 1
    return divisions


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All tuples of `parts` whole numbers ≥ 0 with the sum `total`, the first part falling."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def _farthest(lattice: Tensor, count: int) -> Tensor:
    """`count` rows of an integer lattice: its corners, then one by one the farthest from all rows before.

    Squared distances of whole numbers are exact, so ties go to the lowest index on every machine.
    """
    corner = (lattice == lattice.max()).any(-1)
    chosen = corner.nonzero().flatten().tolist()[:count]
    distance = (lattice[:, None] - lattice[chosen]).square().sum(-1).amin(-1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (lattice - lattice[chosen[-1]]).square().sum(-1))
    return lattice[chosen]


def _at_least_one(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: wanted a whole number of at least 1, got {value!r}")
