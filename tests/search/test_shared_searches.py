"""Black-box searches on shared weights: as many networks as asked for, each for all devices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modnas_fast.evaluation.fronts import Bounds, Point, hypervolume
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.search.refine import Archive
from modnas_fast.search.shared_searches import SHARED_SEARCHES, SharedSearch, shared_searches
from modnas_fast.spaces.mobilenetv3 import MobileNetV3Space

SPACE = MobileNetV3Space("small")
#: what a network costs on two devices: the place of its kernels, or of its expansions
WEIGHTS = torch.rand(2, SPACE.num_options, generator=torch.Generator().manual_seed(0))


class Rising:
    """In place of an evaluator: a quality that falls with the shares that cost nothing; counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def errors(self, onehot: Tensor) -> Tensor:
        self.asked += len(onehot)
        return 90 - onehot @ WEIGHTS.sum(0)


class Linear(torch.nn.Module):
    """In place of a MetaPredictor."""

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        return ((onehot @ WEIGHTS.T) * d).sum(-1)


def archive(networks: int) -> tuple[Archive, Rising]:
    evaluator = Rising()
    return Archive(SPACE, evaluator, CostModel([Linear()]), torch.eye(2), {}, networks), evaluator  # type: ignore[arg-type]


def mean_hypervolume(found: Archive) -> float:
    sample = SPACE.sample(2000, torch.Generator().manual_seed(9))
    costs, errors = sample @ WEIGHTS.T, Rising().errors(sample) / 100
    total = 0.0
    for device in range(2):
        cost = costs[:, device]
        bounds = Bounds((float(errors.min()), float(cost.min())), (float(errors.max()), float(cost.max())))
        values = zip(found.errors.tolist(), found.costs[:, device, 0].tolist())
        total += hypervolume([Point("", pair) for pair in values], bounds)
    return total / 2


@pytest.mark.parametrize("search", SHARED_SEARCHES.values(), ids=list(SHARED_SEARCHES))
def test_as_many_networks_as_asked_for_the_same_with_one_seed(search: SharedSearch) -> None:
    found, evaluator = archive(30)
    search(SPACE, found, torch.Generator().manual_seed(3))
    again, _ = archive(30)
    search(SPACE, again, torch.Generator().manual_seed(3))
    assert len(found) == len(found.networks) == evaluator.asked == 30
    assert torch.equal(found.onehot, again.onehot)
    other, _ = archive(30)
    search(SPACE, other, torch.Generator().manual_seed(4))
    assert not torch.equal(found.onehot, other.onehot)


@pytest.mark.parametrize("seed", range(3))
def test_evolution_finds_more_than_chance_on_every_device_together(seed: int) -> None:
    found = {}
    for name in ("random", "evolution"):
        found[name], _ = archive(300)
        SHARED_SEARCHES[name](SPACE, found[name], torch.Generator().manual_seed(seed))
    assert mean_hypervolume(found["evolution"]) > mean_hypervolume(found["random"])


def test_a_gaussian_process_finds_as_much_with_a_quarter_of_the_networks() -> None:
    (chance, _), (believed, _) = archive(240), archive(60)
    SHARED_SEARCHES["random"](SPACE, chance, torch.Generator().manual_seed(0))
    SHARED_SEARCHES["gp"](SPACE, believed, torch.Generator().manual_seed(0))
    assert mean_hypervolume(believed) > mean_hypervolume(chance)


def test_with_several_costs_there_is_no_gaussian_process() -> None:
    assert list(shared_searches(1)) == ["random", "evolution", "gp"] and list(shared_searches(2)) == [
        "random",
        "evolution",
    ]


@pytest.mark.parametrize("search", SHARED_SEARCHES.values(), ids=list(SHARED_SEARCHES))
def test_a_space_with_fewer_networks_ends_the_search(search: SharedSearch) -> None:
    space = MobileNetV3Space("small", kernels=(3,), expansions=(2,), depths=(1,), resolutions=(48, 64))
    evaluator = Rising()
    evaluator.errors = lambda onehot: 50 - onehot[:, 0]  # type: ignore[method-assign]
    costs = CostModel([Constant()])
    found = Archive(space, evaluator, costs, torch.eye(2), {}, 50)  # type: ignore[arg-type]
    search(space, found, torch.Generator().manual_seed(0))
    assert len(found) == 2


class Constant(torch.nn.Module):
    """In place of a MetaPredictor: all networks cost the same."""

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        return torch.ones(onehot.shape[:-1]) * d[..., 0]
