"""mgd_backward beside `backward`: hooks, accumulation, checkpoints, sparse gradients, repeated and bad arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from modnas_fast.mgd import combine, gramian, mgd_backward, mgd_weights


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def losses_of(net: Callable[[Tensor], Tensor], count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(16, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(16, 3, generator=generator, dtype=torch.float64)
    return list((net(x) - y).square().mean(0)[:count])


def grads(net: nn.Module) -> list[Tensor | None]:
    return [p.grad for p in net.parameters()]


def by_backward(prepare: Callable[[nn.Module], object], factors: Tensor) -> list[Tensor | None]:
    """What one backward pass of the weighted losses leaves in `.grad` of a network so prepared."""
    net = network()
    prepare(net)
    torch.autograd.backward(losses_of(net), list(factors))
    return grads(net)


# ---- hooks ----

TENSOR_HOOKS: dict[str, Callable[[Tensor], Tensor]] = {
    "scaled": lambda g: 3 * g,
    "masked": lambda g: g * (torch.arange(g.numel()).view_as(g) % 2),
    "clipped": lambda g: g.clamp(-0.01, 0.01),
}


@pytest.mark.parametrize("name", list(TENSOR_HOOKS))
@pytest.mark.parametrize("batched", [False, True])
def test_tensor_hooks_change_the_gradients_and_the_update(name: str, batched: bool) -> None:
    def prepare(net: nn.Module) -> None:
        net[0].weight.register_hook(TENSOR_HOOKS[name])

    net = network()
    prepare(net)
    single = [torch.autograd.grad(loss, list(net.parameters()), retain_graph=True) for loss in losses_of(net)]
    found = mgd_backward(losses_of(net), net, batched=batched)
    torch.testing.assert_close(found.weights, mgd_weights(single).weights)
    torch.testing.assert_close(grads(net), by_backward(prepare, found.factors))


def test_hooks_on_accumulation_run_once_with_the_update_in_place() -> None:
    net, seen, nodes = network(), [], []
    kept = [torch.autograd.graph.get_gradient_edge(p).node for p in net.parameters()]  # hooks live as long as these
    for node in kept:
        node.register_hook(lambda inputs, outputs: nodes.append(outputs))
    for p in net.parameters():
        p.register_post_accumulate_grad_hook(lambda p: seen.append((p, p.grad.clone())))
    mgd_backward(losses_of(net), net.parameters())
    assert len(nodes) == len(seen) == 4
    assert {id(p) for p, _ in seen} == {id(p) for p in net.parameters()}
    for p, grad in seen:
        torch.testing.assert_close(grad, p.grad)


def test_an_optimizer_within_the_backward_pass_steps_as_one_after_it() -> None:
    within, after = network(), network()
    for p in within.parameters():
        optimizer = torch.optim.SGD([p], lr=0.1)

        def step(p: Tensor, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.step()
            optimizer.zero_grad()

        p.register_post_accumulate_grad_hook(step)
    mgd_backward(losses_of(within), within)
    mgd_backward(losses_of(after), after)
    torch.optim.SGD(after.parameters(), lr=0.1).step()
    torch.testing.assert_close(list(within.parameters()), list(after.parameters()))
    assert grads(within) == [None] * 4


def test_a_left_out_loss_does_not_come_back_through_hooks() -> None:
    x = torch.tensor([1.0, 0.0], requires_grad=True)
    x.register_hook(lambda g: 2 * g)
    found = mgd_backward([x.sum(), x.sqrt().sum()], [x], nonfinite="skip")  # d sqrt(0) is infinite
    assert found.weights.tolist() == [1, 0] and x.grad.tolist() == [2, 2]


# ---- accumulation ----


@pytest.mark.parametrize("batched", [False, True])
def test_an_existing_grad_stays_the_same_tensor(batched: bool) -> None:
    net = network()
    buffer = torch.ones(sum(p.numel() for p in net.parameters()), dtype=torch.float64)
    for p, part in zip(net.parameters(), buffer.split([p.numel() for p in net.parameters()]), strict=True):
        p.grad = part.view_as(p)  # views of one buffer, as data-parallel packages have them
    before = grads(net)
    found = mgd_backward(losses_of(net), net, batched=batched)
    assert all(new is old for new, old in zip(grads(net), before, strict=True))
    added = torch.cat([grad.flatten() for grad in by_backward(lambda net: None, found.factors)])
    torch.testing.assert_close(buffer, 1 + added)


def test_grads_have_the_layout_and_format_of_their_parameters() -> None:
    conv = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
    half = torch.ones(3, dtype=torch.float16, requires_grad=True)
    y = conv(torch.ones(2, 3, 4, 4))
    mgd_backward([y.square().mean() + half.sum(), y.abs().mean()], [*conv.parameters(), half])
    assert conv.weight.grad.stride() == conv.weight.stride() and half.grad.dtype == torch.float16
    assert not conv.weight.grad.requires_grad


@pytest.mark.parametrize("reached", ["all", "first"])
def test_sparse_gradients_stay_sparse(reached: str) -> None:
    table, head = nn.Embedding(10, 3, sparse=True).double(), nn.Linear(3, 2).double()
    table.weight.data = torch.arange(30.0).reshape(10, 3).double() / 10
    dense = nn.Embedding.from_pretrained(table.weight.detach().clone(), freeze=False)
    answers = []
    for embedding in (table, dense):
        head.zero_grad()
        words = [torch.tensor([1, 4, 4]), torch.tensor([4, 7])]
        losses = [head(embedding(w))[:, k].square().mean() for k, w in enumerate(words)]
        if reached == "first":
            losses[1] = head.weight.square().sum()
        found = mgd_backward(losses, [*embedding.parameters(), *head.parameters()])
        answers.append((found.factors, embedding.weight.grad, head.weight.grad))
    (factors, sparse, of_head), (expected, whole, of_dense_head) = answers
    torch.testing.assert_close(factors, expected)
    assert sparse.is_sparse and sparse.coalesce().indices().tolist() == [[1, 4, 7] if reached == "all" else [1, 4]]
    torch.testing.assert_close(sparse.to_dense(), whole)
    torch.testing.assert_close(of_head, of_dense_head)
    torch.optim.SparseAdam([table.weight]).step()


def test_a_parameter_with_sparse_and_dense_gradients_gets_a_dense_one() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    losses = [table(torch.tensor([1])).square().sum(), table.weight.square().sum()]
    rows = torch.zeros(2, 4, 2)
    rows[0, 1], rows[1] = 2 * table.weight.detach()[1], 2 * table.weight.detach()
    found = mgd_backward(losses, table)
    torch.testing.assert_close(table.weight.grad, combine(found.factors, rows.reshape(2, 8)).reshape(4, 2))


def test_the_shared_representation_may_stand_in_for_the_trunk() -> None:
    x = torch.tensor([1.0, 1.0], requires_grad=True)
    kept = 2 * x
    kept.retain_grad()
    for z in (2 * x, kept, (2 * x).detach().requires_grad_()):
        for times in (1, 2):
            mgd_backward([z[0] ** 2, 2 * z[1] ** 2], z)
            torch.testing.assert_close(z.grad, times * torch.tensor([3.2, 1.6]))
    assert x.grad is None


# ---- checkpoints ----


class Checkpointed(nn.Module):
    """The network with its trunk under checkpointing."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        net = network()
        self.trunk, self.head, self.reentrant = net[:2], net[2], reentrant

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.trunk, x.requires_grad_(), use_reentrant=self.reentrant))


def test_checkpoints_change_nothing() -> None:
    plain, saving = network(), Checkpointed(False)
    expected = mgd_backward(losses_of(plain), plain)
    found = mgd_backward(losses_of(saving), saving)
    torch.testing.assert_close(found.factors, expected.factors)
    torch.testing.assert_close(grads(saving), grads(plain))


@pytest.mark.parametrize("wanted", ["whole", "trunk", "head"])
def test_reentrant_checkpoints_are_refused(wanted: str) -> None:
    net = Checkpointed(True)
    parameters = {"whole": net, "trunk": net.trunk, "head": net.head}[wanted]
    with pytest.raises(ValueError, match="^losses: .*checkpoint with use_reentrant=True.*; pass use_reentrant=False$"):
        mgd_backward(losses_of(net), parameters)
    assert grads(net) == [None] * 4


# ---- losses that reach nothing ----


def test_a_loss_that_reaches_none_of_the_parameters_is_named() -> None:
    net, other = network(), torch.ones(2, requires_grad=True)
    losses = [*losses_of(net, 2), other.sum()]
    with pytest.raises(ValueError, match=r"^losses\[2\] reaches none of the parameters;.*allow_unused=True"):
        mgd_backward(losses, net, retain_graph=True)
    assert grads(net) == [None] * 4
    found = mgd_backward(losses, net, allow_unused=True, zeros="ignore", retain_graph=True)
    alone = network()
    torch.testing.assert_close(found.weights[:2], mgd_backward(losses_of(alone, 2), alone).weights)
    assert found.weights[2] == 0
    assert mgd_backward(losses, net, allow_unused=True).weights.tolist() == [0, 0, 1]  # zeros, the shortest
    with pytest.raises(ValueError, match="^losses: none of them reaches any"):
        mgd_backward([other.sum()], net, allow_unused=True)


# ---- arguments ----


def test_each_parameter_counts_once() -> None:
    once, twice = network(), network()
    expected = mgd_backward(losses_of(once), once)
    found = mgd_backward(losses_of(twice), [*twice.parameters(), twice[0].weight, *twice[2].parameters()])
    torch.testing.assert_close(found.factors, expected.factors)
    torch.testing.assert_close(grads(twice), grads(once))


@pytest.mark.parametrize("use", [gramian, mgd_weights, lambda gradients: combine(torch.ones(3), gradients)])
def test_gradients_of_a_parameter_listed_twice_are_refused(use: Callable[[Any], object]) -> None:
    net = network()
    parameters = [*net.parameters(), net[0].weight]
    rows = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses_of(net)]
    with pytest.raises(ValueError, match="^gradients: the tensors at place 4 are those at place 0; list each"):
        use(rows)
    parts = [torch.stack(column) for column in zip(*rows, strict=True)]
    with pytest.raises(ValueError, match="at place 1 are those at place 0"):
        use([parts[0], parts[0]])
    zeros = torch.zeros(2)  # one tensor for the zeros of two parameters is no parameter listed twice
    use([[zeros, zeros], [torch.ones(2), torch.ones(2)], [None, None]])


@pytest.mark.parametrize("form", [
    lambda net: net,
    lambda net: net.parameters(),
    lambda net: tuple(net.parameters()),
    lambda net: dict(net.named_parameters()).values(),
    lambda net: (p for group in torch.optim.SGD(net.parameters(), 1.0).param_groups for p in group["params"]),
])  # fmt: skip
@pytest.mark.parametrize("losses", [list, tuple, iter, torch.stack, lambda terms: dict(enumerate(terms)).values()])
def test_forms_of_parameters_and_losses(form: Callable[[nn.Module], Any], losses: Callable[[Any], Any]) -> None:
    net, expected = network(), network()
    mgd_backward(losses_of(expected), list(expected.parameters()))
    mgd_backward(losses(losses_of(net)), form(net))
    torch.testing.assert_close(grads(net), grads(expected))


@pytest.mark.parametrize(
    ("losses", "error", "text"),
    [
        (lambda terms: {"a": terms[0]}, TypeError, r"^losses: .* not dict; pass a list"),
        (lambda terms: set(terms), TypeError, "^losses: .* not set; pass a list"),
        (lambda terms: 3.0, TypeError, "^losses: .* not float"),
        (lambda terms: [terms[0], None], TypeError, r"^losses\[1\] must be a tensor with its graph, not NoneType"),
        (lambda terms: [terms[0], terms[1].item()], TypeError, r"^losses\[1\] must be .*graph, not float; drop .item"),
        (lambda terms: [terms[0], terms[1].detach()], ValueError, r"^losses\[1\] has no graph"),
        (lambda terms: torch.ones(3), ValueError, r"^losses\[0\] has no graph"),
        (lambda terms: iter(()), ValueError, "^losses: wanted T scalars"),
    ],
)
def test_bad_losses_are_named(losses: Callable[[Any], Any], error: type[Exception], text: str) -> None:
    net = network()
    with pytest.raises(error, match=text) as raised:
        mgd_backward(losses(losses_of(net)), net)
    assert "\n" not in str(raised.value) and grads(net) == [None] * 4


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (lambda net: dict(net.named_parameters()), r"^parameters: wanted an nn.Module .* not dict; pass .values\(\)"),
        (lambda net: "weights", "^parameters: wanted an nn.Module .* not str"),
        (lambda net: None, "^parameters: wanted an nn.Module .* not NoneType"),
        (lambda net: net.named_parameters(), r"^parameters\[0\] must be a tensor, not tuple"),
        (lambda net: torch.optim.SGD(net.parameters(), 1.0).param_groups, r"^parameters\[0\] must be .*, not dict"),
        (lambda net: [*net.parameters(), net], r"^parameters\[4\] must be a tensor, not Sequential"),
    ],
)
def test_bad_parameters_are_named(parameters: Callable[[nn.Module], Any], text: str) -> None:
    net = network()
    with pytest.raises(TypeError, match=text) as raised:
        mgd_backward(losses_of(net), parameters(net))
    assert "\n" not in str(raised.value)
