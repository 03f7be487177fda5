"""What a module does with an example: torch.fx's symbolic trace, in which every value is known besides."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

#: modules of torch.nn that are looked into, beside containers
OPENED = (
    nn.Sequential,
    nn.ModuleList,
    nn.ModuleDict,
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoder,
    nn.TransformerDecoderLayer,
)
#: attributes of a tensor that are told as they are
PLAIN = ("ndim", "dtype", "device", "layout", "is_nested", "is_cuda", "requires_grad", "is_sparse", "is_quantized")


class Extent(int):
    """The length of a tensor's axis, which knows whose it is; a number computed of it is a plain one, and noted."""

    source: tuple[fx.Node, int]
    tracer: ModuleTracer

    def _noted(self) -> int:
        self.tracer.computed.append((*self.source, self.tracer.path))
        return int.__int__(self)

    def __float__(self) -> float:
        return float(self._noted())


def _computing(name: str) -> Callable[..., Any]:
    def compute(self: Extent, *others: Any) -> Any:
        return getattr(int, name)(self._noted(), *others)

    return compute


for _name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow"):
    setattr(Extent, f"__{_name}__", _computing(f"__{_name}__"))
    setattr(Extent, f"__r{_name}__", _computing(f"__r{_name}__"))


@dataclass
class Call:
    """One pass through a module that has modules inside."""

    path: str
    taken: fx.Node
    given: fx.Node
    #: what else it takes
    others: tuple[Any, ...]


@dataclass
class Program:
    """A traced pass."""

    nodes: list[fx.Node]
    values: dict[fx.Node, Any]
    #: the path of the module in which a node is computed
    places: dict[fx.Node, str]
    calls: list[Call]
    #: axes, by node and number, out of whose lengths code computes others, and the module whose code does
    computed: list[tuple[fx.Node, int, str]] = field(default_factory=list)


class Traced(fx.Proxy):
    """A value of a traced pass whose shape and kind are those of the example."""

    @property
    def value(self) -> Any:
        """What it is for the example."""
        return self.tracer.values[self.node]  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        if name in PLAIN and isinstance(self.value, Tensor):
            return getattr(self.value, name)
        return super().__getattr__(name)

    @property
    def shape(self) -> torch.Size:
        """Of the example's."""
        lengths = []
        for axis, length in enumerate(self.value.shape):
            extent = Extent(length)
            extent.source, extent.tracer = (self.node, axis), self.tracer  # type: ignore[assignment]
            lengths.append(extent)
        return torch.Size(lengths)

    def size(self, dim: int | None = None) -> Any:
        """As a tensor's."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """As a tensor's."""
        return self.value.dim()

    def is_floating_point(self) -> bool:
        """As a tensor's."""
        return self.value.is_floating_point()

    def __len__(self) -> int:
        return self.shape[0] if isinstance(self.value, Tensor) else len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return iter([operator.getitem(self, k) for k in range(len(self.value))])


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is a layer of torch, which is not looked into."""
    return type(module).__module__.startswith("torch.") and not isinstance(module, OPENED)


class ModuleTracer(fx.Tracer):
    """torch.fx's tracer, which computes every value at once, so that code may branch on what it sees."""

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.model, self.example = model, example
        self.values: dict[fx.Node, Any] = {}
        self.places: dict[fx.Node, str] = {}
        self.calls: list[Call] = []
        self.computed: list[tuple[fx.Node, int, str]] = []
        self.path = ""
        self._computes = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m)

    def path_of_module(self, mod: nn.Module) -> str:
        return super().path_of_module(mod).removeprefix("model").removeprefix(".")

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Traced(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._computes else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(self.values[obj.node])

    def create_proxy(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Proxy:
        proxy = super().create_proxy(kind, target, *args, **kwargs)
        self._computes = True
        try:
            self.values[proxy.node] = self._value(proxy.node)
        finally:
            self._computes = False
        self.places[proxy.node] = self.path
        return proxy

    def _known(self, node: fx.Node) -> Any:
        if node not in self.values:  # a tensor that code makes is an attribute without more ado
            self.values[node] = self._value(node)
        return self.values[node]

    def _value(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), self._known)
        if node.op == "placeholder":
            return self.example
        if node.op == "get_attr":
            found: Any = self.root
            for part in str(node.target).split("."):
                found = getattr(found, part)
            return found
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "call_module":
            return self.model.get_submodule(str(node.target)).forward(*args, **kwargs)
        return node.target(*args, **kwargs) if callable(node.target) else None

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._computes:
            return forward(*args, **kwargs)
        outer, self.path = self.path, self.path_of_module(m)
        found = super().call_module(m, forward, args, kwargs)
        self.path = outer
        if args and isinstance(args[0], fx.Proxy) and isinstance(found, fx.Proxy):
            others = tuple(fx.node.map_aggregate((args[1:], kwargs), _plain))
            self.calls.append(Call(self.path_of_module(m), args[0].node, found.node, others))
        return found


def _plain(value: Any) -> Any:
    return value.node if isinstance(value, fx.Proxy) else value


class _OfOneArgument(nn.Module):
    """A model whose other arguments have their defaults."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        return self.model(x)


class Untraceable(Exception):
    """Code of a module that torch.fx cannot follow."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path, self.reason = path, reason


@torch.no_grad()
def trace(model: nn.Module, example: Tensor) -> Program:
    """The pass of a model in evaluation through an example, in which the model's modules keep their places.

    Raises Untraceable, which knows the module whose code cannot be followed.
    """
    tracer = ModuleTracer(model, example)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        graph = tracer.trace(_OfOneArgument(model))
    except Exception as error:  # whatever somebody's module does
        reason = str(error).strip().partition("\n")[0]
        raise Untraceable(tracer.path, f"{type(error).__name__}: {reason}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return Program(list(graph.nodes), tracer.values, tracer.places, tracer.calls, tracer.computed)
