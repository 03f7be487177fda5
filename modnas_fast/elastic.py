"""Layers of chosen sizes, the space of all networks in a module that has them, and tasks of one's own.

See docs/own-model.md.
"""

from modnas_fast.spaces.module import ModuleSpace
from modnas_fast.spaces.module.conversion import from_module
from modnas_fast.spaces.module.layers import (
    BatchNorm1d,
    BatchNorm2d,
    Choice,
    Conv2d,
    Embedding,
    LayerNorm,
    Linear,
    MultiheadAttention,
    RMSNorm,
    Sequential,
)
from modnas_fast.spaces.module.width import Width, width
from modnas_fast.tasks.tensor_task import TensorTask

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "Choice",
    "Conv2d",
    "Embedding",
    "LayerNorm",
    "Linear",
    "ModuleSpace",
    "MultiheadAttention",
    "RMSNorm",
    "Sequential",
    "TensorTask",
    "Width",
    "from_module",
    "width",
]
