"""Outputs that come as their factors: tasks that take them, and tasks that want logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.supernets import LinearOutputs
from modnas_fast.tasks.language import LanguageModelling
from modnas_fast.tasks.supernet_errors import SupernetErrors
from modnas_fast.tasks.task import taken

SPACE, VOCABULARY = GPTSpace("small", widths=(4, 8), depths=(1, 2), heads=(1, 2), ratios=(1, 2), head_size=4), 13


class OfLogits(LanguageModelling):
    """A task that knows nothing of factors: it reads the logits' shape."""

    takes_linear_outputs = False

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        assert outputs.shape[1:] == (*y.shape, VOCABULARY)
        return super().losses(outputs, y)

    def counts(self, outputs: Tensor, y: Tensor) -> Tensor:
        assert outputs.shape[1:] == (*y.shape, VOCABULARY)
        return super().counts(outputs, y)


def make(kind: type[LanguageModelling]) -> LanguageModelling:
    generator = torch.Generator().manual_seed(0)
    parts = {name: torch.randint(VOCABULARY, (90,), generator=generator) for name in ("train", "validation", "test")}
    return kind("made up", parts, 8, VOCABULARY)


def test_losses_and_quality_are_the_same_in_both_forms() -> None:
    torch.manual_seed(0)
    supernet, onehot = SPACE.supernet(vocabulary=VOCABULARY).double(), SPACE.sample(3, torch.Generator().manual_seed(1))
    x, y = next(iter(make(LanguageModelling).batches("train", 4)))
    found = {}
    for kind in (LanguageModelling, OfLogits):
        task, supernet.lm_head.weight.grad = make(kind), None
        form = taken(task, supernet.predict_from(supernet.embed(x), onehot.double()))
        assert isinstance(form, LinearOutputs) == (kind is LanguageModelling)
        losses, counts = task.losses(form, y), task.counts(form, y).detach()
        losses.sum().backward()
        quality = SupernetErrors(supernet, task, "test", 4)(onehot)
        found[kind] = losses.detach(), counts, supernet.lm_head.weight.grad, quality
    for ours, plain in zip(*found.values(), strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-10, rtol=1e-10)
    assert float(found[OfLogits][-1].std()) > 0
    assert taken(make(OfLogits), y) is y


def test_what_a_task_does_not_take_would_fail() -> None:
    task = make(OfLogits)
    with pytest.raises(AttributeError):
        task.losses(
            LinearOutputs([torch.ones(1, 2, 4)], torch.ones(VOCABULARY, 4)), torch.zeros(1, 2, dtype=torch.int64)
        )
