"""What every contender of a whole search step starts from: sizes, images, devices, a predictor and our `Search`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from modnas_fast.config import Config, make_config
from modnas_fast.datasets.task import Split, make_task
from modnas_fast.devices import Device
from modnas_fast.predictors.graph_predictor import PlainGraphPredictor
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.runtime.mesh import ALONE_MESH, Mesh
from modnas_fast.search.bilevel import Search
from modnas_fast.spaces import NB201Space
from modnas_fast.tasks.images import ImageClassification
from modnas_fast.tasks.task_objective import SupernetObjective, initial_supernet

SPACE = NB201Space()
#: minibatches per epoch, so that epochs begin anew as in a real run
MINIBATCHES = 8
#: networks among which a search looks for the range of the costs; its 20,000 take long for many devices
CANDIDATES = 64


@dataclass(frozen=True)
class Setting:
    """Sizes of one measurement; the defaults beside T and B are the paper's."""

    #: T
    devices: int
    #: B, images
    batch: int
    #: C
    channels: int = 16
    #: N, cells per stage
    cells: int = 5
    #: of the images, in pixels
    side: int = 32
    classes: int = 10
    #: torch device
    where: str = "cpu"
    #: of our supernet, as `search.activations`
    activations: str = "auto"

    def to_dict(self) -> dict[str, Any]:
        """Sizes for a table or JSON."""
        return {"T": self.devices, "batch": self.batch, "C": self.channels, "N": self.cells, "side": self.side}

    def smaller(self, devices: int, batch: int) -> Setting:
        """The same networks with fewer devices and images."""
        return replace(self, devices=min(devices, self.devices), batch=min(batch, self.batch))

    @property
    def config(self) -> Config:
        """The preset nb201-paper with these sizes, and the paper's linear scalarization instead of the code's."""
        return make_config(
            preset="nb201-paper",
            space={"channels": self.channels, "cells": self.cells},
            scalarization={"kind": "linear"},
            search={"batch_size": self.batch, "device": self.where, "activations": self.activations},
        )


def made_up_task(setting: Setting) -> ImageClassification:
    """Noise in the shape of CIFAR-10."""
    count = MINIBATCHES * setting.batch
    generator = torch.Generator().manual_seed(1)
    shape = (2, count, 3, setting.side, setting.side)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, setting.classes, (2, count), generator=generator)
    train, validation = (Split(*part) for part in zip(images, labels, strict=True))
    names = tuple(f"class {number}" for number in range(setting.classes))
    task = make_task("noise", names, train=train, validation=validation, test=validation)
    return ImageClassification(task).to(setting.where)


def made_up_devices(count: int) -> list[Device]:
    """Devices of random reference latencies."""
    latencies = 1 + torch.rand(count, len(SPACE.references), generator=torch.Generator().manual_seed(2))
    return [Device.from_reference_latencies(f"device {number}", row) for number, row in enumerate(latencies.tolist())]


def made_up_costs() -> CostModel:
    """The paper's predictor with random weights, frozen: what it says does not matter here."""
    predictor = PlainGraphPredictor(SPACE, len(SPACE.references), generator=torch.Generator().manual_seed(3))
    return CostModel([predictor]).requires_grad_(False)


def make_search(setting: Setting, supernet: nn.Module | None = None, mesh: Mesh = ALONE_MESH) -> Search:
    """Our `Search` as users run it, but on noise; with another supernet, eager and whole, where one is given.

    `mesh`: of the ranks that divide its work; all of them make it and call its steps together.
    """
    config = setting.config
    if supernet is not None:
        config = make_config(**config.model_dump(exclude={"search"}), search={
            **config.search.model_dump(), "device_chunk": setting.devices, "capture": False, "activations": "float32",
        })  # fmt: skip
    task = made_up_task(setting)
    weights = initial_supernet(config, SPACE, task) if supernet is None else supernet
    with patch("modnas_fast.tasks.task_objective.initial_supernet", lambda *_: weights):
        objective = SupernetObjective(config, SPACE, task, mesh=mesh)
    with patch("modnas_fast.search.bilevel.CANDIDATES", CANDIDATES):
        return Search(config, SPACE, objective, made_up_devices(setting.devices), made_up_costs())
