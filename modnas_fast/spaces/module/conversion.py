"""A trained model as a space: its own layers with sizes that may be chosen, its own weights in them."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.module import layers
from modnas_fast.spaces.module.adoption import adopted
from modnas_fast.spaces.module.axes import Axis, Group
from modnas_fast.spaces.module.channel_groups import OUTPUT, Channels, lack, twin_sizes
from modnas_fast.spaces.module.exporting import exported
from modnas_fast.spaces.module.importance import sort_channels_
from modnas_fast.spaces.module.own_norms import replace_own_norms_
from modnas_fast.spaces.module.repeated_blocks import Run, runs_of_blocks
from modnas_fast.spaces.module.space import ModuleSpace, SharedModule
from modnas_fast.spaces.module.tracing import Program, Untraceable, is_leaf, trace
from modnas_fast.spaces.module.trial import BATCH_NORMS, complaint
from modnas_fast.spaces.module.width import Size, Width, width

#: layers whose kept sizes are told of
WEIGHTED = (nn.Linear, nn.Conv2d, nn.Embedding, nn.MultiheadAttention)


class ConvertedSpace(ModuleSpace):
    """The networks in a trained model, as `from_module` makes it."""

    #: layers all of whose units stay, and blocks that stay, by path, and why
    kept: Mapping[str, str] = {}
    #: what was changed in the model to convert it, in words
    notes: tuple[str, ...] = ()

    def supernet(self, **task: Any) -> SharedModule:
        supernet = super().supernet(**task)
        staying = [f"{path} ({why})" for path, why in self.kept.items() if why != OUTPUT]
        told = f"{len(staying)} layers of the model keep all their channels, such as {staying[0]}" if staying else ""
        supernet.notes = (*self.notes, told) if told else self.notes
        return supernet


def from_module(
    model: nn.Module, example_input: Tensor, widths: Sequence[float] = (0.25, 0.5, 0.75, 1), depth: bool = True
) -> ConvertedSpace:
    """The space of all networks in a trained model, the largest of which is the model itself with its weights.

    Channels that are added, or follow each other, are one choice; they are sorted by importance first. Sizes are
    shares of the model's own. Residual blocks of one structure, one after the other, may be left out from the last one
    on. What the model takes and gives keeps its shape. What stays as it is, `kept` names with the reason.

    Args:
        model: on the CPU or not; it is not changed. Its `forward` is traced with its first argument.
        example_input: a minibatch [B, ...] as the model takes it, of numbers or ids.
        widths: shares of each size, ascending, the last one 1.
        depth: whether blocks may be left out.

    Raises:
        InputError: for a model that cannot be traced, gives other than one tensor, has one layer at two places, or of
            which nothing can be chosen.

    >>> from modnas_fast import elastic
    >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> space = elastic.from_module(model, torch.randn(8, 4))
    >>> space.choices
    (Choice(name='width_0', options=('4', '8', '12', '16')),)
    >>> space.build(space.ends[0])[2], space.kept["2"]
    (Linear(in_features=4, out_features=2, bias=True), "it is the model's output")
    """
    _check(model, example_input, widths)
    example = _two_samples(example_input.detach().cpu())
    plain, notes = _prepared(model)
    channels = Channels(plain, _program(plain, example))
    channels.find()
    wanted: list[Part] = [*_width_parts(channels, widths), *_depth_parts(channels, depth)]
    parts, refused = _working(channels, wanted, example)
    if not parts:
        told = "; ".join(f"{path}: {why}" for path, why in list((refused | _kept(channels, [])).items())[:4])
        raise InputError(f"model: nothing of it can be chosen: {told or 'it has no layers'}")
    space = _space(channels, parts, example)
    space.kept = refused | _kept(channels, parts)
    space.notes = notes
    space.model.train(model.training)
    return space


@dataclass(frozen=True)
class WidthPart:
    """A group of channels of which some may be left out."""

    group: Group
    width: Width

    @property
    def name(self) -> str:
        """Of the choice."""
        return self.width.name


@dataclass(frozen=True)
class DepthPart:
    """Blocks that may be left out."""

    run: Run
    name: str


Part = WidthPart | DepthPart


def _check(model: nn.Module, example: Tensor, widths: Sequence[float]) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model: wanted a torch.nn.Module, got a {type(model).__name__}")
    if not isinstance(example, Tensor) or example.dim() < 2 or not len(example):
        got = list(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise InputError(f"example_input: wanted a minibatch as the model takes it, a tensor [B, ...], got {got}")
    ascending = all(a < b for a, b in itertools.pairwise(widths))
    if not widths or widths[0] <= 0 or widths[-1] != 1 or not ascending:
        raise InputError(f"widths: wanted ascending shares that end with 1, such as (0.5, 1), got {tuple(widths)}")


def _program(model: nn.Module, example: Tensor) -> Program:
    """What the model does, by torch.fx, or by torch.export where its code looks at more than torch.fx can show."""
    program = _followed(model, example)
    output = program.nodes[-1].args[0]
    value = program.values.get(output) if isinstance(output, fx.Node) else output
    if not isinstance(value, Tensor):
        raise InputError(f"model: wanted one tensor as its output, got a {type(value).__name__}; wrap it in a module")
    return program


def _followed(model: nn.Module, example: Tensor) -> Program:
    try:
        return trace(model, example)
    except Untraceable as error:
        try:
            return exported(model, example)
        except Exception:  # whatever somebody's module does
            kind = type(model.get_submodule(error.path)).__name__
            raise InputError(
                f"model: torch.fx and torch.export cannot follow {error.path or 'the model itself'} ({kind}): "
                f"{error.reason}; write its forward with torch functions of tensors alone, or declare its layers with "
                "modnas_fast.elastic"
            ) from None


def _two_samples(example: Tensor) -> Tensor:
    """Two are enough, and what batch normalisation needs."""
    return example[:2] if len(example) > 1 else torch.cat([example, example.flip(-1)])


def _prepared(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy that elastic layers can go into, in evaluation, and what was changed in it."""
    _check_layers(model)
    plain = copy.deepcopy(model).cpu().eval()
    for module in plain.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # else torch computes with the layers' weights, passing them by
        if isinstance(module, nn.TransformerEncoder):
            module.enable_nested_tensor = module.use_nested_tensor = False
    notes = [f"{path} is torch's RMSNorm now, which computes the same" for path in replace_own_norms_(plain)]
    known: dict[int, nn.Module] = {}
    for path, module in plain.named_modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and known.setdefault(id(parameter), module) is not module:
                module._parameters[name] = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
                place = f"{path}.{name}" if path else name
                notes.append(f"{place} shared its weight with another layer: here it has its own")
    return plain, tuple(notes)


def _check_layers(model: nn.Module) -> None:
    """Raises InputError where a layer with weights has two places."""
    known: dict[int, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        own = next(module.parameters(recurse=False), None)
        if own is not None and (first := known.setdefault(id(module), path)) != path:
            raise InputError(f"model: {first} and {path} are one layer; give each place a layer of its own")


def _width_parts(channels: Channels, shares: Sequence[float]) -> Iterator[WidthPart]:
    """Every group of channels that may be chosen, in the order in which the model computes them."""
    groups = dict.fromkeys(axis.root.group for axes in channels.layers.values() for axis in axes if axis.free)
    names: set[str] = set()
    for group in groups:
        grain = group.grain
        sizes = sorted({max(grain, round(group.size * share / grain) * grain) for share in shares})
        if group.size % grain == 0 and len(sizes) > 1:
            yield WidthPart(group, width(_name(group.place, names, "width"), *sizes))
        else:
            group.fixed = f"{group.size} channels have no other size that is a multiple of {grain}"


def _depth_parts(channels: Channels, wanted: bool) -> Iterator[DepthPart]:
    names: set[str] = set()
    for run in runs_of_blocks(channels) if wanted else ():
        yield DepthPart(run, _name(f"{run.container}.depth" if run.container else "depth", names, "depth"))


def _name(place: str, names: set[str], kind: str) -> str:
    """A name of a choice that is none of `names`, which it joins."""
    base = re.sub(r"\W", "_", place)
    base = base if base.isidentifier() else f"{kind}_{base}"
    name = next(name for n in itertools.count(1) if (name := base if n == 1 else f"{base}_{n}") not in names)
    names.add(name)
    return name


def _working(channels: Channels, parts: list[Part], example: Tensor) -> tuple[list[Part], dict[str, str]]:
    """The parts with which networks are what they should be; of the others, why they are not, by place."""
    if not parts or complaint(_space(channels, parts, example), channels.model, example) is None:
        return parts, {}
    working: list[Part] = []
    refused: dict[str, str] = {}
    for part in parts:
        why = complaint(_space(channels, [*working, part], example), channels.model, example)
        if why is None:
            working.append(part)
        elif isinstance(part, WidthPart):
            part.group.fixed = why
        else:
            refused |= dict.fromkeys(part.run.blocks, why)
    return working, refused


def _kept(channels: Channels, parts: Sequence[Part]) -> dict[str, str]:
    """Why layers with weights keep all their units, by path."""
    chosen = {part.group for part in parts if isinstance(part, WidthPart)}
    kept = {}
    for path, module in channels.model.named_modules():
        axes = channels.layers.get(path)
        if axes is not None and isinstance(module, WEIGHTED) and (root := axes[-1].root.group) not in chosen:
            kept[path] = root.fixed or "it is not tied to anything"
        elif axes is None and path.rpartition(".")[0] not in channels.layers and _has_weights(module):
            kept[path] = lack(module) if twin_sizes(module) is None else "the example does not reach it"
    return kept


def _has_weights(module: nn.Module) -> bool:
    """Whether it is a layer of torch with parameters of its own."""
    return is_leaf(module) and next(module.parameters(recurse=False), None) is not None


def _space(channels: Channels, parts: Sequence[Part], example: Tensor) -> ConvertedSpace:
    model = copy.deepcopy(channels.model)
    widths = {part.group: part.width for part in parts if isinstance(part, WidthPart)}
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    sort_channels_(tensors, channels.slots, {*widths, *channels.heads})
    for path, axes in channels.layers.items():
        layer, sizes = model.get_submodule(path), tuple(_size(axis, widths) for axis in axes)
        if path and (isinstance(layer, BATCH_NORMS) or any(isinstance(size, Width) for size in sizes)):
            model.set_submodule(path, adopted(layer, sizes))
    for name, of_parameter in channels.parameters.items():
        owner, _, own = name.rpartition(".")
        shape = model.get_parameter(name).shape
        sizes = tuple(length if axis is None else _size(axis, widths) for axis, length in zip(of_parameter, shape))
        if any(isinstance(size, Width) for size in sizes):
            parametrize.register_parametrization(model.get_submodule(owner), own, layers.Units(*sizes))
    depths = [part for part in parts if isinstance(part, DepthPart)]
    for part in sorted(depths, key=lambda part: (-part.run.blocks[0].count("."), part.name)):  # what is within first
        _let_skip_(model, part)
    return ConvertedSpace(model, takes_ids=not example.is_floating_point())


def _size(axis: Axis, widths: Mapping[Group, Width]) -> Size:
    root = axis.root
    return widths[root.group] * root.multiple if root.group in widths else axis.size


def _let_skip_(model: nn.Module, part: DepthPart) -> None:
    depths = tuple(range(1, len(part.run.blocks) + 2))
    for needed, path in enumerate(part.run.blocks, start=2):
        model.set_submodule(path, layers.Skippable(model.get_submodule(path), part.name, depths, needed))
