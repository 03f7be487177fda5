"""The weighting of LibMTL, beside a base class with the interface of LibMTL 1.1.5 and, where installed, the real."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modnas_fast.mgd.compat.libmtl import MGDABackward


class Interface(nn.Module):
    """What LibMTL's AbsWeighting does for `backward`: flat gradients in, one combined gradient out."""

    def _get_grads(self, losses: list[Tensor], mode: str) -> Tensor:
        assert mode == "backward"
        rows = []
        for loss in losses:
            loss.backward(retain_graph=True)
            rows.append(torch.cat([p.grad.flatten() for p in self.get_share_params()]))
            self.zero_grad_share_params()
        return torch.stack(rows)

    def _backward_new_grads(self, batch_weight: Tensor, per_grads: object = None, grads: object = None) -> None:
        start = 0
        for p in self.get_share_params():
            p.grad = (batch_weight @ grads)[start : start + p.numel()].reshape(p.shape)
            start += p.numel()


def bases() -> list[object]:
    found = [pytest.param(Interface, id="interface")]
    if importlib.util.find_spec("LibMTL"):
        from LibMTL.weighting.abstract_weighting import AbsWeighting

        found.append(pytest.param(AbsWeighting, id="LibMTL"))
    else:
        found.append(pytest.param(None, id="LibMTL", marks=pytest.mark.skip(reason="LibMTL is not installed")))
    return found


def model(base: type) -> nn.Module:
    class Model(MGDABackward, base):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Linear(4, 3)
            self.task_num, self.rep_grad, self.device = 3, False, torch.device("cpu")

        def get_share_params(self) -> list[nn.Parameter]:
            return list(self.trunk.parameters())

        def zero_grad_share_params(self) -> None:
            self.trunk.zero_grad(set_to_none=False)

    torch.manual_seed(0)
    return Model()


@pytest.mark.parametrize("base", bases())
@pytest.mark.parametrize("kind", ["none", "l2", "loss", "loss+"])
def test_no_task_objects_to_the_update(base: type, kind: str) -> None:
    host = model(base)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    losses = list((host.trunk(x) - torch.tensor([3.0, -2.0, 0.5])).square().mean(0))
    rows = torch.stack(
        [torch.cat([g.flatten() for g in torch.autograd.grad(loss, host.get_share_params(), retain_graph=True)])
         for loss in losses]
    )  # fmt: skip
    values = torch.stack(losses).detach()
    weights = host.backward(losses, mgda_gn=kind)
    assert isinstance(weights, np.ndarray) and weights.sum() == pytest.approx(1, abs=1e-6)
    update = torch.cat([p.grad.flatten() for p in host.get_share_params()])
    torch.testing.assert_close(update, torch.from_numpy(weights) @ rows)
    norms = rows.norm(dim=1)
    scale = {"none": torch.ones(3), "l2": norms, "loss": values, "loss+": values * norms}[kind]
    units = rows / scale[:, None]
    shortest = torch.from_numpy(weights) @ units
    assert (units @ shortest >= shortest @ shortest - 1e-5 * units.square().sum(1).max()).all()


def test_an_unknown_normalisation_is_refused() -> None:
    host = model(Interface)
    loss = host.trunk(torch.ones(1, 4)).square().sum()
    with pytest.raises(ValueError, match="not 'l1'"):
        host.backward([loss, loss, loss], mgda_gn="l1")
