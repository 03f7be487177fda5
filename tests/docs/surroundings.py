"""What the Python blocks of the pages need and do not make themselves, by page."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import picture
from result.test_result import configuration, entry
from torch import nn

from modnas_fast import Device
from modnas_fast.config import to_yaml
from modnas_fast.datasets.registry import sha256_of
from modnas_fast.deployment.formats import save
from modnas_fast.deployment.manifest import MANIFEST, SCHEMA
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.result.compose_answers import keep_answers
from modnas_fast.result.content import plain_objective
from modnas_fast.runtime.checkpoint import save_weights
from modnas_fast.runtime.files import write_json
from modnas_fast.runtime.objective import Objective
from modnas_fast.search.bilevel import initial_hypernet
from modnas_fast.spaces import NB201Space


def write_run(folder: Path) -> None:
    """A run of one device, with the files that queries need."""
    space, config, generator = NB201Space(), configuration(), torch.Generator().manual_seed(0)
    hypernet = initial_hypernet(config, space, 10)
    predictor = MetaPredictor(space, 10, config.predictor.hidden, generator)
    times = [0.12, 0.1, 0.14, 0.11, 0.19, 0.2, 0.16, 0.29, 0.15, 0.3]
    device = Device.from_reference_latencies("cpu_t1_b1_fp32", times)
    folder.mkdir(parents=True)
    save_weights(folder / "hypernetwork.safetensors", hypernet)
    save_weights(folder / "metapredictor.safetensors", CostModel([predictor]))
    (folder / "config.yaml").write_text(to_yaml(config))
    content = {
        "schema": 2,
        "space": {"name": "nb201"},
        "task": {"name": "digits", "network": {"image_channels": 1, "classes": 10, "input_shape": [1, 8, 8]}},
        "quality_kind": "inherited",
        "cost_sources": {"latency_ms": "measured"},
        "objectives": [plain_objective(Objective("error", "%")), plain_objective(Objective("latency", "ms"))],
        "configuration": config.model_dump(mode="json"),
        "devices": [{**entry(device, hypernet, predictor), "hypervolume": 0.9, "front": []}],
    }
    (folder / "result.json").write_text(json.dumps(content))
    keep_answers(folder)


class TwoTasks(nn.Module):
    """A trunk with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 3)
        self.heads = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = self.trunk(x)
        return [head(features) for head in self.heads]


def training() -> dict[str, Any]:
    """Two tasks on one trunk, in the midst of a step, in the only process of a group."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    torch.manual_seed(0)
    network = TwoTasks()
    trunk, heads = network.trunk, network.heads
    x, target = torch.randn(5, 4), torch.tensor([0, 1, 0, 1, 1])
    criterion = nn.CrossEntropyLoss()
    return {
        "torch": torch,
        "trunk": trunk,
        "heads": heads,
        "model": trunk,
        "network": network,
        "x": x,
        "features": trunk(x),
        "tasks": [(head, criterion, target) for head in heads],
        "gramian": torch.eye(3),
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.1),
    }


def readme() -> dict[str, Any]:
    write_run(Path("runs/digits-001"))
    trunk = nn.Linear(4, 3)
    features = trunk(torch.ones(4))
    return {"trunk": trunk, "losses": [features.sum(), features.square().sum()]}


def predictor() -> dict[str, Any]:
    """Made-up costs of sixteen networks on three devices."""
    generator = torch.Generator().manual_seed(0)
    space, d = NB201Space(), torch.rand(3, 10, generator=generator)
    onehot = space.sample(16, generator)
    return {
        "space": space,
        "generator": generator,
        "onehot": onehot,
        "d": d,
        "target": torch.rand(16, 3, generator=generator),
        "measured_onehot": onehot[:10],
        "measured_cost": torch.rand(10, generator=generator),
        "phone_d": d[0],
    }


def supernet() -> dict[str, Any]:
    """A cell of three channels for two devices, with all operations active."""
    sample = torch.full((2, 6, 5), 0.2)
    return {
        "x": torch.ones(1, 2, 3, 4, 4),
        "kernels_1x1": torch.ones(6, 3, 3),
        "kernels_3x3": torch.ones(6, 3, 3, 3, 3),
        "sample": sample,
        "active": torch.ones_like(sample, dtype=torch.bool),
    }


def answers() -> dict[str, Any]:
    write_run(Path("runs/digits-001"))
    return {}


def deploy() -> dict[str, Any]:
    """A run, the export of a network for two classes of photos, and a photo."""
    write_run(Path("runs/digits-001"))
    folder = Path("app")
    folder.mkdir()
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)).eval()
    pytest.importorskip("onnxscript")
    save(network, torch.zeros(2, 3, 4, 4), {}, ("onnx",), folder)
    content = {
        "schema": SCHEMA,
        "made_of": {},
        "preparation": {"mean": [0.5] * 3, "std": [0.2] * 3, "classes": ["cat", "dog"]},
        "data": {"image": [3, 4, 4]},
        "files": {"network.onnx": {"sha256": sha256_of(folder / "network.onnx")}},
    }
    write_json(folder / MANIFEST, content)
    picture(0, size=(40, 30)).save("photo.jpg")
    return {}


def benchmark() -> dict[str, Any]:
    if "MODNAS_DATA" not in os.environ:
        pytest.skip("MODNAS_DATA does not name the benchmark's tables")
    return {}


SURROUNDINGS = {
    "README.md": readme,
    "docs/answers.md": answers,
    "docs/benchmark.md": benchmark,
    "docs/deploy.md": deploy,
    "docs/photos.md": deploy,
    "docs/predictor.md": predictor,
    "docs/solver.md": training,
    "docs/supernet.md": supernet,
    "docs/tables.md": answers,
}
