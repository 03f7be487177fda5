"""A module of one's own as a space: layers whose widths, depths and kinds are chosen."""

from modnas_fast.spaces.module.layers import BatchNorm2d, Choice, Conv2d, Embedding, LayerNorm, Linear, Sequential
from modnas_fast.spaces.module.space import ModuleSpace
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
