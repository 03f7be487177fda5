"""Layers that read as their torch twins, with sizes that may be chosen.

A narrow layer is the first units of the widest. A pass of shared weights computes those alone where options are chosen;
where they are mixed by shares, layers have full size, and units beyond a size are zero.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.module.width import (
    CHOSEN,
    SHARES,
    Size,
    Width,
    chosen_size,
    first_units,
    largest,
    share_of_units,
)


class Elastic:
    """What a layer with chosen sizes tells of itself."""

    sizes: tuple[Size, ...]

    @abstractmethod
    def twin(self, chosen: Mapping[str, int]) -> nn.Module:
        """The torch layer of the chosen sizes, with the first units of the weights."""

    def widths(self) -> Iterator[Width]:
        """The sizes that are chosen."""
        return (size for size in self.sizes if isinstance(size, Width))


def _sliced(twin: nn.Module, wide: nn.Module) -> nn.Module:
    shared = wide.state_dict()
    for name, values in twin.state_dict().items():
        values.copy_(shared[name][tuple(slice(size) for size in values.shape)])
    return twin.train(wide.training)


def _first(parameter: Tensor | None, *sizes: Size) -> Tensor | None:
    return None if parameter is None else first_units(parameter, *sizes)


def _kept(x: Tensor, size: Size, trailing: int = 0) -> Tensor:
    share = share_of_units(size, x)
    return x if share is None else x * share.view(-1, *[1] * trailing)


class Linear(nn.Linear, Elastic):
    """As `torch.nn.Linear`."""

    def __init__(self, in_features: Size, out_features: Size, bias: bool = True) -> None:
        super().__init__(largest(in_features), largest(out_features), bias)
        self.sizes = (in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        inputs, outputs = self.sizes
        weight, bias = first_units(self.weight, outputs, inputs), _first(self.bias, outputs)
        return _kept(F.linear(x, weight, bias), outputs)

    def twin(self, chosen: Mapping[str, int]) -> nn.Module:
        inputs, outputs = (chosen_size(size, chosen) for size in self.sizes)
        return _sliced(nn.Linear(inputs, outputs, bias=self.bias is not None, dtype=self.weight.dtype), self)


class Conv2d(nn.Conv2d, Elastic):
    """As `torch.nn.Conv2d`, of one group or depthwise; keywords such as stride and padding are its own.

    Args:
        in_channels, out_channels, kernel_size: as in torch.
        groups: one, or what `in_channels` and `out_channels` are.
    """

    def __init__(
        self,
        in_channels: Size,
        out_channels: Size,
        kernel_size: int | tuple[int, int],
        groups: Size = 1,
        **how: Any,
    ) -> None:
        if groups != 1 and not groups == in_channels == out_channels:
            raise InputError(
                f"groups: an elastic Conv2d has one, or as many as both channels (depthwise), got {groups}; take "
                "torch.nn.Conv2d if fixed"
            )
        super().__init__(largest(in_channels), largest(out_channels), kernel_size, groups=largest(groups), **how)
        self.sizes, self._how, self._depthwise = (in_channels, out_channels), how, groups != 1

    def forward(self, x: Tensor) -> Tensor:
        inputs, outputs = self.sizes
        weight = first_units(self.weight, outputs, 1 if self._depthwise else inputs)
        padding: str | int | tuple[int, ...] = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, self.padding_mode), 0
        groups = len(weight) if self._depthwise else 1
        bias = _first(self.bias, outputs)
        return _kept(F.conv2d(x, weight, bias, self.stride, padding, self.dilation, groups), outputs, trailing=2)

    def twin(self, chosen: Mapping[str, int]) -> nn.Module:
        inputs, outputs = (chosen_size(size, chosen) for size in self.sizes)
        how = self._how | {"dtype": self.weight.dtype, "groups": inputs if self._depthwise else 1}
        return _sliced(nn.Conv2d(inputs, outputs, self.kernel_size, **how), self)  # type: ignore[arg-type]


class _BatchNorm(Elastic):
    """What batch normalisations of any number of places have in common."""

    torch_twin: type[nn.BatchNorm1d | nn.BatchNorm2d]

    def __init__(
        self,
        num_features: Size,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(largest(num_features), eps, momentum, affine, track_running_stats)  # type: ignore[call-arg]
        self.sizes = (num_features,)

    def forward(self: Any, x: Tensor) -> Tensor:
        if SHARES.get() is None and CHOSEN.get() is None:
            return super().forward(x)  # type: ignore[misc]
        (size,) = self.sizes
        weight, bias = _first(self.weight, size), _first(self.bias, size)
        normal = F.batch_norm(x, None, None, weight, bias, training=True, eps=self.eps)
        return _kept(normal, size, trailing=x.dim() - 2)

    def twin(self: Any, chosen: Mapping[str, int]) -> nn.Module:
        size = chosen_size(self.sizes[0], chosen)
        how = {"affine": self.affine, "track_running_stats": self.track_running_stats}
        dtype = self.weight.dtype if self.affine else None
        return _sliced(self.torch_twin(size, self.eps, self.momentum, **how, dtype=dtype), self)


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """As `torch.nn.BatchNorm1d`; shared weights take the minibatch's statistics and keep none."""

    torch_twin = nn.BatchNorm1d


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """As `torch.nn.BatchNorm2d`; shared weights take the minibatch's statistics and keep none."""

    torch_twin = nn.BatchNorm2d


class LayerNorm(nn.LayerNorm, Elastic):
    """As `torch.nn.LayerNorm` over the last axis; the statistics are those of the units that are there."""

    def __init__(
        self, normalized_shape: Size, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True
    ) -> None:
        super().__init__(largest(normalized_shape), eps, elementwise_affine, bias)
        self.sizes = (normalized_shape,)

    def forward(self, x: Tensor) -> Tensor:
        (size,) = self.sizes
        share = share_of_units(size, x)
        if share is None:
            weight, bias = _first(self.weight, size), _first(self.bias, size)
            return F.layer_norm(x, x.shape[-1:], weight, bias, self.eps)
        mean = (x * share).sum(-1, keepdim=True) / share.sum()
        variance = ((x - mean).square() * share).sum(-1, keepdim=True) / share.sum()
        return _scaled((x - mean) * (variance + self.eps).rsqrt(), self.weight, self.bias) * share

    def twin(self, chosen: Mapping[str, int]) -> nn.Module:
        size, affine = chosen_size(self.sizes[0], chosen), self.elementwise_affine
        dtype = self.weight.dtype if affine else None
        return _sliced(nn.LayerNorm(size, self.eps, affine, self.bias is not None, dtype=dtype), self)


class RMSNorm(nn.RMSNorm, Elastic):
    """As `torch.nn.RMSNorm` over the last axis; the mean square is that of the units that are there."""

    def __init__(self, normalized_shape: Size, eps: float | None = None, elementwise_affine: bool = True) -> None:
        super().__init__(largest(normalized_shape), eps, elementwise_affine)
        self.sizes = (normalized_shape,)

    def forward(self, x: Tensor) -> Tensor:
        (size,) = self.sizes
        share = share_of_units(size, x)
        if share is None:
            return F.rms_norm(x, x.shape[-1:], _first(self.weight, size), self.eps)
        square = (x.square() * share).sum(-1, keepdim=True) / share.sum()
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        return _scaled(x * (square + eps).rsqrt(), self.weight, None) * share

    def twin(self, chosen: Mapping[str, int]) -> nn.Module:
        dtype = self.weight.dtype if self.elementwise_affine else None
        size = chosen_size(self.sizes[0], chosen)
        return _sliced(nn.RMSNorm(size, self.eps, self.elementwise_affine, dtype=dtype), self)


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


class MultiheadAttention(nn.MultiheadAttention, Elastic):
    """As `torch.nn.MultiheadAttention`, of a width whose heads all have the size that they have in the largest.

    A narrow one is the first heads. In a pass of shared weights no attention weights are given: the second result is
    None, as with `need_weights=False`.

    Args:
        embed_dim: a width has sizes that are multiples of the largest one divided by `num_heads`.
        num_heads: of the largest.
        dropout, bias, batch_first: as in torch.
    """

    def __init__(
        self, embed_dim: Size, num_heads: int, dropout: float = 0.0, bias: bool = True, batch_first: bool = False
    ) -> None:
        wide = largest(embed_dim)
        sizes = [embed_dim.multiple * size for size in embed_dim.sizes] if isinstance(embed_dim, Width) else [wide]
        if num_heads < 1 or wide % num_heads or any(size % (wide // num_heads) for size in sizes):
            told = ", ".join(map(str, sizes))
            raise InputError(
                f"num_heads: {num_heads} heads divide {wide} into parts; {told} must all be multiples of one"
            )
        super().__init__(wide, num_heads, dropout, bias, batch_first=batch_first)
        self.sizes = (embed_dim,)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **how: Any) -> tuple[Tensor, Tensor | None]:  # type: ignore[override]
        (size,) = self.sizes
        share, chosen = share_of_units(size, query), CHOSEN.get()
        if share is None and chosen is None:
            found: tuple[Tensor, Tensor | None] = super().forward(query, key, value, **how)
            return found
        turned = self.batch_first and query.dim() == 3
        query, key, value = (side.transpose(0, 1) if turned else side for side in (query, key, value))
        weight, bias = self._projections(chosen)
        if share is not None:  # heads that are not there have no values, so they add nothing
            rows = torch.cat([torch.ones_like(share), torch.ones_like(share), share])
            weight, bias = weight * rows[:, None], None if bias is None else bias * rows
        output, _ = F.multi_head_attention_forward(
            query,
            key,
            value,
            query.shape[-1],
            query.shape[-1] // (self.embed_dim // self.num_heads),
            weight,
            bias,
            None,
            None,
            False,
            self.dropout,
            first_units(self.out_proj.weight, size, size),
            _first(self.out_proj.bias, size),
            training=self.training,
            **(how | {"need_weights": False}),
        )
        return _kept(output.transpose(0, 1) if turned else output, size), None

    def _projections(self, chosen: Mapping[str, int] | None) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of queries, keys and values, one below the other, of the chosen size."""
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if chosen is None:
            return weight, bias
        size = chosen_size(self.sizes[0], chosen)
        parts = [part[:size, :size] for part in weight.chunk(3)]
        return torch.cat(parts), None if bias is None else torch.cat([part[:size] for part in bias.chunk(3)])

    def twin(self, chosen: Mapping[str, int]) -> nn.Module:
        size = chosen_size(self.sizes[0], chosen)
        how = {"bias": self.in_proj_bias is not None, "batch_first": self.batch_first}
        heads = size // (self.embed_dim // self.num_heads)
        twin = nn.MultiheadAttention(size, heads, self.dropout, dtype=self.in_proj_weight.dtype, **how)
        weight, bias = self._projections(chosen)
        shared = self.state_dict() | {"in_proj_weight": weight.detach()}
        if bias is not None:
            shared["in_proj_bias"] = bias.detach()
        for name, values in twin.state_dict().items():
            values.copy_(shared[name][tuple(slice(length) for length in values.shape)])
        return twin.train(self.training)


class Embedding(nn.Embedding, Elastic):
    """As `torch.nn.Embedding`."""

    def __init__(self, num_embeddings: int, embedding_dim: Size, padding_idx: int | None = None) -> None:
        super().__init__(num_embeddings, largest(embedding_dim), padding_idx)
        self.sizes = (embedding_dim,)

    def forward(self, x: Tensor) -> Tensor:
        (size,) = self.sizes
        return _kept(F.embedding(x, first_units(self.weight, self.num_embeddings, size), self.padding_idx), size)

    def twin(self, chosen: Mapping[str, int]) -> nn.Module:
        size = chosen_size(self.sizes[0], chosen)
        return _sliced(nn.Embedding(self.num_embeddings, size, self.padding_idx, dtype=self.weight.dtype), self)


class Units(nn.Module, Elastic):
    """For `torch.nn.utils.parametrize`: of a parameter of a module's own, the first units of each axis.

    Args:
        sizes: of its axes.
    """

    def __init__(self, *sizes: Size) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        x = first_units(x, *self.sizes)
        for axis, size in enumerate(self.sizes):
            x = _kept(x, size, trailing=x.dim() - 1 - axis)
        return x

    def taken(self, parameter: Tensor, chosen: Mapping[str, int]) -> nn.Parameter:
        """The parameter of a network of chosen sizes."""
        part = parameter[tuple(slice(chosen_size(size, chosen)) for size in self.sizes)]
        return nn.Parameter(part.detach().clone(), parameter.requires_grad)

    def twin(self, chosen: Mapping[str, int]) -> nn.Module:
        """None is needed: the parameter is cut where it stands."""
        return nn.Identity()


class Skippable(nn.Module):
    """One of consecutive blocks that keep the shape, of which the first few are taken; without it x goes on.

    Args:
        block: what is there or not.
        name: of the choice of the depth.
        depth: numbers of blocks to choose from, ascending.
        needed: of which depth on it is there.
    """

    def __init__(self, block: nn.Module, name: str, depth: tuple[int, ...], needed: int) -> None:
        super().__init__()
        self.block, self.name, self.depth, self.needed = block, name, depth, needed

    @property
    def there(self) -> frozenset[int]:
        """The options of the choice with which it is there."""
        return frozenset(k for k, depth in enumerate(self.depth) if depth >= self.needed)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shares, chosen = SHARES.get(), CHOSEN.get()
        if chosen is not None and chosen[self.name] not in self.there:
            return x
        if shares is None:
            return self.block(x, *args, **kwargs)
        share = shares[self.name][sorted(self.there)].sum().to(x)
        return share * self.block(x, *args, **kwargs) + (1 - share) * x


class Sequential(nn.Sequential):
    """As `torch.nn.Sequential`, of whose layers the first few are taken; later ones must keep the shape.

    Args:
        layers: in order.
        name: of the choice.
        depth: numbers of layers to choose from, ascending, the last one all of them.
    """

    def __init__(self, *layers: nn.Module, name: str, depth: tuple[int, ...]) -> None:
        super().__init__(*layers)
        if not depth or depth[0] < 1 or depth[-1] != len(layers) or any(a >= b for a, b in itertools.pairwise(depth)):
            raise InputError(f"depth: {name} wants ascending numbers from 1 to its {len(layers)} layers, got {depth}")
        self.name, self.depth = name, depth

    def forward(self, x: Tensor) -> Tensor:
        shares, chosen = SHARES.get(), CHOSEN.get()
        if shares is None:
            for layer in itertools.islice(self, None if chosen is None else self.depth[chosen[self.name]]):
                x = layer(x)
            return x
        taken: list[Tensor] = []
        for number, layer in enumerate(self, start=1):
            x = layer(x)
            if number in self.depth:
                taken.append(shares[self.name][self.depth.index(number)].to(x) * x)
        return torch.stack(taken).sum(0)


class Choice(nn.Module):
    """One of several modules, whose outputs have one shape.

    Args:
        name: of the choice.
        options: the modules by the names of the options; without a pass of shared weights the last one is taken.
    """

    def __init__(self, name: str, **options: nn.Module) -> None:
        super().__init__()
        if not options:
            raise InputError(f"options: choice {name} wants modules by name, such as Choice({name!r}, relu=nn.ReLU())")
        self.name, self.options = name, nn.ModuleDict(options)

    def forward(self, x: Tensor) -> Tensor:
        shares, chosen, modules = SHARES.get(), CHOSEN.get(), list(self.options.values())
        if shares is None:
            return modules[-1 if chosen is None else chosen[self.name]](x)
        share = shares[self.name].to(x)
        return torch.stack([share[k] * module(x) for k, module in enumerate(modules)]).sum(0)
