"""Whether a converted model does what its own networks do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modnas_fast.spaces.module.space import ModuleSpace

#: of the largest output, in units of the last place: rounding stays below, a wrong unit does not
ROUNDING = 1e4
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def complaint(space: ModuleSpace, model: nn.Module, example: Tensor) -> str | None:
    """What is wrong with a space that a model was converted to; None: nothing was found.

    The largest network is compared with the model, and the smallest and a random one, out of shared weights, with
    networks that have nothing but their own units.

    Args:
        space: its model is in evaluation.
        model: in evaluation.
        example: of at least two samples.
    """
    try:
        if (error := _error(space.model(example), model(example))) is not None:
            return f"the model of sorted channels gives other outputs, {error}"
        middle = space.decode(space.sample(1, torch.Generator().manual_seed(0)))[0]
        supernet = space.supernet().eval()
        for network in (space.ends[0], middle):
            onehot = space.encode([network])
            alone = space.build(network).eval()
            for module in alone.modules():
                module.train(isinstance(module, BATCH_NORMS))
            wanted = alone(example)
            for shared in (supernet.mixed(example, onehot), supernet.predict(example, onehot)):
                if (error := _error(wanted, shared[0])) is not None:
                    return f"left-out units still have an effect, {error}"
    except Exception as error:  # whatever somebody's module does
        return f"a smaller network fails: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"
    return None


def _error(found: Tensor, wanted: Tensor) -> str | None:
    if found.shape != wanted.shape:
        return f"of shape {list(found.shape)} instead of {list(wanted.shape)}"
    apart = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
    allowed = min(0.1, ROUNDING * torch.finfo(wanted.dtype).eps)
    return None if apart <= allowed else f"apart by {apart:.1g} of the largest"
