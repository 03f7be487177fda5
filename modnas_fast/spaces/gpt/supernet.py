"""The one-shot network of a GPT space: the weights of the largest network, of which each network uses a prefix.

Widths, heads, MLP ratios and depth of a sample are masks on the shared layers (entangled by prefix, as published), so
that a sample may be soft: a mixture of networks, differentiable in its shares (Sukthanker et al. 2023). What a network
does not use is exactly 0 and reaches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from modnas_fast.spaces.gpt import memory
from modnas_fast.spaces.gpt.masks import Masks, Options
from modnas_fast.spaces.gpt.network import EPSILON, Block, Transformer, initialize, rotated, rotations
from modnas_fast.spaces.gpt.prefix_layer import Places, places
from modnas_fast.spaces.gpt.prefix_networks import Choice, Common, hidden_states
from modnas_fast.supernets.entangled_linear import entangled_linear
from modnas_fast.supernets.entangled_norm import entangled_norm
from modnas_fast.supernets.linear_outputs import LinearOutputs
from modnas_fast.supernets.memo import Memo
from modnas_fast.supernets.supernet import Computed, Plan, Supernet

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.space import GPTSpace

#: keys of the embedding and of the output, which are one
TIED = ("transformer.wte.weight", "lm_head.weight")


class GPTSupernet(Supernet):
    """Shared weights w of all networks of a GPT space; keys of the weights are the official ones.

    Args:
        space: whose networks share them.
        vocabulary: V.

    `predict` takes token ids [B, L] and gives logits [S, B, L, V] of samples [S, N].
    """

    capturable = True

    def __init__(self, space: GPTSpace, vocabulary: int) -> None:
        super().__init__()
        self._space = space
        self._made: dict[tuple[torch.dtype, torch.device], Options] = {}
        scale = space.scale
        width, ratio, heads = scale.widths[-1], scale.ratios[-1], scale.heads[-1]
        layers = (SharedBlock(width, ratio, heads, scale.head_size, bias=True) for _ in range(scale.layers))
        self.transformer = Transformer(vocabulary, width, layers)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        initialize(self, scale.layers)

    def embed(self, x: Tensor) -> Tensor:
        """The widest embedding [B, L, E] of token ids [B, L]."""
        embedded: Tensor = self.transformer.wte(x)
        return embedded

    def predict_from(
        self,
        state: Tensor,
        onehot: Tensor,
        *,
        hard: bool | None = None,
        exact: bool = True,
        recompute: bool = False,
        memo_of_state: Memo | None = None,
    ) -> LinearOutputs:
        """What makes logits [S, B, L, V] of samples [S, N], behind `embed`.

        Hard samples are computed with prefixes of the weights alone, on the CPU.

        Args:
            state: as `embed` gives it.
            onehot: samples.
            hard: whether all are one-hots; None: looked at.
            exact: False leaves out layers that a hard sample does not have: the gradient by their being there is 0.
            recompute: save memory: layers are computed once more in the backward pass.
            memo_of_state: not used.
        """
        if hard is None:
            hard = onehot.device.type == "cpu" and bool(((onehot == 0) | (onehot == 1)).all())
        if not (hard and self._takes_prefixes):
            return LinearOutputs(self._mixture(state, onehot, recompute).unbind(), self.lm_head.weight)
        how = Common(self._options(state), self._places(state), exact, recompute)
        hidden = hidden_states(self.transformer, state, onehot, self._choices(onehot), how)
        return LinearOutputs(hidden, self.lm_head.weight)

    def divisible_layers(self) -> Sequence[nn.Module]:
        """Those of the transformer."""
        return list(self.transformer.h)

    def plan(self, x: Tensor, samples: int, computed: Computed, free: int | None, workers: int = 1) -> Plan:
        """As many samples at a time as fit; see `memory.plan`."""
        return memory.plan(self._pass(x, computed != "soft", computed == "weights"), samples, free, workers)

    def networks_at_a_time(self, x: Tensor, free: int | None) -> int:
        """As many as fit, up to `memory.EVALUATED_TOGETHER`."""
        return memory.networks_at_a_time(self._pass(x, hard=True, by_weights=False), free)

    def _pass(self, x: Tensor, hard: bool, by_weights: bool) -> memory.Pass:
        """Of token ids [B, L]."""
        weight, (batch, length) = self.lm_head.weight, x.shape
        prefixes = hard and self._takes_prefixes
        return memory.Pass(self._space.scale, batch, length, len(weight), weight.itemsize, prefixes, by_weights)

    @property
    def _takes_prefixes(self) -> bool:
        """Whether hard samples are computed one by one, with all weights; on a GPU that would wait for them."""
        weight = self.lm_head.weight
        return not self.divided and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)

    def _choices(self, onehot: Tensor) -> list[Choice]:
        """What hard samples [S, N] ask for."""
        scale, found = self._space.scale, []
        for indices in self._space.indices(onehot.detach()).tolist():
            ratios, heads = indices[2 : 2 + scale.layers], indices[2 + scale.layers : -1]
            found.append(
                Choice(
                    scale.widths[indices[0]],
                    scale.depths[indices[1]],
                    tuple(scale.ratios[i] for i in ratios),
                    tuple(scale.heads[i] for i in heads),
                    indices[-1] == 0,
                )
            )
        return found

    def _options(self, like: Tensor) -> Options:
        """Made once per number format and device."""
        key = like.dtype, like.device
        if key not in self._made:
            self._made[key] = Options(self._space, like)
        return self._made[key]

    def _places(self, state: Tensor) -> Places:
        """Of minibatches of this shape."""
        (batch, length, _), scale = state.shape, self._space.scale
        return places(batch, length, rotations(0, length, scale.head_size, state), scale.heads[-1], scale.head_size)

    def _mixture(self, state: Tensor, onehot: Tensor, recompute: bool = False) -> Tensor:
        """Hidden states [S, B, L, E] of samples that may be soft, differentiable in them."""
        masks = self._options(state).masks(onehot.to(state))
        rotation = rotations(0, state.shape[1], self._space.scale.head_size, state)
        x = state[None] * masks.width[:, None, None]  # [S, B, L, E]
        for layer, block in enumerate(self.transformer.h):
            arguments = x, layer, masks, rotation
            if recompute and torch.is_grad_enabled():
                x = checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(*arguments)
        return _norm(self.transformer.ln_f, x, masks.width) * masks.width[:, None, None]


class SharedBlock(Block):
    """A layer of the largest network, computed for samples that may be soft."""

    def forward(self, x: Tensor, layer: int, masks: Masks, rotation: Tensor) -> Tensor:  # type: ignore[override]
        """Hidden states [S, B, L, E] behind layer number `layer`, of those before it."""
        added = self._attention(x, layer, masks, rotation) + self._mlp(x, layer, masks)
        return x + masks.present[:, layer, None, None, None] * added

    def _attention(self, x: Tensor, layer: int, masks: Masks, rotation: Tensor) -> Tensor:
        size, heads = self.attn.head_size, masks.heads[:, layer]
        rows = heads.repeat_interleave(3 * size, dim=-1)
        normed = _norm(self.norm_1, x, masks.width)
        fused = _linear(self.attn.attn, normed, masks.width, rows, masks.bias)
        grouped = fused.flatten(0, 1).unflatten(-1, (heads.shape[1], 3, size)).transpose(1, 2)  # [S B, H, L, 3, d_h]
        q, k, v = grouped.unbind(-2)
        attended = F.scaled_dot_product_attention(rotated(q, rotation), rotated(k, rotation), v, is_causal=True)
        channels = heads.repeat_interleave(size, dim=-1)
        joined = attended.transpose(1, 2).flatten(2).unflatten(0, fused.shape[:2])
        return _linear(self.attn.proj, joined, channels, masks.width, masks.bias)

    def _mlp(self, x: Tensor, layer: int, masks: Masks) -> Tensor:
        hidden = masks.hidden[:, layer]
        inner = F.gelu(_linear(self.mlp.fc, _norm(self.norm_2, x, masks.width), masks.width, hidden, masks.bias))
        return _linear(self.mlp.proj, inner, hidden, masks.width, masks.bias)


def _linear(layer: nn.Linear, x: Tensor, inputs: Tensor, outputs: Tensor, bias: Tensor) -> Tensor:
    """A shared linear layer of x [S, B, L, inputs]: [S, B, L, outputs], with its bias in each sample's share [S]."""
    y = entangled_linear(x, layer.weight, inputs=inputs, outputs=outputs)
    return y + (bias[:, None] * outputs * layer.bias)[:, None, None]


def _norm(layer: nn.LayerNorm, x: Tensor, mask: Tensor) -> Tensor:
    """Layer normalisation over the channels in use: x [S, B, L, E], which is 0 elsewhere, and mask [S, E]."""
    return entangled_norm(x, layer.weight, layer.bias, mask, EPSILON)
