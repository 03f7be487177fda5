"""Cross-entropies of hidden states and an output matrix, against plain logits, and what they hold in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from modnas_fast.supernets import LinearOutputs, cross_entropies, linear_outputs

WIDTHS, VOCABULARY = (3, 5, 5), 11


@pytest.fixture(params=[1, 10**6], ids=["small chunks", "one chunk"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of four tokens, the last one smaller, or all tokens at once."""
    monkeypatch.setattr(linear_outputs, "_ROWS", 4)
    monkeypatch.setattr(linear_outputs, "_LOGITS_ON_CPU", request.param)


def made(
    batch: int = 3, length: int = 6, dtype: torch.dtype = torch.float64, vocabulary: int = VOCABULARY
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Hidden states, output matrix and labels."""
    generator = torch.Generator().manual_seed(0)
    hidden = [torch.randn(batch, length, width, generator=generator).to(dtype) for width in WIDTHS]
    weight = torch.randn(vocabulary, max(WIDTHS), generator=generator).to(dtype)
    return hidden, weight, torch.randint(vocabulary, (batch, length), generator=generator)


def plain(outputs: LinearOutputs, y: Tensor) -> Tensor:
    logits = outputs.logits()
    return torch.stack([F.cross_entropy(part.flatten(0, 1), y.flatten(), reduction="none") for part in logits]).view(
        len(logits), *y.shape
    )


@pytest.mark.parametrize("vocabulary", [VOCABULARY, 160], ids=["few classes", "many classes"])
@pytest.mark.parametrize("frozen", [False, True], ids=["with weights", "frozen"])
@pytest.mark.usefixtures("chunks")
def test_losses_and_gradients_are_those_of_plain_logits(frozen: bool, vocabulary: int) -> None:
    hidden, weight, y = made(vocabulary=vocabulary)
    weight.requires_grad_(not frozen)
    factors = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)
    leaves = [part.requires_grad_() for part in hidden] + ([] if frozen else [weight])
    outputs, found = LinearOutputs(hidden, weight), []
    for losses in (outputs.losses(y), plain(outputs, y).mean((1, 2))):
        found.append([losses.detach(), *torch.autograd.grad((losses * factors).sum(), leaves)])
    for ours, true in zip(*found, strict=True):
        torch.testing.assert_close(ours, true, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(outputs.nats(y), plain(outputs, y).detach(), atol=1e-10, rtol=1e-10)
    assert not outputs.nats(y).requires_grad


@pytest.mark.parametrize("vocabulary", [5, 60])
@pytest.mark.usefixtures("chunks")
def test_gradcheck(vocabulary: int) -> None:
    hidden, weight, y = made(2, 3, vocabulary=vocabulary)
    leaves = [weight.requires_grad_(), *(part.requires_grad_() for part in hidden)]
    assert torch.autograd.gradcheck(lambda weight, *hidden: LinearOutputs(hidden, weight).losses(y), leaves)
    assert torch.autograd.gradcheck(lambda *hidden: LinearOutputs(hidden, weight.detach()).losses(y), leaves[1:])


def test_hidden_states_without_a_gradient_leave_that_of_the_weight() -> None:
    for vocabulary in (VOCABULARY, 160):
        hidden, weight, y = made(vocabulary=vocabulary)
        outputs = LinearOutputs(hidden, weight.requires_grad_())
        (wanted,) = torch.autograd.grad(plain(outputs, y).mean((1, 2)).sum(), weight)
        torch.testing.assert_close(torch.autograd.grad(outputs.losses(y).sum(), weight)[0], wanted)
        assert not LinearOutputs(hidden, weight.detach()).losses(y).requires_grad


def test_no_gradient_is_computed_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, y = made()
    outputs = LinearOutputs([part.requires_grad_() for part in hidden], weight.requires_grad_())
    wanted = outputs.losses(y).detach()

    def fail(*arguments: Tensor) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(linear_outputs, "_less_chosen", fail)
    with torch.no_grad():
        torch.testing.assert_close(outputs.losses(y), wanted)
    with pytest.raises(AssertionError):
        outputs.losses(y)


def test_far_logits_overflow_nowhere() -> None:
    weight, y = torch.tensor([[300.0], [-300.0], [0.0]]), torch.tensor([0, 1])
    nats = LinearOutputs([torch.ones(2, 1)], weight).nats(y)
    assert nats.tolist() == [[0.0, 600.0]]


def test_losses_are_the_usual_cross_entropies() -> None:
    hidden, weight, y = made()
    outputs = LinearOutputs(hidden, weight)
    torch.testing.assert_close(outputs.losses(y), plain(outputs, y).mean((1, 2)))
    torch.testing.assert_close(cross_entropies(outputs, y), outputs.losses(y))
    assert len(outputs) == 3 and outputs.logits().shape == (3, 3, 6, VOCABULARY)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nats_are_as_close_as_those_of_plain_logits(dtype: torch.dtype) -> None:
    hidden, weight, y = made(dtype=dtype)
    found = LinearOutputs(hidden, weight).nats(y)
    true = plain(LinearOutputs([part.double() for part in hidden], weight.double()), y)
    assert found.dtype == torch.float32
    # a logit is rounded once, relative to its own size
    assert float((found - true).abs().max()) <= 4 * torch.finfo(dtype).eps * float(true.abs().max())


class Largest(TorchDispatchMode):
    """The most numbers that a result of any operation has."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, Tensor):
                self.numbers = max(self.numbers, part.numel())
        return result


@contextmanager
def largest() -> Iterator[Largest]:
    with Largest() as mode:
        yield mode


@pytest.mark.parametrize("frozen", [False, True], ids=["with weights", "frozen"])
def test_no_tensor_is_as_large_as_the_logits_of_one_network(frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_outputs, "_ROWS", 16)
    monkeypatch.setattr(linear_outputs, "_LOGITS_ON_CPU", 1)
    hidden = [torch.randn(4, 64, 8).requires_grad_() for _ in range(3)]
    weight, y = torch.randn(1000, 8).requires_grad_(not frozen), torch.randint(1000, (4, 64))
    with largest() as ours:
        LinearOutputs(hidden, weight).losses(y).sum().backward()
    assert ours.numbers == 16 * 1000
    with largest() as logits:
        cross_entropies(LinearOutputs(hidden, weight).logits().flatten(1, 2), y.flatten()).sum().backward()
    assert logits.numbers >= 3 * 4 * 64 * 1000


@pytest.mark.parametrize("vocabulary", [7, 160])
def test_labels_that_do_not_count_and_label_smoothing_are_those_of_the_logits(vocabulary: int) -> None:
    """With few labels and with many a token: their gradients by the weight are computed in two ways."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(vocabulary, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    hidden = [torch.randn(3, 4, e, generator=generator, dtype=torch.float64, requires_grad=True) for e in (4, 5)]
    y = torch.randint(vocabulary, (3, 4), generator=generator)
    known = torch.rand(3, 4, generator=generator) < 0.7
    found = LinearOutputs(hidden, weight).losses(y, known, smoothing=0.1)
    logits = [(part @ weight[:, : part.shape[-1]].T)[known] for part in hidden]
    wanted = torch.stack([F.cross_entropy(each, y[known], label_smoothing=0.1) for each in logits])
    torch.testing.assert_close(found, wanted)
    cotangent, leaves = torch.tensor([1.0, 3.0], dtype=torch.float64), [weight, *hidden]
    mine, plain = (torch.autograd.grad(losses @ cotangent, leaves) for losses in (found, wanted))
    for ours, reference in zip(mine, plain):
        torch.testing.assert_close(ours, reference)
