"""Whether the contenders of a search step compute the same, in float64 on small networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from modnas_fast.bench.batched_supernet import BatchedSupernet
from modnas_fast.bench.published_step import PublishedHypernetwork, drawn, reinmax
from modnas_fast.bench.published_supernet import PublishedSupernet, as_ours
from modnas_fast.bench.step_setting import SPACE
from modnas_fast.method.architect import _ReinMax
from modnas_fast.method.metahypernet import BankHypernetwork
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.nb201.network import AVG_POOL, CONV_1X1, CONV_3X3, NONE, SKIP
from modnas_fast.spaces.nb201.supernet import NB201Supernet

B, SIDE, CHANNELS, CELLS, CLASSES = 6, 8, 4, 1, 10
#: every operation stands on a path from input to output
ARCHITECTURES = [
    [CONV_3X3, SKIP, CONV_1X1, AVG_POOL, CONV_1X1, CONV_3X3],
    [AVG_POOL, CONV_1X1, SKIP, CONV_3X3, AVG_POOL, CONV_1X1],
    [CONV_1X1, NONE, AVG_POOL, SKIP, CONV_3X3, AVG_POOL],
]
T = len(ARCHITECTURES)
TOLERANCE = 1e-8

Loss = Callable[[Tensor], Tensor]


def check(where: str = "cpu") -> None:
    """Raises InputError with what differs: then no time is worth printing."""
    with torch.random.fork_rng(devices=[] if where == "cpu" else None):
        torch.manual_seed(0)
        gaps = supernet_gaps(where) | {"hypernetwork": hypernetwork_gap(), "ReinMax": reinmax_gap()}
    wrong = [f"{name} by {gap:.1e}" for name, gap in gaps.items() if not gap <= TOLERANCE]
    if wrong:
        raise InputError(f"bench search_step: contenders do not agree: {', '.join(wrong)}; run the tests first")


def supernet_gaps(where: str = "cpu") -> dict[str, float]:
    """Largest differences of losses and gradients between the published supernet and the others."""
    x = torch.randn(B, 3, SIDE, SIDE, dtype=torch.float64, device=where)
    y = torch.randint(0, CLASSES, (B,), device=where)
    onehot = torch.stack([SPACE.onehot(torch.tensor(indices)) for indices in ARCHITECTURES]).to(x)
    published = PublishedSupernet(CLASSES, CHANNELS, CELLS).to(x)
    batched = BatchedSupernet(published)
    ours = NB201Supernet(3, CLASSES, CHANNELS, CELLS, entangled=True).to(x)
    weights = dict(published.named_parameters())
    losses: dict[str, Loss] = {
        "published": lambda sample: torch.stack([published(x, one, y) for one in sample]),
        "plain batched": lambda sample: batched(x, sample, y),
        # on a GPU samples are not looked at: who leaves `hard` open has them taken as soft
        "ours": lambda sample: functional_call(ours, as_ours(weights), (x, sample, y), {"hard": True}),
        "ours, published gradient": lambda sample: functional_call(
            ours, as_ours(weights), (x, sample, y), {"hard": True, "exact": False}
        ),
    }
    parameters = list(weights.values())
    wanted, wanted_gradient = _loss_and_gradient(losses["published"], onehot, parameters)
    gaps = {}
    for name in ("plain batched", "ours"):
        for path, sample in (("", onehot), (" with samples that need a gradient", onehot.clone().requires_grad_())):
            found, gradient = _loss_and_gradient(losses[name], sample, parameters)
            gaps[f"loss, {name}{path}"] = _gap([found], [wanted])
            gaps[f"gradient by w, {name}{path}"] = _gap(gradient, wanted_gradient)
    by_samples = {name: _gradient(loss, onehot.clone().requires_grad_()) for name, loss in losses.items()}
    for name, other in (("ours", "plain batched"), ("ours, published gradient", "published")):
        gaps[f"gradient by samples, {name} and {other}"] = _gap([by_samples[name]], [by_samples[other]])
    return gaps


def _loss_and_gradient(loss: Loss, sample: Tensor, parameters: list[nn.Parameter]) -> tuple[Tensor, list[Tensor]]:
    """Losses [T] and the gradient of their mean by the parameters, zeros where there is none."""
    losses = loss(sample)
    gradients = torch.autograd.grad(losses.mean(), parameters, allow_unused=True, materialize_grads=True)
    return losses.detach(), list(gradients)


def _gradient(loss: Loss, sample: Tensor) -> Tensor:
    return torch.autograd.grad(loss(sample).sum(), sample)[0]


def _gap(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))


def hypernetwork_gap() -> float:
    """Largest difference of the logits of the published bank and ours with the same weights."""
    published = PublishedHypernetwork(embedding_width=10).double()
    ours = BankHypernetwork(SPACE.num_options, embedding_width=10).double()
    with torch.no_grad():
        ours.tables.copy_(torch.stack([table.weight for table in published.tables], dim=1))
        ours.keys.copy_(published.keys)
    first = torch.rand(T, dtype=torch.float64)
    r, d = torch.stack([first, 1 - first], dim=-1), torch.rand(T, 10, dtype=torch.float64)
    looped = torch.stack([published(*row) for row in zip(r, d, strict=True)])
    return _gap([ours(r, d).detach()], [looped.detach()])


def reinmax_gap() -> float:
    """Largest difference of ReinMax's gradient between the published formula and ours."""
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    onehot, cotangent = drawn(logits.detach()), torch.randn(6, 5, dtype=torch.float64)
    samples = reinmax(logits, onehot), _ReinMax.apply(logits, onehot, 1.0)
    published, ours = (torch.autograd.grad((sample * cotangent).sum(), logits)[0] for sample in samples)
    return _gap([ours], [published])
