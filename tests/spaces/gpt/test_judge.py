"""What judges GPTs that nobody measured: the published networks, and ridge models of costs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hw_gpt_bench import write_net
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.gpt.judge import CostModels, PerplexityNet, published_onehot
from modnas_fast.spaces.gpt.space import GPTSpace

DATA = os.environ.get("MODNAS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published files to compare")
SPACE = GPTSpace("s")


def networks(count: int, seed: int = 0) -> Tensor:
    return SPACE.canonical(SPACE.sample(count, torch.Generator().manual_seed(seed)))


def linear_costs(onehot: Tensor) -> Tensor:
    """Two costs that are linear in the sizes of each width, without noise."""
    shapes = [SPACE.shape(architecture.indices) for architecture in SPACE.decode(onehot)]
    rows = [
        (s.width * (1 + sum(s.heads) / 9) + s.bias * len(s.heads), 5 + sum(r * r for r in s.ratios) * s.width**0.5)
        for s in shapes
    ]
    return torch.tensor(rows, dtype=torch.float64)


def test_absent_layers_are_zero_in_published_onehots() -> None:
    network = SPACE.parse("e384_l10_m2.3.4.2.3.4.2.3.4.2_h4.8.12.4.8.12.4.8.12.4_nobias")
    (published,) = published_onehot(SPACE, SPACE.encode([network]))
    assert published.sum() == 1 + 1 + 10 + 10 + 1
    groups = published.split(SPACE.group_sizes)
    assert [int(group.sum()) for group in groups[2:14]] == [1] * 10 + [0, 0]
    assert groups[0].tolist() == [0, 1, 0] and groups[-1].tolist() == [0, 1]


def test_costs_that_are_linear_per_width_are_judged_exactly() -> None:
    onehot, new = networks(600), networks(200, seed=1)
    values = linear_costs(onehot)
    judge = CostModels(SPACE, onehot, {"board": values})
    found, wanted = judge("board", new), linear_costs(new)
    least = torch.stack([values[onehot[:, w] > 0.5].amin(0) for w in range(3)])[new[:, :3].argmax(-1)]
    torch.testing.assert_close(found, torch.maximum(wanted, least), rtol=1e-3, atol=0.0)
    fits = judge.fits("board")
    assert all(fit.r2 > 0.9999 and fit.spearman > 0.999 for fit in fits)


def test_no_network_is_judged_below_what_was_measured_of_its_width() -> None:
    onehot = networks(400)
    falling = 100 - linear_costs(onehot)[:, :1] / 10  # the largest would cost less than nothing
    judge = CostModels(SPACE, onehot, {"board": falling})
    largest = SPACE.canonical(SPACE.onehot(torch.tensor([[2, 2, *[2] * 24, 0]])))
    assert judge("board", largest).item() == falling[onehot[:, 2] > 0.5].min()


def test_a_cost_that_a_device_lacks_stays_unknown() -> None:
    onehot = networks(200)
    values = linear_costs(onehot)
    values[:, 1] = torch.nan
    found = CostModels(SPACE, onehot, {"board": values})("board", onehot[:5])
    assert found[:, 0].isfinite().all() and found[:, 1].isnan().all()


def test_a_network_of_perplexity_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    write_net(file, "s")
    state = torch.load(file, weights_only=True)
    onehot = networks(20)
    x = published_onehot(SPACE, onehot).double()
    hidden = (x @ state["layers.0.weight"].double().T + state["layers.0.bias"]).clamp(min=0)
    wanted = (hidden @ state["layers.1.weight"].double().T + state["layers.1.bias"])[:, 0]
    torch.testing.assert_close(PerplexityNet.load(file, SPACE)(onehot), wanted)


def test_other_files_are_no_networks(tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    write_net(file, "m")
    with pytest.raises(InputError, match="wanted an MLP of 80 inputs and one output, for this scale"):
        PerplexityNet.load(file, SPACE)
    torch.save([1, 2], file)
    with pytest.raises(InputError, match="is no network of HW-GPT-Bench"):
        PerplexityNet.load(file, SPACE)
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no network of HW-GPT-Bench"):
        PerplexityNet.load(file, SPACE)


@needs_data
@pytest.mark.parametrize("scale", ["s", "l"])
def test_the_published_networks_give_the_published_values(scale: str) -> None:
    space = GPTSpace(scale)
    assert space.published is not None
    truth = space.published.truth("openwebtext")
    arrays = np.load(Path(str(DATA)) / f"gpt/hw_gpt_bench_{scale}.npz", allow_pickle=False)
    onehot = space.encode([space.parse(text) for text in truth.architectures[:500]])
    assert truth.judge is not None
    np.testing.assert_allclose(truth.judge(onehot).numpy(), arrays["perplexity_mlp"][:500], rtol=1e-5)
    measured = arrays["perplexity"]
    known = ~np.isnan(measured)
    np.testing.assert_array_equal(truth.values.numpy()[known], measured[known].astype(float))
    np.testing.assert_array_equal(truth.values.numpy()[~known], arrays["perplexity_mlp"][~known].astype(float))


@needs_data
def test_costs_of_the_published_networks_are_judged_closely() -> None:
    assert SPACE.published is not None
    table = SPACE.published.costs("hw-gpt-bench")
    assert table.judge is not None
    for device in ("P100", "a100", "rtx2080"):
        latency, energy, _ = table.judge.fits(device)
        assert latency.r2 > 0.97 and energy.r2 > 0.95 and energy.spearman > 0.95, device
