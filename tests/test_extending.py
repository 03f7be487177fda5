"""The examples of docs/extending.md: each goes through a tiny search, named as the page names it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from made_up_tables import make_benchmark, write_tables
from safetensors.torch import load_file
from small_searches import config as small_config
from small_searches import make_devices, make_images

import modnas_fast
from modnas_fast.baselines.contest import Contest
from modnas_fast.config import make_config
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.result import Result
from modnas_fast.runtime import choices
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.registry import Registry
from modnas_fast.search import Search
from modnas_fast.spaces import NB201Space, SearchSpace, make_space
from modnas_fast.tasks.task_objective import SupernetObjective, network_arguments

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
#: title of a section and what stands below it
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
TINY: dict[str, dict[str, Any]] = {
    "devices": {"table": "hw-nas-bench-360", "networks": 60},
    "task": {"table": "cifar100", "queries": 30},
    "predictor": {"kind": "additive", "steps": 20, "hidden": 8},
    "search": {
        "steps": 6,
        "refine_steps": 4,
        "refine_preferences": 2,
        "refine_networks": 100,
        "evaluations": 0,
        "log_every": 2,
    },
    "evaluation": {"rays": 4},
}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def configured(section: str) -> dict[str, Any]:
    """What the page sets to use the section's example."""
    return yaml.safe_load(blocks(SECTIONS[section], "yaml")[0])


@pytest.fixture(scope="module", autouse=True)
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All examples in one module that can be imported."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text("\n\n".join(blocks(PAGE, "python")), encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("mine", None)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("data"), [])


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modnas_fast.report.write_report", lambda *_: None)


def called(monkeypatch: pytest.MonkeyPatch, name: str) -> list[None]:
    """Grows by one with each call of an example."""
    import mine

    calls, example = [], getattr(mine, name)

    class Counted(example if isinstance(example, type) else object):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            calls.append(None)
            super().__init__(*arguments, **options)

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        return example(*arguments, **options)

    monkeypatch.setattr(mine, name, Counted if isinstance(example, type) else counted)
    return calls


def test_the_page_has_a_section_for_every_registry() -> None:
    registries = [value for value in vars(choices).values() if isinstance(value, Registry)]
    assert len(SECTIONS) == len(registries) == 11
    for registry in registries:
        row = next(line for line in PAGE.splitlines() if line.startswith("|") and registry.group in line)
        key = "--methods" if registry is choices.BASELINES else registry.key
        assert key in row and re.search(r"#(\w+)\)", row)[1].capitalize() in SECTIONS


@pytest.mark.usefixtures("without_report")
def test_a_task_of_the_page_is_searched_with_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = called(monkeypatch, "striped")
    small = {
        "objectives": ["error", "parameters"],
        "space": {"channels": 2, "cells": 1},
        "predictor": {"steps": 20},
        "search": {**TINY["search"], "warmup_steps": 4, "batch_size": 16, "refine_networks": 20},
        "evaluation": {"rays": 4},
        "verify": {"networks": 1, "epochs": 1},
    }
    result = modnas_fast.search(small, out=tmp_path / "run", **configured("Task"))
    assert calls and result.content["task"]["sizes"]["train"] == 120
    assert (result.quality.name, result.quality.unit) == ("error", "%")
    assert result.content["verified"][0]["test"] <= 100


@pytest.mark.parametrize(
    "section",
    ["Scalarization", "Hypernetwork", "Architect", "Preferences", "Scheme", "Predictor", "Surrogate"],
)
@pytest.mark.usefixtures("without_report")
def test_an_example_searches(section: str, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(tables))
    changes = configured(section)
    (values,) = changes.values()
    place = next(value for value in values.values() if str(value).startswith("mine:"))
    calls = called(monkeypatch, place.removeprefix("mine:"))
    result = modnas_fast.search(TINY, preset="nb201", out=tmp_path / "run", **changes)
    assert calls
    again = modnas_fast.search(resume=tmp_path / "run")
    for device in result.devices:
        assert again.pick(device, preference=[0.5, 0.5]).text == result.pick(device, preference=[0.5, 0.5]).text


DEPTHS = {
    "task": {"limit": 120},
    "space": {"channels": 2, "cells": 1},
    "devices": {"networks": 30, "heldout": 6, "repeats": 2},
    "predictor": {"kind": "additive", "steps": 40},
    "search": {"steps": 6, "warmup_steps": 2, "refine_steps": 2, "refine_networks": 20, "evaluations": 0},
    "evaluation": {"rays": 6},
    "verify": {"networks": 1, "epochs": 1},
}


@pytest.mark.usefixtures("without_report")
def test_the_metric_is_exact_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modnas_fast.result.compose_answers.SMALL_SPACE", 0)  # else every network is built for answers
    result = modnas_fast.search(DEPTHS, out=tmp_path / "run", **configured("Metric"))
    assert [cost.key for cost in result.costs] == ["depth_layers", "parameters"]
    assert result.content["cost_sources"] == {"depth_layers": "exact", "parameters": "exact"}

    def layers(text: str) -> int:
        return sum(isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)) for m in result.build(text).modules())

    (entry,) = result.content["devices"]
    for point in (*entry["rays"], *entry["front"], *entry["random"]):
        assert point["depth_layers"] == layers(point["architecture"])
        assert point["sources"] == {"depth_layers": "exact", "parameters": "exact"}
    (verified,) = result.content["verified"]
    assert verified["costs"]["anywhere"]["depth_layers"]["predicted"] == layers(verified["architecture"])
    assert "depth, parameters: exact" in " ".join(result.content["task"]["notes"])
    kept = load_file(result.run / "metapredictor.safetensors")
    assert {name.split(".")[1] for name in kept} == {"0"}  # parameters have a formula in this space

    (tmp_path / "run" / "result.json").unlink()
    again = modnas_fast.search(resume=tmp_path / "run")
    assert again.content["devices"] == result.content["devices"]
    for weight in (0.1, 0.5, 0.9):
        chosen = again.pick("anywhere", preference=[weight, 1 - weight, 0.1])
        cost = chosen.costs["depth_layers"]
        assert (cost.value, cost.unit, cost.source) == (layers(chosen.text), "layers", "exact")

    import mine

    monkeypatch.setattr(mine, "depth", None)  # what the run lists needs no metric
    budget = sorted(point["depth_layers"] for point in entry["random"])[2]
    assert Result.load(result.run).pick("anywhere", max={"depth_layers": budget}).costs["depth_layers"].value <= budget


@pytest.mark.usefixtures("without_report")
def test_the_devices_of_the_page_s_table_are_searched(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mine

    monkeypatch.setenv("MODNAS_DATA", str(tables))
    monkeypatch.chdir(tmp_path)
    space = NB201Space()
    drawn = space.decode(space.canonical(space.sample(80, torch.Generator().manual_seed(0))))
    networks = list(dict.fromkeys([*space.references, *(network.text for network in drawn)]))
    count = {"phone": lambda text: 1.0 + text.count("3x3"), "board": lambda text: 2.0 + text.count("1x1")}
    mine.write_devices("devices.csv", networks, count)
    section = PAGE.partition("## Table of devices\n")[2].partition("\n## ")[0]
    devices = yaml.safe_load(blocks(section, "yaml")[0])["devices"]
    result = modnas_fast.search({**TINY, "devices": devices}, preset="nb201", out="run", task={"table": "cifar100"})
    assert {name: device.split for name, device in result.devices.items()} == {"phone": "search", "board": "unseen"}
    cost = result.pick("phone", max={"latency_ms": 3.0}).costs["latency_ms"]
    assert 0 < cost.value <= 3.0 and cost.source in ("tabulated", "predicted")


def test_the_baseline_spends_its_budget(tmp_path: Path) -> None:
    known = make_benchmark().known_space()
    contest = Contest(known, 30, tmp_path)
    contest.execute(["random", "mine:climb"], ["device 0"], 1)
    assert {entry["method"]: entry["evaluations"] for entry in contest.entries()} == {"random": 30, "mine:climb": 30}


def test_the_space_is_searched() -> None:
    options = small_config(**configured("Space"))
    space = make_space(options.space.name, options.space.options)
    costs = CostModel([MetaPredictor(space, 10, 16, torch.Generator()).requires_grad_(False)])
    search = Search(options, space, SupernetObjective(options, space, make_images()), make_devices(2), costs)
    while not search.done:
        search.step()
    networks = space.sample(50, torch.Generator().manual_seed(0))
    assert torch.equal(space.viable(networks) > 0, (NB201Space().viable(networks) > 0) & ~pooled(space, networks))
    assert not pooled(space, space.candidates(20_000)).any()


def test_the_space_with_networks_of_its_own_is_searched() -> None:
    options = small_config(space={"name": "mine:Perceptrons"}, search={"refine_steps": 2, "refine_networks": 16})
    space, task = make_space(options.space.name, options.space.options), make_images()
    costs = CostModel([MetaPredictor(space, 10, 16, torch.Generator()).requires_grad_(False)])
    search = Search(options, space, SupernetObjective(options, space, task), make_devices(2), costs)
    while not search.done:
        search.step()
    x, _ = next(task.batches("test", 7))
    (wide,) = space.decode(space.encode([space.parse("32-8")]))
    network = space.build(wide, **network_arguments(options, task))
    assert network(x).shape == (7, 3) and [m.out_features for m in network.modules() if hasattr(m, "out_features")] == [
        32, 8, 3,
    ]  # fmt: skip
    with pytest.raises(InputError, match="wanted two widths of .* got '8-9'"):
        space.parse("8-9")


def pooled(space: SearchSpace, networks: torch.Tensor) -> torch.Tensor:
    return (space.indices(networks) == 4).any(-1)


BROKEN = """
import torch
from torch import nn

number = 3

def column(losses, preference):
    return (preference * losses).sum(-1, keepdim=True)

def negative(num_devices, num_objectives, *, generator):
    return torch.full((num_devices, num_objectives), -1.0)

class Narrow(nn.Module):
    def __init__(self, space=None, embedding_width=None, generator=None, **rest):
        super().__init__()
    def forward(self, left, right):
        return left[..., :1] + right[..., :1]

class Nothing:
    def __init__(self, *arguments, **options):
        pass
"""


@pytest.mark.parametrize(
    ("key", "place", "told"),
    [
        (
            "scalarization.kind",
            "broken:number",
            "scalarization.kind: 'broken:number' is a int; wanted a function or class",
        ),
        ("scalarization.kind", "broken:absent", "scalarization.kind: 'broken:absent' cannot be loaded: AttributeError"),
        ("scalarization.kind", "nowhere:x", "scalarization.kind: 'nowhere:x' cannot be imported: No module named"),
        ("scalarization.kind", "broken:negative", "cannot be called with .losses, preference.: missing a required"),
        ("scalarization.kind", "broken:column", "wanted to return .*one number per row, got"),
        ("preferences.kind", "broken:negative", "rows that are not negative and sum to 1"),
        ("hypernetwork.kind", "broken:Narrow", "hypernetwork.kind: .* gives logits of a wrong shape"),
        ("hypernetwork.kind", "broken:Nothing", "gives a Nothing, no torch.nn.Module"),
        ("architect.kind", "broken:Nothing", "architect.kind: .* gives a Nothing, no modnas_fast.method.architect"),
        ("mgd.scheme", "broken:Nothing", "mgd.scheme: .* gives a Nothing without a method groups"),
        ("predictor.kind", "broken:Narrow", "predictor.kind: .* gives costs"),
        ("predictor.kind", "broken:Nothing", "gives a Nothing, no torch.nn.Module"),
        ("space.name", "broken:Nothing", "space.name: .* gives a Nothing, no modnas_fast.spaces.SearchSpace"),
    ],
)
def test_an_object_that_does_not_fit_is_refused_in_one_line(
    key: str, place: str, told: str, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(tables))
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(InputError, match=told) as error:
        modnas_fast.search(TINY, preset="nb201", out=tmp_path / "run", overrides=[f"{key}={place}"])
    assert len(str(error.value).splitlines()) == 1 and key in str(error.value)


def test_options_without_an_object_of_ones_own_are_refused() -> None:
    with pytest.raises(InputError, match=r"scalarization\.options: for an object of your own; linear takes the other"):
        make_config(scalarization={"kind": "linear", "options": {"share": 0.1}})
