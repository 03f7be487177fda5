"""Multiple gradient descent: one direction that no device objects to."""

from modnas_fast.mgd import operators as _operators
from modnas_fast.mgd.descent import Combination, combine_devices, descend, device_gradients, device_groups
from modnas_fast.mgd.gramian import combine, gramian
from modnas_fast.mgd.min_norm import MinNorm, Status, min_norm
from modnas_fast.mgd.training import mgd_backward
from modnas_fast.mgd.weighting import MGDWeights, mgd_weights

__all__ = [
    "Combination",
    "MGDWeights",
    "MinNorm",
    "Status",
    "combine",
    "combine_devices",
    "descend",
    "device_gradients",
    "device_groups",
    "gramian",
    "mgd_backward",
    "mgd_weights",
    "min_norm",
]

del _operators
