"""The one-shot network of NAS-Bench-201's space: shared weights, T architectures on one minibatch.

Batch normalisation always uses the statistics of the minibatch, one set per device; in the cells without affine
parameters, as in those of the published search, elsewhere with them where `affine` asks for it. How a cell is computed
is the business of `mixed_cell`: here states of all devices go through it side by side, or, where the fast version is
the one made of library calls, network by network, so that devices share every prefix in which they agree.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.spaces.nb201 import memory
from modnas_fast.spaces.nb201 import mixed_cell_composed as composed
from modnas_fast.spaces.nb201.mixed_cell import implementation, mixed_cell
from modnas_fast.spaces.nb201.network import (
    EDGES,
    OPERATIONS,
    ReductionKind,
)
from modnas_fast.spaces.nb201.shared_layers import Norm, SharedCell, SharedPool, SharedResidual, convolve
from modnas_fast.spaces.nb201.space import NB201Space
from modnas_fast.supernets.memo import Memo
from modnas_fast.supernets.supernet import Computed, Plan, Supernet

_REDUCTIONS: dict[str, type[nn.Module]] = {"residual": SharedResidual, "pool": SharedPool}


class NB201Supernet(Supernet):
    """Shared weights w of all 15,625 networks.

    Activations have the format of the images: float64, float32 or bfloat16; weights are rounded to it where they are
    used, statistics and the classifier are in float32 or wider.

    Args:
        image_channels: channels of the input images.
        classes: number of classes.
        channels: C, channels of the first stage (16 in the paper); doubled at each reduction.
        cells: N, cells per stage (5 in the paper).
        reduction: `residual` as in the paper, or `pool`.
        entangled: the 1×1 kernel of an edge is the centre of its 3×3 kernel, as in the published code.
        affine: the batch normalisations of stem, reductions and last layer have scale and shift, as in the published
            code.
    """

    capturable = True
    takes_bfloat16 = True
    shares_statistics = True

    def __init__(
        self,
        image_channels: int,
        classes: int,
        channels: int,
        cells: int,
        reduction: ReductionKind = "residual",
        entangled: bool = False,
        affine: bool = False,
    ) -> None:
        super().__init__()
        self._space = NB201Space()
        self.stem = nn.Conv2d(image_channels, channels, 3, padding=1, bias=False)
        self.stem_norm = Norm(channels, affine)
        layers: list[nn.Module] = []
        for stage in range(3):
            width = channels * 2**stage
            layers += [_REDUCTIONS[reduction](width // 2, affine)] if stage else []
            layers += [SharedCell(width, entangled) for _ in range(cells)]
        self.layers = nn.ModuleList(layers)
        self.final_norm = Norm(4 * channels, affine)
        self.classifier = nn.Linear(4 * channels, classes)

    def predict(
        self,
        x: Tensor,
        onehot: Tensor,
        *,
        hard: bool | None = None,
        exact: bool = True,
        recompute: bool = False,
    ) -> Tensor:
        """Logits [T, B, classes] of T architectures on one minibatch x [B, image_channels, H, W].

        Args:
            x: images, float.
            onehot: one sampled architecture per device, [T, N]; samples on the CPU go with images anywhere.
            hard: whether every sample is an exact one-hot; None: looked at, but not on a GPU, which would be waited
                for: there they are taken as soft, and gradients are exact whatever `exact` says.
            exact: the gradient by hard samples is exact for operations not chosen too, which are computed for it;
                False: the published code's, which computes the chosen ones and gives all others the same gradient.
            recompute: save memory where the cells of all devices are computed together: activations inside of cells are
                computed once more in the backward pass.
        """
        return self.predict_from(self.embed(x), onehot, hard=hard, exact=exact, recompute=recompute)

    def embed(self, x: Tensor) -> Tensor:
        """What all architectures share: the stem's output [B, C, H, W] of images [B, image_channels, H, W]."""
        return self.stem_norm(convolve(self.stem, x.contiguous(memory_format=torch.channels_last)))

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
        """`predict` behind `embed`; `memo_of_state` may hold what earlier calls computed of the same state."""
        sample, active, single_path = self._active(onehot, hard, exact)
        sample, active = sample.to(state.device), active.to(state.device)
        if implementation(state.device.type) == "composed":
            return self._network_by_network(state, sample, active, memo_of_state)
        return self._side_by_side(state, sample, active, recompute, single_path)

    def plan(self, x: Tensor, samples: int, computed: Computed, free: int | None, workers: int = 1) -> Plan:
        """As many samples at a time as fit; see `memory.plan`."""
        kind = "all" if computed == "soft" else computed
        return memory.plan(self, x.shape, x.element_size(), samples, self._implementation, kind, free, workers)

    def networks_at_a_time(self, x: Tensor, free: int | None) -> int:
        """As many as fit, up to `memory.EVALUATED_TOGETHER`."""
        return memory.networks_at_a_time(self, x.shape, x.element_size(), self._implementation, free)

    @property
    def _implementation(self) -> str:
        """Name of what computes the cells."""
        return implementation(self.stem.weight.device.type)

    def _active(self, onehot: Tensor, hard: bool | None, exact: bool) -> tuple[Tensor, Tensor, bool]:
        """Samples [T, 6, 5], which operations are to be computed, and whether that is at most one per edge."""
        if hard is None:
            hard = onehot.device.type == "cpu" and bool(((onehot == 0) | (onehot == 1)).all())
        wants_gradient = onehot.requires_grad and torch.is_grad_enabled()
        if hard and not wants_gradient:
            onehot = self._space.canonical(onehot)
        sample = onehot.unflatten(-1, (len(EDGES), len(OPERATIONS)))
        if hard and not (wants_gradient and exact):
            return sample, sample > 0, True
        return sample, torch.ones_like(sample, dtype=torch.bool), False

    def _network_by_network(self, state: Tensor, sample: Tensor, active: Tensor, memo_of_state: Memo | None) -> Tensor:
        """All cells of a network make the same choices: two networks share all of it, or parts of the first cell."""
        kernels = [
            composed.Kernels(*layer.kernels()) if isinstance(layer, SharedCell) else None for layer in self.layers
        ]
        outputs: dict[object, Tensor] = {}
        keys, memo = [], Memo()
        for row, runs in zip(sample.unbind(0), active.tolist(), strict=True):
            choice = composed.Choice(row, runs)
            keys.append(choice if choice.needs_gradient else choice.key)
            if keys[-1] not in outputs:
                outputs[keys[-1]] = self._one_network(state, choice, kernels, memo, memo_of_state or memo)
        return torch.stack([outputs[key] for key in keys])

    def _one_network(
        self,
        state: Tensor,
        choice: composed.Choice,
        kernels: list[composed.Kernels | None],
        memo: Memo,
        memo_of_state: Memo,
    ) -> Tensor:
        for layer, own in zip(self.layers, kernels):
            if own is None:
                state = layer(state)
            else:
                state = composed.cell(state, own, choice, memo, memo_of_state)
                memo = memo_of_state = Memo()  # behind the first cell nothing is shared
        return self._classify(state)

    def _side_by_side(
        self, state: Tensor, sample: Tensor, active: Tensor, recompute: bool, single_path: bool
    ) -> Tensor:
        states = state[None]  # [S, B, C, H, W]; the first cell's input is shared by all devices
        for layer in self.layers:
            if isinstance(layer, SharedCell):
                states = mixed_cell(
                    states, *layer.kernels(), sample, active, recompute=recompute, single_path=single_path
                )
            else:
                states = layer(states.flatten(0, 1), len(states)).unflatten(0, states.shape[:2])
        return self._classify(states.flatten(0, 1), len(states)).unflatten(0, states.shape[:2])

    def _classify(self, x: Tensor, devices: int = 1) -> Tensor:
        features = F.relu(self.final_norm(x, devices))
        # as a pooling its gradient keeps the layout of the images in memory; that of a mean does not
        pooled = F.avg_pool2d(features, features.shape[-2:]).flatten(1)
        return self.classifier(pooled.to(self.classifier.weight.dtype))
