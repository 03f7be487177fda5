"""MGDAWeighting and MGDA within the real TorchJD."""

from __future__ import annotations

import pytest
import torch
import torchjd
from torch import nn
from torchjd import aggregation, autojac

from modnas_fast.mgd.compat.torchjd import MGDA, MGDAWeighting


def jacobian(rows: int = 5, columns: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.5 + torch.randn(rows, columns, generator=generator)


def test_they_are_torchjds_own_kinds() -> None:
    assert isinstance(MGDA(), aggregation.MGDA) and isinstance(MGDA(), aggregation.GramianWeightedAggregator)
    assert isinstance(MGDAWeighting(), aggregation.MGDAWeighting)
    assert isinstance(MGDA().gramian_weighting, MGDAWeighting)
    assert repr(MGDA(epsilon=0.01, max_iters=7)) == "MGDA(epsilon=0.01, max_iters=7)"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_the_limit_of_torchjds_loop(dtype: torch.dtype) -> None:
    matrix = jacobian().to(dtype)
    ours = MGDA()(matrix)
    theirs = aggregation.MGDA(epsilon=1e-9, max_iters=20_000)(matrix)
    assert ours.dtype == dtype and ours.shape == (12,)
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)
    assert ours.square().sum() <= theirs.square().sum() * (1 + 1e-6)
    gram = matrix @ matrix.T
    weights = MGDAWeighting()(gram)
    assert weights.dtype == dtype
    torch.testing.assert_close(weights @ matrix, ours, atol=1e-5, rtol=1e-5)


def test_hooks_of_the_weighting_run() -> None:
    seen = []
    aggregator = MGDA()
    aggregator.gramian_weighting.register_forward_hook(lambda module, inputs, output: seen.append(output))
    aggregator(jacobian())
    assert len(seen) == 1 and seen[0].shape == (5,)


def test_it_trains_within_autojac() -> None:
    """One step of TorchJD's own backward with either aggregator goes the same way."""
    grads = []
    for aggregator in (MGDA(), aggregation.MGDA(epsilon=1e-9, max_iters=20_000)):
        torch.manual_seed(0)
        model = nn.Linear(6, 3)
        outputs = model(torch.ones(4, 6) * torch.arange(4.0)[:, None])
        losses = (outputs - torch.eye(3)[[0, 1, 2, 0]]).square().mean(0)
        autojac.backward(losses)
        autojac.jac_to_grad(model.parameters(), aggregator)
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(grads[0], grads[1], atol=1e-2, rtol=1e-2)


def test_the_options_reach_the_solver() -> None:
    gram = torch.diag(torch.tensor([1.0, 0.0, 4.0]))
    assert MGDAWeighting()(gram).tolist() == [0, 1, 0]
    torch.testing.assert_close(MGDAWeighting(zeros="ignore")(gram), torch.tensor([0.8, 0.0, 0.2]))
    with pytest.raises(ValueError, match="method must be one of"):
        MGDAWeighting(method="newton")
    with pytest.raises(ValueError, match="epsilon must be positive"):
        MGDA(epsilon=0)


def test_this_is_the_real_package() -> None:
    assert "site-packages" in torchjd.__file__
