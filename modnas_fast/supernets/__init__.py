"""What supernetworks of several spaces use: entangled layers, passes a part of the devices at a time, CUDA graphs."""

from modnas_fast.supernets.entangled_linear import entangled_linear
from modnas_fast.supernets.linear_outputs import LinearOutputs
from modnas_fast.supernets.supernet import Plan, Supernet, cross_entropies

__all__ = ["LinearOutputs", "Plan", "Supernet", "cross_entropies", "entangled_linear"]
