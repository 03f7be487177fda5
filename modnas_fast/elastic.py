"""Layers of chosen sizes, and the space of all networks in a module that has them (docs/own-model.md)."""

from modnas_fast.spaces.module import ModuleSpace
from modnas_fast.spaces.module.layers import BatchNorm2d, Choice, Conv2d, Embedding, LayerNorm, Linear, Sequential
from modnas_fast.spaces.module.width import Width, width

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
