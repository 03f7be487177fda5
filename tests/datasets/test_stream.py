"""The endless stream of minibatches: whole epochs, and exact continuation anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modnas_fast.datasets import BatchStream, ImageTask, Split
from modnas_fast.datasets.task import make_task
from modnas_fast.runtime.checkpoint import load_checkpoint, save_checkpoint


def make_images(count: int = 11) -> ImageTask:
    """Image i is of the single grey value 20 i, and i is also its label."""
    images = (20 * torch.arange(count)).to(torch.uint8)[:, None, None, None].expand(count, 1, 8, 8).contiguous()
    split = Split(images, torch.arange(count))
    return make_task("grey", tuple(str(i) for i in range(count)), train=split, validation=split, test=split)


def stream(seed: int = 0, batch_size: int = 3, augment: bool = False) -> BatchStream:
    task = make_images()
    return BatchStream(task, task.train, batch_size, seed, augment)


def same(first: tuple[torch.Tensor, torch.Tensor], second: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("taken", range(8))
def test_a_stream_continues_exactly_from_any_position(tmp_path: Path, taken: int, augment: bool) -> None:
    unbroken, broken = stream(augment=augment), stream(augment=augment)
    for _ in range(taken):
        assert same(next(unbroken), next(broken))
    save_checkpoint(tmp_path / "state", broken.state_dict())
    resumed = stream(seed=99, augment=augment)
    next(resumed)
    resumed.load_state_dict(load_checkpoint(tmp_path / "state"))
    for _ in range(8):
        assert same(next(unbroken), next(resumed))


def test_saving_does_not_disturb_the_stream() -> None:
    watched, plain = stream(), stream()
    for _ in range(8):
        watched.state_dict()
        assert same(next(watched), next(plain))


def test_every_epoch_is_a_new_order_without_the_small_last_batch() -> None:
    batches = stream()
    epochs = [torch.cat([next(batches)[1] for _ in range(3)]).tolist() for _ in range(6)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert set().union(*epochs) == set(range(11))


def test_labels_stay_with_their_images() -> None:
    task = make_images()
    for _ in range(7):
        batches = BatchStream(task, task.train, 4, 1)
        x, y = next(batches)
        torch.testing.assert_close(x, task.normalize(task.train.images[y]))


def test_seeds_differ_and_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    assert same(next(stream(1, augment=True)), next(stream(1, augment=True)))
    assert not torch.equal(next(stream(1))[1], next(stream(2))[1])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("batch_size", [11, 12, 1000])
def test_a_batch_larger_than_the_split_is_the_whole_split(batch_size: int) -> None:
    batches = stream(batch_size=batch_size)
    first, second = next(batches)[1], next(batches)[1]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(11))
    assert not torch.equal(first, second)
