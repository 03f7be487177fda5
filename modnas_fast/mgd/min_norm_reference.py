"""Min-norm weights in batched PyTorch: the formulas of `min_norm`, in float64, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = torch.finfo(torch.float64).eps


def exact(gramian: Tensor, tol: float, max_iter: int) -> tuple[Tensor, Tensor]:
    """Weights [B, T] and iterations [B] of the min-norm points of Gramians [B, T, T] (float64, symmetric).

    T = 1 and 2 in closed form; otherwise Wolfe's active-set method (P. Wolfe, "Finding the nearest point in a
    polytope", Mathematical Programming 11, 1976), all problems of the batch in step.
    """
    size, gramian = gramian.shape[-1], _scaled(gramian)
    if size <= 2:
        return _closed_form(gramian), torch.zeros_like(gramian[:, 0, 0], dtype=torch.int64)
    return _wolfe(gramian, max(tol, 4 * EPSILON * (size + 4)), max_iter)


def frank_wolfe(gramian: Tensor, tol: float, max_iter: int) -> tuple[Tensor, Tensor]:
    """Weights [B, T] and iterations [B] of Frank-Wolfe with exact line search from the best pair of points.

    Sener and Koltun, "Multi-task learning as multi-objective optimization" (NeurIPS 2018), Algorithm 2. A
    problem stops after the first step that changes its weights by less than `tol` in the L1 norm.
    """
    size, gramian = gramian.shape[-1], _scaled(gramian)
    if size <= 2:
        return _closed_form(gramian), torch.zeros_like(gramian[:, 0, 0], dtype=torch.int64)
    weights = _best_pair(gramian)
    iterations = torch.zeros_like(weights[:, 0], dtype=torch.int64)
    running = torch.ones_like(iterations, dtype=torch.bool)
    diagonal = gramian.diagonal(dim1=-2, dim2=-1)
    while max_iter > 0 and running.any():
        product = _times(gramian, weights)
        towards = product.argmin(-1, keepdim=True)  # [B, 1]
        kept, added = _segment(
            _dot(weights, product)[:, None], product.gather(-1, towards), diagonal.gather(-1, towards)
        )
        change = (2 * added * (1 - weights.gather(-1, towards)))[:, 0]  # in the L1 norm
        moved = (kept * weights).scatter_add(-1, towards, added)
        weights = torch.where(running[:, None], moved, weights)
        iterations += running
        running = running & (change > 0) & (change >= tol) & (iterations < max_iter)
    return weights, iterations


def _closed_form(gramian: Tensor) -> Tensor:
    if gramian.shape[-1] == 1:
        return torch.ones_like(gramian[..., 0])
    return torch.stack(_segment(gramian[:, 0, 0], gramian[:, 0, 1], gramian[:, 1, 1]), dim=-1)


def _segment(first: Tensor, cross: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of two points at the min-norm point of their segment; equal points: the first."""
    width = (first - cross) + (second - cross)
    at_first, at_second = cross >= first, cross >= second
    of_first = torch.where(at_first, 1.0, torch.where(at_second, 0.0, (second - cross) / width))
    of_second = torch.where(at_first, 0.0, torch.where(at_second, 1.0, (first - cross) / width))
    return of_first, of_second


def _best_pair(gramian: Tensor) -> Tensor:
    size = gramian.shape[-1]
    i, j = torch.triu_indices(size, size, 1, device=gramian.device)
    first, cross, second = gramian[:, i, i], gramian[:, i, j], gramian[:, j, j]  # [B, pairs]
    u, v = _segment(first, cross, second)
    best = (u * (u * first + v * cross) + v * (u * cross + v * second)).argmin(-1, keepdim=True)
    weights = gramian.new_zeros(gramian.shape[:-1])
    weights.scatter_(-1, i[best], u.gather(-1, best))
    return weights.scatter_(-1, j[best], v.gather(-1, best))


def _wolfe(gramian: Tensor, tol: float, max_iter: int) -> tuple[Tensor, Tensor]:
    most_refinements = 4  # corrections of the members' own residual, in a row
    rows = torch.arange(len(gramian), device=gramian.device)
    diagonal = gramian.diagonal(dim1=-2, dim2=-1)
    length = diagonal.clamp_min(0).sqrt()  # [B, T], |p_i|
    member = torch.zeros_like(diagonal, dtype=torch.bool)
    member[rows, diagonal.argmin(-1)] = True
    weights = member.to(gramian.dtype)
    blocked = torch.zeros_like(member)  # tried at this point without any progress
    entering = diagonal.argmin(-1)
    settled = torch.ones_like(member[:, 0])  # x is the min-norm point of its members' affine hull
    running = torch.ones_like(settled)
    refinements = torch.zeros_like(entering)
    iterations = torch.zeros_like(entering)
    for _ in range(max_iter):
        product = _times(gramian, weights)
        squared = _dot(weights, product)[:, None]
        reach = _dot(weights, length)[:, None]
        excess = squared - product  # [B, T], positive where p_i would shorten x
        counts = (excess > tol * reach * (reach + length)) & ~blocked
        best = _steepest(excess, diagonal - product, counts)
        again = member[rows, best]
        refinements = torch.where(settled, torch.where(again, refinements + 1, 0), refinements)
        tired = settled & (refinements > most_refinements)
        blocked = blocked | (member & tired[:, None])
        best = torch.where(tired, _steepest(excess, diagonal - product, counts & ~blocked), best)
        running = running & ~(settled & ~(counts & ~blocked).any(-1))
        if not running.any():
            break
        entering = torch.where(settled, best, entering)
        member[rows, entering] |= running & settled

        step = _newton_step(gramian, member, product)
        limit = torch.where(member & (step < 0), weights / -step, torch.inf)
        leaving = limit.argmin(-1)
        whole = _full_length(gramian, step, excess)
        length_ = torch.minimum(limit[rows, leaving], whole)
        moved = (weights + length_[:, None] * step).clamp_min(0) * member
        cut = limit[rows, leaving] < whole
        moved[rows, leaving] = torch.where(cut, 0.0, moved[rows, leaving])
        moved = moved / moved.sum(-1, keepdim=True)
        weights = torch.where(running[:, None], moved, weights)
        member = torch.where(running[:, None], weights > 0, member)
        iterations += running

        stuck = length_ == 0
        blocked = blocked & (stuck | (refinements > 0))[:, None]
        blocked[rows, entering] |= stuck
        settled = ~cut | stuck
    return weights, iterations


def _steepest(excess: Tensor, rest: Tensor, counts: Tensor) -> Tensor:
    """Index of the point whose segment with x holds the shortest point: excess² / |x - p_i|² is largest."""
    gain = excess * (excess / torch.maximum(excess + rest, excess))
    return torch.where(counts, gain, -torch.inf).argmax(-1)


def _newton_step(gramian: Tensor, member: Tensor, product: Tensor) -> Tensor:
    """The change [B, T] of the weights that leads to the minimiser over the members' affine hull.

    With b the shortest member and d_i = p_i - p_b, solve D y = -r for D[i,j] = <d_i, d_j>, r_i = <d_i, x>,
    with D scaled to unit diagonal. Its eigenvalues are raised to their rounding level: where members are affinely
    dependent, the step is long and leads downhill along the dependence.
    """
    batch, size, _ = gramian.shape
    rows = torch.arange(batch, device=gramian.device)
    diagonal = gramian.diagonal(dim1=-2, dim2=-1)
    base = torch.where(member, diagonal, torch.inf).argmin(-1)
    others = member.clone()
    others[rows, base] = False
    to_base = gramian[rows, base]  # [B, T], <p_i, p_b>
    square = diagonal[rows, base][:, None]
    differences = (gramian - to_base[:, None, :]) + (square - to_base)[:, :, None]
    rounding = 8 * EPSILON * (diagonal + square)
    width = torch.maximum(differences.diagonal(dim1=-2, dim2=-1), rounding)
    scale = torch.where(others & (width > 0), width.rsqrt(), 0.0)
    scaled = differences * scale[:, :, None] * scale[:, None, :]
    scaled = (scaled + scaled.mT) / 2
    values, vectors = torch.linalg.eigh(scaled + torch.diag_embed((~others).to(gramian.dtype)))
    floor = (torch.where(others, rounding * scale.square(), 0.0)).amax(-1, keepdim=True) + EPSILON * size
    residual = scale * (product[rows, base][:, None] - product)
    solution = _times(vectors, _times(vectors.mT, residual) / torch.maximum(values, floor))
    step = torch.where(others, scale * solution, 0.0)
    step[rows, base] = -step.sum(-1)
    return step


def _full_length(gramian: Tensor, step: Tensor, excess: Tensor) -> Tensor:
    """How far along the step the objective falls: 1, or less where rounding made the step too long."""
    fall = _dot(step, excess)
    curvature = _dot(step, _times(gramian, step))
    return torch.where((fall > 0) & (curvature > fall), fall / curvature, 1.0)


def _scaled(gramian: Tensor) -> Tensor:
    """The Gramians divided by a power of two, so that their largest entry is in [1/2, 1)."""
    exponent = torch.frexp(gramian.abs().amax((-2, -1), keepdim=True)).exponent.to(gramian.dtype)
    half = (exponent / 2).floor()  # in two steps, as the whole factor may be out of range
    return gramian * torch.exp2(-half) * torch.exp2(half - exponent)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.einsum("bij,bj->bi", matrix, vector)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
