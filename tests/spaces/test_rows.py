"""Tables of rows, and the regressions on them."""

from __future__ import annotations

import torch

from modnas_fast.spaces.published import Fit
from modnas_fast.spaces.rows import LinearModel, RowTable


def test_the_model_is_the_minimum_of_squared_misses_and_penalty() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.randn(40, 5, generator=generator, dtype=torch.float64) * torch.tensor([1, 10, 0.1, 3, 0]) + 2
    values = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    model = LinearModel(counts, values, penalty=0.3)
    # the same as least squares on rows with further ones that pull every standardised slope to 0
    spread = counts.std(0, correction=0)
    spread[4] = 1.0
    standard = (counts - counts.mean(0)) / spread
    more = (0.3 * 40) ** 0.5 * torch.eye(5, dtype=torch.float64)
    offset = values - values.mean(0)
    slopes = torch.linalg.lstsq(torch.cat([standard, more]), torch.cat([offset, torch.zeros(5, 2).double()])).solution
    told = standard @ slopes + values.mean(0)
    torch.testing.assert_close(model(counts), told, rtol=0, atol=1e-10)
    torch.testing.assert_close(model.slopes, slopes / spread[:, None], rtol=0, atol=1e-10)
    assert model.slopes[4].tolist() == [0.0, 0.0], "what never changes tells nothing"


class Two:
    """A judge of two costs."""

    def __call__(self, device: str, onehot: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 2.0]], dtype=torch.float64).expand(len(onehot), 2)

    def fits(self, device: str) -> list[Fit]:
        return [Fit(0.1, 0.2), Fit(0.3, 0.4)]


def test_metrics_are_chosen_with_their_judge() -> None:
    values = {"phone": torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)}
    table = RowTable({"latency": "ms", "energy": "mJ"}, {"phone": torch.eye(2)}, values, {"phone": [0, 5]}, Two())
    assert table.select(["latency", "energy"]) is table and table.lacking("phone") == []
    energy = table.select(["energy"])
    assert energy.metrics == {"energy": "mJ"} and energy.values["phone"].tolist() == [[2.0], [4.0]]
    assert energy.judge("phone", torch.eye(3)).tolist() == [[2.0]] * 3
    assert energy.judge.fits("phone") == [Fit(0.3, 0.4)] and energy.numbers == {"phone": [0, 5]}
