"""How w is trained: which networks a step takes, its learning rate, and weights that stand still."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_searches import config as images_config
from small_searches import make_devices, seeded
from small_searches import make_search as images_search
from tasks.test_language import task
from torch import Tensor

from modnas_fast.config import Config, make_config
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.runtime.checkpoint import save_weights
from modnas_fast.runtime.errors import InputError
from modnas_fast.search.bilevel import Search
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.tasks.task_objective import SupernetObjective

SIZES = {"widths": [8, 16], "depths": [1, 2], "heads": [1, 2], "head_size": 8}
SPACE = GPTSpace("small", **SIZES)


def config(checkpoint: Path | None = None, **search: object) -> Config:
    section = {"steps": 4, "warmup_steps": 6, "refine_steps": 1, "refine_networks": 8, "batch_size": 4, **search}
    space = {**SIZES, **({"checkpoint": str(checkpoint)} if checkpoint else {})}
    return make_config(preset="gpt-small", search={**section, "device": "cpu"}, space=space)


def make_search(options: Config, devices: int = 4) -> Search:
    predictor = MetaPredictor(SPACE, 10, 16, seeded(3)).requires_grad_(False)
    return Search(
        options, SPACE, SupernetObjective(options, SPACE, task()), make_devices(devices), CostModel([predictor])
    )


def trained_by(search: Search) -> list[tuple[Tensor, float]]:
    """Networks and learning rate of every step of w until the end."""
    objective, found = search._objective, []
    step = objective.train_step

    def noted(onehot: Tensor, share: float, hard: bool | None = None) -> None:
        step(onehot, share, hard)
        found.append((onehot.clone(), objective.learning_rate))

    objective.train_step = noted
    while not search.done:
        search.step()
    return found


@pytest.mark.parametrize(("devices", "networks"), [(1, 3), (2, 3), (4, 4)])
def test_a_sandwich_has_the_smallest_and_the_largest_network(devices: int, networks: int) -> None:
    trained = trained_by(make_search(config(sandwich=True), devices))
    ends = SPACE.encode([SPACE.parse("e8_l1_m2_h1_nobias"), SPACE.parse("e16_l2_m4.4_h2.2_bias")])
    assert len(trained) == 10 and all(onehot.shape == (networks, SPACE.num_options) for onehot, _ in trained)
    assert all(torch.equal(onehot[[-1, 0]], ends) for onehot, _ in trained)  # the largest one takes longest
    others = torch.cat([onehot[1:-1] for onehot, _ in trained])
    assert len(torch.unique(others, dim=0)) > 4
    alone = trained_by(make_search(config(sandwich=False), devices))
    assert all(len(onehot) == devices for onehot, _ in alone)


def test_networks_that_are_not_nested_have_no_sandwich() -> None:
    with pytest.raises(InputError, match="search.sandwich: networks of space nb201 are not nested"):
        images_search(images_config(search={"sandwich": True}))


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [rate for _, rate in trained_by(make_search(config(weight_warmup=0.4, weight_learning_rate=0.01)))]
    assert rates[:5] == pytest.approx([0.0, 0.0025, 0.005, 0.0075, 0.01])
    assert rates[4:] == sorted(rates[4:], reverse=True) and 0.0004 < rates[-1] < 0.002
    plain = [rate for _, rate in trained_by(make_search(config(weight_warmup=0.0, weight_learning_rate=0.01)))]
    assert plain[0] == 0.01 and plain == sorted(plain, reverse=True)


def test_pretrained_weights_stand_still(tmp_path: Path) -> None:
    torch.manual_seed(5)
    pretrained = SPACE.supernet(vocabulary=7)
    save_weights(tmp_path / "w.safetensors", pretrained)
    search = make_search(config(tmp_path / "w.safetensors", train_weights=False))
    before = [parameter.clone() for parameter in search.hypernet.parameters()]
    assert search.total_steps == 5 and trained_by(search) == []
    kept = search._objective.supernet.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in pretrained.state_dict().items())
    assert any(not torch.equal(a, b) for a, b in zip(before, search.hypernet.parameters()))
    moving = make_search(config(tmp_path / "w.safetensors"))
    assert moving.total_steps == 11 and len(trained_by(moving)) == 10
    assert not torch.equal(moving._objective.supernet.lm_head.weight, pretrained.lm_head.weight)


def test_weights_that_stand_still_come_from_somewhere() -> None:
    with pytest.raises(
        InputError, match=r"false wants pretrained weights, .* gpt was given none: set space.checkpoint"
    ):
        config(train_weights=False)
    with pytest.raises(InputError, match="false wants pretrained weights, and space nb201 was given none$"):
        make_config(search={"train_weights": False})
