"""Standalone networks trained from scratch, and what that takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from modnas_fast.config import VerifyConfig
from modnas_fast.datasets.task import ImageTask, Split, make_task
from modnas_fast.spaces import NB201Space
from modnas_fast.tasks.images import ImageClassification
from modnas_fast.tasks.training import network_quality, takes_channels_last, train_network, training_bytes

space = NB201Space()


def stripes(count: int, classes: int, seed: int) -> Split:
    labels = torch.arange(count) % classes
    images = torch.randint(0, 80, (count, 1, 6, 6), generator=torch.Generator().manual_seed(seed))
    for label in range(classes):
        images[labels == label, :, 2 * label : 2 * label + 2] += 150
    return Split(images.to(torch.uint8), labels)


def make_images() -> ImageClassification:
    train, validation, test = (stripes(count, 3, seed) for seed, count in enumerate((24, 12, 60)))
    return ImageClassification(make_task("stripes", tuple("abc"), train=train, validation=validation, test=test))


def make_network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        architecture = space.architecture([3, 1, 3, 1, 0, 3])
        return space.build(architecture, image_channels=1, classes=3, channels=2, cells=1)


CONFIG = VerifyConfig(epochs=12, batch_size=8, learning_rate=0.1)


def test_training_learns_an_easy_task_and_reports_each_epoch() -> None:
    network, task, epochs = make_network(), make_images(), []
    state = torch.get_rng_state()
    before = network_quality(make_network(), task, "test")
    error = train_network(network, task, CONFIG, augment=False, seed=0, on_epoch=epochs.append)
    assert error < 10 < before
    assert epochs == list(range(1, 13)) and torch.equal(state, torch.get_rng_state())
    assert error == network_quality(network, task, "test")


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "last"), [(4, 1, 2, False), (8, 1, 2, True), (4, 3, 2, True), (4, 1, 1, True)]
)
def test_layers_that_torch_cannot_train_with_channels_last(channels: int, kernel: int, stride: int, last: bool) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.Conv2d(channels, 8, kernel, stride),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    assert takes_channels_last(network) == last
    error = train_network(network, make_images(), CONFIG, augment=False, seed=0)
    assert 0 <= error < 100  # the process is still there


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
    test = task.images.test
    swapped = ImageClassification(replace(task.images, test=Split(test.images, (test.labels + 1) % 3)))
    log: list[object] = []
    batches = ImageTask.batches

    def noting(self: ImageTask, split: Split, *rest: object, **options: object) -> Iterator[tuple[Tensor, Tensor]]:
        log.append("test" if split is test else len(split))
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

    images = make_images().images
    labels = torch.tensor([0] * 7 + [1, 2, 2])
    task = ImageClassification(replace(images, test=Split(images.test.images[:10], labels)))
    assert network_quality(Zero(), task, "test", batch_size=4) == pytest.approx(30.0)


def kept_by_autograd(network: nn.Module, task: ImageClassification) -> int:
    """Bytes of the distinct pieces of memory that a forward pass on real numbers keeps, parameters left out."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    x, y = next(task.batches("train", 24))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        task.loss(network(x), y)
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in parameters)


def test_bytes_of_training_are_those_that_autograd_keeps_and_more() -> None:
    task, network = make_images(), make_network()
    weights = 4 * sum(p.numel() for p in network.parameters())
    kept = kept_by_autograd(network, task)
    batch = next(task.batches("train", 24))
    assert training_bytes(network.to("meta"), task, batch) == int(1.25 * kept) + 3 * weights
    half = next(task.batches("train", 12))
    assert training_bytes(network, task, half) < 0.7 * training_bytes(network, task, batch)
