"""Multiple gradient descent: one direction that no device objects to."""

from modnas_fast.mgd.descent import Combination, combine_devices, descend, device_gradients, device_groups
from modnas_fast.mgd.gramian import gramian
from modnas_fast.mgd.min_norm import MinNorm, min_norm

__all__ = [
    "Combination",
    "MinNorm",
    "combine_devices",
    "descend",
    "device_gradients",
    "device_groups",
    "gramian",
    "min_norm",
]
