"""What judges the accuracy of MobileNetV3s: the network that Once-for-All was searched with.

Its authors trained it on accuracies that networks have with the supernet's weights, on images held out of ImageNet's
training part. It takes the resolution in steps of 16, and only 160, 176, … 224 were trained: between them its answers
are interpolated, below they go on along the line through the lowest two. What it tells is mapped to the top-1 accuracy
that Once-for-All's networks have after fine-tuning, by a line fitted to those that were published of a width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError

if TYPE_CHECKING:
    from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

#: what the network's one-hots are of, in their order
KERNELS, EXPANSIONS = (3, 5, 7), (3, 4, 6)
STAGES, LAYERS = 5, 4
#: places for a resolution, the first one's, their step, and the first and last that were trained
RESOLUTIONS, FIRST, STEP = 8, 112, 16
TRAINED = (160, 224)
#: by width, slope and intercept of top-1 % over what the network tells
TOP1 = {1.0: (77.3, 13.0), 1.2: (98.5, -2.2)}


class AccuracyNet(nn.Module):
    """Errors in percent of networks [n, N] on ImageNet: float64 [n].

    Args:
        layers: weights [out, in] and biases [out] of an MLP with ReLU between, the last of one output.
        space: whose choices are some of Once-for-All's, at a width of `TOP1`.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], space: MobileNetV3Space) -> None:
        super().__init__()
        self._space = space
        self._layers = [(weight.double(), bias.double()) for weight, bias in layers]
        self._slope, self._intercept = TOP1[space.scale.width]

    @classmethod
    def load(cls, file: Path, space: MobileNetV3Space) -> AccuracyNet:
        """The network in Once-for-All's file. Raises InputError where it is none."""
        inputs = STAGES * LAYERS * (len(KERNELS) + len(EXPANSIONS)) + RESOLUTIONS
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            weights = [value for name, value in state.items() if name.endswith("weight")]
            biases = [value for name, value in state.items() if name.endswith("bias")]
            sizes = [inputs, *(len(weight) for weight in weights)]
            fits = all(w.shape == (o, i) and b.shape == (o,) for w, b, i, o in zip(weights, biases, sizes, sizes[1:]))
        except Exception as error:  # what the unpickler stumbles over in a damaged file has no common type
            raise InputError(f"{file} is no network of accuracies ({str(error).partition(chr(10))[0]})") from None
        if not weights or len(weights) != len(biases) or not fits or sizes[-1] != 1:
            raise InputError(f"{file}: wanted an MLP of {inputs} inputs and one output, Once-for-All's of accuracies")
        return cls(list(zip(weights, biases)), space)

    @torch.no_grad()
    def forward(self, onehot: Tensor) -> Tensor:
        return 100 - (self._slope * self.raw(onehot) + self._intercept)

    @torch.no_grad()
    def raw(self, onehot: Tensor) -> Tensor:
        """What the network itself tells, a share of 1, interpolated in the resolution, [n]."""
        parts, scale = self._space.split(self._space.canonical(onehot).double()), self._space.scale
        present = self._space.present(parts.depths)[..., None]  # [n, J, L, 1]
        of_kernels = _widened(parts.kernels * present, scale.kernels, KERNELS)
        of_expansions = _widened(parts.expansions * present, scale.expansions, EXPANSIONS)
        blocks = torch.cat([of_kernels, of_expansions], dim=-1)
        resolution = parts.resolution @ torch.tensor(scale.resolutions, dtype=torch.float64)
        low = (
            ((resolution - FIRST) / STEP).floor().clamp((TRAINED[0] - FIRST) // STEP, (TRAINED[1] - FIRST) // STEP - 1)
        )
        share = (resolution - FIRST) / STEP - low
        below, above = (self._mlp(blocks, low.long() + step) for step in (0, 1))
        return below + share * (above - below)

    def _mlp(self, blocks: Tensor, resolution: Tensor) -> Tensor:
        x = torch.cat([blocks, nn.functional.one_hot(resolution, RESOLUTIONS).double()], dim=-1)
        for place, (weight, bias) in enumerate(self._layers):
            x = nn.functional.linear(x, weight, bias)
            x = x.relu() if place < len(self._layers) - 1 else x
        return x.squeeze(-1)


def _widened(part: Tensor, options: Sequence[int], known: Sequence[int]) -> Tensor:
    """One-hots [n, J, L, options] at the published places: [n, published J · L · known]."""
    full = part.new_zeros(len(part), STAGES, LAYERS, len(known))
    places = torch.tensor([known.index(option) for option in options])
    full[:, :, : part.shape[2], places] = part
    return full.flatten(1)


def is_judged(space: MobileNetV3Space) -> bool:
    """Whether the network knows all options of a space."""
    scale = space.scale
    return (
        scale.width in TOP1
        and set(scale.kernels) <= set(KERNELS)
        and set(scale.expansions) <= set(EXPANSIONS)
        and scale.layers <= LAYERS
        and scale.resolutions[0] >= FIRST
        and scale.resolutions[-1] <= TRAINED[1]
    )
