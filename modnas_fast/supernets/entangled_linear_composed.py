"""The linear layer with shared, sliced weights from library matrix products on what each device uses, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from modnas_fast.supernets.entangled_linear_reference import Part, counted

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class _Used(NamedTuple):
    """What one device uses of the inputs or of the outputs."""

    where: slice | Tensor
    factors: Tensor | None  # of the numbers under `where`; None where all are 1
    mask: Tensor | None  # all of them, [size]


def entangled_linear(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Part, outputs: Part) -> Tensor:
    """As the reference. A shared x costs one product of the widest device, whatever T, if there are no masks."""
    count = _count(x, inputs, outputs)
    y = x.new_zeros(count, x.shape[1], len(weight))
    if _one_product(x, count, inputs, outputs):
        widths = _prefixes(inputs, count, weight.shape[1]), _prefixes(outputs, count, len(weight))
        _add_by_ranges(x[0], weight, *widths, y)
        if bias is not None:
            for t, n in enumerate(widths[1]):
                y[t, :, :n] += bias[:n]
        return y
    for t, (used_in, used_out) in enumerate(_devices(x, weight, inputs, outputs)):
        left, right = _scaled(x[t % len(x)], used_in), weight[_block(used_out, used_in)].T
        # Straight into y where it is all of the answer, else by way of a product that is scaled or scattered.
        found = y[t, :, used_out.where] if used_out.mask is None else None
        if bias is None:
            found = torch.mm(left, right, out=found)
        else:
            found = torch.addmm(bias[used_out.where], left, right, out=found)
        if used_out.mask is not None:
            y[t][:, used_out.where] = _times(found, used_out)
    return y


def gradients(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Part, outputs: Part, needed: Sequence[bool]
) -> Gradients:
    """Gradients of x, weight, bias, inputs and outputs, None where not `needed`, from dy [T, R, N]."""
    count = len(dy)
    of_x = torch.zeros_like(x, dtype=_wide(x)) if needed[0] else None
    of_weight = torch.zeros_like(weight, dtype=_wide(x)) if needed[1] else None
    if _one_product(x, count, inputs, outputs):
        widths = _prefixes(inputs, count, weight.shape[1]), _prefixes(outputs, count, len(weight))
        _gradients_by_ranges(dy, x[0], weight, *widths, of_x, of_weight)
        of_masks: tuple[Tensor | None, Tensor | None] = None, None
    else:
        devices = _devices(x, weight, inputs, outputs)
        of_masks = _gradients_by_devices(dy, x, weight, bias, devices, of_x, of_weight, needed[3], needed[4])
    of_bias = _gradient_of_bias(dy, weight, outputs) if needed[2] else None
    of_x, of_weight, of_bias = (g if g is None else g.to(x.dtype) for g in (of_x, of_weight, of_bias))
    return of_x, of_weight, of_bias, *of_masks


def _count(x: Tensor, inputs: Part, outputs: Part) -> int:
    return next((len(part) for part in (inputs, outputs) if part is not None), len(x))


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


# ---- a shared x, prefix widths ----


def _one_product(x: Tensor, count: int, inputs: Part, outputs: Part) -> bool:
    masks = any(part is not None and part.is_floating_point() for part in (inputs, outputs))
    return len(x) < count and not masks


def _prefixes(part: Part, count: int, size: int) -> list[int]:
    return [size] * count if part is None else part.tolist()


def _add_by_ranges(x: Tensor, weight: Tensor, inputs: list[int], outputs: list[int], y: Tensor) -> None:
    """Writes y. Devices from narrow to wide: each takes the product so far, which grows by the inputs it adds."""
    total = x.new_zeros(len(x), len(weight), dtype=_wide(x))
    order = sorted(range(len(inputs)), key=inputs.__getitem__)
    done = 0
    for place, t in enumerate(order):
        k, n = inputs[t], outputs[t]
        most = max(outputs[u] for u in order[place:])
        if k > done:
            _add_product(total[:, :most], x[:, done:k], weight[:most, done:k].T)
            done = k
        y[t, :, :n] = total[:, :n]


def _gradients_by_ranges(
    dy: Tensor, x: Tensor, weight: Tensor, inputs: list[int], outputs: list[int], of_x: Tensor | None,
    of_weight: Tensor | None,
) -> None:  # fmt: skip
    """Adds to of_x and of_weight. Devices from wide to narrow: inputs that only the first use see only their dy."""
    total = x.new_zeros(len(x), len(weight), dtype=_wide(x))
    order = sorted(range(len(inputs)), key=inputs.__getitem__, reverse=True)
    most = 0
    for t, narrower in zip(order, [*(inputs[u] for u in order[1:]), 0], strict=True):
        k, n = inputs[t], outputs[t]
        total[:, :n] += dy[t, :, :n]
        most = max(most, n)
        if k > narrower:
            part, some = total[:, :most].to(x.dtype), slice(narrower, k)
            if of_x is not None:
                _add_product(of_x[0][:, some], part, weight[:most, some])
            if of_weight is not None:
                _add_product(of_weight[:most, some], part.T, x[:, some])


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


# ---- each device by itself ----


def _devices(x: Tensor, weight: Tensor, inputs: Part, outputs: Part) -> list[tuple[_Used, _Used]]:
    count = _count(x, inputs, outputs)
    sides = (_used(inputs, count, weight.shape[1]), _used(outputs, count, len(weight)))
    return list(zip(*sides, strict=True))


def _used(part: Part, count: int, size: int) -> list[_Used]:
    if part is None or not part.is_floating_point():
        return [_Used(slice(0, width), None, None) for width in _prefixes(part, count, size)]
    found = []
    for mask in part.detach():
        places = mask.nonzero()[:, 0]
        is_prefix = len(places) == 0 or len(places) == places[-1] + 1
        where = slice(0, len(places)) if is_prefix else places
        found.append(_Used(where, mask[where], mask))
    return found


def _block(used_out: _Used, used_in: _Used) -> tuple[slice | Tensor, slice | Tensor]:
    """The index of rows × columns of a matrix [N, K]."""
    rows, columns = used_out.where, used_in.where
    if isinstance(rows, Tensor) and isinstance(columns, Tensor):
        rows = rows[:, None]
    return rows, columns


def _times(values: Tensor, used: _Used) -> Tensor:
    return values if used.factors is None else (values * used.factors).to(values.dtype)


def _scaled(values: Tensor, used: _Used) -> Tensor:
    return _times(values[:, used.where], used)


def _gradients_by_devices(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, devices: list[tuple[_Used, _Used]],
    of_x: Tensor | None, of_weight: Tensor | None, inputs_needed: bool, outputs_needed: bool,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Adds to of_x and of_weight; returns the gradients of the masks."""
    of_inputs, of_outputs = [], []
    for t, (used_in, used_out) in enumerate(devices):
        s, block = t % len(x), _block(used_out, used_in)
        if of_x is not None:
            left, right = _scaled(dy[t], used_out), weight[block]
            if used_in.mask is None:
                _add_product(of_x[s, :, used_in.where], left, right)
            else:
                of_x[s][:, used_in.where] += _times(left @ right, used_in)
        if inputs_needed or outputs_needed:
            product = _whole_product(dy[t], x[s], used_in, used_out)
            by_weight = product * _whole_weight(weight, used_in, used_out)
            of_inputs.append(_over_used(by_weight, used_out))
            of_outputs.append(_over_used(by_weight.T, used_in))
            if bias is not None:
                left_out = _left_out(used_out, bias)
                of_outputs[-1] += counted(bias, left_out) * counted(dy[t], left_out).sum(0, dtype=product.dtype)
            if of_weight is not None:
                of_weight[block] += _times_both(product[block], used_out, used_in)
        elif of_weight is not None:
            left, right = _scaled(dy[t], used_out).T, _scaled(x[s], used_in)
            if used_in.mask is None and used_out.mask is None:
                _add_product(of_weight[block], left, right)
            else:
                of_weight[block] += left @ right
    return (
        torch.stack(of_inputs) if inputs_needed else None,
        torch.stack(of_outputs) if outputs_needed else None,
    )


def _whole_product(dy: Tensor, x: Tensor, used_in: _Used, used_out: _Used) -> Tensor:
    """dyᵀ x, also of what the masks leave out: [N, K]. It serves the weight and both masks."""
    left, right = counted(dy, _left_out(used_out, dy[0])), counted(x, _left_out(used_in, x[0]))
    return (left.T @ right).to(_wide(x))


def _whole_weight(weight: Tensor, used_in: _Used, used_out: _Used) -> Tensor:
    return counted(weight, _left_out(used_out, weight[:, 0])[:, None] | _left_out(used_in, weight[0]))


def _left_out(used: _Used, like: Tensor) -> Tensor:
    """bool [size]"""
    if used.mask is not None:
        return used.mask == 0
    assert isinstance(used.where, slice)  # a width
    left_out: Tensor = torch.arange(len(like)) >= used.where.stop
    return left_out


def _over_used(by_weight: Tensor, used: _Used) -> Tensor:
    """Σ over the used part of the first axis, weighted by its factors."""
    rows = by_weight[used.where]
    return rows.sum(0) if used.factors is None else used.factors @ rows


def _times_both(product: Tensor, used_out: _Used, used_in: _Used) -> Tensor:
    if used_out.factors is not None:
        product = product * used_out.factors[:, None]
    return product if used_in.factors is None else product * used_in.factors


def _gradient_of_bias(dy: Tensor, weight: Tensor, outputs: Part) -> Tensor:
    sums = dy.sum(1, dtype=_wide(dy))
    total = torch.zeros_like(sums[0])
    for t, used in enumerate(_used(outputs, len(dy), len(weight))):
        total[used.where] += _times(sums[t, used.where], used)
    return total
