"""Multiple gradient descent over devices: from ∂ℓ_t/∂logits_t to one update of the hypernetwork.

ℓ_t depends on logits_t alone. With c_t = ∂ℓ_t/∂logits_t, device t's gradient with respect to Φ is
g_t = (∂logits_t/∂Φ)ᵀ c_t, and the update Σ_t γ_t g_t is one backward pass with the cotangents γ_t c_t.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from modnas_fast.mgd.gramian import gramian
from modnas_fast.mgd.schemes import UpdateScheme, make_scheme

#: a name of a built-in scheme or the place of one, or the scheme itself
Scheme: TypeAlias = str | UpdateScheme
Normalization = Literal["none", "l2"]

#: a gradient counts as zero below this share of the longest, and below this length
ZERO_SHARE = 1e-12
ZERO_NORM = 1e-30


class Combination(NamedTuple):
    """How the devices' gradients were combined in one step."""

    #: factor of each device's raw gradient in the update, [T]
    factors: Tensor
    #: γ on the simplex, [T]
    weights: Tensor
    #: cosine of each pair of device gradients, [T, T]; 0 where a gradient is zero
    cosines: Tensor


def device_gradients(module: nn.Module, cotangents: Tensor, *inputs: Tensor) -> list[Tensor]:
    """g_t for every device: one tensor [T, ...] per parameter of `module`.

    Args:
        module: called with one row of each input; its parameters that require gradients count.
        cotangents: c [T, N], the gradient of ℓ_t with respect to the module's output for row t.
        inputs: tensors with leading axis T.
    """
    parameters = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}

    def gradient(cotangent: Tensor, *row: Tensor) -> dict[str, Tensor]:
        pull_back = vjp(lambda values: functional_call(module, values, row), parameters)[1]
        gradients: dict[str, Tensor] = pull_back(cotangent)[0]
        return gradients

    return list(vmap(gradient)(cotangents, *inputs).values())


def combine_devices(gram: Tensor, scheme: Scheme, normalization: Normalization = "l2") -> Combination:
    """Weights of the devices' gradients given their Gramian [T, T].

    A gradient shorter than 1e-12 of the longest, or than 1e-30, counts as zero. It contributes nothing, and in the
    solver it stands as a gradient orthogonal to all others: exactly zero it would hold every other device still,
    and dividing it by its norm would raise rounding errors to full length.

    Args:
        gram: raw Gramian, float64.
        scheme: `mgd` takes the min-norm point of the convex hull (Désidéri 2012); `mean`, `sequential` and `sample`
            weigh all equally; or an `UpdateScheme`.
        normalization: `l2` divides each gradient by its norm before weighing and summing, as the published code
            does.
    """
    norms = gram.diagonal().clamp(min=0).sqrt()
    longest = norms.max()
    present = norms > (ZERO_SHARE * longest).clamp(min=ZERO_NORM)
    inverse = torch.where(present, 1 / torch.where(present, norms, 1.0), 0.0)
    cosines = inverse[:, None] * gram * inverse
    scale = inverse if normalization == "l2" else present.to(gram)
    length = torch.where(longest > 0, longest, 1.0) if normalization == "none" else 1.0
    stand_in = torch.diag((~present).to(gram))
    unit = cosines if normalization == "l2" else gram * present[:, None] * present / length**2
    weights = _scheme(scheme).weights(unit + stand_in)
    if weights.shape != norms.shape:
        raise ValueError(f"mgd.scheme: wanted weights of shape {list(norms.shape)}, got {list(weights.shape)}")
    return Combination(weights * scale, weights, cosines)


def _scheme(scheme: Scheme) -> UpdateScheme:
    return make_scheme(scheme) if isinstance(scheme, str) else scheme


def device_groups(scheme: Scheme, devices: int, generator: torch.Generator) -> list[Tensor]:
    """The devices of each Φ update of one search step, as index tensors.

    `mgd` and `mean` update once with all devices, `sequential` once per device in order, `sample` once with one
    device drawn uniformly: the update schemes that the paper compares. An `UpdateScheme` says for itself.
    """
    return _scheme(scheme).groups(devices, generator)


def descend(
    module: nn.Module,
    logits: Tensor,
    cotangents: Tensor,
    inputs: tuple[Tensor, ...],
    scheme: Scheme,
    normalization: Normalization = "l2",
) -> Combination:
    """Puts the combined gradient of all devices into `.grad` of the module's parameters.

    Args:
        module: the hypernetwork; `logits = module(*inputs)` with its graph alive.
        logits: [T, ..., N].
        cotangents: ∂ℓ_t/∂logits_t, of that shape.
        inputs: what the logits were computed from, each with leading axis T.
        scheme, normalization: as in `combine_devices`.
    """
    combination = combine_devices(gramian(device_gradients(module, cotangents, *inputs)), scheme, normalization)
    factors = combination.factors.to(cotangents).view(-1, *[1] * (cotangents.dim() - 1))
    logits.backward(factors * cotangents)
    return combination
