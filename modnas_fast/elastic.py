"""Layers of chosen sizes, and the space of all networks in a module that has them (docs/own-model.md)."""

from modnas_fast.spaces.module import (
    BatchNorm2d,
    Choice,
    Conv2d,
    Embedding,
    LayerNorm,
    Linear,
    ModuleSpace,
    Sequential,
    Width,
    width,
)

__all__ = [
    "BatchNorm2d",
    "Choice",
    "Conv2d",
    "Embedding",
    "LayerNorm",
    "Linear",
    "ModuleSpace",
    "Sequential",
    "Width",
    "width",
]
