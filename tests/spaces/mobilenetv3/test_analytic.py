"""Parameters, FLOPs and memory by formulas, against networks that are built and counted."""

from __future__ import annotations

import pytest
import torch

from modnas_fast.spaces.base import SearchSpace
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space


@pytest.mark.parametrize(
    ("options", "input_shape", "classes"),
    [
        ({"scale": "small"}, (3, 96, 96), 7),
        (
            {"scale": "small", "kernels": (3, 9), "depths": (1, 3), "resolutions": (50, 64), "width": 0.3},
            (1, 70, 60),
            300,
        ),
        ({"scale": "published"}, (3, 224, 224), 1000),
    ],
)
def test_formulas_equal_counting(options: dict[str, object], input_shape: tuple[int, ...], classes: int) -> None:
    space = MobileNetV3Space(**options)  # type: ignore[arg-type]
    onehot = torch.cat([space.sample(5, torch.Generator().manual_seed(0)), space.encode(list(space.ends))])
    network = {"classes": classes, "image_channels": input_shape[0]}
    found = space.analytic(onehot, input_shape=input_shape, **network)
    counted = SearchSpace.analytic(space, onehot, input_shape=input_shape, **network)
    for name, values in counted.items():
        assert torch.equal(found[name], values), name


def test_they_have_gradients_in_every_option() -> None:
    space = MobileNetV3Space("small")
    soft = torch.softmax(torch.randn(3, space.num_options, generator=torch.Generator().manual_seed(0)), -1).double()
    soft.requires_grad_()
    found = space.analytic(soft, input_shape=(3, 64, 64), classes=5)
    (found["parameters"] / 1e6 + found["flops"] / 1e8 + found["memory"]).sum().backward()
    assert soft.grad is not None and bool((soft.grad != 0).all())
