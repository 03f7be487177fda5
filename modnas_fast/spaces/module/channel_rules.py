"""What functions of torch do with the axes of tensors; of those not known here, all axes stay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from modnas_fast.spaces.module.axes import Axes, Axis, Group, bind, tie
from modnas_fast.spaces.module.tracing import Extent

if TYPE_CHECKING:
    from modnas_fast.spaces.module.channel_groups import Channels

#: functions of each entry that leave zeros as they are
ZERO_STAYS = {
    "relu", "relu_", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "hardswish", "softsign",
    "dropout", "dropout2d", "clone", "contiguous", "float", "double", "half", "bfloat16", "to", "type", "type_as",
    "detach", "neg", "abs", "square", "sqrt", "sin", "erf", "sign", "alias",
}  # fmt: skip
#: functions of each entry
ENTRYWISE = {"sigmoid", "hardsigmoid", "softplus", "logsigmoid", "exp", "cos", "rsqrt", "hardtanh", "clamp", "pow"}
#: of one tensor, or of two entry by entry
ARITHMETIC = {"add", "sub", "mul", "truediv", "div", "iadd", "isub", "imul", "add_", "mul_", "masked_fill", "where"}
RESHAPES = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as"}
ORDERS = {"permute", "transpose", "movedim", "swapaxes", "t"}
SPATIAL = {
    "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "interpolate", "upsample", "pad",
}  # fmt: skip
#: distinct lengths, by which is seen where an axis went
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)


def follow(channels: Channels, node: fx.Node) -> None:
    """Gives the value of a function or method its axes, and ties or fixes those that it takes."""
    name = function_name(node)
    by_name = [key for key, argument in node.kwargs.items() if isinstance(argument, fx.Node) and key != "attn_mask"]
    if by_name:
        unknown(channels, node, f"{name} with {by_name[0]} by name")
        return
    try:
        _follow(channels, node, name)
    except (AttributeError, IndexError, TypeError, ValueError):  # arguments in another form than the rules know
        unknown(channels, node, f"{name} in this form")


def _follow(channels: Channels, node: fx.Node, name: str) -> None:
    value = channels.program.values[node]
    taken = node.args[0] if node.args else None
    of_tensor = isinstance(taken, fx.Node) and isinstance(channels.axes.get(taken), tuple)
    if name == "getitem" and isinstance(taken, fx.Node):
        getitem(channels, node, taken)
    elif name in ARITHMETIC:
        BINARY.get(name.strip("_"), mixed)(channels, node)
    elif name in ("cat", "concat", "stack"):
        joined(channels, node, new=name == "stack")
    elif not of_tensor:
        unknown(channels, node, name)
    elif name in ZERO_STAYS or name in ENTRYWISE:
        entrywise(channels, node, zeros=name in ZERO_STAYS)
    elif name in RESHAPES:
        reshape(channels, node, _lengths(node) if name in ("view", "reshape") else [])
    elif name in ORDERS:
        ordered(channels, node)
    elif name in SPATIAL and isinstance(value, Tensor):
        spatial(channels, node, 2)
    elif name in OTHERS:
        OTHERS[name](channels, node)
    else:
        unknown(channels, node, name)


def function_name(node: fx.Node) -> str:
    """`add` of `operator.add`, `torch.add`, `Tensor.add` and `aten.add.Tensor`."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.partition(".")[0]


def unknown(channels: Channels, node: fx.Node, name: str) -> None:
    """All axes of what goes in stay."""
    for taken in node.all_input_nodes:
        channels.fix(
            taken, channels.told(node, name if name.endswith("twin") else f"{name} is not known to conversion")
        )
    value = channels.program.values.get(node)
    if isinstance(value, (tuple, list)):
        channels.axes[node] = [plain(part) for part in value]
    else:
        channels.axes[node] = plain(value)
    channels.zeroed.add(node)


def plain(value: Any) -> Axes:
    """Axes of a value whose entries all stay."""
    return (None,) * value.dim() if isinstance(value, Tensor) else ()


def _first(node: fx.Node) -> fx.Node:
    taken = node.args[0]
    assert isinstance(taken, fx.Node)
    return taken


def _argument(node: fx.Node, place: int, name: str, default: Any = None) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def entrywise(channels: Channels, node: fx.Node, *, zeros: bool) -> None:
    """Axes are those of the argument."""
    taken = _first(node)
    channels.axes[node] = channels.axes[taken]
    if zeros and taken in channels.zeroed:
        channels.zeroed.add(node)


def spatial(channels: Channels, node: fx.Node, dims: int) -> None:
    """The last axes are made anew."""
    taken = _first(node)
    axes = channels.axes[taken]
    for axis in axes[-dims:]:
        if axis is not None:
            axis.fix(channels.told(node, "it pools over channels"))
    channels.axes[node] = (*axes[:-dims], *[None] * dims)
    padded = function_name(node) == "pad" and bool(_argument(node, 3, "value"))
    if taken in channels.zeroed and not padded:
        channels.zeroed.add(node)


def softmax(channels: Channels, node: fx.Node, dim: int | None) -> None:
    """The axis that sums to one stays."""
    axes = channels.axes[_first(node)]
    for axis in axes if dim is None else [axes[dim]]:
        if axis is not None:
            axis.fix(channels.told(node, "softmax over channels"))
    channels.axes[node] = axes


def broadcast(channels: Channels, node: fx.Node, tensors: Sequence[fx.Node]) -> Axes:
    """Ties the axes of tensors that are combined entry by entry; those of the result."""
    shape = channels.program.values[node].shape
    found: list[Axis | None] = [None] * len(shape)
    why = channels.told(node, "channels are combined with numbers that stay")
    for place in range(1, len(shape) + 1):
        lengths = {tensor: channels.program.values[tensor].shape for tensor in tensors}
        wide = [
            channels.axes[tensor][-place]
            for tensor in tensors
            if len(lengths[tensor]) >= place and (lengths[tensor][-place] > 1 or shape[-place] == 1)
        ]
        for other in wide[1:]:
            tie(wide[0], other, why)
        found[-place] = next((axis for axis in wide if axis is not None), None)
    return tuple(found)


def _tensors(channels: Channels, node: fx.Node) -> list[fx.Node]:
    return [taken for taken in node.all_input_nodes if isinstance(channels.program.values[taken], Tensor)]


def _are_tensors(channels: Channels, node: fx.Node) -> bool:
    of_tensors = all(isinstance(channels.axes.get(taken), tuple) for taken in node.all_input_nodes)
    return of_tensors and isinstance(channels.program.values[node], Tensor)


def mixed(channels: Channels, node: fx.Node) -> None:
    """Entries of several tensors together, such that zeros need not stay."""
    if not _are_tensors(channels, node):
        unknown(channels, node, function_name(node))
        return
    channels.axes[node] = broadcast(channels, node, _tensors(channels, node))


def summed(channels: Channels, node: fx.Node) -> None:
    """Sums and differences."""
    mixed(channels, node)
    numbers = [argument for argument in node.args[:2] if not isinstance(argument, fx.Node)]
    if all(taken in channels.zeroed for taken in node.all_input_nodes) and not any(numbers):
        channels.zeroed.add(node)


def multiplied(channels: Channels, node: fx.Node) -> None:
    """Products."""
    mixed(channels, node)
    if any(taken in channels.zeroed for taken in node.all_input_nodes):
        channels.zeroed.add(node)


def divided(channels: Channels, node: fx.Node) -> None:
    """Quotients; channels to divide by stay."""
    divisor = node.args[1]
    if isinstance(divisor, fx.Node):
        channels.fix(divisor, channels.told(node, "it divides by channels"))
    mixed(channels, node)
    if node.args[0] in channels.zeroed:
        channels.zeroed.add(node)


BINARY: dict[str, Callable[[Channels, fx.Node], None]] = {
    "add": summed, "iadd": summed, "sub": summed, "isub": summed, "mul": multiplied, "imul": multiplied,
    "truediv": divided, "div": divided,
}  # fmt: skip


def joined(channels: Channels, node: fx.Node, new: bool) -> None:
    """Tensors one after the other: along an axis of theirs, whose entries stay, or along a new one."""
    tensors: list[fx.Node] = _argument(node, 0, "tensors")
    dim = int(_argument(node, 1, "dim", 0))
    dim += channels.program.values[node].dim() if dim < 0 else 0
    parts = [list(channels.axes[tensor]) for tensor in tensors]
    for axes in parts:
        if new:
            axes.insert(dim, None)
        elif axes[dim] is not None:
            axes[dim].fix(channels.told(node, "channels are joined with others"))
            axes[dim] = None
    found: list[Axis | None] = []
    for alike in zip(*parts, strict=True):
        for other in alike[1:]:
            tie(alike[0], other, channels.told(node, "channels are joined with numbers that stay"))
        found.append(alike[0])
    channels.axes[node] = tuple(found)
    if all(tensor in channels.zeroed for tensor in tensors):
        channels.zeroed.add(node)


def _lengths(node: fx.Node) -> list[Any]:
    """The lengths that `view`, `reshape` or `expand` is given."""
    sizes = node.args[1:] or tuple(node.kwargs.values())
    return list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else list(sizes)


def reshape(channels: Channels, node: fx.Node, lengths: Sequence[Any]) -> None:
    """Axes in another shape; one whose length is given as a number stays, unless it is that of another tensor."""
    taken = _first(node)
    shape, wanted = channels.program.values[taken].shape, channels.program.values[node].shape
    why = channels.told(node, "it is reshaped across channels")
    found = regrouped(channels.axes[taken], shape, wanted, why)
    _check_lengths(channels, node, found, lengths)
    channels.axes[node] = found
    if taken in channels.zeroed:
        channels.zeroed.add(node)


def _check_lengths(channels: Channels, node: fx.Node, found: Axes, lengths: Sequence[Any]) -> None:
    """Fixes axes whose length is a number in the code, and ties those whose length is another tensor's."""
    for axis, length in zip(found, lengths):
        if axis is None or (not isinstance(length, Extent) and length == -1):
            continue
        if isinstance(length, Extent):
            source, dim = length.source
            tie(axis, channels.axes[source][dim], channels.told(node, f"a shape has {length} of other channels"))
        else:
            axis.fix(channels.told(node, f"{length} in a shape is a number in its code"))


def regrouped(axes: Axes, shape: Sequence[int], wanted: Sequence[int], why: str) -> Axes:
    """Axes of the same entries in another shape."""
    found: list[Axis | None] = [None] * len(wanted)
    before, after = [k for k, n in enumerate(shape) if n > 1], [k for k, n in enumerate(wanted) if n > 1]
    while before and after:
        ins, outs = [before.pop(0)], [after.pop(0)]
        while (entries := math.prod(shape[k] for k in ins)) != (made := math.prod(wanted[k] for k in outs)):
            if entries < made:
                ins.append(before.pop(0))
            else:
                outs.append(after.pop(0))
        first, rest = axes[ins[0]], [axis for k in ins[1:] if (axis := axes[k]) is not None]
        for axis in rest:
            axis.fix(why)
        if first is None:
            continue
        if len(outs) == 1:
            root = first.root
            found[outs[0]] = Axis(root.group, root.multiple * math.prod(shape[k] for k in ins[1:]))
        elif len(ins) == 1:
            found[outs[0]] = split_off(first.root, math.prod(wanted[k] for k in outs[1:]), why)
        else:
            first.fix(why)
    return tuple(found)


def split_off(axis: Axis, rest: int, why: str) -> Axis | None:
    """The first of the axes that an axis is divided into, the others of which have `rest` entries altogether."""
    if axis.multiple % rest == 0:
        return Axis(axis.group, axis.multiple // rest)
    if rest % axis.multiple == 0 and axis.group.size % (rest // axis.multiple) == 0:
        units = rest // axis.multiple
        coarse = Axis(Group(axis.group.size // units, axis.group.place))
        bind(axis.group, Axis(coarse.group, units))
        return coarse
    axis.fix(why)
    return None


def ordered(channels: Channels, node: fx.Node) -> None:
    """Axes in another order."""
    taken = _first(node)
    axes = channels.axes[taken]
    if len(axes) > len(PRIMES):
        unknown(channels, node, "an order of so many axes")
        return
    probe = torch.empty(PRIMES[: len(axes)], device="meta")
    args = (probe, *node.args[1:])
    moved = (
        getattr(probe, node.target)(*node.args[1:], **node.kwargs)
        if isinstance(node.target, str)
        else node.target(*args, **node.kwargs)
    )
    channels.axes[node] = tuple(axes[PRIMES.index(length)] for length in moved.shape)
    if taken in channels.zeroed:
        channels.zeroed.add(node)


def getitem(channels: Channels, node: fx.Node, taken: fx.Node) -> None:
    """An entry of a tuple, or a part of a tensor: axes that are cut stay."""
    axes, index = channels.axes.get(taken), node.args[1]
    if isinstance(axes, list) and isinstance(index, int):
        channels.axes[node] = axes[index]
    elif (
        isinstance(axes, tuple)
        and (found := _indexed(axes, index, channels.told(node, "channels are cut"))) is not None
    ):
        channels.axes[node] = found
    else:
        unknown(channels, node, "an index that is computed")
        return
    if taken in channels.zeroed:
        channels.zeroed.add(node)


def selected(channels: Channels, node: fx.Node) -> None:
    """`select` and `slice` of exported programs: an entry of an axis, or a part of it."""
    taken, dim = _first(node), int(_argument(node, 1, "dim", 0))
    axes = list(channels.axes[taken])
    whole = channels.program.values[node].shape == channels.program.values[taken].shape
    if axes[dim] is not None and not whole:
        axes[dim].fix(channels.told(node, "channels are cut"))
        axes[dim] = None
    if function_name(node) == "select":
        del axes[dim]
    channels.axes[node] = tuple(axes)
    if taken in channels.zeroed:
        channels.zeroed.add(node)


def _indexed(axes: Axes, index: Any, why: str) -> Axes | None:
    """Axes of `x[index]` of whole numbers, slices, None and an ellipsis; None for others."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if not all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts):
        return None
    if Ellipsis not in parts:
        parts.append(Ellipsis)
    place = parts.index(Ellipsis)
    skipped = len(axes) - sum(part is not None and part is not Ellipsis for part in parts)
    parts[place : place + 1] = [slice(None)] * skipped
    found: list[Axis | None] = []
    rest = iter(axes)
    for part in parts:
        axis = None if part is None else next(rest)
        if part is None or part == slice(None):
            found.append(axis)
            continue
        if axis is not None:
            axis.fix(why)
        if isinstance(part, slice):
            found.append(None)
    return tuple(found)


def cut(channels: Channels, node: fx.Node) -> None:
    """Parts along an axis, which stays."""
    taken, name = _first(node), function_name(node)
    dim = int(_argument(node, 1, "dim", 0) if name == "unbind" else _argument(node, 2, "dim", 0))
    axes = list(channels.axes[taken])
    if axes[dim] is not None:
        axes[dim].fix(channels.told(node, f"{name} cuts channels"))
    axes[dim] = None
    if name == "unbind":
        del axes[dim]
    channels.axes[node] = [tuple(axes)] * len(channels.program.values[node])
    if taken in channels.zeroed:
        channels.zeroed.add(node)


def expanded(channels: Channels, node: fx.Node) -> None:
    """Axes of length one are repeated."""
    taken = _first(node)
    axes, shape = channels.axes[taken], channels.program.values[taken].shape
    wanted = channels.program.values[node].shape
    new = len(wanted) - len(shape)
    kept = (axis if a == b else None for axis, a, b in zip(axes, shape, wanted[new:]))
    found: Axes = (*(None for _ in range(new)), *kept)
    if function_name(node) == "expand":
        _check_lengths(channels, node, found, _lengths(node))
    elif any(axis is not None and times != 1 for axis, times in zip(found, _lengths(node))):
        unknown(channels, node, "to repeat channels")
        return
    channels.axes[node] = found
    if taken in channels.zeroed:
        channels.zeroed.add(node)


def averaged(channels: Channels, node: fx.Node) -> None:
    """A mean or sum over axes, which stay."""
    taken, value = _first(node), channels.program.values[node]
    dims = _argument(node, 1, "dim")
    axes = channels.axes[taken]
    gone = (
        range(len(axes)) if dims is None else [int(d) % len(axes) for d in ([dims] if isinstance(dims, int) else dims)]
    )
    for k in gone:
        if axes[k] is not None:
            axes[k].fix(channels.told(node, "it reduces over channels"))
    kept = value.dim() == len(axes)
    channels.axes[node] = tuple(None if k in gone else axis for k, axis in enumerate(axes) if kept or k not in gone)
    if taken in channels.zeroed:
        channels.zeroed.add(node)


def product(channels: Channels, node: fx.Node) -> None:
    """Products of matrices."""
    first, second = node.args[:2]
    if not _are_tensors(channels, node) or not (isinstance(first, fx.Node) and isinstance(second, fx.Node)):
        unknown(channels, node, "matmul")
        return
    a, b = channels.axes[first], channels.axes[second]
    if min(len(a), len(b)) < 2:
        unknown(channels, node, "a product with a vector")
        return
    tie(a[-1], b[-2], channels.told(node, "a product over channels that stay"))
    if first not in channels.zeroed and second not in channels.zeroed and a[-1] is not None:
        a[-1].fix(channels.told(node, "a product over channels that are not zero where they are left out"))
    channels.axes[node] = (*_batches(channels, node, (a, b)), a[-2], b[-1])
    if first in channels.zeroed and second in channels.zeroed:
        channels.zeroed.add(node)


def _batches(channels: Channels, node: fx.Node, several: Sequence[Axes]) -> Axes:
    """The axes before the last two, which matrices have in common."""
    found: list[Axis | None] = [None] * (max(len(axes) for axes in several) - 2)
    for place in range(1, len(found) + 1):
        alike = [axes[-2 - place] for axes in several if len(axes) >= 2 + place]
        for other in alike[1:]:
            tie(alike[0], other, channels.told(node, "channels are multiplied with others that stay"))
        found[-place] = alike[0]
    return tuple(found)


def attention(channels: Channels, node: fx.Node) -> None:
    """Scaled products of queries and keys, whose length stays, weigh values."""
    several = [channels.axes[taken] for taken in node.args[:3] if isinstance(taken, fx.Node)]
    if len(several) != 3:
        unknown(channels, node, "attention")
        return
    query, key, value = several
    for axis in (query[-1], key[-1], key[-2], value[-2], query[-2]):
        if axis is not None:
            axis.fix(channels.told(node, "attention scales by the length of a head"))
    channels.axes[node] = (*_batches(channels, node, several), None, value[-1])
    if node.args[2] in channels.zeroed:
        channels.zeroed.add(node)


def _softmaxed(channels: Channels, node: fx.Node) -> None:
    softmax(channels, node, _argument(node, 1, "dim"))


OTHERS: dict[str, Callable[[Channels, fx.Node], None]] = {
    "chunk": cut, "split": cut, "unbind": cut, "select": selected, "slice": selected, "expand": expanded,
    "repeat": expanded, "mean": averaged, "sum": averaged, "matmul": product, "bmm": product,
    "scaled_dot_product_attention": attention, "softmax": _softmaxed, "log_softmax": _softmaxed,
}  # fmt: skip
