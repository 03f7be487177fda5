"""The choice of networks to verify, and their training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from modnas_fast.config import VerifyConfig
from modnas_fast.datasets.task import ImageTask, Split, make_task
from modnas_fast.evaluation.fronts import Point
from modnas_fast.evaluation.verify import choose_spread, error_percent, train_network
from modnas_fast.spaces import NB201Space

space = NB201Space()


def front_of(names: str, device: float = 1.0) -> list[Point]:
    """A front by rising latency on which the error falls from letter to letter of the alphabet."""
    return [Point(name, (100.0 - ord(name), device * ord(name))) for name in names]


def test_the_ends_are_included_and_the_rest_is_spread_evenly() -> None:
    assert choose_spread([front_of("abcdefghi")], 3) == ["a", "e", "i"]
    assert choose_spread([front_of("abcdefghi")], 5) == ["a", "c", "e", "g", "i"]
    assert choose_spread([front_of("abcdefghi")], 2) == ["a", "i"]


@pytest.mark.parametrize("count", [3, 4, 100])
def test_all_are_taken_where_there_are_not_more(count: int) -> None:
    assert choose_spread([front_of("abc")], count) == ["a", "b", "c"]


def test_little_or_nothing_to_choose() -> None:
    assert choose_spread([front_of("abc")], 0) == []
    assert len(choose_spread([front_of("abc")], 1)) == 1
    assert choose_spread([], 3) == choose_spread([[], []], 3) == []
    assert choose_spread([front_of("a")], 2) == ["a"]


def test_networks_of_several_devices_are_taken_once() -> None:
    fronts = [front_of("abcde"), front_of("abcde", 7.0), front_of("ace", 0.1)]
    assert choose_spread(fronts, 9) == ["a", "b", "c", "d", "e"]
    assert choose_spread(fronts, 3) == ["a", "c", "e"]


@given(st.lists(st.sets(st.sampled_from("abcdefghijkl"), min_size=1), min_size=1, max_size=4), st.integers(2, 8))
def test_the_choice_is_distinct_and_holds_the_most_accurate(sets: list[set[str]], count: int) -> None:
    fronts = [front_of("".join(sorted(names)), 1.0 + i) for i, names in enumerate(sets)]
    chosen = choose_spread(fronts, count)
    everything = sorted(set().union(*sets))
    assert len(set(chosen)) == len(chosen) <= count and set(chosen) <= set(everything)
    assert chosen[-1] == everything[-1]
    firsts = {points[0].architecture for points in fronts if len(points) > 1 or len(sets) == 1}
    assert len(fronts) > 1 or chosen[0] in firsts


# ---- training ----


def stripes(count: int, classes: int, seed: int) -> Split:
    labels = torch.arange(count) % classes
    images = torch.randint(0, 80, (count, 1, 6, 6), generator=torch.Generator().manual_seed(seed))
    for label in range(classes):
        images[labels == label, :, 2 * label : 2 * label + 2] += 150
    return Split(images.to(torch.uint8), labels)


def make_images() -> ImageTask:
    train, validation, test = (stripes(count, 3, seed) for seed, count in enumerate((24, 12, 60)))
    return make_task("stripes", tuple("abc"), train=train, validation=validation, test=test)


def make_network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        architecture = space.architecture([3, 1, 3, 1, 0, 3])
        return space.build(architecture, image_channels=1, classes=3, channels=2, cells=1)


CONFIG = VerifyConfig(epochs=12, batch_size=8, learning_rate=0.1)


def test_training_learns_an_easy_task_and_reports_each_epoch() -> None:
    network, task, epochs = make_network(), make_images(), []
    state = torch.get_rng_state()
    before = error_percent(make_network(), task, task.test)
    error = train_network(network, task, CONFIG, augment=False, seed=0, on_epoch=epochs.append)
    assert error < 10 < before
    assert epochs == list(range(1, 13)) and torch.equal(state, torch.get_rng_state())
    assert error == error_percent(network, task, task.test)


def test_training_reproduces_from_its_seed() -> None:
    task = make_images()
    weights = []
    for seed in (0, 0, 1):
        network = make_network()
        train_network(network, task, CONFIG, augment=True, seed=seed)
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_test_part_is_read_once_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other test labels change the error, not the trained weights; the only read follows all training."""
    task = make_images()
    swapped = replace(task, test=Split(task.test.images, (task.test.labels + 1) % 3))
    log: list[object] = []
    batches = ImageTask.batches

    def noting(self: ImageTask, split: Split, *rest: object, **options: object) -> Iterator[tuple[Tensor, Tensor]]:
        log.append("test" if split is task.test else len(split))
        return batches(self, split, *rest, **options)

    monkeypatch.setattr(ImageTask, "batches", noting)
    first, second = make_network(), make_network()
    error = train_network(first, task, CONFIG, augment=False, seed=0)
    assert log.count("test") == 1 and log[-1] == "test" and set(log[:-1]) == {24 + 12}
    other = train_network(second, swapped, CONFIG, augment=False, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert error < 10 and other > 90


def test_a_batch_larger_than_the_data() -> None:
    config = VerifyConfig(epochs=2, batch_size=1000, learning_rate=0.1)
    assert 0 <= train_network(make_network(), make_images(), config, augment=False, seed=0) <= 100


def test_error_counts_wrong_images_in_every_batch() -> None:
    class Zero(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            return torch.tensor([1.0, 0.0, 0.0]).expand(len(x), 3)

    task = make_images()
    labels = torch.tensor([0] * 7 + [1, 2, 2])
    split = Split(task.test.images[:10], labels)
    assert error_percent(Zero(), task, split, batch_size=4) == pytest.approx(30.0)
