"""The archive of networks whose error is known, and the best of them for each preference."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from modnas_fast.method.objectives import ERROR_FLOOR, ObjectiveScale
from modnas_fast.method.scalarize import make_scalarization
from modnas_fast.predictors.metapredictor import CostModel
from modnas_fast.search.refine import FIRST_NETWORKS, Archive, Refinement
from modnas_fast.spaces import NB201Space

space = NB201Space()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class FewConvolutions:
    """In place of an evaluator: the error falls with every convolution; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def errors(self, onehot: Tensor) -> Tensor:
        self.asked += [architecture.text for architecture in space.decode(onehot)]
        return torch.tensor([80.0 - 10 * text.count("conv") for text in self.asked[-len(onehot) :]])


class EdgesInUse(torch.nn.Module):
    """In place of a MetaPredictor: d[0] for every edge in use."""

    def forward(self, onehot: Tensor, d: Tensor) -> Tensor:
        return (6 - onehot.unflatten(-1, (6, 5))[..., 0].sum(-1)) * d[..., 0]


predictor = CostModel([EdgesInUse()])
ONE_DEVICE = torch.ones(1, 1)


def make_archive(evaluator: FewConvolutions, networks: int = 1000, d: Tensor = ONE_DEVICE) -> Archive:
    return Archive(space, evaluator, predictor, d, {}, networks)


def make_refinement(networks: int = 1000, at_once: int | None = None) -> tuple[Refinement, FewConvolutions]:
    evaluator = FewConvolutions()
    d = torch.tensor([[0.1], [0.2]])
    costs = predictor.on_devices(space.sample(200, seeded(1)), d)
    scalarize = make_scalarization("smooth_chebyshev", mu=0.01)
    scale = ObjectiveScale(costs, True, ERROR_FLOOR)
    first = space.sample(min(FIRST_NETWORKS, (networks + 1) // 2), seeded(7))
    archive = make_archive(evaluator, networks, d)
    return Refinement(space, archive, scalarize, scale, 0.9, first, at_once), evaluator


def test_the_archive_asks_once_for_each_network_that_is_not_cut() -> None:
    evaluator = FewConvolutions()
    archive = make_archive(evaluator, 10)
    same = [[3, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0]]  # edge 0→1 leads nowhere in the first
    cut = [3, 3, 3, 0, 0, 0]
    archive.add(space.encode([space.architecture(indices) for indices in (*same, cut)]))
    assert len(archive) == 1 and archive.errors.tolist() == pytest.approx([0.8])
    archive.add(space.encode([space.architecture(indices) for indices in (same[0], [0, 0, 0, 3, 0, 0])]))
    assert len(archive) == 2 == len(evaluator.asked)
    assert torch.equal(archive.onehot, space.canonical(archive.onehot))


def test_elites_are_the_best_of_the_archive_for_each_preference_and_device() -> None:
    refinement, _ = make_refinement()
    r = torch.tensor([[[0.9, 0.1], [0.1, 0.9]], [[0.5, 0.5], [0.7, 0.3]]])  # [t, R, M]
    samples = space.sample(4, seeded(2)).view(2, 2, -1)
    elites = refinement.elites(samples, r, torch.tensor([0, 1]), seeded(3))
    assert elites.shape == (2, 2, 30) and len(refinement.archive) > FIRST_NETWORKS // 2
    archive = refinement.archive
    for device in range(2):
        for preference in range(2):
            cost = predictor(archive.onehot, archive._d[device])
            losses = refinement._scale(archive.errors[:, None], cost[:, None], torch.tensor([device]))[:, 0]
            values = refinement._scalarize(losses, r[device, preference])
            assert torch.equal(elites[device, preference], archive.onehot[values.argmin()])


def test_mutations_find_what_random_networks_missed() -> None:
    refinement, _ = make_refinement()
    r, chosen = torch.tensor([[[0.999, 0.001]]]), torch.tensor([0])
    for step in range(30):
        elite = refinement.elites(space.sample(1, seeded(4)).view(1, 1, -1), r, chosen, seeded(step))
    assert space.decode(elite[0])[0].text.count("conv") == 6
    assert len(refinement.archive) < 400


@pytest.mark.parametrize("most", [8, 61])
def test_no_more_errors_are_computed_than_allowed(most: int) -> None:
    refinement, evaluator = make_refinement(most)
    r, chosen = torch.tensor([[[0.5, 0.5]]]), torch.tensor([0])
    for step in range(most):
        elites = refinement.elites(space.sample(1, seeded(step)).view(1, 1, -1), r, chosen, seeded(step))
    assert len(refinement.archive) == len(evaluator.asked) == most
    assert elites.shape == (1, 1, 30)


def test_few_networks_are_taken_in_step_by_step_and_descend_from_the_best() -> None:
    def best_error(count: int | None, seed: int) -> float:
        refinement, _ = make_refinement(64, count)
        r, chosen, generator = torch.tensor([[[0.98, 0.02]] * 12]), torch.tensor([0]), seeded(seed)
        sizes = []
        for _ in range(20):
            refinement.elites(space.sample(12, generator).view(1, 12, -1), r, chosen, generator)
            sizes.append(len(refinement.archive))
        assert sizes[-1] == 64
        grown = [after - before for before, after in itertools.pairwise(sizes)]
        assert max(grown) <= (count or 64) and (count is None or grown[0] == count)
        return float(refinement.archive.qualities.min())

    seeds = range(6)
    by_steps, at_one_go = ([best_error(count, seed) for seed in seeds] for count in (4, None))
    assert sum(by_steps) < sum(at_one_go), "of the same number of networks"


def test_the_state_survives_saving() -> None:
    refinement, _ = make_refinement()
    r, chosen = torch.tensor([[[0.5, 0.5]]]), torch.tensor([1])
    samples = space.sample(1, seeded(5)).view(1, 1, -1)
    refinement.elites(samples, r, chosen, seeded(6))
    other, evaluator = make_refinement()
    other.load_state_dict(refinement.state_dict())
    first, second = (each.elites(samples, r, chosen, seeded(7)) for each in (refinement, other))
    assert torch.equal(first, second)
    assert torch.equal(refinement.archive.onehot, other.archive.onehot) and len(evaluator.asked) < 10


def test_the_initial_state_can_be_saved_too() -> None:
    refinement, other = make_refinement()[0], make_refinement()[0]
    other.load_state_dict(refinement.state_dict())
    assert len(other.archive) == 0


def test_measured_costs_go_before_predictions() -> None:
    d = torch.tensor([[0.1], [0.2]])
    conv = space.architecture([0, 0, 0, 3, 0, 0])
    archive = Archive(space, FewConvolutions(), predictor, d, {conv.text: torch.tensor([[7.0], [8.0]])}, 10)
    archive.add(space.encode([conv, space.architecture([0, 0, 0, 1, 0, 0])]))
    costs = {a.text: row.flatten().tolist() for a, row in zip(space.decode(archive.onehot), archive.costs, strict=True)}
    assert costs.pop(conv.text) == [7.0, 8.0]
    assert list(costs.values()) == [pytest.approx([0.1, 0.2])]


def test_the_front_holds_what_no_other_beats_on_some_device() -> None:
    archive = make_archive(FewConvolutions(), d=torch.tensor([[0.1], [0.2]]))
    archive.add(space.sample(60, seeded(8)))
    assert len(archive.front) < len(archive)
    points = [(float(e), float(c)) for e, c in zip(archive.errors, archive.costs[:, 0, 0], strict=True)]
    for row, (error, cost) in enumerate(points):
        beaten = any(e <= error and c <= cost and (e, c) != (error, cost) for e, c in points)
        if row in archive.front.tolist():
            assert not beaten
        else:
            assert beaten or (error, cost) in [points[i] for i in archive.front.tolist()]
