"""mgd_backward with losses that are NaN or infinite, and with torch.amp.GradScaler, on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from modnas_fast.mgd import Status, mgd_backward, mgd_weights
from modnas_fast.mgd.loss_scale import common_scale

NORMALIZATIONS = ["none", "l2", "loss", "loss+"]
NAN, INF = float("nan"), float("inf")
STEPS = 20


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def losses_of(net: nn.Module) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(8, 4, generator=generator), torch.randn(8, 3, generator=generator)
    return list((net(x) - y).square().mean(0))


def without_labels(net: nn.Module, how: str) -> Tensor:
    """The loss of a task of which the batch holds no label."""
    out = net(torch.ones(8, 4))[:, 1]
    mask = torch.zeros(8, dtype=torch.bool)
    return {
        "empty mean": lambda: out[mask].square().mean(),  # NaN, gradient of zeros
        "masked mean": lambda: (out.square() * mask).sum() / mask.sum(),  # NaN, gradient NaN
        "infinite": lambda: (out * 0).sum() + INF,  # gradient of zeros
        "minus infinity": lambda: (out * 0).sum() - INF,
        "infinite with a gradient": lambda: out.sum() + INF,
    }[how]()


FORMS = ["empty mean", "masked mean", "infinite", "minus infinity", "infinite with a gradient"]


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("how", FORMS)
@pytest.mark.parametrize("batched", [False, True])
def test_a_task_without_labels_is_refused_or_left_out(normalize: str, how: str, batched: bool) -> None:
    net = network()
    first, _, third = losses_of(net)
    with pytest.raises(ValueError, match=r"^losses\[1\] is (nan|-?inf); nonfinite=\"skip\" leaves"):
        mgd_backward([first, without_labels(net, how), third], net, normalize, batched=batched)
    assert net.weight.grad is None

    first, _, third = losses_of(net)
    found = mgd_backward([first, without_labels(net, how), third], net, normalize, nonfinite="skip", batched=batched)
    rest = network()
    first, _, third = losses_of(rest)
    expected = mgd_backward([first, third], rest, normalize)
    torch.testing.assert_close(found.weights[[0, 2]], expected.weights)
    assert found.weights[1] == found.factors[1] == 0
    torch.testing.assert_close(net.weight.grad, rest.weight.grad)


def test_where_every_loss_is_left_out_nothing_is_added() -> None:
    net = network()
    net.weight.grad = torch.ones(3, 4)
    found = mgd_backward([without_labels(net, "empty mean")], net, nonfinite="skip")
    assert found.point.status == Status.EMPTY and (net.weight.grad == 1).all()


def test_a_gradient_that_is_not_finite_is_refused_left_out_or_passed_on() -> None:
    def losses(x: Tensor) -> list[Tensor]:
        return [x.sum(), x.sqrt().sum()]  # finite, but d sqrt(0) is infinite

    x = torch.tensor([1.0, 0.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"^losses\[1\] has a gradient with NaN or an infinity; nonfinite="):
        mgd_backward(losses(x), x)
    assert x.grad is None
    assert mgd_backward(losses(x), x, nonfinite="skip").weights.tolist() == [1, 0] and x.grad.tolist() == [1, 1]
    found = mgd_backward(losses(x), x, nonfinite="propagate")
    assert found.weights.isnan().all() and found.point.status == Status.NONFINITE and x.grad.isnan().all()


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
def test_mgd_weights_looks_at_losses_under_every_normalisation(normalize: str) -> None:
    matrix = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    for value in (NAN, INF, -INF):
        losses = [1.0, value, 2.0]
        with pytest.raises(ValueError, match=rf"losses\[1\] must be .*finite, not {value}"):
            mgd_weights(matrix, normalize, losses=losses)
        found = mgd_weights(matrix, normalize, losses=losses, nonfinite="skip")
        expected = mgd_weights(matrix[[0, 2]], normalize, losses=[1.0, 2.0])
        torch.testing.assert_close(found.factors[[0, 2]], expected.factors)
        assert found.factors[1] == 0
        assert mgd_weights(matrix, normalize, losses=losses, nonfinite="propagate").factors.isnan().all()


# ---- with a scaler ----


def scaler(power: int, **options: float) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=2.0**power, growth_interval=10_000, **options)


def overflowing(losses: list[Tensor], tasks: str) -> list[Tensor]:
    """Losses whose scaled gradients overflow for no, one or all tasks as long as the scale is large."""
    which = {"no": [], "one": [1], "all": [0, 1, 2]}[tasks]
    return [loss * 2.0**118 if t in which else loss for t, loss in enumerate(losses)]


@pytest.mark.parametrize("nonfinite", ["raise", "skip", "propagate"])
@pytest.mark.parametrize("tasks", ["no", "one", "all"])
@pytest.mark.parametrize("way", ["each", "list", "stacked", "unbound", "divided", "stack of scaled"])
def test_the_scaler_backs_off_until_nothing_overflows(nonfinite: str, tasks: str, way: str) -> None:
    net, scale = network(), scaler(16)
    plain, plain_scale = network(), scaler(16)
    start = net.weight.detach().clone()
    by = torch.optim.SGD(net.parameters(), 1e-42), torch.optim.SGD(plain.parameters(), 1e-42)
    if tasks == "no":
        by = torch.optim.SGD(net.parameters(), 1e-2), torch.optim.SGD(plain.parameters(), 1e-2)
    ways: dict[str, Callable[[list[Tensor]], object]] = {
        "each": lambda losses: [scale.scale(loss) for loss in losses],
        "list": lambda losses: scale.scale(losses),
        "stacked": lambda losses: scale.scale(torch.stack(losses)),
        "unbound": lambda losses: list(scale.scale(torch.stack(losses))),
        "divided": lambda losses: [scale.scale(loss) / 4 for loss in losses],
        "stack of scaled": lambda losses: torch.stack([scale.scale(loss) for loss in losses]),
    }
    for _ in range(STEPS):
        by[0].zero_grad()
        found = mgd_backward(ways[way](overflowing(losses_of(net), tasks)), net, nonfinite=nonfinite)
        finite = bool(net.weight.grad.isfinite().all())
        assert found.weights.isfinite().all() == finite
        scale.step(by[0])
        scale.update()
        by[1].zero_grad()  # beside an ordinary backward pass of the sum
        plain_scale.scale(sum(overflowing(losses_of(plain), tasks))).backward()
        plain_scale.step(by[1])
        plain_scale.update()
    assert net.weight.isfinite().all()
    if tasks == "no":
        assert scale.get_scale() == plain_scale.get_scale() == 2.0**16 and not torch.equal(net.weight, start)
    else:
        assert scale.get_scale() < 2.0**14
        steps = torch.tensor(scale.get_scale() / plain_scale.get_scale()).log2()
        assert abs(steps) <= 4  # the sum of three losses overflows earlier than each, a quarter later
    assert finite


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("power", [0, 10, 40])
def test_the_unscaled_update_does_not_depend_on_the_scale(normalize: str, power: int) -> None:
    net, plain, scale = network(), network(), scaler(power)
    expected = mgd_backward(losses_of(plain), plain, normalize)
    found = mgd_backward(scale.scale(losses_of(net)), net, normalize)
    torch.testing.assert_close(found.factors, expected.factors)
    scale.unscale_(torch.optim.SGD(net.parameters(), 1.0))
    torch.testing.assert_close(net.weight.grad, plain.weight.grad)


def test_an_infinite_scaled_loss_with_a_finite_gradient_trains() -> None:
    """2¹²⁰ × 1,000 is no float32, but the gradients are."""
    for normalize in ("none", "l2"):
        net, scale = network(), scaler(120)
        losses = [scale.scale(loss * 1e-3 + 1000.0) for loss in losses_of(net)]
        assert all(loss.isinf() for loss in losses)
        found = mgd_backward(losses, net, normalize)
        plain = network()
        expected = mgd_backward([loss * 1e-3 for loss in losses_of(plain)], plain, normalize)
        torch.testing.assert_close(found.factors, expected.factors)
    found = mgd_backward([scale.scale(loss + 1000.0) for loss in losses_of(net)], net, "loss")  # ℓ itself is wanted
    assert found.weights.isnan().all()


@pytest.mark.parametrize("how", ["empty mean", "masked mean", "infinite"])
def test_a_task_without_labels_is_no_overflow(how: str) -> None:
    net, scale = network(), scaler(4)
    losses = [losses_of(net)[0], without_labels(net, how)]
    with pytest.raises(ValueError, match=r"losses\[1\] must be finite"):
        mgd_backward(scale.scale(losses), net)
    assert net.weight.grad is None
    losses = [losses_of(net)[0], without_labels(net, how)]
    assert mgd_backward(scale.scale(losses), net, nonfinite="skip").weights.tolist() == [1, 0]
    assert net.weight.grad.isfinite().all()


def test_one_task_without_labels_hides_no_overflow_of_another() -> None:
    net, scale = network(), scaler(16)
    losses = [losses_of(net)[0] * 2.0**118, without_labels(net, "empty mean"), losses_of(net)[2]]
    mgd_backward(scale.scale(losses), net, nonfinite="skip")
    assert net.weight.grad.isnan().all()


def test_what_is_a_common_scale() -> None:
    one, other = torch.tensor(2.0), torch.tensor(2.0)
    x, y = (torch.tensor(3.0, requires_grad=True) for _ in range(2))
    assert common_scale([x * one, y * one]) is not None
    assert common_scale(list(torch.stack([x * one, y * one]))) is not None
    assert common_scale([x * one / 4, y * one * 0.5 - x * one]) is not None
    assert common_scale([sum([x * one] * 5000)]) is not None
    assert common_scale([x * one, y]) is common_scale([x, y]) is common_scale([x * one, y * other]) is None
    assert common_scale([x * 2.0, y * 2.0]) is common_scale([x * y, x * y]) is None
    assert common_scale([x.exp() * one + y.exp()]) is common_scale([(x * one).exp()]) is None


def test_the_other_packages_way_in_refuses_what_is_missing() -> None:
    from modnas_fast.mgd.compat.libmtl import MGDABackward

    class Host(MGDABackward):
        rep_grad = False

        def _get_grads(self, losses: list[Tensor], mode: str) -> Tensor:
            return torch.tensor([[1.0, 0.0], [0.0, 0.0]])

    with pytest.raises(ValueError, match=r"losses\[1\] must be finite, not nan"):
        Host().backward([torch.tensor(1.0), torch.tensor(NAN)])
