"""The one-shot network of a MobileNetV3 space: the weights of the largest network, of which each network uses a part.

Hard samples are computed one by one with the first channels of every layer, kernels that matrices make of the largest
ones, and the blocks that they have, each at its own resolution. Samples that want a gradient, or may be soft, are
computed by masks (`mixture`). Both normalise by the minibatch; for the quality of chosen networks statistics are
computed anew on training images (`statistics`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from modnas_fast.spaces.mobilenetv3 import memory, mixture, prefixes
from modnas_fast.spaces.mobilenetv3.network import resized
from modnas_fast.spaces.mobilenetv3.scales import Shape
from modnas_fast.spaces.mobilenetv3.shared import SharedWeights
from modnas_fast.supernets.memo import Memo
from modnas_fast.supernets.parallel import in_parallel, workers
from modnas_fast.supernets.supernet import Computed, Plan

if TYPE_CHECKING:
    from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space


class MobileNetV3Supernet(SharedWeights):
    """Shared weights w of all networks of a MobileNetV3 space; keys of the weights are the official ones.

    Args:
        space: whose networks share them.
        classes: number of classes.
        input_channels: of the images.

    `predict` takes images [B, C, H, W] of any size and gives logits [S, B, classes] of samples [S, N].
    """

    calibrates = True

    def __init__(self, space: MobileNetV3Space, classes: int, input_channels: int = 3) -> None:
        super().__init__(space.scale, classes, input_channels)
        self._space = space

    def embed(self, x: Tensor) -> Tensor:
        """The images, with their channels last in memory."""
        return x.contiguous(memory_format=torch.channels_last)

    def predict_from(
        self,
        state: Tensor,
        onehot: Tensor,
        *,
        hard: bool | None = None,
        exact: bool = True,
        recompute: bool = False,
        memo_of_state: Memo | None = None,
    ) -> Tensor:
        """Logits [S, B, classes] of samples [S, N] for images [B, C, H, W].

        Args:
            state: the images.
            onehot: samples.
            hard: whether all are one-hots; None: looked at.
            exact: the gradient by hard samples is exact for all options; False: kernels and resolutions that are not
                chosen have none, and the latter are not computed.
            recompute: not used.
            memo_of_state: of resized images.
        """
        if hard is None:
            hard = onehot.device.type == "cpu" and bool(((onehot == 0) | (onehot == 1)).all())
        memo = memo_of_state or Memo()
        if not hard or (onehot.requires_grad and torch.is_grad_enabled()):
            return torch.stack([self._mixed(state, row, exact, memo) for row in onehot.to(state)])
        return self._networks(state, onehot, [None] * len(onehot), memo)

    def predict_chosen(self, state: Tensor, onehot: Tensor, statistics: Sequence[object]) -> Tensor:
        """Logits [S, B, classes] of hard samples, normalised by their `statistics`."""
        return self._networks(state, onehot, cast("Sequence[prefixes.Statistics]", statistics), Memo())

    def statistics(self, batches: Sequence[Tensor], onehot: Tensor) -> list[prefixes.Statistics]:
        """Of hard samples [S, N]: mean and variance of every batch normalisation, averaged over batches of images.

        In each batch the layers before are normalised by the batch itself, as published.
        """

        def one(shape: Shape) -> prefixes.Statistics:
            with torch.no_grad():
                found = []
                for batch in batches:
                    norms = prefixes.Norms()
                    prefixes.logits(self, resized(self.embed(batch), shape.resolution), shape, norms)
                    found.append([torch.stack(pair) for pair in norms.seen])
                means = (torch.stack(pairs).mean(dim=0) for pairs in zip(*found, strict=True))
                return [(pair[0], pair[1]) for pair in means]

        shapes = self._shapes(onehot)
        return in_parallel(one, shapes, workers(batches[0].device, len(shapes)))

    def _networks(
        self, state: Tensor, onehot: Tensor, statistics: Sequence[prefixes.Statistics | None], memo: Memo
    ) -> Tensor:
        """Logits of hard samples, one after the other, on a CPU without a gradient one per thread."""
        enabled = torch.is_grad_enabled()
        shapes = self._shapes(onehot)
        images = {r: self._resized(state, r, memo) for r in dict.fromkeys(shape.resolution for shape in shapes)}

        def one(network: tuple[Shape, prefixes.Statistics | None]) -> Tensor:
            shape, given = network
            with torch.set_grad_enabled(enabled):
                return prefixes.logits(self, images[shape.resolution], shape, prefixes.Norms(given))

        count = 1 if enabled else workers(state.device, len(shapes))
        return torch.stack(in_parallel(one, list(zip(shapes, statistics, strict=True)), count))

    def plan(self, x: Tensor, samples: int, computed: Computed, free: int | None, workers: int = 1) -> Plan:
        """One sample at a time for every worker; see `memory.plan`."""
        return memory.plan(self, x, computed, samples, free, workers)

    def networks_at_a_time(self, x: Tensor, free: int | None) -> int:
        """As many as fit, up to `memory.EVALUATED_TOGETHER`."""
        return memory.networks_at_a_time(self, x, free)

    def _shapes(self, onehot: Tensor) -> list[Shape]:
        return [self._space.shape(row) for row in self._space.indices(onehot.detach().cpu()).tolist()]

    @staticmethod
    def _resized(state: Tensor, resolution: int, memo: Memo) -> Tensor:
        """In one resolution, for all networks that have it."""
        return memo(resolution, lambda x: resized(x, resolution), state)

    def _mixed(self, state: Tensor, sample: Tensor, exact: bool, memo: Memo) -> Tensor:
        """Logits [B, classes] of a sample [N], differentiable in it: outputs at its resolutions in their shares."""
        parts = self._space.split(sample)
        kernels = parts.kernels if exact else parts.kernels * (parts.kernels > 0)
        shares = mixture.Shares(kernels, parts.expansions, self._space.present(parts.depths))
        asked = torch.is_grad_enabled() and sample.requires_grad and exact
        mixed = torch.zeros((), dtype=state.dtype, device=state.device)
        for share, chosen, resolution in zip(
            parts.resolution.unbind(), (parts.resolution > 0).tolist(), self.scale.resolutions
        ):
            if chosen or asked:
                # what has no share has no gradient but the one by its share
                with torch.set_grad_enabled(chosen and torch.is_grad_enabled()):
                    x = self._resized(state, resolution, memo)
                    found = mixture.mixed_logits(self, x, shares)
                mixed = mixed + share * found
        return mixed
