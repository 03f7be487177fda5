"""Whether tensors must go through registered operators instead of straight into a kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def traced(tensor: Tensor) -> bool:
    """True under torch.compile, torch.func transforms, dispatch modes, and for tensor subclasses.

    There a tensor's memory cannot be read directly; elsewhere that saves the dispatcher's tens of microseconds.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or type(tensor) not in (Tensor, nn.Parameter)
    )
