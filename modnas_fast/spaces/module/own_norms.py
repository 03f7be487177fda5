"""Root-mean-square norms that a model writes itself, as those of Hugging Face's decoders, in torch's place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: names under which such modules keep what is added to the mean square
EPSILONS = ("eps", "variance_epsilon", "epsilon")


@torch.no_grad()
def replace_own_norms_(model: nn.Module) -> tuple[str, ...]:
    """Puts `torch.nn.RMSNorm` where a module called …RMSNorm computes just that; their paths.

    Code that takes the mean over channels by itself would have no smaller twin.

    Args:
        model: in evaluation, on the CPU.
    """
    replaced = []
    for path, module in list(model.named_modules()):
        twin = _twin(module)
        if path and twin is not None and _agree(module, twin):
            model.set_submodule(path, twin)
            replaced.append(path)
    return tuple(replaced)


def _twin(module: nn.Module) -> nn.Module | None:
    """The norm of torch with a module's weight; None: it is no such norm by its name and what it has."""
    own = list(module.named_parameters())
    if isinstance(module, nn.RMSNorm) or not type(module).__name__.endswith("RMSNorm") or len(own) != 1:
        return None
    weight = own[0][1]
    eps = next((found for name in EPSILONS if isinstance(found := getattr(module, name, None), float)), None)
    if weight.dim() != 1 or eps is None:
        return None
    twin = nn.RMSNorm(len(weight), eps, dtype=weight.dtype)
    twin.weight.copy_(weight).requires_grad_(weight.requires_grad)
    return twin.train(module.training)


def _agree(module: nn.Module, twin: nn.Module) -> bool:
    """Whether both compute the same of random numbers, up to the rounding of float32 in which some compute inside."""
    weight = next(twin.parameters())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, len(weight), generator=generator).to(weight.dtype)
    try:
        found = module(x)
    except Exception:  # whatever somebody's module does: it is not what its name says
        return False
    same = isinstance(found, Tensor) and found.shape == x.shape
    return same and torch.allclose(found, twin(x), rtol=1e-5, atol=1e-6)
