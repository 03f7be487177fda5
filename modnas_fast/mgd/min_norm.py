"""Weights of the shortest vector in the convex hull of T gradients, from their Gramian."""

from __future__ import annotations

import enum
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from modnas_fast.mgd import min_norm_reference
from modnas_fast.mgd.tracing import traced
from modnas_fast.runtime import implementations

Method = Literal["exact", "frank_wolfe", "away", "pairwise"]
Nonfinite = Literal["raise", "skip", "propagate"]
Zeros = Literal["exact", "ignore"]

NONFINITE = ("raise", "skip", "propagate")
METHODS = ("exact", "frank_wolfe", "away", "pairwise")
_TOL = {"exact": 1e-14, "frank_wolfe": 1e-5, "away": 1e-10, "pairwise": 1e-10}
_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
#: |G[s, t] - G[t, s]| that counts as rounding, relative to the lengths of the two gradients or to the numbers
#: themselves: what bfloat16 explains, since a Gramian's number format does not tell in which it was made
_ASYMMETRY = 5e-2


class Status(enum.IntEnum):
    """How one problem ended. From NONFINITE on the Gramian was refused."""

    OPTIMAL = 0  #: within the tolerance
    LIMIT = 1  #: max_iter reached: the best point so far, with its gap
    STALLED = 2  #: rounding forbids any further progress: the best point, with its gap
    EMPTY = 3  #: `nonfinite="skip"` left every gradient out: all weights are 0
    NONFINITE = 4
    NEGATIVE = 5
    ASYMMETRIC = 6


_REFUSALS = {
    Status.NONFINITE: 'holds NaN or an infinity; nonfinite="skip" leaves such gradients out',
    Status.NEGATIVE: "has a negative squared norm on its diagonal",
    Status.ASYMMETRIC: "is not symmetric: it differs from its column; pass (G + G.mT) / 2",
}


class MinNorm(NamedTuple):
    """The answer of `min_norm`: weights on the simplex and how good they are."""

    weights: Tensor  #: [..., T], >= 0, sum 1
    squared_norm: Tensor  #: [...], γᵀGγ
    gap: Tensor  #: [...], γᵀGγ - min_i (Gγ)_i >= 0, and 0 exactly at the optimum
    iterations: Tensor  #: [...], int64; 0 where a closed form answered
    status: Tensor  #: [...], int8, values of Status


def min_norm(
    gramian: Tensor,
    *,
    method: Method = "exact",
    tol: float | None = None,
    max_iter: int | None = None,
    nonfinite: Nonfinite = "raise",
    zeros: Zeros = "exact",
) -> MinNorm:
    """The weights γ on the simplex that minimise ‖Σ_t γ_t g_t‖² = γᵀGγ, for each Gramian G of T gradients.

    Args:
        gramian: [..., T, T] with G[s, t] = ⟨g_s, g_t⟩, T >= 1, symmetric; only its symmetric part is used, and
            what rounding leaves of asymmetry is accepted: also that of half precision, in any number format.
            float64 or float32; float16 and bfloat16 are promoted to float32. Any leading axes. An indefinite
            matrix, which no gradients have, leads to a point where the gap vanishes, not always to the least one.
        method: `"exact"` is the closed form for T = 2 and Wolfe's min-norm point algorithm (P. Wolfe,
            "Finding the nearest point in a polytope", Mathematical Programming 11, 1976) for T > 2.
            `"frank_wolfe"` is Algorithm 2 of Sener and Koltun (NeurIPS 2018, arXiv 1810.04650), as in the
            MODNAS paper: from the best pair of gradients, exact line search. Their published code keeps each
            line search 0.001 away from its ends and discards the last step; the paper is followed in both.
            `"away"` and `"pairwise"` are Algorithms 1 and 2 of Lacoste-Julien and Jaggi (NeurIPS 2015, arXiv
            1511.05932) from the shortest gradient: they converge linearly.
        tol: how far (Gγ)_i may stay below γᵀGγ, relative to a (a + ‖g_i‖) where a = Σ γ_t ‖g_t‖; default
            1e-14 for `"exact"`, 1e-10 for `"away"` and `"pairwise"`, and never less than the rounding error.
            For `"frank_wolfe"`, the L1 change of the weights below which it stops; default 1e-5.
        max_iter: affine minimisations (default 32 T), Frank-Wolfe steps (default 250), away or pairwise steps
            (default 10,000). At the limit the best weights so far are returned; their gap tells how good they are.
        nonfinite: `"raise"`; `"skip"` to leave out each gradient whose squared norm is NaN or infinite, and
            both gradients of such an inner product: their weights are 0; `"propagate"` to raise nothing for values
            and answer NaN with the problem's status, as on CUDA.
        zeros: `"exact"` lets a zero gradient count: the shortest vector is then 0, and the first zero gradient
            carries the weight. `"ignore"` leaves zero gradients out, unless all are zero.

    Returns:
        MinNorm of the shape of the leading axes, in the dtype (float32 for half precision) and on the device
        of `gramian`, without gradient. All arithmetic is float64; gap and squared_norm are those of the
        weights before their rounding to float32. Of equal gradients the first carries the weight. Neither the
        batch nor the number of threads changes a bit. On CUDA nothing waits for the GPU, so nothing is raised for
        values: a refused problem has a `status` of Status.NONFINITE, NEGATIVE or ASYMMETRIC, and NaN.

    Raises:
        TypeError: `gramian` is no floating-point tensor.
        ValueError: wrong shape or option; on the CPU also NaN, infinities, a negative diagonal or an
            asymmetric Gramian, naming the problem and the gradient.

    >>> gradients = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> answer = min_norm(gradients @ gradients.T)
    >>> answer.weights
    tensor([0.8000, 0.2000])
    >>> answer.squared_norm, bool(answer.gap < 1e-6), Status(int(answer.status)).name
    (tensor(0.8000), True, 'OPTIMAL')
    """
    _check_arguments(gramian, method, tol, max_iter, nonfinite, zeros)
    if tol is None:
        tol = _TOL[method]
    if max_iter is None:
        max_iter = 250 if method == "frank_wolfe" else 32 * gramian.shape[-1] if method == "exact" else 10_000
    if traced(gramian):
        arguments = (method, float(tol), max_iter, nonfinite, zeros)
        return MinNorm(*torch.ops.modnas_fast.min_norm(gramian.detach(), *arguments))
    return solve(gramian, method, tol, max_iter, nonfinite, zeros)


def solve(gramian: Tensor, method: str, tol: float, max_iter: int, nonfinite: str, zeros: str) -> MinNorm:
    """`min_norm` of checked arguments, by the implementation chosen for the device."""
    kind = gramian.device.type
    if gramian.requires_grad:
        gramian = gramian.detach()
    if gramian.dtype not in (torch.float64, torch.float32):
        gramian = gramian.float()
    implementation = _SOLVERS[implementations.chosen("min_norm", kind).name]
    answer, refused = implementation(
        gramian.contiguous(), method, tol, max_iter, _ASYMMETRY, nonfinite == "skip", zeros == "ignore"
    )
    if refused is not None and nonfinite != "propagate":
        _raise(refused, gramian.shape[:-2])
    return answer


def _compiled(
    gramian: Tensor, method: str, tol: float, max_iter: int, asymmetry: float, skip: bool, ignore: bool
) -> tuple[MinNorm, tuple[int, int, int] | None]:
    answer = empty(gramian)
    size = gramian.shape[-1]
    refused = implementations.core().min_norm_cpu(
        method,
        gramian.dtype == torch.float32,
        gramian.data_ptr(),
        answer.gap.numel(),
        size,
        tol,
        max_iter,
        asymmetry,
        skip,
        ignore,
        torch.get_num_threads(),
        answer.weights.data_ptr(),
        answer.squared_norm.data_ptr(),
        answer.gap.data_ptr(),
        answer.iterations.data_ptr(),
        answer.status.data_ptr(),
    )
    return answer, refused


def _cuda(
    gramian: Tensor, method: str, tol: float, max_iter: int, asymmetry: float, skip: bool, ignore: bool
) -> tuple[MinNorm, None]:
    core, answer = implementations.core(), empty(gramian)
    batch, size, device = answer.gap.numel(), gramian.shape[-1], gramian.device.index
    workers, count = core.min_norm_cuda_workspace(batch, size, device)
    workspace = gramian.new_empty(count, dtype=torch.uint8)
    row = gramian.new_empty(batch, dtype=torch.int32)
    core.min_norm_cuda(
        method,
        gramian.dtype == torch.float32,
        gramian.data_ptr(),
        batch,
        size,
        tol,
        max_iter,
        asymmetry,
        skip,
        ignore,
        workspace.data_ptr() if count else 0,
        workers,
        *(field.data_ptr() for field in answer),
        row.data_ptr(),
        device,
        torch.cuda.current_stream(gramian.device).cuda_stream,
    )
    return answer, None


def _reference(
    gramian: Tensor, method: str, tol: float, max_iter: int, asymmetry: float, skip: bool, ignore: bool
) -> tuple[MinNorm, tuple[int, int, int] | None]:
    size = gramian.shape[-1]
    batch = gramian.reshape(-1, size, size)
    wide = batch.double() if batch.device.type in ("cpu", "cuda") else batch.cpu().double()
    *fields, row = min_norm_reference.solve(wide, method, tol, max_iter, asymmetry, skip, ignore)
    status = fields[-1]
    shapes = (gramian.shape[:-1], *[gramian.shape[:-2]] * 4)
    dtypes = (gramian.dtype, gramian.dtype, gramian.dtype, torch.int64, torch.int8)
    answer = MinNorm(
        *(f.to(gramian.device, dtype).reshape(s) for f, dtype, s in zip(fields, dtypes, shapes, strict=True))
    )
    if gramian.device.type == "cuda":  # without waiting for the GPU
        return answer, None
    wrong = (status >= Status.NONFINITE).nonzero()
    if not len(wrong):
        return answer, None
    first = int(wrong[0, 0])
    return answer, (first, int(row[first]), int(status[first]))


_SOLVERS = {"reference": _reference, "c++": _compiled, "cuda": _cuda}


def empty(gramian: Tensor) -> MinNorm:
    """An answer for Gramians [..., T, T] of float32 or float64, its memory not filled."""
    shape = gramian.shape
    leading = shape[:-2]
    return MinNorm(
        gramian.new_empty(shape[:-1]),
        gramian.new_empty(leading),
        gramian.new_empty(leading),
        gramian.new_empty(leading, dtype=torch.int64),
        gramian.new_empty(leading, dtype=torch.int8),
    )


def _check_arguments(
    gramian: Tensor, method: str, tol: float | None, max_iter: int | None, nonfinite: str, zeros: str
) -> None:
    if not isinstance(gramian, Tensor):
        raise TypeError(f"gramian must be a torch.Tensor, not {type(gramian).__name__}")
    if gramian.dtype not in _DTYPES:
        raise TypeError(f"gramian must be float64, float32, float16 or bfloat16, not {gramian.dtype}")
    shape = gramian.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"gramian must have shape [..., T, T], not {list(shape)}")
    if not 1 <= shape[-1] <= 32768:
        if shape[-1] == 0:
            raise ValueError(f"gramian must hold at least one gradient, but T = 0 in its shape {list(shape)}")
        raise ValueError(f"gramian must hold at most 32768 gradients, not T = {shape[-1]}")
    if method not in METHODS:
        raise ValueError(f"method must be 'exact', 'frank_wolfe', 'away' or 'pairwise', not {method!r}")
    if tol is not None and not 0 <= tol < float("inf"):
        raise ValueError(f"tol must be a finite number >= 0, not {tol!r}")
    if max_iter is not None and (not isinstance(max_iter, int) or not 0 <= max_iter < 2**31):
        raise ValueError(f"max_iter must be an integer in [0, 2**31), not {max_iter!r}")
    if nonfinite not in NONFINITE:
        raise ValueError(f"nonfinite must be 'raise', 'skip' or 'propagate', not {nonfinite!r}")
    if zeros not in ("exact", "ignore"):
        raise ValueError(f"zeros must be 'exact' or 'ignore', not {zeros!r}")


def _raise(refused: tuple[int, int, int], leading: torch.Size) -> None:
    problem, row, status = refused
    place = "gramian"
    if leading:
        index = torch.unravel_index(torch.tensor(problem), leading)
        place = f"gramian[{', '.join(str(int(i)) for i in index)}]"
    raise ValueError(f"{place}: row {row} {_REFUSALS[Status(status)]}")
