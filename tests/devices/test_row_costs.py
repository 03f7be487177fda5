"""Costs of rows: what of them a search knows, what it estimates, what judges it, and how it goes on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hat_tables import DEVICES, times, write_tables
from torch import Tensor

from modnas_fast.devices.formula_costs import WithFormulas
from modnas_fast.devices.metric import PARAMETERS, ExactCosts
from modnas_fast.devices.row_costs import RIDGES, RowCosts, moved
from modnas_fast.devices.table import usual_split
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces.hat.space import HATSpace

SEARCH, UNSEEN = DEVICES[:2], DEVICES[2:]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODNAS_DATA", str(write_tables(tmp_path_factory.mktemp("data"))))
        made = HATSpace("space0")
        assert made.published is not None
        table = made.published.costs("hat")
    return made, table


def source(space: Any, begun: bool = True, **changes: Any) -> RowCosts:
    made = RowCosts(*space, "hat", SEARCH, UNSEEN, **{"networks": 40, "seed": 3, **changes})
    if begun:
        made.begin(Silent())
    return made


def test_a_search_knows_rows_of_its_devices_each_on_its_own(space: Any) -> None:
    made = source(space)
    assert made.by_rows and made.judges and not made.complete and made.limit == 0 and made.tabulated == ()
    assert [made.count_known(name) for name in DEVICES] == [40, 40, 10]
    samples, target = made.training_table()
    assert samples.shape == (80, space[0].num_options) and target.shape == (80, 2, 1)
    assert target.isnan().squeeze(-1).tolist() == [[False, True]] * 40 + [[True, False]] * 40
    for device, column, rows in ((made.devices[0], 0, slice(40)), (made.devices[1], 1, slice(40, 80))):
        known = device.denormalize(target[rows, column, 0].double())
        values, all_samples = space[1].values[device.name][:, 0], space[1].samples[device.name].float()
        for sample, value in zip(samples[rows], known):
            assert values[(all_samples == sample).all(-1)].tolist() == pytest.approx([value.item()], rel=1e-5)
    assert not torch.equal(source(space, seed=4).training_table()[0], samples)


def test_what_it_did_not_know_judges_predictions(space: Any) -> None:
    made = source(space)
    for device, count in zip(DEVICES, (50, 50, 80)):
        names, samples, values = made.judged_by(device)
        assert len(names) == len(samples) == len(values) == count and len(set(names)) == count
        known = {tuple(row) for row in made.training_table()[0].tolist()}
        assert device in UNSEEN or not known & {tuple(row) for row in samples.tolist()}
        row = [int(name.removeprefix("row ")) for name in names][7]
        place = space[1].numbers[device].index(row)
        assert torch.equal(values[7], space[1].values[device][place])
    assert made.judging("cpu_xeon") == {}


def test_reference_networks_are_estimated(space: Any) -> None:
    made = source(space)
    features = space[0].features(space[0].encode([space[0].parse(text) for text in space[0].references]).double())
    largest = torch.tensor([640.0, 6, 3072, 8, 640, 6, 3072, 8, 8, 3])
    for place, (device, error) in enumerate(zip(DEVICES, (0.1, 0.1, 0.3))):
        true = times(features * largest, place).sum(-1)
        told = torch.tensor([made.known.on(device)[text][0] for text in space[0].references])
        assert ((told - true).abs() / true).max() < error, device
        assert made.devices[place].split == ("search" if place < 2 else "unseen")


def test_the_rows_of_an_unseen_device_lie_next_to_the_references(space: Any) -> None:
    made, (hat, table) = source(space), space
    features = hat.features(table.samples[UNSEEN[0]])
    wanted = hat.features(hat.encode([hat.parse(text) for text in hat.references]).double())
    spread = features.std(0, correction=0).clamp(min=1e-9)
    rows = made.state()["rows"][UNSEEN[0]]
    assert len(set(rows)) == 10
    for place, row in enumerate(rows):
        distances = ((features - wanted[place]) / spread).square().sum(-1)
        distances[rows[:place]] = torch.inf
        assert row == int(distances.argmin())


def plainly_moved(usual: Tensor, features: Tensor, costs: Tensor, wanted: Tensor, at: Tensor) -> Tensor:
    """The same with a line fitted anew for every measurement that is left out."""
    known, asked = torch.cat([features, usual[:, None]], -1), torch.cat([at, wanted[:, None]], -1)
    centre, misses = known.mean(0), costs.log() - usual

    def line(rows: list[int], ridge: float) -> Tensor:
        x = torch.cat([known[rows] - centre, torch.ones(len(rows), 1).double()], -1)
        penalty = ridge * torch.eye(x.shape[1]).double()
        penalty[-1, -1] = 0
        return torch.linalg.solve(x.T @ x + penalty, x.T @ misses[rows])

    def at_line(slopes: Tensor, x: Tensor) -> Tensor:
        return (x - centre) @ slopes[:-1] + slopes[-1]

    errors = []
    for ridge in RIDGES:
        left = [[other for other in range(len(costs)) if other != row] for row in range(len(costs))]
        told = torch.cat([at_line(line(others, ridge), known[[row]]) for row, others in enumerate(left)])
        errors.append((told - misses).abs().mean().item())
    best = RIDGES[errors.index(min(errors))]
    return (wanted + at_line(line(list(range(len(costs))), best), asked)).exp()


@pytest.mark.parametrize("noise", [0.0, 0.05, 1.0])
def test_moving_is_the_best_line_by_leaving_out(noise: float) -> None:
    generator = torch.Generator().manual_seed(int(100 * noise))
    features, at = (torch.rand(n, 4, generator=generator, dtype=torch.float64) for n in (10, 6))
    usual, wanted = features.sum(-1), at.sum(-1)
    costs = (1.3 * usual + noise * torch.randn(10, generator=generator, dtype=torch.float64)).exp() * 20
    found = moved(usual, features, costs, wanted, at)
    torch.testing.assert_close(found, plainly_moved(usual, features, costs, wanted, at), rtol=1e-9, atol=0)
    if noise == 0:
        torch.testing.assert_close(found, (1.3 * wanted).exp() * 20, rtol=0.05, atol=0)


def test_answers_are_judged_and_everything_is_said(space: Any) -> None:
    made = source(space)
    texts = space[0].references[:3]
    onehot = space[0].encode([space[0].parse(text) for text in texts])
    assert torch.equal(made.listed("cpu_xeon", texts), space[1].judge("cpu_xeon", onehot))
    assert made.listed_as == {"latency": "judged"} and made.kinds == {"latency": "tabulated"}
    notes = " ".join(made.notes)
    for words in ("rows of averages", "the search knew 40", "are judged", "R² ", "145 rows of its start of cpu_rasp"):
        assert words in notes


def test_one_that_goes_on_knows_the_same(space: Any) -> None:
    first, second = source(space), source(space, begun=False, seed=8)
    second.restore(first.state())
    assert second.devices == first.devices and second.state() == first.state()
    assert all(torch.equal(a, b) or a.isnan().any() for a, b in zip(first.training_table(), second.training_table()))
    gone = {"rows": {**first.state()["rows"], "cpu_xeon": [3, 90]}}
    with pytest.raises(InputError, match="hat has fewer rows of cpu_xeon than the run began with"):
        second.restore(gone)


@pytest.mark.parametrize("networks", [29, 46])
def test_too_few_and_too_many_rows_are_refused(space: Any, networks: int) -> None:
    with pytest.raises(InputError, match=f"devices.networks: wanted 30 to 45, half of the rows .* got {networks}"):
        source(space, networks=networks)


def test_exact_costs_stand_beside_rows(space: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hat = space[0]
    exact = ExactCosts(hat, ["parameters"], lambda: {"vocabulary": 50, "input_shape": (2, 8)})
    both = WithFormulas(source(space, begun=False), ["parameters", "latency"], exact)
    monkeypatch.setattr("modnas_fast.devices.formula_costs.has_formula", lambda space, name: True)
    both.begin(Silent())
    _, target = both.training_table()
    assert target[..., 0].isnan().all() and target[:40, 0, 1].isfinite().all()
    judging = both.judged_by("cpu_xeon")
    assert judging.values[:, 0].isnan().all() and judging.values[:, 1].isfinite().all()
    assert both.count_known("cpu_xeon") == 40 and PARAMETERS.name in both.metrics
    monkeypatch.setattr("modnas_fast.devices.formula_costs.has_formula", lambda space, name: False)
    with pytest.raises(InputError, match="objectives: parameters has no formula, .* the table of rows has none"):
        both.training_table()


def test_a_device_that_the_table_has_not_is_named(space: Any) -> None:
    with pytest.raises(InputError, match="devices: the table has no 'phone'; .*it has cpu_xeon, gpu_titanxp"):
        usual_split(space[1], "hat", space[0], ("phone",), None)
