"""Queries of any network: within the budget, and where the fronts are rather than where random networks are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modnas_fast.evaluation.fronts import front_membership
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space
from modnas_fast.tasks.surrogate import CountedTruth, make_fit
from modnas_fast.tasks.surrogate_anywhere import query_anywhere

SPACE = MobileNetV3Space("small")


def true_errors(onehot: Tensor) -> Tensor:
    """In percent: more of anything helps, most of all pixels."""
    features = SPACE.features(onehot.double())
    return 60 - 20 * features[:, 0] - 15 * features[:, 1:6].mean(-1) - 10 * features[:, 6] - 8 * features[:, 7]


def costs(onehot: Tensor) -> Tensor:
    """On two devices, [n, 2, 1]: of one depth counts, of the other multiplications."""
    features = SPACE.features(onehot)
    return torch.stack([features[:, 1:6].sum(-1), 0.1 + features[:, 12]], dim=1)[..., None]


def random_networks(count: int, seed: int = 0) -> Tensor:
    return torch.unique(SPACE.canonical(SPACE.sample(count, torch.Generator().manual_seed(seed))), dim=0)


@pytest.fixture(scope="module")
def asked() -> tuple[CountedTruth, list[int]]:
    counted, seen = CountedTruth(SPACE, true_errors, 60), list[int]()
    query_anywhere(
        SPACE, counted, random_networks(300), costs, 0, seen.append, make_fit("gaussian_process", None, SPACE)
    )
    return counted, seen


def test_the_budget_is_spent_and_not_exceeded(asked: tuple[CountedTruth, list[int]]) -> None:
    counted, seen = asked
    assert len(counted.known) == 60 and counted.left == 0
    assert seen[0] == 12 and seen[-1] == 60 and seen == sorted(seen)
    texts = list(counted.known)
    onehot = SPACE.encode([SPACE.parse(text) for text in texts])
    assert torch.equal(SPACE.canonical(onehot), onehot)
    assert torch.equal(true_errors(onehot), torch.tensor([counted.known[text] for text in texts], dtype=torch.float64))


def test_most_of_what_is_asked_is_better_than_any_random_network(asked: tuple[CountedTruth, list[int]]) -> None:
    chosen = SPACE.encode([SPACE.parse(text) for text in list(asked[0].known)[12:]])
    both = torch.cat([chosen, random_networks(2000, seed=1)])
    best = front_membership(true_errors(both), costs(both))
    assert int(best[: len(chosen)].any(1).sum()) > 3 * int(best[len(chosen) :].any(1).sum())


def test_what_is_known_is_not_asked_again(asked: tuple[CountedTruth, list[int]]) -> None:
    known = dict(list(asked[0].known.items())[:30])

    def ask(onehot: Tensor) -> Tensor:
        assert not {network.text for network in SPACE.decode(onehot)} & set(known)
        return true_errors(onehot)

    counted = CountedTruth(SPACE, ask, 36)
    counted.known.update(known)
    query_anywhere(SPACE, counted, random_networks(100), costs, 0)
    assert len(counted.known) == 36 and list(counted.known)[:30] == list(known)
