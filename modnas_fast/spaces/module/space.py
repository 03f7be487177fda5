"""The space that a module with elastic layers declares."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import architecture as spaces
from modnas_fast.spaces.base import SearchSpace
from modnas_fast.spaces.module import layers
from modnas_fast.spaces.module.width import CHOSEN, SHARES
from modnas_fast.supernets.supernet import Supernet

if TYPE_CHECKING:
    from modnas_fast.report.drawings import Drawing, Sample

#: which options, by the name of their choice, make a layer be there
Guards = tuple[tuple[str, frozenset[int]], ...]


#: networks among which the references beside the ends are looked for
POOL = 256
REFERENCES = 10


class ModuleSpace(SearchSpace):
    """All networks in a module that has layers of `modnas_fast.elastic`; strings such as `hidden=64,blocks=2`.

    Args:
        model: the largest network, a module, whose weights networks begin with; or what makes it when called, then
            networks begin with weights drawn anew.
        takes_ids: whether its inputs are whole numbers, such as tokens, when costs are counted.

    Raises:
        InputError: where nothing is to be chosen, one name has two lists of options, or a weight has two places.

    >>> from modnas_fast import elastic
    >>> hidden = elastic.width("hidden", 8, 16)
    >>> space = elastic.ModuleSpace(lambda: nn.Sequential(elastic.Linear(4, hidden), elastic.Linear(hidden, 2)))
    >>> space.ends[0].text, space.build(space.ends[0])[0]
    ('hidden=8', Linear(in_features=4, out_features=8, bias=True))
    """

    name = "module"

    def __init__(self, model: nn.Module | Callable[[], nn.Module], takes_ids: bool = False) -> None:
        self.takes_ids = takes_ids
        self.begins_trained = isinstance(model, nn.Module)
        self._make = None if isinstance(model, nn.Module) else model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model = copy.deepcopy(model) if isinstance(model, nn.Module) else _made_anew(model)
        _check_places(self.model)
        options: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._uses: dict[str, list[Guards]] = {}
        for name, kind, wanted, guards in _declared(self.model, ()):
            if options.setdefault(name, (kind, wanted)) != (kind, wanted):
                told = " and as ".join(f"{kind} {', '.join(of)}" for kind, of in (options[name], (kind, wanted)))
                raise InputError(f"model: {name} is declared as {told}; give one another name")
            self._uses.setdefault(name, []).append(guards)
        if not options:
            raise InputError("model: it has nothing to choose; give a layer a width(name, 16, 32)")
        self.choices = tuple(spaces.Choice(name, wanted) for name, (_, wanted) in options.items())
        self._kinds = {name: kind for name, (kind, _) in options.items()}
        self._fits: set[str] = set()
        self.references = self._references()

    def _references(self) -> tuple[str, ...]:
        """The ends and random networks between them, distinct as far as there are so many."""
        pool = self.decode(self.canonical(self.sample(POOL, torch.Generator().manual_seed(0))))
        distinct = list(dict.fromkeys(network.text for network in (*self.ends, *pool)))
        return tuple((distinct * REFERENCES)[:REFERENCES])

    @property
    def ends(self) -> tuple[spaces.Architecture, spaces.Architecture]:
        smallest = self.encode([self.architecture([0] * len(self.choices))])
        largest = self.architecture([size - 1 for size in self.group_sizes])
        return self.decode(self.canonical(smallest))[0], largest

    def format(self, indices: Sequence[int]) -> str:
        self._check_indices(indices)
        return ",".join(f"{choice.name}={choice.options[index]}" for choice, index in zip(self.choices, indices))

    def parse(self, text: str) -> spaces.Architecture:
        parts = dict(part.partition("=")[::2] for part in text.split(","))
        try:
            indices = [choice.options.index(parts.pop(choice.name)) for choice in self.choices]
        except (KeyError, ValueError):
            parts["?"] = ""
        if parts:
            raise InputError(f"architecture: wanted a string such as {self.ends[0].text}, got {text!r}")
        return self.architecture(indices)

    def canonical(self, onehot: Tensor) -> Tensor:
        """Choices of which no layer is there stand at their first option."""
        shares = self.shares(onehot)
        kept = []
        for name, absent in self._absences(shares).items():
            share = shares[name]
            first = torch.eye(share.shape[-1]).to(share)[0]
            kept.append(torch.lerp(share, first.expand_as(share), absent[..., None]))
        return torch.cat(kept, dim=-1)

    def _absences(self, shares: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By choice, how much of all its layers is not there [...]: 0 or 1 by one-hots."""
        absences = {}
        for choice in self.choices:
            absent = torch.ones_like(shares[choice.name][..., 0])
            for guards in self._uses[choice.name]:
                there = torch.ones_like(absent)
                for name, allowed in guards:
                    there = there * shares[name][..., sorted(allowed)].sum(-1)
                absent = absent * (1 - there)
            absences[choice.name] = absent
        return absences

    def draw(self, architecture: spaces.Architecture) -> Drawing:
        from modnas_fast.spaces.module.drawing import draw_options

        absences = self._absences(self.shares(self.encode([architecture])[0]))
        absent = {name for name, share in absences.items() if share > 0}
        return draw_options(self.choices, self._kinds, architecture.indices, absent)

    @property
    def legend(self) -> tuple[Sample, ...]:
        from modnas_fast.spaces.module.drawing import legend

        return legend(set(self._kinds.values()))

    def shares(self, onehot: Tensor) -> dict[str, Tensor]:
        """One-hots [..., N] by the names of choices."""
        groups = onehot.split(self.group_sizes, dim=-1)
        return {choice.name: group for choice, group in zip(self.choices, groups)}

    def build(self, architecture: spaces.Architecture, **task: Any) -> nn.Module:
        """A plain torch module with the first units of a largest network's weights, on torch's default device.

        Raises InputError where the model does not take the task's images, or has another number of outputs than
        it has classes.
        """
        self._check_fit(task)
        network = _standalone(self._largest(), self._chosen(architecture))
        return network.to(torch.empty(0).device)  # also inside `with torch.device`

    def _largest(self) -> nn.Module:
        """A network with the weights to begin with."""
        return copy.deepcopy(self.model) if self._make is None else _made(self._make)

    def _chosen(self, architecture: spaces.Architecture) -> dict[str, int]:
        return {choice.name: index for choice, index in zip(self.choices, architecture.indices)}

    @torch.no_grad()
    def _check_fit(self, task: Mapping[str, Any]) -> None:
        shape, classes = task.get("input_shape"), task.get("classes")
        key = f"{shape} {classes}"
        if shape is None or classes is None or key in self._fits:
            return
        model = copy.deepcopy(self.model).to("meta").eval()
        weight = next(model.parameters())
        try:
            found = tuple(model(torch.empty(1, *shape, dtype=weight.dtype, device="meta")).shape)
        except Exception as error:  # whatever somebody's module does
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"space.name: the model does not take images of {tuple(shape)}: {reason}") from None
        if found != (1, classes):
            raise InputError(
                f"space.name: the model gives outputs {list(found)} for an image {list(shape)} of {classes} classes; "
                f"wanted [1, {classes}]"
            )
        self._fits.add(key)

    def analytic(self, onehot: Tensor, *, input_shape: Sequence[int], **network: Any) -> dict[str, Tensor]:
        """As in every space. Raises InputError for a model that is not of float32, in which costs are counted."""
        if any(p.dtype != torch.float32 for p in self.model.parameters()):
            raise InputError("model: costs are counted in float32; declare the space of model.float()")
        return super().analytic(onehot, input_shape=input_shape, **network)

    def supernet(self, **task: Any) -> SharedModule:
        self._check_fit(task)
        return SharedModule(self, self._largest())

    def inherited(self, shared: Mapping[str, Tensor], architecture: spaces.Architecture) -> dict[str, Tensor]:
        wide = copy.deepcopy(self.model)
        wide.load_state_dict({name.removeprefix("model."): weight for name, weight in shared.items()})
        return _standalone(wide, self._chosen(architecture)).state_dict()


class SharedModule(Supernet):
    """The largest network, in which a smaller one is the first units and layers."""

    def __init__(self, space: ModuleSpace, model: nn.Module) -> None:
        super().__init__()
        self._space, self.model = space, model

    def predict(self, x: Tensor, onehot: Tensor) -> Tensor:
        """Outputs [S, B, ...] of samples [S, N], differentiable in both. Batch norms take those of x.

        Hard samples have no units but their own where nobody wants a gradient by them. Raises InputError where the
        model's outputs have a size that is chosen.
        """
        if (torch.is_grad_enabled() and onehot.requires_grad) or not ((onehot == 0) | (onehot == 1)).all():
            return self.mixed(x, onehot)
        names = [choice.name for choice in self._space.choices]
        rows = self._space.indices(onehot.detach()).tolist()
        outputs = [self._within(CHOSEN, dict(zip(names, row)), x) for row in rows]
        shapes = list(dict.fromkeys(tuple(each.shape) for each in outputs))
        if len(shapes) > 1:
            raise InputError(
                f"model: its outputs have a size that is chosen, {list(shapes[0])} and {list(shapes[1])}; let the last "
                "layer have a fixed one"
            )
        return torch.stack(outputs)

    def mixed(self, x: Tensor, onehot: Tensor) -> Tensor:
        """The same at full size for samples that may be soft, with the units that they lack at zero."""
        return torch.stack([self._within(SHARES, self._space.shares(row), x) for row in onehot])

    def _within(self, kept: ContextVar[Any], value: object, x: Tensor) -> Tensor:
        token = kept.set(value)
        try:
            return self.model(x)
        finally:
            kept.reset(token)


def _made(make: Callable[[], nn.Module]) -> nn.Module:
    model = make()
    if not isinstance(model, nn.Module):
        raise InputError(f"model: wanted a torch.nn.Module or what makes one, got a {type(model).__name__}")
    return model


def _made_anew(make: Callable[[], nn.Module]) -> nn.Module:
    """A model, where each call makes one of its own: weights that two have in common would not begin with the seed."""
    model, again = _made(make), _made(make)
    known = {id(parameter): name for name, parameter in again.named_parameters()}
    for parameter in model.parameters():
        if id(parameter) in known:
            raise InputError(
                f"model: {known[id(parameter)]} is the same weight each time that a model is made; make every layer "
                "inside the function"
            )
    return model


def _check_places(model: nn.Module) -> None:
    """Raises InputError where a parameter has two places: standalone networks would have two of it."""
    known: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if (first := known.setdefault(id(parameter), name)) != name:
            raise InputError(f"model: {first} and {name} are one weight; give each place a layer of its own")


def _declared(module: nn.Module, guards: Guards) -> Iterator[tuple[str, str, tuple[str, ...], Guards]]:
    """Every choice at every place: its name, kind and options, and what makes the place be there."""
    inner = [guards] * len(list(module.children()))
    children = list(module.children())
    if isinstance(module, layers.Elastic):
        for size in module.widths():
            yield size.name, "width", tuple(map(str, size.sizes)), guards
    elif isinstance(module, layers.Sequential):
        yield module.name, "depth", tuple(map(str, module.depth)), guards
        for k in range(len(children)):
            deep = frozenset(i for i, depth in enumerate(module.depth) if depth > k)
            inner[k] = (*guards, (module.name, deep))
    elif isinstance(module, layers.Skippable):
        yield module.name, "depth", tuple(map(str, module.depth)), guards
        inner = [(*guards, (module.name, module.there))]
    elif isinstance(module, layers.Choice):
        yield module.name, "choice", tuple(module.options), guards
        children = list(module.options.values())
        inner = [(*guards, (module.name, frozenset({k}))) for k in range(len(children))]
    for child, of_child in zip(children, inner):
        yield from _declared(child, of_child)


def _standalone(module: nn.Module, chosen: Mapping[str, int]) -> nn.Module:
    if isinstance(module, layers.Elastic):
        return module.twin(chosen)
    if isinstance(module, layers.Skippable):
        return _standalone(module.block, chosen)
    if isinstance(module, layers.Sequential):
        taken = list(module)[: module.depth[chosen[module.name]]]
        return nn.Sequential(*(_standalone(layer, chosen) for layer in taken))
    if isinstance(module, layers.Choice):
        return _standalone(list(module.options.values())[chosen[module.name]], chosen)
    children = {name: child for name, child in module._modules.items() if child is not None}
    absent = [name for name, child in children.items() if not _there(child, chosen)]
    memo = {
        id(child): nn.Identity() if name in absent else _standalone(child, chosen) for name, child in children.items()
    }
    built = copy.deepcopy(module, memo)
    if absent:
        present = {name: child for name, child in built._modules.items() if name not in absent}
        built._modules = dict(_renumbered(present))
    return _with_plain_parameters(built, module, chosen)


def _there(module: nn.Module, chosen: Mapping[str, int]) -> bool:
    return not isinstance(module, layers.Skippable) or chosen[module.name] in module.there


def _renumbered(modules: Mapping[str, nn.Module | None]) -> Iterator[tuple[str, nn.Module | None]]:
    """Modules whose names count them, without a gap."""
    for place, (name, module) in enumerate(modules.items()):
        yield (str(place) if name.isdigit() else name), module


def _with_plain_parameters(built: nn.Module, module: nn.Module, chosen: Mapping[str, int]) -> nn.Module:
    """The parameters of a module's own as such, cut to the chosen sizes."""
    kinds = module._modules.get("parametrizations")
    if not isinstance(kinds, nn.ModuleDict):
        return built
    units = {name: of.get_submodule("0") for name, of in kinds.items()}
    ours = {name: of for name, of in units.items() if isinstance(of, layers.Units)}
    if len(ours) < len(units):  # somebody's own, such as weight normalisation
        return built
    # torch's own way back would change the class, which copies share
    built.__class__ = type(module).__bases__[0]
    del built._modules["parametrizations"]
    for name, of in ours.items():
        setattr(built, name, of.taken(kinds.get_parameter(f"{name}.original"), chosen))
    return built
