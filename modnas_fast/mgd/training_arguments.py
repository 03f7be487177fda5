"""The losses and parameters of `mgd_backward`, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

Parameters: TypeAlias = nn.Module | Tensor | Iterable[Tensor]


def checked_losses(losses: Any) -> list[Tensor]:
    """T losses with their graph.

    Raises:
        TypeError, ValueError: naming the loss, where it is no tensor, no scalar, or has no graph.
    """
    if isinstance(losses, Mapping | set | str):
        raise TypeError(
            f"losses: wanted a sequence of scalars or one tensor [T], not {type(losses).__name__}; pass a list, such "
            "as list(losses.values()) of a dict"
        )
    if isinstance(losses, Tensor):
        terms = list(losses.unbind(0)) if losses.ndim == 1 else []
    elif isinstance(losses, Iterable):
        terms = list(losses)
    else:
        raise TypeError(f"losses: wanted a sequence of scalars or one tensor [T], not {type(losses).__name__}")
    if not terms:
        raise ValueError("losses: wanted T scalars or one tensor [T] with T >= 1")
    for t, term in enumerate(terms):
        if not isinstance(term, Tensor):
            raise TypeError(f"losses[{t}] must be a tensor with its graph, not {type(term).__name__}; drop .item()")
        if term.numel() != 1:
            raise ValueError(f"losses[{t}] must be a scalar, not of shape {list(term.shape)}; reduce it first")
        if not term.requires_grad:
            raise ValueError(
                f"losses[{t}] has no graph: it was detached, made under torch.no_grad() or from nothing that requires "
                "a gradient; leave it out, or compute it from the parameters"
            )
    return terms


def checked_parameters(parameters: Any) -> list[Tensor]:
    """Those that require a gradient, each once.

    Raises:
        TypeError, ValueError: naming what is no tensor, or where none requires a gradient.
    """
    if isinstance(parameters, nn.Module):
        parameters = parameters.parameters()
    elif isinstance(parameters, Tensor):
        parameters = [parameters]
    if isinstance(parameters, Mapping | str) or not isinstance(parameters, Iterable):
        raise TypeError(
            f"parameters: wanted an nn.Module or an iterable of tensors, not {type(parameters).__name__}; pass "
            ".values() of a dict"
        )
    # tied parameters, and lists that overlap, name one tensor twice
    found = list(dict.fromkeys(_each_tensor(parameters)))
    shared = [parameter for parameter in found if parameter.requires_grad]
    if not shared:
        raise ValueError("parameters: wanted at least one that requires a gradient, got none")
    return shared


def _each_tensor(parameters: Iterable[Any]) -> Iterable[Tensor]:
    for k, parameter in enumerate(parameters):
        if not isinstance(parameter, Tensor):
            raise TypeError(
                f"parameters[{k}] must be a tensor, not {type(parameter).__name__}; pass model.parameters(), of "
                "optimizer groups [p for group in optimizer.param_groups for p in group['params']]"
            )
        yield parameter
