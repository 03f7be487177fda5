"""The embedded digits: exact values and a split fixed by the seed."""

from __future__ import annotations

import pytest
import torch
from sklearn import datasets

from modnas_fast.datasets import load_task
from modnas_fast.runtime.errors import InputError


def test_values_and_proportions() -> None:
    task = load_task("digits", seed=0)
    assert (task.name, task.image_shape, task.flip) == ("digits", (1, 8, 8), False)
    assert task.classes == tuple("0123456789") and task.notes == ()
    sizes = [len(part) for part in (task.train, task.validation, task.test)]
    assert sum(sizes) == 1797
    assert [size / 1797 for size in sizes] == pytest.approx([0.5, 0.25, 0.25], abs=0.003)
    for part in (task.train, task.validation, task.test):
        assert torch.bincount(part.labels).min() >= 0.09 * len(part)


def test_the_parts_are_disjoint_and_complete() -> None:
    task = load_task("digits", seed=3)
    parts = torch.cat([task.train.images, task.validation.images, task.test.images])
    original = torch.tensor(datasets.load_digits().images)[:, None]
    expected = ((255 * original + 8) / 16).floor().to(torch.uint8)
    assert sorted(map(bytes, parts.flatten(1).numpy())) == sorted(map(bytes, expected.flatten(1).numpy()))


def test_the_seed_fixes_the_split() -> None:
    first, second, other = (load_task("digits", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.labels, second.test.labels)
    assert not torch.equal(first.test.images, other.test.images)


def test_limit_resize_and_fractions() -> None:
    task = load_task("digits", seed=0, limit=200, resize=16, fractions=(0.6, 0.2, 0.2))
    assert task.image_shape == (1, 16, 16)
    assert task.notes == ("200 of 200 images resized to 16×16",)
    sizes = [len(part) for part in (task.train, task.validation, task.test)]
    assert sum(sizes) == 200 and sizes == pytest.approx([120, 40, 40], abs=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit: wanted at least 1, got 0"),
        ({"limit": 20}, "limit: wanted at least 3 images for each of 10 classes, got 20"),
        ({"resize": 2}, "resize: wanted at least 4, got 2"),
        ({"fractions": (0.5, 0.5)}, "fractions"),
        ({"fractions": (0.0, 0.5, 0.5)}, "fractions"),
        ({"fractions": (0.5, 0.5, 0.0)}, "no test part"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_task("digits", seed=0, **options)
