"""A run on the real tables: its answer is the table's own, and the same from any table with the same numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest
import torch
from agreement import assert_agrees
from report.reading import read_page
from table_runs import SEARCH, UNSEEN, table_config
from torch import Tensor

from modnas_fast import Device, Result
from modnas_fast.config import Config
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.method.preferences import rays
from modnas_fast.reproduction.tables import load_benchmark
from modnas_fast.result.answers import Cost
from modnas_fast.result.content import listed_points
from modnas_fast.result.folder import create_run
from modnas_fast.runs.run import Run
from modnas_fast.runtime.errors import InputError

DATA = os.environ.get("MODNAS_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA does not name the benchmark's tables")


def executed(folder: Path, config: Config) -> Result:
    return Run(create_run(folder, config), config).execute()


def content(folder: Path, file: str = "result.json") -> dict[str, Any]:
    return json.loads((folder / file).read_text(encoding="utf-8"))


def refused(folder: Path, config: Config) -> str:
    with pytest.raises(InputError) as error:
        executed(folder, config)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.fixture(scope="module")
def tables() -> Benchmark:
    return load_benchmark(search=SEARCH, unseen=UNSEEN)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return executed(tmp_path_factory.mktemp("table") / "run", table_config())


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write no page: it takes longer than all else."""
    monkeypatch.setattr("modnas_fast.report.write_report", lambda *_: None)


def twin(result: Result, name: str) -> Device:
    """A device of the run as if it were new."""
    low, high = result.devices[name].ranges["latency"]
    latencies = [low + (high - low) * value for value in result.devices[name].embedding]
    return Device.from_reference_latencies("twin", latencies)


def predictions(result: Result, device: Device, onehot: Tensor) -> list[float]:
    """Latencies in ms as the run's predictor has them, whatever else is known."""
    return result.reference.costs.predict(device, result.costs[0], onehot)


def test_errors_and_latencies_are_the_tables(result: Result, tables: Benchmark) -> None:
    assert result.quality_kind == "true" and result.content["verified"] == []
    assert [(d["name"], d["split"]) for d in result.content["devices"]] == [
        *((name, "search") for name in SEARCH), *((name, "unseen") for name in UNSEEN)
    ]  # fmt: skip
    for entry in result.content["devices"]:
        points = [*entry["rays"], *entry["front"], *entry["random"]]
        assert len(entry["rays"]) == len(entry["random"]) == 8 and entry["noise"] == {}
        onehot = result.space.encode([result.space.parse(p["architecture"]) for p in points])
        rows = tables.rows(onehot)
        assert [p["error"] for p in points] == tables.errors[rows].tolist()
        assert [p["latency_ms"] for p in points] == tables.table.values[entry["name"]][rows, 0].tolist()


def test_hypervolumes_are_those_of_the_published_protocol(result: Result, tables: Benchmark) -> None:
    for entry in result.content["devices"]:
        exact = tables.fronts[entry["name"]]
        kinds = {
            "hypervolume": entry["rays"],
            "hypervolume_front": entry["rays"] + entry["archive"],
            "hypervolume_random": entry["random"],
        }
        for key, points in kinds.items():
            onehot = result.space.encode([result.space.parse(p["architecture"]) for p in points])
            assert entry[key] == pytest.approx(exact.score(tables.rows(onehot)).hypervolume)
        assert entry["hypervolume_exact"] == exact.hypervolume
        assert entry["hypervolume_ratio"] == pytest.approx(entry["hypervolume"] / exact.hypervolume)
        assert 0 < entry["hypervolume_ratio"] <= entry["hypervolume_front_ratio"] <= 1
        assert entry["archive"] and not {p["architecture"] for p in entry["archive"]} & {
            p["architecture"] for p in entry["rays"]
        }
    history = content(result.run, "history.json")["hypervolume"]
    assert history["step"] == [20, 40]
    assert history["values"][-1] == pytest.approx([e["hypervolume"] for e in result.content["devices"]])


def test_the_search_knew_what_its_notes_say(result: Result) -> None:
    kept = content(result.run, "measurements.json")
    assert len(kept["source"]["measured"]) == len(set(kept["source"]["measured"])) == 80 and len(kept["queried"]) == 30
    assert set(kept["queried"]) | set(result.space.references) <= set(kept["source"]["measured"])
    notes = " ".join(result.content["task"]["notes"])
    assert "knew latency of 80 networks" in notes and "30 true errors" in notes


@torch.no_grad()
def test_the_predictor_is_judged_by_the_whole_table_and_found_again(result: Result, tables: Benchmark) -> None:
    for entry in result.content["devices"]:
        quality = content(result.run, "predictor.json")["devices"][entry["name"]]["costs"]["latency_ms"]
        assert entry["predictor"] == {"latency_ms": {"spearman": quality["spearman"], "networks": 15625}}
        texts = quality["architectures"]
        onehot = result.space.encode([result.space.parse(text) for text in texts])
        device = twin(result, entry["name"])
        assert predictions(result, device, onehot) == pytest.approx(quality["predicted"], rel=1e-4)
        assert min(quality["predicted"]) > 0
        costs = tables.table.values[entry["name"]][:, 0]
        assert entry["judged"]["latency_ms"] == [float(costs.min()), float(costs.max())]
        assert quality["measured"] == tables.table.values[entry["name"]][tables.rows(onehot), 0].tolist()


def test_picks_tell_the_tables_latency_where_they_know_it(result: Result, tables: Benchmark) -> None:
    entry = result.content["devices"][0]
    for preference, ray in zip(rays(8, 2).tolist(), entry["rays"]):
        known = result.pick(entry["name"], preference=preference)
        new = result.pick(twin(result, entry["name"]), preference=preference)
        assert known.text == new.text == ray["architecture"] and known.quality == ray["error"]
        assert known.costs == {"latency_ms": Cost(ray["latency_ms"], "ms", "tabulated")}
        assert new.costs["latency_ms"].source == ("measured" if new.text in result.space.references else "predicted")
    own = [*entry["rays"], *entry["random"]]
    limit = sorted(point["latency_ms"] for point in own)[8]
    within = result.pick(entry["name"], max={"latency_ms": limit})
    assert within.costs["latency_ms"].value <= limit
    assert within.quality <= min(point["error"] for point in own if point["latency_ms"] <= limit)
    assert {point.costs["latency_ms"].source for point in result.front(entry["name"])} == {"tabulated"}


def test_networks_that_the_run_does_not_list_have_the_tables_latency_and_error(
    result: Result, tables: Benchmark
) -> None:
    listed = {p["architecture"] for e in result.content["devices"] for p in (*e["rays"], *e["random"])}
    for name in (*SEARCH, *UNSEEN):
        for weight in torch.linspace(0.003, 0.997, 60).tolist():
            chosen = result.pick(name, preference=[weight, 1 - weight])
            row = tables.table.rows([chosen.text])
            assert chosen.costs["latency_ms"] == Cost(tables.table.values[name][row, 0].item(), "ms", "tabulated")
            assert (chosen.quality, chosen.quality_kind) == (tables.errors[row].item(), "true")
    texts = [text for text in tables.table.architectures if text not in listed][::1000]
    costs = result.reference.costs(
        result.device("fpga"), texts, result.space.encode(list(map(result.space.parse, texts)))
    )
    rows = tables.table.rows(texts)
    assert [cost["latency_ms"].value for cost in costs] == tables.table.values["fpga"][rows, 0].tolist()
    assert {cost["latency_ms"].source for cost in costs} == {"tabulated"}


def test_without_its_table_a_run_says_that_it_predicts(result: Result, tmp_path: Path) -> None:
    for file in ("config.yaml", "result.json", "metapredictor.safetensors", "hypernetwork.safetensors"):
        (tmp_path / file).write_bytes((result.run / file).read_bytes())
    bare = Result.load(tmp_path)
    texts = [a.text for a in bare.space.decode(bare.space.sample(50, torch.Generator().manual_seed(2)))]
    onehot = bare.space.encode([bare.space.parse(text) for text in texts])
    sources = [cost["latency_ms"].source for cost in bare.reference.costs(bare.device("fpga"), texts, onehot)]
    assert sources.count("predicted") > 40
    ray = bare.content["devices"][0]["rays"][0]
    assert bare.pick("pixel3", preference=ray["preference"]).costs["latency_ms"].source == "tabulated"


def test_a_network_of_the_answer_is_built_for_the_tables_task(result: Result) -> None:
    network = result.build(result.front("fpga")[0].architecture)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_page_says_where_its_numbers_come_from(result: Result) -> None:
    page = read_page(result.run / "report.html")
    for text in ("all networks of the table", "of the exact front", "none was left to train", "tabulated"):
        assert text in page.text, text
    for text in ("upernet", "held-out", "as the search predicts", "front, predicted", "--verify"):
        assert text not in page.text.split("Configuration of this run")[0], text
    assert page.figures["front-0"]["data"][1]["name"] == "front (tabulated)"
    assert "15625" in page.text


def test_a_table_of_ones_own_with_the_same_numbers_gives_the_same(
    result: Result, tables: Benchmark, tmp_path: Path, without_report: None
) -> None:
    names = list(SEARCH)
    texts = tables.table.architectures
    columns = {
        "architecture": [*texts] * len(names),
        "device": [name for name in names for _ in texts],
        "latency_ms": torch.cat([tables.table.values[name][:, 0] for name in names]).numpy(),
    }
    pa.csv.write_csv(pa.table(columns), tmp_path / "own.csv")
    changes = {"devices__table": tmp_path / "own.csv", "devices__search": "null", "devices__unseen": "auto"}
    own = executed(tmp_path / "run", table_config(**changes))
    assert own.content["devices"] == result.content["devices"][: len(SEARCH)]
    assert all(entry["split"] == "search" for entry in own.content["devices"])


@pytest.mark.parametrize("kind", ["additive", "plain_graph"])
def test_other_predictors_are_found_again_too(tmp_path: Path, without_report: None, kind: str) -> None:
    changes = {"devices__search": "[pixel3]", "devices__unseen": "[]", "search__evaluations": 0}
    changes |= {"search__steps": 2, "search__refine_steps": 2}
    run = executed(tmp_path / "run", table_config(predictor__kind=kind, **changes))
    assert list(run.devices) == ["pixel3"]
    quality = content(run.run, "predictor.json")["devices"]["pixel3"]["costs"]["latency_ms"]
    texts = quality["architectures"]
    onehot = run.space.encode([run.space.parse(text) for text in texts])
    assert predictions(run, twin(run, "pixel3"), onehot) == pytest.approx(quality["predicted"], rel=1e-4)


def test_a_supernet_reads_no_true_error(tmp_path: Path, tables: Benchmark, without_report: None) -> None:
    config = table_config(
        "nb201-supernet", Path(DATA or "") / "cifar10", task__limit=200, task__test_limit=50, task__resize=8,
        space__channels=2, space__cells=1, search__batch_size=16, search__warmup_steps=2, search__steps=2,
        search__refine_steps=2, search__refine_networks=8, search__threads=1,
    )  # fmt: skip
    run = executed(tmp_path / "run", config)
    assert content(run.run, "measurements.json")["queried"] == {} and (run.run / "supernet.safetensors").exists()
    assert run.quality_kind == "true" and "no true error" in " ".join(run.content["task"]["notes"])
    ray = run.content["devices"][0]["rays"][0]
    row = tables.rows(run.space.encode([run.space.parse(ray["architecture"])]))
    assert ray["error"] == tables.errors[row].item()
    assert run.content["task"]["image"] == [3, 8, 8] and sum(run.content["task"]["sizes"].values()) == 250


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"devices__search": "[tpu]"}, ("no 'tpu'", "pixel3")),
        ({"devices__search": "[]"}, ("at least one device",)),
        ({"devices__unseen": "[pixel3]"}, ("pixel3 is named twice",)),
        ({"devices__table": "absent.csv"}, ("devices.table", "absent.csv", "help")),
        ({"objectives": "[error,energy]"}, ("objectives", "'energy'", "latency", "parameters")),
        ({"objectives": "[latency,error]"}, ("objectives", "'error'")),
        ({"devices__networks": 40, "task__queries": 30}, ("devices.networks: wanted at least 44", "queries")),
        ({"devices__networks": 8000}, ("devices.networks", "at most 7812")),
    ],
)
def test_settings_that_do_not_fit_the_table(tmp_path: Path, changes: dict[str, Any], texts: tuple[str, ...]) -> None:
    message = refused(tmp_path / "run", table_config(**changes))
    assert all(text in message for text in texts), message


THREE = {
    "devices__table": "hw-nas-bench-360",
    "devices__search": "null",
    "devices__unseen": "[pi5_onnx]",
    "hypernetwork__kind": "mlp",
    "objectives": "[error,latency,energy]",
}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modnas_fast.report.write_report", lambda *_: None)
        return executed(tmp_path_factory.mktemp("three") / "run", table_config(**THREE))


def test_three_objectives_are_the_tables(three: Result) -> None:
    boards = load_benchmark(table="hw-nas-bench-360", unseen=["pi5_onnx"])
    assert [objective.key for objective in three.objectives] == ["error", "latency_ms", "energy_mj"]
    for entry in three.content["devices"]:
        assert list(entry["ranges"]) == list(entry["predictor"]) == ["latency_ms", "energy_mj"]
        rays_ = entry["rays"]
        rows = boards.rows(three.space.encode([three.space.parse(p["architecture"]) for p in rays_]))
        costs = [[p["latency_ms"], p["energy_mj"]] for p in rays_]
        assert costs == boards.table.values[entry["name"]][rows].tolist()
        assert entry["hypervolume"] == pytest.approx(boards.fronts[entry["name"]].score(rows).hypervolume)
        assert all(p["sources"] == {"latency_ms": "tabulated", "energy_mj": "tabulated"} for p in rays_)
    history = content(three.run, "history.json")
    assert list(history["costs"]) == ["latency_ms", "energy_mj"]
    assert history["hypervolume"]["values"][-1] == pytest.approx([e["hypervolume"] for e in three.content["devices"]])


@pytest.mark.parametrize("name", ["result", "three"])
def test_answers_agree_with_the_reference(name: str, request: pytest.FixtureRequest) -> None:
    assert_agrees(request.getfixturevalue(name))


def test_three_objectives_are_asked_for_by_preference_and_by_budgets(three: Result) -> None:
    entry = three.content["devices"][0]
    assert three.pick(entry["name"], preference=entry["rays"][2]["preference"]).text == entry["rays"][2]["architecture"]
    own = [*entry["rays"], *entry["random"]]
    limits = {key: sorted(point[key] for point in own)[9] for key in ("latency_ms", "energy_mj")}
    within = three.pick(entry["name"], max=limits)
    assert all(within.costs[key].value <= limit for key, limit in limits.items())
    fitting = [p["error"] for p in own if all(p[key] <= limit for key, limit in limits.items())]
    assert within.quality <= min(fitting)
    with pytest.raises(
        InputError, match="no evaluated network has latency_ms of at most 1e-05 and energy_mj of at most 5"
    ):
        three.pick(entry["name"], max={"latency_ms": 1e-5, "energy_mj": 5})
    with pytest.raises(InputError, match="wanted a budget of latency_ms or energy_mj, got memory_mb"):
        three.pick(entry["name"], max={"memory_mb": 5})
    with pytest.raises(InputError, match="wanted 3 weights, got 2"):
        three.pick(entry["name"], preference=[1, 1])


def test_a_device_never_seen_is_made_from_all_its_costs(three: Result) -> None:
    device = three.devices["pi5_onnx"]
    costs = {
        cost.key: device.denormalize(torch.tensor(device.embedding[10 * k : 10 * k + 10]), cost.name).tolist()
        for k, cost in enumerate(three.costs)
    }
    new = three.unseen_device("new", costs)
    assert new.embedding == pytest.approx(device.embedding, abs=1e-5)
    assert three.pick(new, preference=[1, 1, 1]).text == three.pick("pi5_onnx", preference=[1, 1, 1]).text
    evaluated = {p["architecture"] for entry in three.content["devices"] for p in listed_points(entry)}
    assert {point.architecture for point in three.front(new)} <= evaluated
    with pytest.raises(InputError, match="wanted latency_ms, energy_mj, got latency_ms"):
        three.unseen_device("new", {"latency_ms": costs["latency_ms"]})
    with pytest.raises(InputError, match="wanted 10 values of energy_mj, got 9"):
        three.unseen_device("new", {**costs, "energy_mj": costs["energy_mj"][1:]})


# ---- a table that has not all networks ----


def own_table(tables: Benchmark, file: Path, networks: int) -> set[str]:
    """Writes latencies of the reference networks and others on the search devices and the unseen one."""
    texts, others = (
        list(tables.space.references),
        [t for t in tables.table.architectures if t not in tables.space.references],
    )
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(5))
    texts += [others[row] for row in order[: networks - len(texts)].tolist()]
    rows, names = tables.table.rows(texts), [*SEARCH, *UNSEEN]
    columns = {
        "architecture": texts * len(names),
        "device": [name for name in names for _ in texts],
        "latency_ms": torch.cat([tables.table.values[name][rows, 0] for name in names]).numpy(),
    }
    pa.csv.write_csv(pa.table(columns), file)
    return set(texts)


@pytest.fixture(scope="module")
def part(tables: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, set[str]]:
    folder = tmp_path_factory.mktemp("part")
    texts = own_table(tables, folder / "own.csv", 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modnas_fast.report.write_report", lambda *_: None)
        changes = {"devices__table": folder / "own.csv", "predictor__kind": "additive", "predictor__steps": 300}
        return executed(folder / "run", table_config(**changes)), texts


def test_what_a_table_has_not_is_predicted_and_marked(part: tuple[Result, set[str]], tables: Benchmark) -> None:
    result, texts = part
    for entry in result.content["devices"]:
        for point in (*entry["rays"], *entry["random"]):
            tabulated = point["architecture"] in texts
            assert point["sources"] == {"latency_ms": "tabulated" if tabulated else "predicted"}
            row = tables.table.rows([point["architecture"]])
            known = tables.table.values[entry["name"]][row, 0].item()
            assert (point["latency_ms"] == known) is tabulated
            low, high = entry["hypervolume_bounds"]["latency_ms"]
            assert low <= point["latency_ms"] <= high
        assert "hypervolume_exact" not in entry and entry["predictor"]["latency_ms"]["spearman"] > 0.5
    assert result.quality_kind == "true" and "predicted for all others" in " ".join(result.content["task"]["notes"])


def test_networks_that_judge_the_predictor_are_not_learned_from(part: tuple[Result, set[str]]) -> None:
    result, texts = part
    judged = content(result.run, "predictor.json")["devices"]
    networks = {name: set(entry["costs"]["latency_ms"]["architectures"]) for name, entry in judged.items()}
    assert networks[SEARCH[0]] == networks[SEARCH[1]] and len(networks[SEARCH[0]]) == 12
    assert networks[UNSEEN[0]] == texts - set(result.space.references)
    assert not networks[SEARCH[0]] & set(result.space.references)


def test_picks_from_such_a_table_tell_it_from_predictions(part: tuple[Result, set[str]]) -> None:
    result, texts = part
    onehot = result.space.encode([result.space.parse(text) for text in sorted(texts)])
    costs = result.reference.costs(result.device("fpga"), sorted(texts), onehot)
    assert {cost["latency_ms"].source for cost in costs} == {"tabulated"}
    sources = {point.architecture in texts: point.costs["latency_ms"].source for point in result.front("pixel3")}
    assert sources.get(True, "tabulated") == "tabulated" and sources.get(False, "predicted") == "predicted"


def test_a_table_of_fewer_networks_is_refused(tables: Benchmark, tmp_path: Path) -> None:
    own_table(tables, tmp_path / "few.csv", 29)
    message = refused(tmp_path / "run", table_config(devices__table=tmp_path / "few.csv"))
    assert "few.csv has 29 networks per device, wanted at least 30" in message


def test_a_supernet_wants_the_images_of_the_table(tmp_path: Path) -> None:
    message = refused(tmp_path / "run", table_config("nb201-supernet"))
    assert "--data" in message and "cifar10" in message and "--preset nb201" in message
    images = {"task__limit": 200, "task__test_limit": 50, "task__resize": 8, "task__table": "cifar100"}
    message = refused(tmp_path / "other", table_config("nb201-supernet", Path(DATA or "") / "cifar10", **images))
    assert "has 10 classes" in message and "cifar100 has 100" in message


@pytest.mark.parametrize("damaged", ["measurements.json", "metapredictor.safetensors"])
def test_a_damaged_file_is_named(result: Result, tmp_path: Path, damaged: str) -> None:
    for file in ("config.yaml", "measurements.json", "metapredictor.safetensors", "checkpoint.pt"):
        (tmp_path / file).write_bytes((result.run / file).read_bytes())
    (tmp_path / damaged).write_bytes(b"{")
    with pytest.raises(InputError, match=damaged):
        Run(tmp_path, table_config()).execute()


# ---- regions ----


def test_regions_get_answers_of_their_own(result: Result, tmp_path: Path, without_report: None) -> None:
    name, others = SEARCH[0], [*SEARCH[1:], *UNSEEN]
    latencies = sorted(point["latency_ms"] for point in result.content["devices"][0]["rays"])
    region = {"latency_ms": [0.9 * latencies[2], 1.1 * latencies[-3]]}
    regions = [{"devices": [name], "within": region}]
    run = executed(tmp_path / "run", table_config(preferences={"regions": regions, "region_answers": 5}))
    first, *rest = run.content["devices"]
    assert first["regions"] == [{"within": region, "weights": {}}]
    low, high = region["latency_ms"]
    inside = [point for point in first["front"] if low <= point["latency_ms"] <= high]
    assert first["region_networks"] == len(inside) == len(run.front(name, within={"latency_ms": (low, high)}))
    led = [point for point in first["archive"] if "preference" in point]
    assert 1 <= len(led) <= 5 and all(low <= point["latency_ms"] <= high for point in led)
    assert [entry["name"] for entry in rest] == others and not any("regions" in entry for entry in rest)
    assert not any("preference" in point for entry in rest for point in entry["archive"])
    assert 0 <= first["covered"] <= first["covered_front"] <= 1 and 0 < first["monotone"] <= 1


def test_a_region_of_no_device_is_refused_before_the_run(tmp_path: Path) -> None:
    told = refused(
        tmp_path / "run", table_config(preferences={"regions": [{"devices": ["x*"], "within": {"error": [1, 9]}}]})
    )
    assert told.startswith("preferences.regions[0].devices: no device matches 'x*'; there are ")
