"""Fronts and hypervolumes by hand and by brute force; errors against one network at a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modnas_fast.datasets.task import Split, make_task
from modnas_fast.devices import Device, embeddings
from modnas_fast.evaluation.fronts import Bounds, Point, front, front_membership, hypervolume, nondominated
from modnas_fast.method.metahypernet import make_metahypernet
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.search.evaluator import Evaluator
from modnas_fast.spaces import NB201Space
from modnas_fast.supernets.supernet import Supernet
from modnas_fast.tasks.images import ImageClassification
from modnas_fast.tasks.supernet_errors import SupernetErrors

space = NB201Space()
UNIT = Bounds(low=(0.0, 0.0), high=(1.0, 1.0))
grid = st.integers(0, 8).map(lambda value: value / 8)
point_lists = st.lists(st.tuples(grid, grid), max_size=12)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points_of(values: list[tuple[float, float]]) -> list[Point]:
    return [Point(str(i), value) for i, value in enumerate(values)]


# ---- fronts and hypervolume ----


def test_hypervolume_by_hand() -> None:
    assert hypervolume([], UNIT) == 0.0
    assert hypervolume(points_of([(0.0, 0.0)]), UNIT) == 1.0
    assert hypervolume(points_of([(0.5, 0.25), (0.25, 0.5)]), UNIT) == pytest.approx(0.5 * 0.75 + 0.25 * 0.5)
    assert hypervolume(points_of([(1.0, 0.0), (0.0, 1.0), (2.0, 0.1)]), UNIT) == 0.0
    bounds = Bounds(low=(10.0, 2.0), high=(50.0, 4.0))
    assert hypervolume(points_of([(30.0, 2.5)]), bounds) == pytest.approx(0.5 * 0.75)
    assert bounds.normalize(points_of([(30.0, 2.5), (10.0, 4.0)])).tolist() == [[0.5, 0.25], [0.0, 1.0]]
    assert bounds.normalize([]).shape == (0, 2)


@given(st.lists(st.tuples(st.integers(-2, 10), st.integers(-2, 10)), max_size=12))
def test_hypervolume_equals_counting_cells(values: list[tuple[int, int]]) -> None:
    """On an 8×8 grid the dominated area is a number of cells; points may lie outside the unit square."""
    covered = sum(
        any(error <= i and latency <= j for error, latency in values)
        for i, j in itertools.product(range(-2, 8), repeat=2)
    )
    points = points_of([(error / 8, latency / 8) for error, latency in values])
    assert hypervolume(points, UNIT) == pytest.approx(covered / 64)


@given(point_lists)
def test_nondominated_equals_pairwise_comparison(values: list[tuple[float, float]]) -> None:
    def beaten(i: int) -> bool:
        e, ms = values[i]
        better = any(a <= e and b <= ms and (a, b) != (e, ms) for a, b in values)
        return better or values[i] in values[:i]

    keep = nondominated(points_of(values))
    assert keep == [not beaten(i) for i in range(len(values))]
    chosen = front(points_of(values))
    assert [p.values[1] for p in chosen] == sorted(p.values[1] for p in chosen)
    assert [p.values[0] for p in chosen] == sorted((p.values[0] for p in chosen), reverse=True)
    assert len({p.values for p in chosen}) == len(chosen) == sum(keep)
    assert hypervolume(chosen, UNIT) == pytest.approx(hypervolume(points_of(values), UNIT))


def test_of_equal_points_the_first_is_kept() -> None:
    points = points_of([(0.5, 0.5), (0.2, 0.8), (0.5, 0.5), (0.2, 0.8), (0.6, 0.6)])
    assert nondominated(points) == [True, True, False, False, False]
    assert [p.architecture for p in front(points)] == ["0", "1"]
    assert nondominated([]) == [] and front([]) == []


# ---- the evaluator ----


def make_images(count: int = 23, side: int = 6, classes: int = 3) -> ImageClassification:
    images = torch.randint(0, 256, (count, 1, side, side), generator=seeded(1), dtype=torch.uint8)
    split = Split(images, torch.arange(count) % classes)
    return ImageClassification(make_task("noise", tuple("abc")[:classes], train=split, validation=split, test=split))


def make_device() -> Device:
    return Device.from_reference_latencies("phone", [2.0, 3.0, 1.0, 5.0, 2.5, 2.2, 2.4, 4.0, 1.5, 3.3])


def make_evaluator(task: ImageClassification, batch_size: int = 10) -> Evaluator:
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    supernet = space.supernet(image_channels=1, classes=task.images.num_classes, channels=2, cells=1)
    torch.set_rng_state(torch_state)
    predictor = MetaPredictor(space, 10, 20, seeded()).requires_grad_(False)
    return Evaluator(space, SupernetErrors(supernet, task, "validation", batch_size), CostModel([predictor]))


def distinct(count: int, seed: int = 0) -> Tensor:
    rows = space.canonical(space.sample(8 * count, seeded(seed)))
    return rows[sorted({a.text: i for i, a in enumerate(space.decode(rows))}.values())][:count]


def direct_errors(evaluator: Evaluator, task: ImageClassification, onehot: Tensor, batch_size: int) -> list[float]:
    errors = []
    for row in onehot:
        wrong = 0
        for x, y in task.batches("validation", batch_size):
            wrong += int((evaluator._source._supernet.predict(x, row[None])[0].argmax(-1) != y).sum())
        errors.append(100 * wrong / task.size("validation"))
    return errors


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_errors_equal_one_network_at_a_time(chunk: int) -> None:
    task, onehot = make_images(), distinct(7)
    evaluator = make_evaluator(task)
    done: list[int] = []
    evaluator.compute_errors(onehot, chunk, done.append)
    points = evaluator.points(onehot, make_device())
    assert [p.values[0] for p in points] == pytest.approx(direct_errors(evaluator, task, onehot, 8))
    assert len({p.values[0] for p in points}) > 1
    assert [p.architecture for p in points] == [a.text for a in space.decode(onehot)]
    assert done == [min(7, start + chunk) for start in range(0, 7, chunk)]


def test_errors_do_not_depend_on_how_many_networks_are_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    task, onehot = make_images(), distinct(7)
    source = make_evaluator(task)._source
    together = source(onehot)
    widths: list[int] = []
    predict = source._supernet.predict_from
    monkeypatch.setattr(
        source._supernet, "predict_from", lambda x, rows: (widths.append(len(rows)), predict(x, rows))[1]
    )
    parts = SupernetErrors(source._supernet, task, "validation", 10, at_a_time=3)
    assert torch.equal(parts(onehot), together) and set(widths) == {3, 1}


def test_errors_keep_nothing_for_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_evaluator(make_images())._source
    logits: list[Tensor] = []
    predict = source._supernet.predict_from
    monkeypatch.setattr(source._supernet, "predict_from", lambda x, rows: logits.append(predict(x, rows)) or logits[-1])
    source(distinct(2))
    assert logits and all(one.grad_fn is None for one in logits)


def test_errors_do_not_depend_on_the_order_of_requests() -> None:
    task, onehot = make_images(), distinct(6)
    forward, backward = make_evaluator(task), make_evaluator(task)
    forward.compute_errors(onehot)
    for row in reversed(onehot):
        backward.compute_errors(row[None])
    device = make_device()
    assert forward.points(onehot, device) == backward.points(onehot, device)


def test_known_errors_are_not_computed_again_until_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    task, onehot = make_images(), distinct(4)
    evaluator = make_evaluator(task, batch_size=23)
    seen: list[int] = []
    predict = evaluator._source._supernet.predict_from
    monkeypatch.setattr(
        evaluator._source._supernet, "predict_from", lambda x, rows: (seen.append(len(rows)), predict(x, rows))[1]
    )
    evaluator.compute_errors(torch.cat([onehot[:2], onehot[:2]]))
    evaluator.compute_errors(onehot)
    evaluator.compute_errors(onehot)
    assert seen == [2, 2]
    before = evaluator.points(onehot, make_device())
    with torch.no_grad():
        for parameter in evaluator._source._supernet.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(2)))
    evaluator.compute_errors(onehot)
    assert evaluator.points(onehot, make_device()) == before
    evaluator.forget()
    evaluator.compute_errors(onehot)
    assert seen == [2, 2, 4] and evaluator.points(onehot, make_device()) != before


def test_a_network_that_knows_the_answer_has_no_errors() -> None:
    class Oracle(Supernet):
        """Architecture 0 reads the label off the first pixel; the others say class 0."""

        def predict(self, x: Tensor, onehot: Tensor) -> Tensor:
            label = x[:, 0, 0, 0]
            right = torch.stack([-(label - level).abs() for level in levels], dim=-1)
            wrong = torch.zeros_like(right).index_fill(1, torch.tensor(0), 1.0)
            return torch.stack([right] + [wrong] * (len(onehot) - 1))

    labels = torch.arange(10) % 3
    images = (labels * 100).to(torch.uint8)[:, None, None, None].expand(10, 1, 4, 4).contiguous()
    split = Split(images, labels)
    task = make_task("easy", ("a", "b", "c"), train=split, validation=split, test=split)
    levels = task.normalize(torch.tensor([0, 100, 200], dtype=torch.uint8).view(3, 1, 1, 1)).flatten()
    evaluator = Evaluator(
        space,
        SupernetErrors(Oracle(), ImageClassification(task), "validation", 4),
        CostModel([MetaPredictor(space, 10)]),
    )
    onehot = distinct(3)
    evaluator.compute_errors(onehot)
    assert [p.values[0] for p in evaluator.points(onehot, make_device())] == pytest.approx([0.0, 60.0, 60.0])


def test_latencies_are_in_the_devices_unit() -> None:
    task, onehot, device = make_images(), distinct(5), make_device()
    evaluator = make_evaluator(task)
    evaluator._costs.predictors[0].costs[-1].bias.data[-1] += 0.3  # untrained, it predicts too little everywhere
    predicted = evaluator._costs(onehot, embeddings([device]))[:, 0]
    latencies = evaluator.costs(onehot, device)[:, 0]
    linear = 1.0 + 4.0 * predicted
    assert (linear > 0.1).any() and (linear < 0).any()
    torch.testing.assert_close(latencies[linear > 0.1], linear[linear > 0.1], rtol=0, atol=0)
    assert (latencies > 0).all() and torch.equal(latencies.argsort(), linear.argsort())
    ((low, high),) = evaluator.cost_bounds(device)
    assert 0 < low < high


def test_latency_bounds_run_over_the_whole_space() -> None:
    task, device = make_images(), make_device()
    evaluator = make_evaluator(task)
    every = evaluator.costs(space.enumerate(), device)
    assert evaluator.cost_bounds(device) == [(float(every.min()), float(every.max()))]


def test_map_architectures_are_canonical_modes() -> None:
    task, device = make_images(), make_device()
    evaluator = make_evaluator(task)
    phi = make_metahypernet("mlp", 30, 2, 10, generator=seeded(4))
    r = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
    wanted = space.canonical(space.viable_mode(phi(r, embeddings([device]).expand(2, -1)).detach()))
    assert torch.equal(evaluator.map_architectures(phi, device, r), wanted)


def test_ray_points_carry_their_preference() -> None:
    task = make_images()
    evaluator = make_evaluator(task)
    other = Device.from_reference_latencies("server", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    phi = make_metahypernet("bank", 30, 2, 10, generator=seeded(4))
    result = evaluator.ray_points(phi, [make_device(), other], 5)
    assert [len(points) for points in result] == [5, 5]
    for points, device in zip(result, (make_device(), other), strict=True):
        first = [p.preference[0] for p in points]
        assert first == sorted(first, reverse=True) and first[2] == pytest.approx(0.5)
        assert all(math.isclose(sum(p.preference), 1.0, rel_tol=1e-6) for p in points)
        chosen = evaluator.map_architectures(phi, device, torch.tensor([p.preference for p in points]))
        assert [p.architecture for p in points] == [a.text for a in space.decode(chosen)]
        latency = evaluator.costs(chosen, device)[:, 0].tolist()
        assert np.allclose([p.values[1] for p in points], latency)


# ---- fronts of many devices at once ----


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 5), min_size=1, max_size=12))
def test_membership_equals_pairwise_comparison_on_every_device(rows: list[tuple[int, ...]]) -> None:
    values = torch.tensor(rows, dtype=torch.float32)
    errors, costs = values[:, 0], values[:, 1:].view(-1, 2, 2)  # two devices with two costs
    found = front_membership(errors, costs)
    assert found.shape == (len(rows), 2) and found.dtype == torch.bool
    for device in range(2):
        points = torch.cat([errors[:, None], costs[:, device]], dim=-1).tolist()
        for i, point in enumerate(points):
            beaten = any(all(a <= b for a, b in zip(other, point)) and other != point for other in points)
            assert bool(found[i, device]) == (not beaten and point not in points[:i])
