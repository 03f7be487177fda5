"""Weights of the shortest vector in the convex hull of T gradients, from their Gramian."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from modnas_fast import implementations
from modnas_fast.mgd import min_norm_reference

Method = Literal["exact", "frank_wolfe"]

_ASYMMETRY = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


class MinNorm(NamedTuple):
    """The answer of `min_norm`: weights on the simplex and how good they are."""

    weights: Tensor  # [..., T], >= 0, sum 1
    squared_norm: Tensor  # [...], γᵀGγ
    gap: Tensor  # [...], γᵀGγ - min_i (Gγ)_i >= 0, and 0 exactly at the optimum
    iterations: Tensor  # [...], int64; 0 where a closed form answered


def min_norm(
    gramian: Tensor, *, method: Method = "exact", tol: float | None = None, max_iter: int | None = None
) -> MinNorm:
    """The weights γ on the simplex that minimise ‖Σ_t γ_t g_t‖² = γᵀGγ, for each Gramian G of T gradients.

    Args:
        gramian: [..., T, T] with G[s, t] = ⟨g_s, g_t⟩, T >= 1, symmetric; only its symmetric part is used.
            float64 or float32; float16 and bfloat16 are promoted to float32. Any leading axes.
        method: `"exact"` is the closed form for T = 2 and Wolfe's min-norm point algorithm (P. Wolfe,
            "Finding the nearest point in a polytope", Mathematical Programming 11, 1976) for T > 2.
            `"frank_wolfe"` is Algorithm 2 of Sener and Koltun (NeurIPS 2018, arXiv 1810.04650), as in the
            MODNAS paper: from the best pair of gradients, exact line search. Their published code keeps each
            line search 0.001 away from its ends and discards the last step; the paper is followed in both.
        tol: for `"exact"`, how far (Gγ)_i may stay below γᵀGγ, relative to a (a + ‖g_i‖) where
            a = Σ γ_t ‖g_t‖; default 1e-14, and never less than the rounding error. For `"frank_wolfe"`, the
            L1 change of the weights below which it stops; default 1e-5.
        max_iter: affine minimisations (default 32 T) or Frank-Wolfe steps (default 250). At the limit the
            best weights so far are returned; their gap tells how good they are.

    Returns:
        MinNorm of the shape of the leading axes, in the dtype (float32 for half precision) and on the device
        of `gramian`, without gradient. All arithmetic is float64; gap and squared_norm are those of the
        weights before their rounding to float32. Of equal gradients the first carries the weight. On CUDA
        nothing waits for the GPU, so values are not checked: NaN or infinities give NaN.

    Raises:
        TypeError: `gramian` is no floating-point tensor.
        ValueError: wrong shape, method, tol or max_iter; on the CPU also NaN, infinities, a negative diagonal
            or an asymmetric Gramian, naming the problem.

    >>> gradients = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> answer = min_norm(gradients @ gradients.T)
    >>> answer.weights
    tensor([0.8000, 0.2000])
    >>> answer.squared_norm, bool(answer.gap < 1e-6)
    (tensor(0.8000), True)
    """
    _check_arguments(gramian, method, tol, max_iter)
    size = gramian.shape[-1]
    dtype = gramian.dtype if gramian.dtype == torch.float64 else torch.float32
    batch = gramian.detach().reshape(-1, size, size)
    if batch.device.type == "cpu":
        _check_values(batch, gramian.shape[:-2])
    tol = (1e-14 if method == "exact" else 1e-5) if tol is None else float(tol)
    max_iter = (32 * size if method == "exact" else 250) if max_iter is None else max_iter
    solve = _SOLVERS[implementations.chosen("min_norm", batch.device.type).name]
    with torch.no_grad():
        answer = solve(batch.to(dtype).contiguous(), method, tol, max_iter)
    shape = gramian.shape[:-2]
    return MinNorm(answer.weights.reshape(*shape, size), *(field.reshape(shape) for field in answer[1:]))


def _reference(gramian: Tensor, method: Method, tol: float, max_iter: int) -> MinNorm:
    solver = min_norm_reference.exact if method == "exact" else min_norm_reference.frank_wolfe
    wide = gramian.double() if gramian.device.type in ("cpu", "cuda") else gramian.cpu().double()
    wide = wide / 2 + wide.mT / 2
    weights, iterations = solver(wide, tol, max_iter)
    product = torch.einsum("bij,bj->bi", wide, weights)
    squared_norm = (weights * product).sum(-1)
    gap = (squared_norm - product.amin(-1)).clamp_min(0)
    fields = (weights.to(gramian), squared_norm.clamp_min(0).to(gramian), gap.to(gramian))
    return MinNorm(*fields, iterations.to(gramian.device))


def _compiled(gramian: Tensor, method: Method, tol: float, max_iter: int) -> MinNorm:
    answer = _empty(gramian)
    implementations.core().min_norm_cpu(
        method,
        gramian.dtype == torch.float32,
        gramian.data_ptr(),
        *gramian.shape[:2],
        tol,
        max_iter,
        *(field.data_ptr() for field in answer),
    )
    return answer


def _cuda(gramian: Tensor, method: Method, tol: float, max_iter: int) -> MinNorm:
    core = implementations.core()
    answer = _empty(gramian)
    batch, size, _ = gramian.shape
    workspace = gramian.new_empty(batch * core.min_norm_workspace_bytes(size), dtype=torch.uint8)
    core.min_norm_cuda(
        method,
        gramian.dtype == torch.float32,
        gramian.data_ptr(),
        batch,
        size,
        tol,
        max_iter,
        workspace.data_ptr(),
        *(field.data_ptr() for field in answer),
        gramian.device.index,
        torch.cuda.current_stream(gramian.device).cuda_stream,
    )
    return answer


_SOLVERS = {"reference": _reference, "c++": _compiled, "cuda": _cuda}


def _empty(gramian: Tensor) -> MinNorm:
    batch, size, _ = gramian.shape
    weights = gramian.new_empty(batch, size)
    squared_norm, gap = gramian.new_empty(2, batch)
    return MinNorm(weights, squared_norm, gap, gramian.new_empty(batch, dtype=torch.int64))


def _check_arguments(gramian: Tensor, method: str, tol: float | None, max_iter: int | None) -> None:
    if not isinstance(gramian, Tensor):
        raise TypeError(f"gramian must be a torch.Tensor, not {type(gramian).__name__}")
    if gramian.dtype not in _ASYMMETRY:
        raise TypeError(f"gramian must be float64, float32, float16 or bfloat16, not {gramian.dtype}")
    shape = tuple(gramian.shape)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"gramian must have shape [..., T, T], not {list(shape)}")
    if shape[-1] == 0:
        raise ValueError(f"gramian must hold at least one gradient, but T = 0 in its shape {list(shape)}")
    if method not in get_args(Method):
        raise ValueError(f"method must be 'exact' or 'frank_wolfe', not {method!r}")
    if tol is not None and not 0 <= tol < float("inf"):
        raise ValueError(f"tol must be a finite number >= 0, not {tol!r}")
    if max_iter is not None and (not isinstance(max_iter, int) or not 0 <= max_iter < 2**31):
        raise ValueError(f"max_iter must be an integer in [0, 2**31), not {max_iter!r}")


def _check_values(batch: Tensor, leading: torch.Size) -> None:
    """Raises for the first problem [T, T] of the batch that is not a finite, symmetric Gramian."""
    _raise_at(~batch.isfinite().all(-1).all(-1), leading, "holds NaN or an infinity")
    diagonal = batch.diagonal(dim1=-2, dim2=-1)
    _raise_at((diagonal < 0).any(-1), leading, "has a negative squared norm on its diagonal")
    length = diagonal.double().sqrt()
    allowed = _ASYMMETRY[batch.dtype] * length[:, :, None] * length[:, None, :]
    _raise_at(((batch - batch.mT).abs() > allowed).any(-1).any(-1), leading, "is not symmetric")


def _raise_at(wrong: Tensor, leading: torch.Size, what: str) -> None:
    if not wrong.any():
        return
    index = torch.unravel_index(wrong.nonzero()[0, 0], leading) if leading else ()
    place = f"gramian[{', '.join(str(int(i)) for i in index)}]" if leading else "gramian"
    raise ValueError(f"{place} {what}")
