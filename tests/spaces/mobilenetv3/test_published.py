"""HELP's tables and the network of accuracies as costs and truth, which spaces have them, and damaged files."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import scipy.stats
import torch
import yaml
from ofa_tables import latency_ms, networks, write_net, write_tables

from modnas_fast.config import make_config
from modnas_fast.devices.table import load_costs, usual_split
from modnas_fast.runs.sources import find_truth
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.mobilenetv3.judge import AccuracyNet
from modnas_fast.spaces.mobilenetv3.published_networks import NETWORKS
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

DATA = os.environ.get("MODNAS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published files to compare")
SPACE = MobileNetV3Space("published")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODNAS_DATA", str(write_tables(tmp_path)))
    return tmp_path


def test_costs_of_the_table(home: Path) -> None:
    table = load_costs("ofa-help", MobileNetV3Space("published"))
    assert table.architectures == networks(120) and table.metrics == {"latency": "ms"}
    assert table.values["v100_32"][7].item() == latency_ms(networks(120)[7], "v100_32")
    search, unseen = usual_split(table, "ofa-help", MobileNetV3Space("published"), None, None)
    assert len(search) == 11 and unseen == ("titan_rtx_64",) and {*search, *unseen} == set(table.values)


def test_the_truth_is_the_judge_s_and_any_network_may_be_asked_for(home: Path) -> None:
    config = make_config(preset="ofa-help")
    truth = find_truth(config, MobileNetV3Space("published"))
    assert truth is not None and truth.judge is not None and truth.asks_judge and truth.kind == "judged"
    onehot = SPACE.encode([SPACE.parse(text) for text in truth.architectures])
    assert torch.equal(truth.values, truth.judge(onehot)) and "no network was trained" in truth.origin


def test_a_space_of_some_options_is_judged_too(home: Path) -> None:
    part = MobileNetV3Space("published", resolutions=(160, 192, 224), kernels=(3, 7), width=1.2)
    assert part.published is not None and part.published.tables == ()
    drawn = part.sample(20, torch.Generator().manual_seed(0))
    whole = SPACE.encode([SPACE.parse(network.text) for network in part.decode(drawn)])
    file = home / "ofa/ofa-tutorial/acc_predictor.pth"
    assert torch.equal(AccuracyNet.load(file, part)(drawn), AccuracyNet.load(file, SPACE)(whole))
    for other in ({"width": 0.7}, {"kernels": (3, 9)}, {"depths": (2, 5)}, {"resolutions": (96, 128)}):
        assert MobileNetV3Space("published", **other).published is None  # type: ignore[arg-type]


def test_a_network_of_accuracies_by_hand(home: Path) -> None:
    file = home / "ofa/ofa-tutorial/acc_predictor.pth"
    state = torch.load(file, weights_only=True)

    def by_hand(text: str, place: int) -> float:
        shape = SPACE.shape(SPACE.parse(text).indices)
        x = torch.zeros(128, dtype=torch.float64)
        for begin, stages, options in ((0, shape.kernels, (3, 5, 7)), (60, shape.expansions, (3, 4, 6))):
            for j, stage in enumerate(stages):
                for layer, value in enumerate(stage):
                    x[begin + 3 * (4 * j + layer) + options.index(value)] = 1
        x[120 + place] = 1
        hidden = (state["0.weight"].double() @ x + state["0.bias"]).clamp(min=0)
        return float(state["3.weight"].double() @ hidden + state["3.bias"])

    def told(text: str) -> float:
        return float(AccuracyNet.load(file, SPACE).raw(SPACE.encode([SPACE.parse(text)])))

    rest = SPACE.references[0].partition("_")[2]
    known = {side: by_hand(f"r{side}_{rest}", (side - 112) // 16) for side in (160, 176, 208, 224)}
    assert told(f"r160_{rest}") == pytest.approx(known[160]) and told(f"r224_{rest}") == pytest.approx(known[224])
    assert told(f"r212_{rest}") == pytest.approx(0.75 * known[208] + 0.25 * known[224])
    assert told(f"r128_{rest}") == pytest.approx(known[160] - 2 * (known[176] - known[160]))


def test_other_files_are_refused_in_one_line(home: Path) -> None:
    net, archs = home / "ofa/ofa-tutorial/acc_predictor.pth", home / "ofa/ofa_archs.pt"
    torch.save({"0.weight": torch.zeros(1, 8), "0.bias": torch.zeros(1)}, net)
    with pytest.raises(InputError, match="wanted an MLP of 128 inputs and one output"):
        AccuracyNet.load(net, SPACE)
    torch.save([1], net)
    with pytest.raises(InputError, match="is no network of accuracies"):
        AccuracyNet.load(net, SPACE)
    torch.save([1.0] * 7, home / "ofa/help-latency/v100_1.pt")
    with pytest.raises(InputError, match="wanted 120 positive latencies"):
        load_costs("ofa-help", MobileNetV3Space("published"))
    archs.write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no list of Once-for-All's networks.*data fetch ofa"):
        load_costs("ofa-help", MobileNetV3Space("published"))
    archs.unlink()
    with pytest.raises(InputError, match="data fetch ofa-help"):
        load_costs("ofa-help", MobileNetV3Space("published"))


def test_the_small_scale_has_no_table() -> None:
    with pytest.raises(InputError, match="space.scale=published has tables"):
        load_costs("ofa-help", MobileNetV3Space("small"))


def test_features_and_details_tell_networks_apart_and_have_gradients() -> None:
    onehot = SPACE.canonical(SPACE.sample(40, torch.Generator().manual_seed(0))).double().requires_grad_()
    features, details = SPACE.features(onehot), SPACE.details(onehot)
    assert features.shape == (40, SPACE.num_features) and details.shape[0] == 40
    assert features.min() >= 0 and len(torch.unique(details, dim=0)) == 40
    (features.sum() + details.sum()).backward()
    assert onehot.grad is not None and bool((onehot.grad != 0).any(dim=0).all())
    largest = SPACE.features(SPACE.encode([SPACE.ends[1]]))
    assert bool((largest >= SPACE.features(SPACE.sample(50))).all())


@needs_data
def test_the_published_tables_are_read_and_judged_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(DATA))
    space = MobileNetV3Space("published")
    table = load_costs("ofa-help", space)
    rows = [1316, 1587, 1621, 1636, 1980, 2329, 2487, 3355, 3740, 4948]
    assert tuple(table.architectures[row] for row in rows) == space.references and len(table.architectures) == 5000
    first = [table.values[device][0].item() for device in ("2080ti_1", "titan_rtx_1", "v100_64")]
    assert first == pytest.approx([12.082, 4.373, 21.807], abs=5e-4)
    assert table.judge is not None
    for device, least in (("titan_rtx_32", 0.999), ("titan_xp_64", 0.99), ("v100_1", 0.89), ("2080ti_1", 0.77)):
        assert table.judge.fits(device)[0].spearman > least, device


@needs_data
@pytest.mark.parametrize(("width", "count", "spearman", "points"), [(1.0, 24, 0.99, 0.25), (1.2, 6, 0.94, 0.1)])
def test_the_judge_ranks_the_published_networks(width: float, count: int, spearman: float, points: float) -> None:
    space = MobileNetV3Space("published", width=width, resolutions=tuple(range(128, 225, 4)))
    judge = AccuracyNet.load(Path(str(DATA)) / "ofa/ofa-tutorial/acc_predictor.pth", space)
    networks = [network for network in NETWORKS if network.fits(space.scale)]
    told = 100 - judge(space.encode([space.parse(network.architecture) for network in networks]))
    known = torch.tensor([network.top1 for network in networks], dtype=torch.float64)
    assert len(networks) == count and scipy.stats.spearmanr(told, known).statistic > spearman
    assert float((told - known).abs().mean()) < points


@needs_data
def test_the_published_networks_are_those_of_their_configurations() -> None:
    with open(Path(str(DATA)) / "ofa/ofa_specialized.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys = ("device", "cost", "cost_unit", "imagenet_top1", "width_mult", "image_size", "ks", "e", "d")
    assert {tuple(row[key] for key in keys) for row in rows} == {tuple(map(str, network)) for network in NETWORKS}
    assert len(rows) == len(NETWORKS)


def test_published_networks_are_read_from_their_digits() -> None:
    for network in NETWORKS:
        space = MobileNetV3Space("published", width=network.width, resolutions=(network.resolution,))
        content = {"ks": network.kernels, "e": network.expansions, "d": network.depths}
        form = yaml.safe_dump(
            {key: list(map(int, digits)) for key, digits in content.items()} | {"r": network.resolution}
        )
        assert space.parse(form).text == network.architecture and network.fits(space.scale), network.words
    assert sum(network.fits(SPACE.scale) for network in NETWORKS) == 6


def test_made_up_networks_of_accuracies_are_refused_for_no_reason(tmp_path: Path) -> None:
    write_net(tmp_path / "net.pth")
    errors = AccuracyNet.load(tmp_path / "net.pth", SPACE)(SPACE.sample(50, torch.Generator().manual_seed(0)))
    assert errors.dtype == torch.float64 and bool(((errors > 0) & (errors < 100)).all())
