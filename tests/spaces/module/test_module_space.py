"""Modules with elastic layers as spaces."""

import pytest
import torch
from torch import nn

from modnas_fast import elastic
from modnas_fast.errors import InputError
from modnas_fast.spaces.module.layers import Elastic

FIT = {"input_shape": (3, 4, 4), "classes": 20}


def small_cnn() -> nn.Module:
    stem, hidden = elastic.width("stem", 2, 4), elastic.width("hidden", 3, 6)
    block = [nn.Sequential(elastic.Conv2d(stem, stem, 3, padding=1), nn.ReLU()) for _ in range(2)]
    return nn.Sequential(
        elastic.Conv2d(3, stem, 3, padding=1),
        elastic.BatchNorm2d(stem),
        elastic.Sequential(*block, name="blocks", depth=(1, 2)),
        elastic.Choice("act", relu=nn.ReLU(), gelu=nn.GELU()),
        nn.Flatten(),
        elastic.Linear(stem * 16, hidden),
        elastic.LayerNorm(hidden),
        elastic.Linear(hidden, 5),
    ).double()


def assert_networks_equal(space: elastic.ModuleSpace, x: torch.Tensor) -> None:
    """Whether shared weights give for every network what it gives alone with the weights that it inherits."""
    supernet, onehot = space.supernet(), space.enumerate()
    alone, mixed = supernet.predict(x, onehot.double()), supernet.mixed(x, onehot.double())
    for architecture, *outputs in zip(space.decode(onehot), alone, mixed, strict=True):
        network = space.build(architecture).train()
        network.load_state_dict(space.inherited(supernet.state_dict(), architecture))
        for output in outputs:
            torch.testing.assert_close(output, network(x), rtol=1e-10, atol=1e-12)
        assert not any(isinstance(part, Elastic) for part in network.modules())


def test_every_network_of_the_shared_weights_equals_the_standalone_one() -> None:
    torch.manual_seed(0)
    space = elastic.ModuleSpace(small_cnn())
    assert space.num_architectures == 16
    assert_networks_equal(space, torch.randn(4, 3, 4, 4, dtype=torch.float64))


def test_the_largest_network_is_the_model_bit_for_bit() -> None:
    model = small_cnn()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    model(x)  # running statistics of the batch norm
    space = elastic.ModuleSpace(model.eval())
    assert torch.equal(space.build(space.ends[1]).eval()(x), model(x))


def test_hard_samples_have_the_gradients_of_mixed_ones() -> None:
    torch.manual_seed(1)
    space = elastic.ModuleSpace(small_cnn())
    supernet, x = space.supernet(), torch.randn(4, 3, 4, 4, dtype=torch.float64)
    onehot = space.sample(3, torch.Generator().manual_seed(2)).double()
    found = []
    for outputs in (supernet.predict(x, onehot), supernet.mixed(x, onehot)):
        supernet.zero_grad()
        outputs.square().sum().backward()
        found.append({name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None})
    assert found[0].keys() <= found[1].keys()
    for name, wanted in found[1].items():
        gradient = found[0].get(name, torch.zeros_like(wanted))
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def test_losses_are_differentiable_in_samples_and_only_in_weights_that_are_there() -> None:
    space = elastic.ModuleSpace(small_cnn())
    supernet = space.supernet()
    onehot = space.encode([space.ends[0]]).double().requires_grad_()
    supernet.predict(torch.randn(4, 3, 4, 4, dtype=torch.float64), onehot).square().sum().backward()
    weight = supernet.get_parameter("model.0.weight").grad
    assert onehot.grad is not None and bool(onehot.grad.any())
    assert weight is not None and bool(weight[:2].any()) and not bool(weight[2:].any())


def test_choices_of_absent_layers_are_canonical() -> None:
    inner = elastic.width("inner", 2, 4)
    extra = nn.Sequential(elastic.Linear(3, inner), elastic.Linear(inner, 3))
    space = elastic.ModuleSpace(elastic.Sequential(nn.Linear(3, 3), extra, name="depth", depth=(1, 2)))
    onehot = space.encode([space.parse("depth=1,inner=4"), space.parse("depth=2,inner=4")])
    assert [network.text for network in space.decode(space.canonical(onehot))] == [
        "depth=1,inner=2",
        "depth=2,inner=4",
    ]


def test_costs_are_those_of_the_standalone_network() -> None:
    space = elastic.ModuleSpace(small_cnn().float())
    networks = list(space.ends)
    counted = space.analytic(space.encode(networks), input_shape=(3, 4, 4))["parameters"]
    assert counted.tolist() == [sum(p.numel() for p in space.build(network).parameters()) for network in networks]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: elastic.width("a", 4, 2), "ascending"),
        (lambda: elastic.ModuleSpace(nn.Linear(2, 2)), "nothing to choose"),
        (lambda: elastic.ModuleSpace(lambda: 3), "wanted a torch.nn.Module"),
        (lambda: elastic.ModuleSpace(nn.Sequential(*[elastic.Linear(2, 2)] * 2)), "0.weight and 1.weight are one"),
        (
            lambda: elastic.ModuleSpace(small_cnn()).build(elastic.ModuleSpace(small_cnn()).ends[0], **FIT),
            r"outputs \[1, 5\] .* of 20 classes",
        ),
        (lambda: elastic.ModuleSpace(small_cnn()).analytic(torch.ones(8), input_shape=(3, 4, 4)), "float32"),
        (lambda: elastic.ModuleSpace(small_cnn()).parse("stem=3"), "wanted a string"),
        (
            lambda: elastic.ModuleSpace(
                nn.Sequential(elastic.Linear(1, elastic.width("a", 1, 2)), elastic.Linear(elastic.width("a", 2), 1))
            ),
            "another name",
        ),
    ],
)
def test_bad_input_is_told(make: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        make()  # type: ignore[operator]


def test_layers_that_every_model_shares_are_refused() -> None:
    body = elastic.Linear(elastic.width("hidden", 4, 8), 2)
    with pytest.raises(InputError, match=r"model: 1.weight is the same weight each time that a model is made"):
        elastic.ModuleSpace(lambda: nn.Sequential(elastic.Linear(3, elastic.width("hidden", 4, 8)), body))


class Block(nn.Module):
    """Of a transformer, as one writes it."""

    def __init__(self, size: elastic.Width, inner: elastic.Width) -> None:
        super().__init__()
        self.attention = elastic.MultiheadAttention(size, 4, batch_first=True)
        self.norms = nn.ModuleList([elastic.LayerNorm(size), elastic.LayerNorm(size)])
        self.mlp = nn.Sequential(elastic.Linear(size, inner), nn.GELU(), elastic.Linear(inner, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[1]
        normal = self.norms[0](x)
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        x = x + self.attention(normal, normal, normal, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.norms[1](x))


def small_transformer() -> nn.Module:
    size, inner = elastic.width("size", 8, 12, 16), elastic.width("inner", 8, 16)
    blocks = elastic.Sequential(*(Block(size, inner) for _ in range(2)), name="blocks", depth=(1, 2))
    return nn.Sequential(elastic.Embedding(11, size), blocks, elastic.LayerNorm(size), elastic.Linear(size, 11))


def test_every_transformer_of_the_shared_weights_equals_the_standalone_one() -> None:
    torch.manual_seed(0)
    space = elastic.ModuleSpace(small_transformer().double(), takes_ids=True)
    assert space.num_architectures == 12
    assert_networks_equal(space, torch.randint(11, (3, 5)))


def test_attention_is_differentiable_in_samples_and_its_costs_are_counted() -> None:
    torch.manual_seed(0)
    space = elastic.ModuleSpace(small_transformer(), takes_ids=True)
    onehot = space.encode(list(space.ends)).requires_grad_()
    space.supernet().predict(torch.randint(11, (3, 5)), onehot).square().sum().backward()
    assert onehot.grad is not None and bool(onehot.grad.any(dim=1).all())
    counted = space.analytic(space.encode(list(space.ends)), input_shape=(5,))["parameters"]
    assert counted.tolist() == [sum(p.numel() for p in space.build(network).parameters()) for network in space.ends]


def test_attention_with_and_without_a_batch_first_and_with_padding() -> None:
    torch.manual_seed(0)
    size = elastic.width("size", 4, 8)
    attention = elastic.MultiheadAttention(size, 2).double()

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.attention = elastic.Linear(3, size).double(), attention

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            padding = torch.tensor([[False, False, True], [False, True, True]])
            found: torch.Tensor = self.attention(x, x, x, key_padding_mask=padding)[0]
            return found

    space = elastic.ModuleSpace(Padded())
    supernet, x = space.supernet(), torch.randn(3, 2, 3, dtype=torch.float64)
    onehot = space.encode(list(space.ends)).double()
    for architecture, row, mixed in zip(space.ends, onehot, supernet.mixed(x, onehot)):
        network = space.build(architecture)
        network.load_state_dict(space.inherited(supernet.state_dict(), architecture))
        torch.testing.assert_close(mixed[..., : len(network.first.bias)], network(x), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(supernet.predict(x, row[None])[0], network(x), rtol=1e-10, atol=1e-12)
    with pytest.raises(InputError, match=r"a size that is chosen, \[3, 2, 4\] and \[3, 2, 8\]"):
        supernet.predict(x, onehot)


@pytest.mark.parametrize("size", [7, elastic.width("size", 6, 8)])
def test_heads_that_do_not_divide_a_width_are_refused(size: int | elastic.Width) -> None:
    with pytest.raises(InputError, match="num_heads: 2 heads divide"):
        elastic.MultiheadAttention(size, 2)
