"""Splits, normalisation, minibatches and augmentation on made-up images."""

from __future__ import annotations

import pytest
import torch
from stand_in_gpu import GPU, stand_in_gpu
from torch import Tensor

from modnas_fast.datasets.augment import augment_batch, augment_photos, random_crop, random_flip
from modnas_fast.datasets.splits import stratified_split, stratified_subset
from modnas_fast.datasets.task import ImageTask, Split, channel_statistics, make_task
from modnas_fast.runtime.errors import InputError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_images(count: int, channels: int = 3, side: int = 8) -> Tensor:
    shape = (count, channels, side, side)
    return torch.randint(0, 256, shape, generator=seeded(count), dtype=torch.uint8)


def task_of(count: int = 50) -> ImageTask:
    split = Split(noise_images(count), torch.arange(count) % 5)
    bright = Split(torch.full_like(split.images, 255), split.labels)
    return make_task("noise", tuple("abcde"), train=split, validation=bright, test=bright)


def test_statistics_come_from_the_training_part_alone() -> None:
    task = task_of()
    values = task.train.images.double() / 255
    torch.testing.assert_close(task.mean.double(), values.mean((0, 2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(task.std.double(), values.std((0, 2, 3), correction=0), atol=1e-6, rtol=0)
    normal = task.normalize(task.train.images)
    torch.testing.assert_close(normal.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    assert task.normalize(task.train.images[:2], torch.bfloat16).dtype == torch.bfloat16
    assert task.image_shape == (3, 8, 8) and task.num_classes == 5


def test_a_constant_channel_has_standard_deviation_one() -> None:
    mean, std = channel_statistics(torch.full((5000, 2, 2, 2), 51, dtype=torch.uint8))
    torch.testing.assert_close(mean, torch.tensor([0.2, 0.2]))
    assert torch.equal(std, torch.ones(2))


def test_batches_cover_the_split_once_and_shuffle_anew() -> None:
    task = task_of(50)
    generator = seeded(1)
    epochs = [list(task.batches(task.train, 16, generator)) for _ in range(2)]
    for epoch in epochs:
        assert [len(y) for _, y in epoch] == [16, 16, 16, 2]
        images = torch.cat([x for x, _ in epoch])
        torch.testing.assert_close(
            images.sum((1, 2, 3)).sort().values, task.normalize(task.train.images).sum((1, 2, 3)).sort().values
        )
    assert not torch.equal(epochs[0][0][0], epochs[1][0][0])
    again = next(task.batches(task.train, 16, seeded(1)))
    assert torch.equal(again[0], epochs[0][0][0]) and torch.equal(again[1], epochs[0][0][1])
    assert [len(y) for _, y in task.batches(task.train, 16, generator, drop_last=True)] == [16, 16, 16]


def test_labels_stay_with_their_images() -> None:
    task = task_of(50)
    normal = task.normalize(task.train.images)
    for x, y in task.batches(task.train, 7, seeded(2)):
        for image, label in zip(x, y, strict=True):
            index = (normal == image).flatten(1).all(-1).nonzero().item()
            assert task.train.labels[index] == label


def test_without_a_generator_the_order_is_kept() -> None:
    task = task_of(10)
    labels = torch.cat([y for _, y in task.batches(task.train, 4)])
    assert torch.equal(labels, task.train.labels)


def test_batches_refuse_bad_arguments_at_once() -> None:
    task = task_of(10)
    with pytest.raises(ValueError, match="batch_size: wanted at least 1, got 0"):
        task.batches(task.train, 0)
    with pytest.raises(ValueError, match="generator"):
        task.batches(task.train, 4, augment=True)
    with pytest.raises(InputError, match="batch_size: wanted at most the 10 images"):
        task.batches(task.train, 11, seeded(), drop_last=True)


def test_split_checks_types_and_shapes() -> None:
    images = noise_images(4)
    with pytest.raises(ValueError, match="images: wanted uint8"):
        Split(images.float(), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="labels: wanted int64"):
        Split(images, torch.zeros(3, dtype=torch.int64))


def test_a_crop_is_one_of_the_windows_of_the_padded_image() -> None:
    images = noise_images(40, channels=2, side=6)
    before = images.clone()
    cropped = random_crop(images, 1, seeded(3))
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    moves = set()
    for image, whole in zip(cropped, padded, strict=True):
        windows = {(i, j): whole[:, i : i + 6, j : j + 6] for i in range(3) for j in range(3)}
        places = [place for place, window in windows.items() if torch.equal(window, image)]
        assert len(places) == 1
        moves.update(places)
    assert len(moves) > 6 and torch.equal(images, before)
    assert torch.equal(random_crop(images, 0, seeded()), images)


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = noise_images(200)
    flipped = random_flip(images, seeded(4))
    same = (flipped == images).flatten(1).all(-1)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(-1)
    assert (same ^ mirrored).all() and 70 < int(mirrored.sum()) < 130


def test_augmentation_follows_the_generator_and_the_flip_flag() -> None:
    images = noise_images(30)
    state = torch.get_rng_state()
    assert torch.equal(augment_batch(images, seeded(5)), augment_batch(images, seeded(5)))
    assert not torch.equal(augment_batch(images, seeded(5)), augment_batch(images, seeded(6)))
    cropped = random_crop(images, 1, seeded(5))
    assert torch.equal(augment_batch(images, seeded(5), flip=False), cropped)
    assert torch.equal(state, torch.get_rng_state())


def test_batches_augment_only_when_asked() -> None:
    task = task_of(20)
    plain = torch.cat([x for x, _ in task.batches(task.train, 20, seeded(7))])
    changed = torch.cat([x for x, _ in task.batches(task.train, 20, seeded(7), augment=True)])
    assert plain.shape == changed.shape and not torch.equal(plain, changed)


@pytest.mark.parametrize("fractions", [(0.5, 0.25, 0.25), (0.5, 0.5, 0.0), (1, 1, 1), (0.98, 0.01, 0.01)])
def test_stratified_split_divides_each_class_alike(fractions: tuple[float, ...]) -> None:
    labels = torch.arange(7).repeat_interleave(torch.tensor([3, 10, 11, 100, 31, 8, 4]))
    parts = stratified_split(labels, fractions, seeded(8))
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(labels)))
    for fraction, part in zip(fractions, parts, strict=True):
        counts = torch.bincount(labels[part], minlength=7)
        wanted = torch.bincount(labels) * fraction / sum(fractions)
        assert ((counts - wanted).abs() <= 2).all()
        assert fraction == 0 or (counts >= 1).all()
    again = stratified_split(labels, fractions, seeded(8))
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))


@pytest.mark.parametrize("count", [9, 50, 163, 167])
def test_stratified_subset_keeps_proportions(count: int) -> None:
    labels = torch.arange(3).repeat_interleave(torch.tensor([100, 60, 7]))
    chosen = stratified_subset(labels, count, seeded(9), least=3)
    counts = torch.bincount(labels[chosen])
    assert len(chosen.unique()) == count == int(counts.sum())
    assert (counts >= 3).all() and (counts <= torch.tensor([100, 60, 7])).all()
    assert (counts - count * torch.tensor([100, 60, 7]) / 167).abs().max() <= 3
    with pytest.raises(ValueError, match="count"):
        stratified_subset(labels, 8, seeded(), least=3)


# ---- on a GPU ----


def test_batches_are_made_where_the_images_lie_and_nobody_waits() -> None:
    task = task_of(50)
    with stand_in_gpu(may_wait=True):
        there = task.to(GPU)
    with stand_in_gpu():
        x, y = next(there.batches(there.train, 16, seeded(), augment=True, drop_last=True))
    assert x.device == y.device == GPU and x.shape == (16, 3, 8, 8) and x.dtype == torch.float32


def test_what_lies_there_is_not_copied() -> None:
    task = task_of()
    same = task.to("cpu")
    assert same.train is task.train and same.mean is task.mean


def test_photos_are_augmented_by_parts_of_themselves() -> None:
    """Of a slope, a part's values lie between the slope's, rise by no more than it does, and fall where mirrored."""
    slope = torch.linspace(0, 255, 64).to(torch.uint8).expand(32, 1, 64, 64).contiguous()
    parts = augment_photos(slope, seeded(1))
    assert parts.shape == slope.shape and parts.dtype == torch.uint8
    assert torch.equal(parts, augment_photos(slope, seeded(1))) and not torch.equal(
        parts, augment_photos(slope, seeded(2))
    )
    rises = parts[:, 0, 0, -1].float() - parts[:, 0, 0, 0].float()
    assert 6 < int((rises < 0).sum()) < 26  # mirrored
    assert float(rises.abs().min()) > 100 and float(rises.abs().max()) <= 255
    assert (augment_photos(slope, seeded(1), flip=False)[:, 0, 0].float().diff() >= 0).all()
    upright = augment_photos(slope.mT.contiguous(), seeded(1))[:, 0, :, 0].float()
    assert (upright.diff() >= 0).all() and len(upright[:, 0].unique()) > 10
