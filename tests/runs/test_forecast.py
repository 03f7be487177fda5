"""What a run will take: the arithmetic by hand, refusals by name, and nothing left behind."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.config import Config, make_config
from modnas_fast.datasets.task import Split, make_task
from modnas_fast.runs import forecast
from modnas_fast.runs.forecast import Forecast, foresee
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space
from modnas_fast.tasks import task_objective
from modnas_fast.tasks.images import ImageClassification

SPACE = NB201Space()


def images(count: int = 20, side: int = 8) -> ImageClassification:
    values = torch.randint(
        0, 256, (count, 1, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    split = Split(values, torch.arange(count) % 2)
    return ImageClassification(make_task("noise", ("a", "b"), train=split, validation=split, test=split))


def config(*overrides: str) -> Config:
    small = ["space.channels=2", "search.batch_size=8", "verify.batch_size=8"]
    return make_config(preset="images", overrides=[*small, *overrides])


def test_the_arithmetic_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pass takes four seconds, so an error of one of four networks one."""
    monkeypatch.setattr(forecast, "_seconds", lambda work: 4.0)
    wanted = config(
        "search.warmup_steps=10",
        "search.steps=20",
        "search.evaluations=2",
        "search.refine_networks=50",
        "evaluation.rays=6",
        "verify.networks=3",
        "verify.epochs=7",
    )
    found = foresee(wanted, SPACE, images(), searched=3, unseen=2)
    distinct = forecast.DISTINCT_PER_DEVICE
    assert found.search == 4 * (10 + 20) + 4 * 20 + (2 * 5 * distinct + 50)
    assert found.evaluate == 5 * distinct + 6
    assert found.verify == 3 * 7 * (40 // 8) * 4.0


def test_stages_that_are_left_out_take_no_time() -> None:
    found = foresee(config("search.steps=0", "search.refine_steps=0", "verify.networks=0"), SPACE, images(), 2, 1)
    assert found.verify == 0 and found.search > 0
    assert "verify" not in str(found) and str(found).startswith("search ")
    assert str(Forecast(4000.0, 42.0, 9000.0)) == "search 67 min, evaluate 40 s, verify 2.5 h"


@pytest.mark.parametrize("kind", ["leave_one_out", "reinmax", "gumbel_softmax"])
def test_a_forecast_leaves_nothing_behind(kind: str) -> None:
    task, state, grad = images(), torch.get_rng_state(), torch.is_grad_enabled()
    before = [split.images.clone() for split in (task.images.train, task.images.validation)]
    foresee(config(f"architect.kind={kind}"), SPACE, task, 2, 1)
    assert torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled() == grad
    assert all(torch.equal(a, b.images) for a, b in zip(before, (task.images.train, task.images.validation)))


@pytest.mark.parametrize(
    ("free", "key", "batch"),
    [(10**4, "verify.batch_size", 1), (10**5, "evaluation.batch_size", 20), (5 * 10**4, "search.batch_size", 1)],
)
def test_too_little_memory_is_told_by_the_setting(
    free: int, key: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (forecast, task_objective):
        monkeypatch.setattr(module, "free_memory", lambda device: free)
    networks = 1 if key.startswith("verify") else 0
    with pytest.raises(InputError, match=rf"^{key}: .* GB, of which .* are free; lower it"):
        foresee(config(f"verify.networks={networks}", f"evaluation.batch_size={batch}"), SPACE, images(), 2, 1)
