"""Min-norm weights in batched PyTorch: the formulas of `min_norm`, in float64, on any device.

Each problem's points that count are marked in `kept` [B, T]; the others have zeros in the Gramian and weight 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = torch.finfo(torch.float64).eps
OPTIMAL, LIMIT, STALLED, EMPTY, NONFINITE, NEGATIVE, ASYMMETRIC = range(7)
#: a relative gap that double precision reaches on sound Gramians: what is below it counts as optimal
CERTIFIABLE = 1e-12


def solve(
    gramian: Tensor, method: str, tol: float, max_iter: int, asymmetry: float, skip: bool, ignore: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """weights [B, T], squared norm, gap, iterations, status and the row at fault, each [B], of Gramians [B, T, T].

    Args:
        gramian: float64, not changed.
        method, tol, max_iter: as in `min_norm`.
        asymmetry: |G[s, t] - G[t, s]| that counts as rounding, relative to the lengths or to the numbers themselves.
        skip, ignore: leave out points that are not finite, and zero points.
    """
    status, row, kept = _inspect(gramian, asymmetry, skip, ignore)
    sound = (kept[:, :, None] & kept[:, None, :]) & (status == OPTIMAL)[:, None, None]
    clean = torch.where(sound, gramian / 2 + gramian.mT / 2, 0.0)
    clean = torch.where(sound, clean, 0.0)
    count = torch.where((status == OPTIMAL)[:, None], kept, True)
    if method == "frank_wolfe":
        weights, iterations, converged = frank_wolfe(clean, count, tol, max_iter)
    elif method == "exact":
        weights, iterations, converged = exact(clean, count, tol, max_iter)
    else:
        weights, iterations, converged = frank_wolfe_away(clean, count, method == "pairwise", tol, max_iter)
    product = _times(clean, weights)
    squared = _dot(weights, product)
    gap = squared - torch.where(count, product, torch.inf).amin(-1)
    enough = CERTIFIABLE if method == "frank_wolfe" else max(tol, CERTIFIABLE)
    scaled = _scaled(clean)
    poor = ~converged & (_relative_gap(scaled, count, weights) > enough)
    ended = torch.where(poor, torch.where(iterations >= max_iter, LIMIT, STALLED), OPTIMAL)
    solved = status == OPTIMAL
    value = torch.where(status == EMPTY, 0.0, torch.nan).to(gramian)
    return (
        torch.where(solved[:, None], weights, value[:, None]),
        torch.where(solved, squared.clamp_min(0), value),
        torch.where(solved, gap.clamp_min(0), value),
        torch.where(solved, iterations, 0),
        torch.where(solved, ended, status),
        row,
    )


def _inspect(gramian: Tensor, asymmetry: float, skip: bool, ignore: bool) -> tuple[Tensor, Tensor, Tensor]:
    """status [B], the row at fault [B] (else -1), and which points count [B, T]."""
    diagonal = gramian.diagonal(dim1=-2, dim2=-1)
    present = diagonal.isfinite()
    entries = gramian.isfinite() & gramian.mT.isfinite()
    broken = ~present | (~entries & present[:, None, :]).any(-1)
    negative = ~broken & (diagonal < 0)
    kept = ~broken
    if ignore:
        long = kept & (diagonal != 0)
        kept = torch.where(long.any(-1, keepdim=True), long, kept)
    length = torch.where(kept, diagonal, 0.0).clamp_min(0).sqrt()
    # where a squared norm fell below a format's range, the numbers themselves tell what rounding explains
    scale = torch.maximum(length[:, :, None] * length[:, None, :], gramian.abs())
    uneven = (gramian - gramian.mT).abs() > asymmetry * torch.maximum(scale, scale.mT)
    uneven = (uneven & kept[:, :, None] & kept[:, None, :]).tril(-1).any(-1)
    status = torch.full_like(diagonal[:, 0], OPTIMAL, dtype=torch.int64)
    row = torch.full_like(status, -1)
    empty = ~kept.any(-1)
    checks = [(uneven, ASYMMETRIC), (empty[:, None].expand_as(kept), EMPTY), (negative, NEGATIVE)]
    if not skip:
        checks.append((broken, NONFINITE))
    for wrong, code in checks:
        found = wrong.any(-1)
        status = torch.where(found, code, status)
        row = torch.where(found, -1 if code == EMPTY else wrong.int().argmax(-1), row)
    return status, row, kept


def exact(gramian: Tensor, kept: Tensor, tol: float, max_iter: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [B, T], iterations [B] and whether a closed form answered [B], by Wolfe's method.

    One and two points in closed form; otherwise the active-set method (P. Wolfe, "Finding the nearest point in a
    polytope", Mathematical Programming 11, 1976), all problems of the batch in step.
    """
    size, gramian = gramian.shape[-1], _scaled(gramian)
    few = kept.sum(-1) <= 2
    pair = _best_pair(gramian, kept)
    if size <= 2:
        return pair, torch.zeros_like(few, dtype=torch.int64), few
    weights, iterations = _wolfe(gramian, kept, max(tol, 4 * EPSILON * (size + 4)), max_iter)
    return torch.where(few[:, None], pair, weights), torch.where(few, 0, iterations), few


def frank_wolfe(gramian: Tensor, kept: Tensor, tol: float, max_iter: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [B, T], iterations [B] and whether it converged [B], from the best pair with exact line search.

    Sener and Koltun, "Multi-task learning as multi-objective optimization" (NeurIPS 2018), Algorithm 2. A
    problem stops after the first step that changes its weights by less than `tol` in the L1 norm.
    """
    gramian = _scaled(gramian)
    weights = _best_pair(gramian, kept)
    iterations = torch.zeros_like(weights[:, 0], dtype=torch.int64)
    converged = kept.sum(-1) <= 2
    diagonal = gramian.diagonal(dim1=-2, dim2=-1)
    for _ in range(max_iter):
        running = ~converged
        if not running.any():
            break
        product = _times(gramian, weights)
        towards = torch.where(kept, product, torch.inf).argmin(-1, keepdim=True)  # [B, 1]
        rest, added = _segment(
            _dot(weights, product)[:, None], product.gather(-1, towards), diagonal.gather(-1, towards)
        )
        change = (2 * added * (1 - weights.gather(-1, towards)))[:, 0]  # in the L1 norm
        moved = (rest * weights).scatter_add(-1, towards, added)
        weights = torch.where(running[:, None], moved, weights)
        iterations += running
        converged = converged | ~(change > 0) | (change < tol)
    return weights, iterations, converged


def frank_wolfe_away(
    gramian: Tensor, kept: Tensor, pairwise: bool, tol: float, max_iter: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [B, T], iterations [B] and False [B], from the shortest point, by away or pairwise steps.

    Lacoste-Julien and Jaggi, "On the global linear convergence of Frank-Wolfe optimization variants" (NeurIPS
    2015), Algorithms 1 and 2, until the relative gap is at most `tol`.
    """
    size, gramian = gramian.shape[-1], _scaled(gramian)
    tol = max(tol, 4 * EPSILON * (size + 4))
    diagonal = gramian.diagonal(dim1=-2, dim2=-1)
    weights = torch.zeros_like(diagonal)
    weights.scatter_(-1, torch.where(kept, diagonal, torch.inf).argmin(-1, keepdim=True), 1.0)
    iterations = torch.zeros_like(weights[:, 0], dtype=torch.int64)
    running = torch.ones_like(weights[:, 0], dtype=torch.bool)
    for _ in range(max_iter):
        running = running & (_relative_gap(gramian, kept, weights) > tol)
        if not running.any():
            break
        product = _times(gramian, weights)
        squared = _dot(weights, product)[:, None]
        towards = torch.where(kept, product, torch.inf).argmin(-1, keepdim=True)
        away = torch.where(weights > 0, product, -torch.inf).argmax(-1, keepdim=True)
        to, of_from = torch.zeros_like(weights), torch.zeros_like(weights)
        to.scatter_(-1, towards, 1.0)
        of_from.scatter_(-1, away, 1.0)
        carried = weights.gather(-1, away)
        if pairwise:
            step, limit = to - of_from, carried
        else:
            forward = squared - product.gather(-1, towards) >= product.gather(-1, away) - squared
            forward = forward | (carried >= 1)
            step = torch.where(forward, to - weights, weights - of_from)
            limit = torch.where(forward, 1.0, carried / (1 - carried).clamp_min(EPSILON))
        fall = -_dot(step, product)[:, None]
        curvature = _dot(step, _times(gramian, step))[:, None]
        whole = ~(curvature > 0) | (fall >= limit * curvature)
        length = torch.where(whole, limit, fall / curvature)
        moved = (weights + length * step).clamp_min(0)
        dropped = whole if pairwise else whole & ~forward
        moved = torch.where(dropped & (of_from > 0), 0.0, moved)
        running = running & (fall[:, 0] > 0)
        weights = torch.where(running[:, None], moved / moved.sum(-1, keepdim=True), weights)
        iterations += running
    return weights, iterations, torch.zeros_like(running)


def _relative_gap(gramian: Tensor, kept: Tensor, weights: Tensor) -> Tensor:
    """The largest (γᵀGγ - (Gγ)_i) / (a (a + ‖g_i‖)), a = Σ γ_t ‖g_t‖: [B]."""
    length = gramian.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    product = _times(gramian, weights)
    reach = _dot(weights, length)[:, None]
    size = reach * (reach + length)
    excess = _dot(weights, product)[:, None] - product
    return torch.where(kept & (size > 0), excess / size, 0.0).amax(-1)


def _segment(first: Tensor, cross: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of two points at the min-norm point of their segment; equal points: the first."""
    width = (first - cross) + (second - cross)
    at_first, at_second = cross >= first, cross >= second
    of_first = torch.where(at_first, 1.0, torch.where(at_second, 0.0, (second - cross) / width))
    of_second = torch.where(at_first, 0.0, torch.where(at_second, 1.0, (first - cross) / width))
    return of_first, of_second


def _best_pair(gramian: Tensor, kept: Tensor) -> Tensor:
    """Weights [B, T] of the shortest point among all segments; equal ones: the first."""
    size = gramian.shape[-1]
    only = kept.sum(-1, keepdim=True) == 1
    if size == 1:
        return torch.ones_like(gramian[..., 0])
    i, j = torch.triu_indices(size, size, 1, device=gramian.device)
    first, cross, second = gramian[:, i, i], gramian[:, i, j], gramian[:, j, j]  # [B, pairs]
    u, v = _segment(first, cross, second)
    cost = torch.where(kept[:, i] & kept[:, j], u * (u * first + v * cross) + v * (u * cross + v * second), torch.inf)
    best = cost.argmin(-1, keepdim=True)
    weights = gramian.new_zeros(gramian.shape[:-1])
    weights.scatter_(-1, i[best], u.gather(-1, best))
    weights.scatter_(-1, j[best], v.gather(-1, best))
    return torch.where(only, kept.to(weights), weights)


def _wolfe(gramian: Tensor, kept: Tensor, tol: float, max_iter: int) -> tuple[Tensor, Tensor]:
    most_refinements = 4  # corrections of the members' own residual, in a row
    rows = torch.arange(len(gramian), device=gramian.device)
    diagonal = gramian.diagonal(dim1=-2, dim2=-1)
    length = diagonal.clamp_min(0).sqrt()  # [B, T], |p_i|
    member = torch.zeros_like(diagonal, dtype=torch.bool)
    entering = torch.where(kept, diagonal, torch.inf).argmin(-1)
    member[rows, entering] = True
    weights = member.to(gramian.dtype)
    blocked = torch.zeros_like(member)  # tried at this point without any progress
    settled = torch.ones_like(member[:, 0])  # x is the min-norm point of its members' affine hull
    running = torch.ones_like(settled)
    refinements = torch.zeros_like(entering)
    iterations = torch.zeros_like(entering)
    for _ in range(max_iter):
        product = _times(gramian, weights)
        squared = _dot(weights, product)[:, None]
        reach = _dot(weights, length)[:, None]
        excess = squared - product  # [B, T], positive where p_i would shorten x
        counts = kept & (excess > tol * reach * (reach + length)) & ~blocked
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
