"""Trained models as spaces."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from trained_models import FAMILIES, BasicBlock, ResNet, make

from modnas_fast import elastic
from modnas_fast.errors import InputError
from modnas_fast.spaces.module import conversion
from modnas_fast.spaces.module.layers import Elastic
from modnas_fast.spaces.module.tracing import Untraceable

#: choices of each family, with the number of their options
CHOICES = {
    "resnet-basic": {"conv1": 4, "layer1_0_conv1": 4, "layer1_depth": 3, "layer2_0_conv2": 4, "layer2_depth": 2},
    "resnet-bottleneck": {"layer1_0_conv3": 4, "layer1_1_conv2": 4, "layer1_depth": 2},
    "mobilenetv2": {"features_0_0": 4, "features_1_conv_0": 4, "features_depth": 3, "features_3_conv_6": 4},
    "vgg": {"width_0": 4, "width_3": 4, "width_8": 4},
    "mlp": {"width_0": 4, "width_3": 4},
    "mixer": {"stem": 4, "blocks_0_of_tokens_0": 4, "blocks_0_of_channels_0": 4, "blocks_depth": 2},
    "convnext": {"width_0": 4, "width_1_pwconv1": 4, "depth": 4},
    "densenet": {"width_1_conv1": 4, "width_2_conv1": 4},
    "vit-own-attention": {"blocks_0_mlp_0": 4, "blocks_depth": 3},
    "vit-torch-attention": {"patches": 4, "blocks_0_mlp_0": 4, "blocks_depth": 3},
    "gpt": {"h_0_mlp_0": 4, "h_depth": 3},
    "llama": {"embed_tokens": 4, "layers_0_q_proj": 4, "layers_0_gate_proj": 4, "layers_depth": 2},
    "transformer-encoder": {"embedding": 4, "encoder_layers_0_linear1": 4, "encoder_layers_depth": 3},
    "squeeze-excite": {"width_0": 4, "width_3_fc1": 4, "depth": 3},
}


@torch.no_grad()
def assert_networks_equal(space: elastic.ModuleSpace, x: Tensor, count: int) -> None:
    """Whether shared weights give for networks what they give alone with the weights that they inherit."""
    supernet = space.supernet().eval()
    onehot = torch.cat([space.encode([space.ends[0]]), space.sample(count - 1, torch.Generator().manual_seed(1))])
    alone, mixed = supernet.predict(x, onehot.double()), supernet.mixed(x, onehot.double())
    for architecture, *outputs in zip(space.decode(onehot), alone, mixed, strict=True):
        network = space.build(architecture)
        network.load_state_dict(space.inherited(supernet.state_dict(), architecture))
        for part in network.modules():
            part.train(isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)))
            assert not isinstance(part, Elastic) and not type(part).__module__.startswith("modnas_fast")
        for output in outputs:
            torch.testing.assert_close(output, network(x), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_largest_network_is_the_model_and_all_others_are_in_it(family: str) -> None:
    model, x = make(family)
    before = copy.deepcopy(model.state_dict())
    space = elastic.from_module(model, x)
    assert {name: len(choice.options) for choice in space.choices if (name := choice.name) in CHOICES[family]} == (
        CHOICES[family]
    )
    with torch.no_grad():
        network = space.build(space.ends[1]).eval()
        torch.testing.assert_close(network(x), model(x), rtol=0, atol=1e-12)
        torch.testing.assert_close(space.model(x), model(x), rtol=0, atol=1e-12)
    assert_networks_equal(space, x, 4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert type(network) is type(model) and space.parse(space.ends[0].text) == space.ends[0]


@pytest.mark.parametrize("family", ["resnet-basic", "convnext", "vit-torch-attention", "llama"])
def test_converted_spaces_are_searched_as_others(family: str) -> None:
    model, x = make(family)
    space, x = elastic.from_module(model.float(), x if family == "llama" else x.float()), x
    x = x if family == "llama" else x.float()
    supernet, networks = space.supernet(), list(space.ends)
    onehot = space.encode([*networks, *space.decode(space.sample(2, torch.Generator().manual_seed(0)))])
    onehot.requires_grad_()
    outputs = supernet.predict(x, onehot)
    outputs.square().mean().backward()
    assert onehot.grad is not None
    for group in onehot.grad.split(space.group_sizes, dim=1):
        assert bool(group.any())
    assert all(torch.isfinite(p.grad).all() for p in supernet.parameters() if p.grad is not None)
    counted = space.analytic(space.encode(networks), input_shape=x.shape[1:])
    assert counted["parameters"].tolist() == [sum(p.numel() for p in space.build(n).parameters()) for n in networks]
    assert counted["flops"][0] < counted["flops"][1] and len(set(space.references)) == 10


def order_of(*weights: Tensor) -> Tensor:
    return sum(weight.detach().flatten(1).abs().sum(1) for weight in weights).argsort(descending=True, stable=True)


def test_a_slice_of_a_perceptron_is_the_one_made_by_hand() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    space, x = elastic.from_module(model, torch.randn(4, 5).double(), widths=(0.5, 1)), torch.randn(3, 5).double()
    first, second = order_of(model[0].weight)[:4], order_of(model[2].weight)[:3]
    hidden = F.linear(x, model[0].weight[first], model[0].bias[first]).relu()
    hidden = F.linear(hidden, model[2].weight[second][:, first], model[2].bias[second]).tanh()
    wanted = F.linear(hidden, model[4].weight[:, second], model[4].bias)
    torch.testing.assert_close(space.build(space.parse("width_0=4,width_2=3"))(x), wanted, rtol=0, atol=1e-14)


def test_a_slice_of_a_residual_network_is_the_one_made_by_hand() -> None:
    model, x = make("resnet-basic")
    assert isinstance(model, ResNet)
    space = elastic.from_module(model, x, widths=(0.5, 1))
    narrow = {"layer1_1_conv1": "4", "layer1_depth": "2", "layer2_depth": "1"}
    text = ",".join(f"{c.name}={narrow.get(c.name, c.options[-1])}" for c in space.choices)
    wanted = copy.deepcopy(model)
    block = wanted.layer1[1]
    kept = (block.conv1.weight.detach().abs().sum((1, 2, 3)) + block.bn1.weight.detach()).argsort(descending=True)[:4]
    block.conv1.weight = nn.Parameter(block.conv1.weight[kept])
    block.conv2.weight = nn.Parameter(block.conv2.weight[:, kept])
    block.bn1.weight, block.bn1.bias = nn.Parameter(block.bn1.weight[kept]), nn.Parameter(block.bn1.bias[kept])
    block.bn1.running_mean, block.bn1.running_var = block.bn1.running_mean[kept], block.bn1.running_var[kept]
    wanted.layer1, wanted.layer2 = wanted.layer1[:2], wanted.layer2[:1]
    torch.testing.assert_close(space.build(space.parse(text)).eval()(x), wanted(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", ["resnet-basic", "vit-torch-attention", "gpt"])
def test_exported_programs_show_the_same_channels(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = make(family)
    wanted = elastic.from_module(model, x)

    def fails(model: nn.Module, example: Tensor) -> None:
        raise Untraceable("", "not this time")

    monkeypatch.setattr(conversion, "trace", fails)
    found = elastic.from_module(model, x)
    assert [choice.options for choice in found.choices] == [choice.options for choice in wanted.choices]
    assert_networks_equal(found, x, 2)


class Between(nn.Module):
    """Two layers with some code in between."""

    def __init__(self, code: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)
        self.code = code

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.code(self.first(x))).relu())


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (torch.sigmoid, "not zero where they are left out"),
        (lambda x: x + 1, "not zero where they are left out"),
        (lambda x: x.softmax(-1), "softmax over channels"),
        (lambda x: F.normalize(x, dim=-1), "normalize is not known"),
        (lambda x: x * x.pow(2).mean(-1, keepdim=True).rsqrt(), "it reduces over channels"),
        (lambda x: x * x.shape[-1] ** -0.5, "computes with the number of channels"),
        (lambda x: x.view(-1, 4, 4).transpose(1, 2).reshape(-1, 16), "4 in a shape is a number in its code"),
        (lambda x: torch.cat([*x.chunk(2, -1)], -1), "chunk cuts channels"),
        (lambda x: x.flip(-1), "flip is not known"),
        (lambda x: x * torch.arange(16), "combined with numbers that stay"),
        (lambda x: x[:, [1, 0, *range(2, 16)]], "an index that is computed is not known"),
        (lambda x: torch.mul(x, other=x), "mul with other by name is not known"),
    ],
)
def test_channels_that_cannot_be_left_out_are_named_with_the_reason(code: Callable[[Tensor], Tensor], why: str) -> None:
    torch.manual_seed(0)
    model, x = Between(code).double(), torch.randn(4, 8).double()
    space = elastic.from_module(model, x)
    assert why in space.kept["first"] and [choice.name for choice in space.choices] == ["second"]
    assert_networks_equal(space, x, 2)


def test_what_the_rules_miss_is_found_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conversion.Channels.__init__.__globals__["rules"].OTHERS, "cumsum", lambda channels, node: (
        channels.axes.__setitem__(node, channels.axes[node.args[0]]), channels.zeroed.add(node)
    ))  # fmt: skip
    torch.manual_seed(0)
    space = elastic.from_module(Between(lambda x: x.cumsum(-1)).double(), torch.randn(4, 8).double())
    assert "the model of sorted channels gives other outputs" in space.kept["first"]
    assert [choice.name for choice in space.choices] == ["second"]


def test_code_that_asks_for_the_kind_is_followed_by_export() -> None:
    def asks(x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError("wanted a tensor")
        return x

    space = elastic.from_module(Between(asks), torch.randn(4, 8))
    assert [choice.name for choice in space.choices] == ["first", "second"]


def test_code_that_cannot_be_followed_is_named() -> None:
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor(x.detach().numpy().tolist())

    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(Inner(), nn.Linear(8, 2)))
    with pytest.raises(InputError, match=r"cannot follow 1.0 \(Inner\): .*; write its forward with torch functions"):
        elastic.from_module(model, torch.randn(2, 8))


def test_weights_of_two_places_become_two_and_are_told() -> None:
    model, x = make("gpt")
    space = elastic.from_module(model, x)
    assert space.notes == ("lm_head.weight shared its weight with another layer: here it has its own",)
    assert space.supernet().notes == (
        *space.notes,
        "11 layers of the model keep all their channels, such as wte (h.0.attn computes with the number of channels)",
    )


class OwnRMSNorm(nn.Module):
    """As Hugging Face's decoders have it."""

    def __init__(self, size: int, power: int = 2) -> None:
        super().__init__()
        self.weight, self.variance_epsilon, self.power = nn.Parameter(torch.rand(size)), 1e-6, power

    def forward(self, x: Tensor) -> Tensor:
        y = x.to(torch.float32)
        y = y * torch.rsqrt(y.pow(self.power).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * y.to(x.dtype)


@pytest.mark.parametrize(("power", "names"), [(2, ["width_0", "width_3"]), (4, ["width_3"])])
def test_norms_of_a_models_own_are_torchs_where_they_compute_the_same(power: int, names: list[str]) -> None:
    torch.manual_seed(0)
    layers = nn.Linear(6, 16), OwnRMSNorm(16, power), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)
    model, x = nn.Sequential(*layers), torch.randn(4, 6)
    space = elastic.from_module(model, x)
    assert [choice.name for choice in space.choices] == names and len(space.notes) == (power == 2)
    with torch.no_grad():
        torch.testing.assert_close(space.build(space.ends[1])(x), model(x), rtol=1e-5, atol=1e-6)


def test_layers_without_twins_are_named() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 6, 1),
        nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 2),
    )  # fmt: skip
    space = elastic.from_module(model, torch.randn(2, 3, 8, 8))
    assert [choice.name for choice in space.choices] == ["width_4"]
    assert {path: why for path, why in space.kept.items() if path in "012"} == {
        "0": "1: GroupNorm has no elastic twin",
        "1": "GroupNorm has no elastic twin",
        "2": "Conv2d in 2 groups has no elastic twin",
    }


def test_layers_with_hooks_stay() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    model[2].register_forward_hook(lambda module, args, output: output * 2)
    with pytest.raises(InputError, match="nothing of it can be chosen: 0: 2: Linear has no elastic twin"):
        elastic.from_module(model, torch.randn(2, 4))


def test_a_layer_of_two_places_is_refused_and_one_that_is_passed_twice_is_not() -> None:
    layer = nn.Linear(8, 8)
    with pytest.raises(InputError, match="model: 1 and 3 are one layer; give each place a layer of its own"):
        elastic.from_module(nn.Sequential(nn.Linear(4, 8), layer, nn.ReLU(), layer), torch.randn(2, 4))

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again, self.last = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.again(self.again(self.first(x)).relu()).relu())

    torch.manual_seed(0)
    space, x = elastic.from_module(Twice().double(), torch.randn(2, 4).double()), torch.randn(3, 4).double()
    assert [choice.name for choice in space.choices] == ["first"]
    assert_networks_equal(space, x, 3)


def test_blocks_are_left_out_only_where_they_add_to_what_they_take() -> None:
    plain = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)), nn.Linear(4, 2))
    assert {choice.name for choice in elastic.from_module(plain, torch.randn(2, 4)).choices} == {
        "width_0_0",
        "width_1_0",
        "width_2_0",
    }
    model, x = make("resnet-basic")
    assert not any("depth" in choice.name for choice in elastic.from_module(model, x, depth=False).choices)


def test_stages_and_their_blocks_are_left_out_alike() -> None:
    stages = nn.Sequential(*(nn.Sequential(BasicBlock(4, 4), BasicBlock(4, 4)) for _ in range(2)))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model, x = model.double().eval(), torch.randn(3, 3, 8, 8, dtype=torch.float64)
    space = elastic.from_module(model, x)
    depths = {choice.name: len(choice.options) for choice in space.choices if "depth" in choice.name}
    assert depths == {"depth": 2, "depth_1_depth": 2, "depth_1_0_depth": 2, "depth_1_1_depth": 2}
    assert_networks_equal(space, x, 12)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": 3}, "model: wanted a torch.nn.Module, got a int"),
        ({"model": nn.Linear(4, 2)}, "nothing of it can be chosen"),
        ({"example_input": [1.0]}, "example_input: wanted a minibatch"),
        ({"example_input": torch.randn(2, 5)}, "cannot follow 0 .Linear.: .*shapes cannot be multiplied"),
        ({"widths": (0.5,)}, "ascending shares that end with 1"),
        ({"widths": (0.5, 0.25, 1)}, "ascending shares"),
        ({"model": nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4))}, "wanted one tensor as its output, got a tuple"),
    ],
)
def test_bad_input_is_told(change: dict[str, object], told: str) -> None:
    given = {"model": nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), "example_input": torch.randn(2, 4)}
    with pytest.raises(InputError, match=told):
        elastic.from_module(**given | change)  # type: ignore[arg-type]


def test_full_size_networks_convert_in_time_for_a_coffee() -> None:
    torch.manual_seed(0)
    model, x = ResNet(BasicBlock, (2, 2, 2, 2), 64, 1000).eval(), torch.randn(1, 3, 64, 64)
    space = elastic.from_module(model, x)
    assert len(space.choices) == 16
    with torch.no_grad():
        torch.testing.assert_close(space.build(space.ends[1]).eval()(x), model(x), rtol=1e-4, atol=1e-5)
