"""Which channels of a traced model are kept or left out together, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import fx, nn

from modnas_fast.spaces.module import channel_rules as rules
from modnas_fast.spaces.module.axes import Axes, Axis, Group, tie
from modnas_fast.spaces.module.tracing import Program

#: modules that work on each entry and leave zeros as they are
ZERO_STAYS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Hardswish,
    nn.Softsign, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
)  # fmt: skip
#: modules that work on each entry
ENTRYWISE = (nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid, nn.Hardtanh)
#: modules that work on the last axis of each channel, and on the last two
SPATIAL = {
    1: (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
    2: (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d, nn.Upsample, nn.ZeroPad2d),
}

#: why the last layer stays
OUTPUT = "it is the model's output"
#: what a unit of an axis is to a tensor of weights: it is made of them, makes something else, or they go with it
Role = Literal["gives", "takes", "goes"]


class Slot(NamedTuple):
    """An axis of a tensor of weights that has units of a group, `outer` times one after the other."""

    tensor: str
    dim: int
    axis: Axis
    role: Role
    outer: int = 1


@dataclass
class Channels:
    """Axes of every value of a pass, and of the layers' weights."""

    model: nn.Module
    program: Program
    axes: dict[fx.Node, Any] = field(default_factory=dict)
    #: values in which units that are left out are zero
    zeroed: set[fx.Node] = field(default_factory=set)
    #: sizes of layers that have elastic twins, by path, in the order of the twin's arguments
    layers: dict[str, tuple[Axis, ...]] = field(default_factory=dict)
    #: axes of parameters that belong to no layer of torch, by name
    parameters: dict[str, Axes] = field(default_factory=dict)
    slots: list[Slot] = field(default_factory=list)
    #: heads inside of attention, which have an order of their own
    heads: set[Group] = field(default_factory=set)

    def find(self) -> None:
        """Goes through the pass."""
        for node in self.program.nodes:
            self._visit(node)
        for node, axis, path in self.program.computed:
            found = self.axes.get(node)
            if isinstance(found, tuple) and found[axis] is not None:
                found[axis].fix(f"{path or 'the model'} computes with the number of channels")

    def told(self, node: fx.Node, what: str) -> str:
        """What is said of an operation, with the module whose code it is."""
        return f"{self.program.places.get(node) or 'the model'}: {what}"

    def fix(self, node: fx.Node, why: str) -> None:
        """All axes of a value stay."""
        found = self.axes.get(node, ())
        for part in found if isinstance(found, list) else [found]:
            for axis in part:
                if axis is not None:
                    axis.fix(why)

    def need_zeros(self, node: fx.Node, axis: Axis | None, why: str) -> None:
        """An axis over which is summed stays, unless units left out are zero."""
        if node not in self.zeroed and axis is not None:
            axis.fix(why)

    def _visit(self, node: fx.Node) -> None:
        value = self.program.values.get(node)
        if node.op == "placeholder":
            self.axes[node] = rules.plain(value)
        elif node.op == "get_attr":
            self._attribute(node, value)
        elif node.op == "call_module":
            self._module(node, self.model.get_submodule(str(node.target)))
        elif node.op == "output":
            for given in node.all_input_nodes:
                self.fix(given, OUTPUT)
        else:
            rules.follow(self, node)

    def _attribute(self, node: fx.Node, value: Any) -> None:
        name = str(node.target).removeprefix("model.")
        owner, _, own = name.rpartition(".")
        self.axes[node] = rules.plain(value)
        if not isinstance(value, nn.Parameter):
            return
        module = self.model.get_submodule(owner)
        if type(module).__module__.startswith("torch.") or hasattr(module, "parametrizations"):
            for axis in self._sizes(owner, module) or ():  # code that reads a layer's weights passes its forward by
                axis.fix(f"{self.program.places[node] or 'the model'} reads {name} by itself")
            return
        if name not in self.parameters:
            self.parameters[name] = tuple(Axis(Group(size, name)) if size > 1 else None for size in value.shape)
            self._slots(owner, own, dict(enumerate(self.parameters[name])), "goes")
        self.axes[node] = self.parameters[name]
        self.zeroed.add(node)

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        taken = node.args[0] if node.args else None
        if not isinstance(taken, fx.Node) or not isinstance(self.axes.get(taken), tuple):
            rules.unknown(self, node, type(module).__name__)
        elif isinstance(module, ZERO_STAYS):
            rules.entrywise(self, node, zeros=True)
        elif isinstance(module, ENTRYWISE):
            rules.entrywise(self, node, zeros=isinstance(module, nn.Hardtanh) and module.min_val <= 0 <= module.max_val)
        elif isinstance(module, nn.Softmax):
            rules.softmax(self, node, module.dim)
        elif isinstance(module, (nn.Flatten, nn.Unflatten)):
            rules.reshape(self, node, [])
        elif spatial := [dims for dims, kinds in SPATIAL.items() if isinstance(module, kinds)]:
            rules.spatial(self, node, spatial[0])
        elif (sizes := self._sizes(str(node.target), module)) is not None:
            self._layer(node, taken, module, sizes)
        else:
            rules.unknown(self, node, lack(module))

    def _layer(self, node: fx.Node, taken: fx.Node, module: nn.Module, sizes: tuple[Axis, ...]) -> None:
        """A layer with an elastic twin, of sizes that its argument and its result have."""
        x: Axes = self.axes[taken]
        why = f"{node.target} is tied to channels that stay"
        if isinstance(module, nn.MultiheadAttention):
            self._attention(node, sizes[0], why)
            return
        if isinstance(module, nn.Embedding):
            self.axes[node] = (*x, sizes[0])
        else:
            dim = {nn.Conv2d: len(x) - 3, nn.BatchNorm1d: 1, nn.BatchNorm2d: 1}.get(type(module), len(x) - 1)
            tie(x[dim], sizes[0], why)
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                self.need_zeros(taken, x[dim], f"{node.target} takes units that are not zero where they are left out")
            self.axes[node] = (*x[:dim], sizes[-1], *x[dim + 1 :])
        self.zeroed.add(node)

    def _attention(self, node: fx.Node, size: Axis, why: str) -> None:
        for argument in node.args[:3]:
            if isinstance(argument, fx.Node):
                x = self.axes[argument]
                tie(x[-1], size, why)
                self.need_zeros(argument, x[-1], why)
        query = self.axes[node.args[0]]  # type: ignore[index]
        self.axes[node] = [(*query[:-1], size), ()]
        self.zeroed.add(node)

    def _sizes(self, path: str, module: nn.Module) -> tuple[Axis, ...] | None:
        """The axes of a layer, the same at each of its places; None: it has no elastic twin."""
        if path not in self.layers:
            lengths = twin_sizes(module)
            if lengths is None:
                return None
            axes = tuple(Axis(Group(length, path)) for length in lengths)
            self.layers[path] = (axes[0], axes[0]) if depthwise(module) else axes
            self._slots_of_layer(path, module, self.layers[path])
        return self.layers[path]

    def _slots_of_layer(self, path: str, module: nn.Module, sizes: tuple[Axis, ...]) -> None:
        given = sizes[-1]
        if isinstance(module, nn.MultiheadAttention):
            inner = Axis(Group(module.num_heads, path), module.head_dim)
            given.coarsen(module.head_dim)
            self.heads.add(inner.group)
            self.slots += [
                *(Slot(f"{path}.in_proj_{kind}", 0, inner, "gives", 3) for kind in ("weight", "bias")),
                Slot(f"{path}.in_proj_weight", 1, given, "takes"),
                Slot(f"{path}.out_proj.weight", 0, given, "gives"),
                Slot(f"{path}.out_proj.weight", 1, inner, "takes"),
                Slot(f"{path}.out_proj.bias", 0, given, "goes"),
            ]
            return
        self._slots(path, "weight", {1 if isinstance(module, nn.Embedding) else 0: given}, "gives")
        if isinstance(module, (nn.Linear, nn.Conv2d)) and not depthwise(module):
            self._slots(path, "weight", {1: sizes[0]}, "takes")
        for name in ("bias", "running_mean", "running_var"):
            self._slots(path, name, {0: given}, "goes")

    def _slots(self, path: str, name: str, axes: dict[int, Axis | None], role: Role) -> None:
        tensor = f"{path}.{name}" if path else name
        self.slots += [Slot(tensor, dim, axis, role) for dim, axis in axes.items() if axis is not None]


def depthwise(module: nn.Module) -> bool:
    """Whether every channel has a kernel of its own."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels == module.out_channels


def lack(module: nn.Module) -> str:
    """What is said of a layer that has no elastic twin."""
    groups = f" in {module.groups} groups" if isinstance(module, nn.Conv2d) and module.groups > 1 else ""
    return f"{type(module).__name__}{groups} has no elastic twin"


def twin_sizes(module: nn.Module) -> tuple[int, ...] | None:
    """Sizes of a layer that has an elastic twin, in the order of the twin's arguments; None: it has none."""
    kind = type(module)
    if module._forward_pre_hooks or module._forward_hooks:  # such as those that make weights anew for each pass
        return None
    if kind is nn.Linear:
        return module.in_features, module.out_features  # type: ignore[return-value]
    if kind is nn.Conv2d:
        return (module.in_channels, module.out_channels) if module.groups == 1 or depthwise(module) else None  # type: ignore[return-value]
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d):
        return (module.num_features,)  # type: ignore[return-value]
    if kind in (nn.LayerNorm, nn.RMSNorm):
        return tuple(module.normalized_shape) if len(module.normalized_shape) == 1 else None  # type: ignore[arg-type]
    if kind is nn.Embedding:
        return (module.embedding_dim,) if module.max_norm is None else None
    if isinstance(module, nn.MultiheadAttention) and kind is nn.MultiheadAttention:
        plain = module._qkv_same_embed_dim and module.bias_k is None and not module.add_zero_attn
        return (module.embed_dim,) if plain else None
    return None
