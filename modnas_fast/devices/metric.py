"""Metrics: costs that a network has wherever it runs, counted from the network itself; built in, or of one's own."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from modnas_fast.devices.analytic import FORMULAS, told
from modnas_fast.runtime.choices import METRICS
from modnas_fast.runtime.errors import InputError, one_line
from modnas_fast.spaces import SearchSpace
from modnas_fast.spaces.counting import FLOAT_BYTES, MEGABYTE, Counts, count


@dataclass(frozen=True)
class Metric:
    """An exact cost with its name and unit, which make the key that budgets and answers have.

    Args:
        name: letters, digits and underscores.
        unit: such as `MB`; empty for what has none.
        of: called with a built network, on the CPU and in eval mode, and the shape of one sample; returns a positive
            number.

    >>> layers = Metric("depth", "layers", lambda network, input_shape: len(network))
    >>> layers(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), (4,))
    2
    """

    name: str
    unit: str
    of: Callable[[nn.Module, tuple[int, ...]], float]

    def __call__(self, network: nn.Module, input_shape: tuple[int, ...]) -> float:
        """The cost of a network for samples of `input_shape`."""
        return self.of(network, input_shape)


def _counted(name: str) -> Metric:
    """A metric that `SearchSpace.analytic` tells of the networks of a space, of any network."""

    def of(network: nn.Module, input_shape: tuple[int, ...]) -> float:
        value: float = getattr(count(lambda: copy.deepcopy(network), input_shape), name)
        return value

    return Metric(name, FORMULAS[name], of)


PARAMETERS, FLOPS, MEMORY = map(_counted, Counts._fields)


@runtime_checkable
class _Keeping(Protocol):
    def cache_numbers(self, tokens: int) -> int: ...


def _cached(network: nn.Module, input_shape: tuple[int, ...]) -> float:
    if not isinstance(network, _Keeping):
        raise InputError(f"objectives: a {type(network).__name__} has no cache_memory; leave it out")
    return float(FLOAT_BYTES * network.cache_numbers(input_shape[0]) / MEGABYTE)


#: of the keys and values that a network keeps of a sample's tokens, to generate the next
CACHE_MEMORY = Metric("cache_memory", FORMULAS["cache_memory"], _cached)


def is_metric(name: str) -> bool:
    """Whether an objective is a metric rather than a cost of devices: it is registered, or names an object."""
    return ":" in name or name in METRICS.names


def find_metric(name: str) -> Metric:
    """The metric that an objective names: a built-in or registered name, or `package.module:object`.

    A plain function is one without a unit, called as it is registered, else as the function.

    >>> find_metric("memory").unit
    'MB'

    Raises InputError where there is none, and for a name that cannot be a key or is a built-in's.
    """
    found = METRICS.find(name)
    if not isinstance(found, Metric):
        found = Metric(getattr(found, "__name__", "") if ":" in name else name, "", found)
    if not re.fullmatch(r"[A-Za-z]\w*", found.name, re.ASCII):
        raise METRICS.fault(name, f"is called {found.name!r}; wanted letters, digits and underscores: use a Metric")
    if found.name in METRICS and name not in METRICS:
        raise METRICS.fault(name, f"is called {found.name}, as what is built in; give it another name")
    return found


class ExactCosts:
    """Exact costs of a space's networks by name of the metric; called with canonical one-hots [n, N], float64 [n] each.

    Args:
        space: the search space.
        names: of the metrics, as objectives name them.
        network: gives what `space.build` is told of the networks; called when a cost is asked.

    Raises InputError for an unknown name, and when called where a metric of one's own fails or gives no positive
    number.
    """

    def __init__(self, space: SearchSpace, names: Sequence[str], network: Callable[[], dict[str, Any]]) -> None:
        self._space = space
        self._network = network
        self._metrics = {metric.name: metric for metric in map(find_metric, names)}
        self._own = {
            metric.name: (name, metric) for name, metric in zip(names, self._metrics.values()) if name not in METRICS
        }
        #: of metrics of one's own, by canonical architecture
        self._found: dict[str, tuple[float, ...]] = {}

    @property
    def units(self) -> dict[str, str]:
        """Units by name."""
        return {name: metric.unit for name, metric in self._metrics.items()}

    def __call__(self, onehot: Tensor) -> dict[str, Tensor]:
        built_in = {}
        if len(self._own) < len(self._metrics):
            built_in = self._space.analytic(onehot, **self._network())
        own = dict(zip(self._own, self._values(onehot).unbind(-1)))
        return {
            name: own[name] if name in own else told(self._space, name, built_in).double() for name in self._metrics
        }

    def check_references(self) -> None:
        """Raises InputError where all reference networks cost the same: nothing could be normalised by them."""
        space = self._space
        onehot = space.canonical(space.encode([space.parse(text) for text in space.references]))
        for name, values in self(onehot).items():
            if values.min() == values.max():
                raise InputError(
                    f"objectives: {name} is {values.min():g} for all reference networks of space {space.name}; leave "
                    "it out"
                )

    def _values(self, onehot: Tensor) -> Tensor:
        """Values of the metrics of one's own, float64 [n, …]; each network is built once."""
        architectures = self._space.decode(onehot) if self._own else []
        for architecture in architectures:
            if architecture.text not in self._found:
                self._found[architecture.text] = self._values_of(architecture.text)
        rows = [self._found[architecture.text] for architecture in architectures]
        return torch.tensor(rows, dtype=torch.float64).reshape(len(onehot), len(self._own))

    def _values_of(self, text: str) -> tuple[float, ...]:
        told = self._network()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = self._space.build(self._space.parse(text), **told).eval()
        shape = tuple(told["input_shape"])
        return tuple(_positive(name, metric, network, shape, text) for name, metric in self._own.values())


@torch.no_grad()
def _positive(name: str, metric: Metric, network: nn.Module, input_shape: tuple[int, ...], text: str) -> float:
    """What a metric of one's own gives. Raises InputError where that is no positive number."""
    try:
        value: Any = metric(network, input_shape)
    except Exception as error:  # whatever somebody's function does
        raise METRICS.fault(name, f"fails for network {text}: {one_line(error)}") from error
    try:
        number = float("nan") if isinstance(value, (str, bool)) else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = float("nan")
    if not 0 < number < float("inf"):
        got = " ".join(repr(value).split())
        raise METRICS.fault(name, f"gives {got} for network {text}; wanted a positive number")
    return number
