"""What is measured before a search: for the predictor on the search devices, for the embedding on the unseen ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modnas_fast.devices.device import Device, Split, embeddings
from modnas_fast.devices.machine import Setting, default_unseen
from modnas_fast.devices.measure import Measurement
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import Architecture, SearchSpace

#: latencies by setting name and canonical architecture string
Latencies = dict[str, dict[str, Measurement]]


@dataclass(frozen=True)
class Campaign:
    """The plan: settings and the networks to measure on each. Drawn from a seed, so that a plan can be made again."""

    space: SearchSpace
    search: tuple[Setting, ...]
    unseen: tuple[Setting, ...]
    #: random networks per search setting, for training the predictor
    train: dict[str, list[Architecture]]
    #: random networks for judging it, the same on every device
    heldout: list[Architecture]

    @property
    def references(self) -> list[Architecture]:
        """The reference networks of the space."""
        return [self.space.parse(text) for text in self.space.references]

    def before_search(self) -> list[tuple[Setting, list[Architecture]]]:
        """What the search needs: of the unseen settings the reference networks alone."""
        wanted = [(s, [*self.references, *self.heldout, *self.train[s.name]]) for s in self.search]
        return wanted + [(s, self.references) for s in self.unseen]

    def after_search(self, chosen: Sequence[Architecture]) -> list[tuple[Setting, list[Architecture]]]:
        """What judges the answer: the chosen networks everywhere, the held-out ones on the unseen settings too."""
        wanted: list[tuple[Setting, list[Architecture]]] = [(s, list(chosen)) for s in self.search]
        return wanted + [(s, [*chosen, *self.heldout]) for s in self.unseen]

    def devices(self, latencies: Latencies) -> list[Device]:
        """The devices of the plan, search devices first, embedded by their measured reference networks."""
        texts = [a.text for a in self.canonical(self.references)]
        splits: tuple[tuple[Split, Sequence[Setting]], ...] = (("search", self.search), ("unseen", self.unseen))
        return [
            Device.from_reference_latencies(s.name, [latencies[s.name][text].latency_ms for text in texts], split)
            for split, settings in splits
            for s in settings
        ]

    def training_table(self, latencies: Latencies) -> tuple[Tensor, Tensor, Tensor]:
        """(one-hots [n, N], embeddings [n, E], normalised latencies [n]) measured on all search devices."""
        onehots, d, targets = [], [], []
        for device in self.devices(latencies)[: len(self.search)]:
            networks = self.canonical([*self.references, *self.train[device.name]])
            latency_ms = [latencies[device.name][a.text].latency_ms for a in networks]
            onehots.append(self.space.encode(networks))
            d.append(embeddings([device]).expand(len(networks), -1))
            targets.append(device.normalize(torch.tensor(latency_ms)))
        return torch.cat(onehots), torch.cat(d), torch.cat(targets)

    def canonical(self, architectures: Sequence[Architecture]) -> list[Architecture]:
        """The networks as they are measured, without what has no influence."""
        return self.space.decode(self.space.canonical(self.space.encode(architectures)))


def plan_campaign(
    space: SearchSpace,
    settings: Sequence[Setting],
    unseen: str | Sequence[str],
    *,
    networks: int,
    heldout: int,
    seed: int,
) -> Campaign:
    """The plan for a machine's settings.

    Args:
        space: the search space.
        settings: what the machine offers.
        unseen: names of the settings held out, or `auto`.
        networks: random networks per search setting.
        heldout: random networks for judging the predictor.
        seed: fixes the draw.

    Raises InputError for an unknown name and where no setting would remain for the search.
    """
    names = [setting.name for setting in settings]
    held_out = default_unseen(list(settings)) if unseen == "auto" else list(unseen)
    unknown = [name for name in held_out if name not in names]
    if unknown:
        raise InputError(f"devices.unseen: unknown device {unknown[0]!r}; this machine has {', '.join(names)}")
    if len(set(held_out)) == len(names):
        raise InputError("devices.unseen: at least one device must remain for the search")
    generator = torch.Generator().manual_seed(seed)
    judges = space.decode(space.sample(heldout, generator))
    search = tuple(setting for setting in settings if setting.name not in held_out)
    judged = {a.text for a in space.decode(space.canonical(space.encode(judges)))}
    train = {setting.name: _draw_apart(space, networks, judged, generator) for setting in search}
    return Campaign(space, search, tuple(s for s in settings if s.name in held_out), train, judges)


def _draw_apart(space: SearchSpace, count: int, excluded: set[str], generator: torch.Generator) -> list[Architecture]:
    """`count` random networks, none of which equals a network of `excluded` canonical strings as a function."""
    drawn: list[Architecture] = []
    while len(drawn) < count:
        onehot = space.sample(count, generator)
        texts = [architecture.text for architecture in space.decode(space.canonical(onehot))]
        drawn += [a for a, text in zip(space.decode(onehot), texts) if text not in excluded]
    return drawn[:count]
