"""Weights of multiple gradient descent for gradients of different lengths and losses of different sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from modnas_fast.mgd.gramian import Gradients, gramian
from modnas_fast.mgd.min_norm import Method, MinNorm, Nonfinite, Zeros, min_norm
from modnas_fast.mgd.tracing import traced

Normalize = Literal["none", "l2", "loss", "loss+"]
NORMALIZATIONS = ("none", "l2", "loss", "loss+")


class MGDWeights(NamedTuple):
    """How to weigh T gradients: the update is Σ_t factors[t] g_t."""

    factors: Tensor  #: [..., T], weights / normalizers
    weights: Tensor  #: [..., T], γ on the simplex
    normalizers: Tensor  #: [..., T], what each gradient was divided by
    point: MinNorm  #: of the normalised gradients


def mgd_weights(
    gradients: Gradients,
    normalize: Normalize = "none",
    *,
    losses: Tensor | Sequence[float] | None = None,
    method: Method = "exact",
    nonfinite: Nonfinite = "raise",
    zeros: Zeros = "exact",
) -> MGDWeights:
    """γ = argmin over the simplex of ‖Σ_t γ_t g_t / n_t‖² (Désidéri 2012), with a choice of the normalizers n.

    Args:
        gradients: of T devices or tasks, in one of the forms of `gramian`.
        normalize: `"none"` n = 1; `"l2"` n_t = ‖g_t‖; `"loss"` n_t = ℓ_t; `"loss+"` n_t = ℓ_t ‖g_t‖ (the choices of
            Sener and Koltun, NeurIPS 2018). A zero gradient has n = 1 with `"l2"` and ℓ_t with `"loss+"`.
        losses: ℓ [..., T]; wanted, and positive, by `"loss"` and `"loss+"`. Where they are given, one that is NaN or
            infinite counts like a gradient that is, whatever the normalisation.
        method, nonfinite, zeros: as in `min_norm`. A gradient that was left out has a factor of 0.

    Returns:
        MGDWeights in float64, without gradient. Sener and Koltun's training code weighs the raw losses by
        `weights`; the MODNAS paper sums the normalised gradients, that is by `factors`.

    Raises:
        TypeError, ValueError: as `gramian` and `min_norm`; where losses are missing, not positive or not finite.

    >>> found = mgd_weights(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), "l2")
    >>> found.weights.tolist(), found.factors.tolist()
    ([0.5, 0.5], [0.5, 0.25])
    """
    check_normalization(normalize)
    return weigh(gramian(gradients), normalize, losses, method, nonfinite, zeros)


def check_normalization(normalize: str) -> None:
    """Raises a ValueError for any other than the four."""
    if normalize not in NORMALIZATIONS:
        raise ValueError(f"normalize must be 'none', 'l2', 'loss' or 'loss+', not {normalize!r}")


def weigh(
    gram: Tensor,
    normalize: Normalize,
    losses: Tensor | Sequence[float] | None,
    method: Method,
    nonfinite: Nonfinite,
    zeros: Zeros,
) -> MGDWeights:
    """`mgd_weights` of gradients with this Gramian, float64."""
    normalizers = torch.ones_like(gram[..., 0])
    if losses is not None or normalize in ("loss", "loss+"):
        values = _checked_losses(losses, normalizers, normalize, nonfinite)
        missing = ~values.isfinite()
        # a loss that is NaN may come with a gradient of zeros, which would carry all the weight
        gram = torch.where(missing[..., :, None] | missing[..., None, :], torch.nan, gram)
        if normalize in ("loss", "loss+"):
            normalizers = torch.where(missing, 1.0, values)
    if normalize in ("l2", "loss+"):
        length = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
        normalizers = normalizers * torch.where(length > 0, length, 1.0)
    # One factor at a time: their product may be out of range where the quotient is not.
    scaled = gram / normalizers[..., :, None] / normalizers[..., None, :]
    point = min_norm(scaled, method=method, nonfinite=nonfinite, zeros=zeros)
    factors = torch.where(point.weights != 0, point.weights / normalizers, 0.0)
    return MGDWeights(factors, point.weights, normalizers, point)


def _checked_losses(losses: Any, like: Tensor, normalize: str, nonfinite: str) -> Tensor:
    if losses is None:
        raise ValueError(f"losses: wanted one per gradient for normalize={normalize!r}, got none")
    values = torch.as_tensor(losses, device=like.device).detach().to(like.dtype)
    if values.shape != like.shape:
        raise ValueError(f"losses must have shape {list(like.shape)}, not {list(values.shape)}")
    if values.device.type == "cpu" and not traced(values):
        positive = normalize in ("loss", "loss+")
        wanted = "positive and finite" if positive else "finite"
        if nonfinite == "raise":
            _refuse(~values.isfinite(), values, wanted, 'nonfinite="skip" leaves such losses out')
        if positive:
            _refuse((values <= 0) & values.isfinite(), values, wanted, "normalize='l2' needs no losses")
    return values


def _refuse(wrong: Tensor, values: Tensor, wanted: str, remedy: str) -> None:
    if wrong.any():
        index = tuple(int(i) for i in wrong.nonzero()[0])
        raise ValueError(f"losses{list(index)} must be {wanted}, not {float(values[index])}; {remedy}")
