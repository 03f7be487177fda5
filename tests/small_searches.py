"""A tiny task, devices and searches on them, for tests of the search."""

from __future__ import annotations

from typing import Any

import torch

from modnas_fast.config import Config, make_config
from modnas_fast.datasets.task import Split, make_task
from modnas_fast.devices import Device
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.search.bilevel import Search
from modnas_fast.spaces import NB201Space
from modnas_fast.tasks.images import ImageClassification
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.task_objective import SupernetObjective

space = NB201Space()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_images(count: int = 30, classes: int = 3, side: int = 6) -> ImageClassification:
    """Noise, brighter in the rows of the image's class: easy to tell apart."""
    labels = torch.arange(count) % classes
    images = torch.randint(0, 80, (count, 1, side, side), generator=seeded(1))
    for label in range(classes):
        images[labels == label, :, 2 * label : 2 * label + 2] += 150
    split = Split(images.to(torch.uint8), labels)
    task = make_task("stripes", tuple("abcd")[:classes], train=split, validation=split, test=split)
    return ImageClassification(task)


def make_devices(count: int = 3) -> list[Device]:
    draws = torch.rand(count, 10, generator=seeded(2)) + 0.5
    return [Device.from_reference_latencies(f"device {i}", row.tolist()) for i, row in enumerate(draws)]


def config(seed: int = 0, **changes: dict[str, Any]) -> Config:
    tree: dict[str, dict[str, Any]] = {
        "space": {"channels": 2, "cells": 1},
        "search": {
            "steps": 8,
            "warmup_steps": 3,
            "refine_steps": 0,
            "spread_share": 0.5,
            "batch_size": 8,
            "log_every": 2,
            "evaluations": 2,
            "device": "cpu",
        },
    }
    return make_config(make_config(**tree), seed=seed, **changes)


def make_search(options: Config, devices: int = 3, task: Task | None = None) -> Search:
    predictor = MetaPredictor(space, 10, 16, seeded(3)).requires_grad_(False)
    objective = SupernetObjective(options, space, task or make_images())
    return Search(options, space, objective, make_devices(devices), CostModel([predictor]))
