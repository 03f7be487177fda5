"""Weights of the devices' gradients by a weighting of TorchJD's (Quinton & Rey 2024): `mgd.scheme=torchjd:UPGrad`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from modnas_fast.mgd.schemes import Mean
from modnas_fast.runtime.errors import InputError, one_line
from modnas_fast.runtime.suggestions import did_you_mean

#: weightings that are functions of the Gramian alone: a continued run makes a new one, and draws nothing
WEIGHTINGS = ("AlignedMTL", "CAGrad", "DualProj", "FairGrad", "IMTLG", "Krum", "MGDA", "UPGrad")


def torchjd_scheme(name: str) -> Callable[..., TorchJD]:
    """What makes the scheme of a weighting, by its keyword arguments. InputError for a name not in `WEIGHTINGS`."""
    if name not in WEIGHTINGS:
        raise InputError(
            f"mgd.scheme: wanted torchjd: and one of {', '.join(WEIGHTINGS)}, got {name!r}; "
            f"{did_you_mean(name, WEIGHTINGS)}TorchJD's others have a state or draw at random, which a continued run "
            "could not repeat"
        )
    return partial(TorchJD, name)


class TorchJD(Mean):
    """One update with all devices, weighed as TorchJD weighs a Gramian; weights are divided by their sum.

    Args:
        name: of the weighting, one of `WEIGHTINGS`.
        options: its keyword arguments.

    Raises InputError where TorchJD or what the weighting needs is missing, and for bad options.
    """

    def __init__(self, name: str, **options: Any) -> None:
        try:
            self._weighting = getattr(import_module("torchjd.aggregation"), f"{name}Weighting")(**options)
        except ImportError as error:
            raise InputError(
                f"mgd.scheme: torchjd:{name} lacks a package, {one_line(error)}; try pip install "
                "'torchjd[quadprog_projector,cagrad]'"
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"mgd.options: torchjd:{name} does not take {options}, {one_line(error)}") from error

    def weights(self, gram: Tensor) -> Tensor:
        """TorchJD's over their sum, which may be negative; all alike where the sum is not positive."""
        found: Tensor = self._weighting(gram).to(gram)
        total = found.sum()
        return found / total if torch.isfinite(total) and total > 0 else super().weights(gram)
