"""The saved answer of a run made by hand, and its queries."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modnas_fast import Device, Pick, Result
from modnas_fast.config import Config, to_yaml, validate
from modnas_fast.devices import embeddings
from modnas_fast.evaluation.fronts import Point, front
from modnas_fast.method.preferences import rays
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor
from modnas_fast.result.answers import Cost, FrontPoint
from modnas_fast.result.content import listed_points, plain_points
from modnas_fast.result.kept_table import keep_table
from modnas_fast.runtime.checkpoint import load_weights, save_weights
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json
from modnas_fast.runtime.objective import Objective
from modnas_fast.search.bilevel import initial_hypernet
from modnas_fast.spaces import NB201Space

space = NB201Space()
OBJECTIVES = [Objective("error", "%"), Objective("latency", "ms")]
RAYS = 12
FAST = Device.from_reference_latencies("fast", [1.2, 1.0, 1.4, 1.1, 1.9, 2.0, 1.6, 2.9, 1.5, 3.0])
SLOW = Device.from_reference_latencies("slow", [14.0, 11.0, 10.0, 12.0, 13.0, 21.0, 25.0, 28.0, 19.0, 39.0], "unseen")
PHONE = Device.from_reference_latencies("phone", [5.0, 4.0, 3.0, 6.0, 7.0, 8.0, 2.0, 9.0, 10.0, 11.0], "unseen")


def configuration() -> Config:
    return validate({"space": {"channels": 4}, "evaluation": {"rays": RAYS}, "predictor": {"hidden": 8}})


def error_of(text: str) -> float:
    """The error that this run is said to have found: fewer with more convolutions."""
    return 90.0 - 10 * text.count("conv_3x3") - 5 * text.count("conv_1x1") - text.count("avg") - len(text) / 100


@torch.no_grad()
def entry(device: Device, hypernet: torch.nn.Module, predictor: MetaPredictor) -> dict[str, Any]:
    def points(onehot: torch.Tensor, preferences: list[Any]) -> list[dict[str, Any]]:
        latency = device.denormalize(predictor(onehot, embeddings([device]))).tolist()
        texts = [a.text for a in space.decode(onehot)]
        return plain_points(
            [Point(t, (error_of(t), ms), r) for t, ms, r in zip(texts, latency, preferences)], OBJECTIVES
        )

    r = rays(RAYS, 2)
    chosen = space.canonical(space.viable_mode(hypernet(r, embeddings([device]).expand(RAYS, -1))))
    random = space.canonical(space.sample(RAYS, torch.Generator().manual_seed(len(device.name))))
    further = space.canonical(space.sample(RAYS, torch.Generator().manual_seed(7)))
    return {
        "name": device.name,
        "split": device.split,
        "metrics": device.metrics,
        "embedding": list(device.embedding),
        "ranges": {"latency_ms": list(device.ranges["latency"])},
        "judged": {},
        "measured": {},
        "rays": points(chosen, [tuple(row) for row in r.tolist()]),
        "archive": points(further, [None] * len(further)),
        "random": points(random, [None] * RAYS),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two devices, with the files that queries need and no other."""
    folder, config = tmp_path_factory.mktemp("run"), configuration()
    generator = torch.Generator().manual_seed(0)
    hypernet = initial_hypernet(config, space, 10)
    predictor = MetaPredictor(space, 10, config.predictor.hidden, generator)
    with torch.no_grad():
        for parameter in hypernet.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    save_weights(folder / "hypernetwork.safetensors", hypernet)
    save_weights(folder / "metapredictor.safetensors", CostModel([predictor]))
    (folder / "config.yaml").write_text(to_yaml(config))
    content = {
        "schema": 2,
        "package": {"name": "modnas-fast", "version": "0.1.0"},
        "space": {"name": "nb201"},
        "task": {"network": {"image_channels": 3, "classes": 7, "input_shape": [3, 8, 8]}},
        "quality_kind": "inherited",
        "objectives": [{"name": "error", "unit": "%"}, {"name": "latency", "unit": "ms"}],
        "cost_sources": {"latency_ms": "measured"},
        "configuration": config.model_dump(mode="json"),
        "devices": [entry(device, hypernet, predictor) for device in (FAST, SLOW)],
    }
    (folder / "result.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def result(run: Path) -> Result:
    return Result.load(run)


def measured_references(device: Device) -> dict[str, float]:
    """Latency in ms of the reference networks, as the device holds it, by canonical string."""
    low, high = device.ranges["latency"]
    onehot = space.canonical(space.encode([space.parse(text) for text in space.references]))
    return {a.text: low + (high - low) * value for a, value in zip(space.decode(onehot), device.embedding)}


def predicted_latencies(result: Result, device: Device, texts: list[str]) -> list[float]:
    predictor = MetaPredictor(space, 10, configuration().predictor.hidden)
    load_weights(result.run / "metapredictor.safetensors", CostModel([predictor]))
    with torch.no_grad():
        onehot = space.encode([space.parse(text) for text in texts])
        return device.denormalize(predictor(onehot, embeddings([device]))).tolist()


def known_latency(result: Result, device: Device, text: str) -> float:
    return measured_references(device).get(text) or predicted_latencies(result, device, [text])[0]


def test_load_takes_a_path_or_a_text(run: Path) -> None:
    assert Result.load(str(run)).content == Result.load(run).content


def test_devices_are_those_of_the_run(result: Result) -> None:
    assert list(result.devices) == ["fast", "slow"]
    for device in (FAST, SLOW):
        assert result.devices[device.name] == device


def assert_is_front(points: list[Point]) -> None:
    latencies, errors = [p.values[1] for p in points], [p.values[0] for p in points]
    assert latencies == sorted(set(latencies)) and errors == sorted(set(errors), reverse=True)


@pytest.mark.parametrize("name", ["fast", "slow"])
def test_the_front_of_a_device_is_that_of_its_rays_and_of_what_else_was_found(result: Result, name: str) -> None:
    points, device = result.front(name), result.devices[name]
    assert_is_front(points)
    entry = result.content["devices"][["fast", "slow"].index(name)]
    own = [*entry["rays"], *entry["archive"]]
    everything = [(ray["error"], known_latency(result, device, ray["architecture"])) for ray in own]
    for point in points:
        assert any(point.values == (error, pytest.approx(ms, rel=1e-5)) for error, ms in everything)
        assert point.costs["latency_ms"].source == (
            "measured" if point.architecture in measured_references(device) else "predicted"
        )
        by_rays = [
            tuple(ray["preference"]) for ray in own if ray["architecture"] == point.architecture and "preference" in ray
        ]
        assert point.preference in by_rays if by_rays else point.preference is None
    for error, latency in everything:  # brute force: each is on the front or dominated by a point of it
        assert any(p.values[0] <= error and p.values[1] <= latency * (1 + 1e-5) for p in points)
    assert result.front(device) == points


def test_the_front_of_a_device_that_the_run_never_saw(result: Result) -> None:
    points = result.front(PHONE)
    assert_is_front(points)
    known = {p["architecture"]: p["error"] for d in result.content["devices"] for p in listed_points(d)}
    chosen = [(result.pick(PHONE, preference=r), tuple(r)) for r in rays(RAYS, 2).tolist()]
    chosen += [(pick, None) for pick in result.reference.evaluated(PHONE)]
    kept = [
        FrontPoint(p.text, (known[p.text], p.costs["latency_ms"].value), r, costs=p.costs)
        for p, r in chosen
        if p.text in known
    ]
    assert [p.architecture for p in points] == [p.architecture for p in front(kept)]
    assert [p.values[1] for p in points] == pytest.approx([p.values[1] for p in front(kept)], rel=1e-5)


def test_a_new_device_with_the_name_of_a_known_one_is_not_that_one(result: Result) -> None:
    double = Device("fast", PHONE.embedding, split="unseen", ranges=PHONE.ranges)
    assert [p.values[1] for p in result.front(double)] == [p.values[1] for p in result.front(PHONE)]
    for preference in ([1, 0], [0.5, 0.5]):
        mine, theirs = (result.pick(device, preference=preference) for device in (double, PHONE))
        assert (mine.text, mine.costs) == (theirs.text, theirs.costs)


@pytest.mark.parametrize("name", ["fast", "slow"])
def test_a_preference_on_a_ray_gives_the_network_of_the_ray(result: Result, name: str) -> None:
    for ray in result.content["devices"][["fast", "slow"].index(name)]["rays"]:
        chosen = result.pick(name, preference=ray["preference"])
        assert isinstance(chosen, Pick)
        assert (chosen.text, chosen.device, chosen.quality) == (ray["architecture"], name, ray["error"])
        assert chosen.quality_kind == "inherited" and set(chosen.costs) == {"latency_ms"}
        wanted = known_latency(result, result.devices[name], chosen.text)
        assert chosen.costs["latency_ms"].value == pytest.approx(wanted, rel=1e-5)
        assert space.architecture(chosen.indices).text == chosen.text == str(chosen)


def test_a_preference_counts_relative_to_its_sum(result: Result) -> None:
    assert result.pick("fast", preference=[30, 70]) == result.pick("fast", preference=(0.3, 0.7))


@pytest.mark.parametrize("device", ["fast", PHONE], ids=["known", "unseen"])
def test_a_budget_gives_the_least_error_within_it(result: Result, device: str | Device) -> None:
    target = result.devices[device] if isinstance(device, str) else device
    known = {p["architecture"]: p["error"] for d in result.content["devices"] for p in listed_points(d)}
    texts = list(known)
    predicted = predicted_latencies(result, target, texts)
    latencies = [measured_references(target).get(text, ms) for text, ms in zip(texts, predicted)]
    for limit in sorted(latencies)[:: len(latencies) // 4]:
        limit = limit * (1 + 1e-5)
        chosen = result.pick(device, max={"latency_ms": limit})
        assert 0 < chosen.costs["latency_ms"].value <= limit
        assert chosen.quality == min(e for e, ms in zip(known.values(), latencies) if ms <= limit)
    with pytest.raises(InputError, match="no evaluated network has latency_ms of at most") as caught:
        result.pick(device, max={"latency_ms": min(latencies) * 0.99})
    assert ("(predicted)" in str(caught.value)) == (min(latencies) == min(predicted))
    named = float(str(caught.value).partition("least there is: latency_ms ")[2].split()[0])
    assert named == pytest.approx(min(latencies), rel=1e-3)


def test_an_answer_is_built_for_the_task_of_the_run(result: Result) -> None:
    chosen = result.pick("fast", preference=[1, 0])
    for architecture in (chosen, chosen.text, space.architecture(chosen.indices)):
        network = result.build(architecture).eval()
        assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 7)
    with pytest.raises(InputError, match="architecture"):
        result.build("|nothing~0|")


@pytest.mark.parametrize(
    ("preference", "text"),
    [
        ([1.0], "2 weights, got 1"),
        ([1.0, 1.0, 1.0], "2 weights, got 3"),
        ([-0.1, 1.1], "at least 0"),
        ([0.0, 0.0], "positive sum"),
        ([math.nan, 1.0], "nan"),
        ([math.inf, 1.0], "inf"),
    ],
)
def test_bad_preferences(result: Result, preference: list[float], text: str) -> None:
    with pytest.raises(InputError, match=text):
        result.pick("fast", preference=preference)


@pytest.mark.parametrize("name", ["fast", "slow"])
def test_a_region_of_a_front(result: Result, name: str) -> None:
    every = result.front(name)
    latencies = [point.values[1] for point in every]
    low, high = latencies[1], latencies[-1]
    assert [point.values[1] for point in result.front(name, within={"latency_ms": (low, high)})] == latencies[1:]
    assert result.front(name, within={"latency_ms": (low, None)}) == every[1:]
    best = every[-1].values[0]
    assert result.front(name, within={"error": (None, best), "latency_ms": (None, high)}) == every[-1:]
    assert result.front(name, within={"latency_ms": (10 * high, None)}) == []
    two = result.front(name, count=2)
    assert two[-1] == every[-1] and len(two) == min(2, len(every)) and all(point in every for point in two)
    assert result.front(name, count=len(every)) == every


def test_bad_regions(result: Result) -> None:
    with pytest.raises(InputError, match="within: wanted intervals of error or latency_ms, got one of energy_mj"):
        result.front("fast", within={"energy_mj": (1, 2)})
    with pytest.raises(InputError, match="latency_ms wants .from, to. with from <= to, got .2, 1."):
        result.front("fast", within={"latency_ms": (2, 1)})
    with pytest.raises(InputError, match="count: wanted a whole number of at least 1, got 0"):
        result.front("fast", count=0)


def test_known_networks_follow_preferences_without_a_slip(result: Result) -> None:
    for device in ("fast", Device.from_reference_latencies("phone", range(1, 11))):
        every = [point.architecture for point in result.front(device)]
        picks = [result.pick(device, preference=[1 - r, r], known=True) for r in (k / 50 for k in range(51))]
        assert all(pick.text in every for pick in picks)
        assert (picks[0].text, picks[-1].text) == (every[-1], every[0])
        qualities, latencies = ([pick.quality for pick in picks], [pick.costs["latency_ms"].value for pick in picks])
        assert qualities == sorted(qualities) and latencies == sorted(latencies, reverse=True)


def test_bad_questions(result: Result) -> None:
    with pytest.raises(InputError, match="either preference, alone or with known, or max"):
        result.pick("fast")
    with pytest.raises(InputError, match="either preference, alone or with known, or max"):
        result.pick("fast", preference=[1, 0], max={"latency_ms": 1.0})
    with pytest.raises(InputError, match="either preference, alone or with known, or max"):
        result.pick("fast", max={"latency_ms": 1.0}, known=True)
    for budget in ({}, {"energy_mj": 1.0}, {"latency_ms": 1.0, "energy_mj": 1.0}):
        with pytest.raises(InputError, match="budget of latency_ms"):
            result.pick("fast", max=budget)
    for ask in (result.front, lambda device: result.pick(device, preference=[1, 0])):
        with pytest.raises(InputError, match="unknown device 'tpu'; this run has fast, slow"):
            ask("tpu")
        with pytest.raises(
            InputError, match="phone: wanted an embedding of 10 numbers, 10 reference networks of latency_ms, got 9"
        ):
            ask(Device.from_reference_latencies("phone", range(1, 10)))


def test_an_unknown_device_is_told_first_and_with_what_is_close(result: Result) -> None:
    text = r"^device: unknown device 'Fas'; did you mean fast\? this run has fast, slow$"
    with pytest.raises(InputError, match=text):
        result.pick("Fas")
    assert result.device("slow") == SLOW


# ---- where a cost comes from ----


@pytest.fixture
def changed(run: Path, tmp_path: Path) -> Callable[..., Result]:
    """The run with changes to its result.json: of its first device, or of the whole."""

    def change(whole: dict[str, Any] | None = None, **first_device: Any) -> Result:
        folder = Path(shutil.copytree(run, tmp_path / "changed", dirs_exist_ok=True))
        content = {**read_json(folder / "result.json"), **(whole or {})}
        content["devices"][0] |= first_device
        write_json(folder / "result.json", content)
        return Result.load(folder)

    return change


def ray_that_was_not_measured(result: Result) -> dict[str, Any]:
    known = measured_references(FAST)
    return next(r for r in result.content["devices"][0]["rays"] if r["architecture"] not in known)


def test_what_was_measured_beats_what_was_predicted(result: Result, changed: Callable[..., Result]) -> None:
    ray = ray_that_was_not_measured(result)
    text, slower = ray["architecture"], 1.3 * ray["latency_ms"]
    asked = changed(measured={text: {"latency_ms": slower}})
    chosen = asked.pick("fast", preference=ray["preference"])
    assert chosen.costs == {"latency_ms": Cost(slower, "ms", "measured")}
    onehot = space.encode([space.parse(text)])
    assert asked.reference.costs(SLOW, [text], onehot)[0]["latency_ms"].source == "predicted", (
        "measured on the other device alone"
    )
    between = {"latency_ms": (ray["latency_ms"] + slower) / 2}
    assert asked.pick("fast", max=between).text != text
    assert asked.pick("fast", max={"latency_ms": slower}).quality <= ray["error"]
    on_front = [point for point in asked.front("fast") if point.architecture == text]
    assert all((point.values[1], point.costs["latency_ms"].source) == (slower, "measured") for point in on_front)


def test_the_ten_measurements_of_a_new_device_are_measured(result: Result) -> None:
    references = measured_references(PHONE)
    texts = list(references)
    onehot = space.encode([space.parse(text) for text in texts])
    costs = [row["latency_ms"] for row in result.reference.costs(PHONE, texts, onehot)]
    assert [cost.source for cost in costs] == ["measured"] * len(texts)
    assert sorted({round(cost.value, 9) for cost in costs}) == sorted({round(ms, 9) for ms in references.values()})


def table_run(changed: Callable[..., Result], asked: str, latency_ms: float) -> Result:
    """The run as one on a table that also knows a network which the run does not list."""
    result = changed({"quality_kind": "true", "cost_sources": {"latency_ms": "tabulated"}})
    costs = {"fast": {"latency_ms": torch.tensor([latency_ms])}}
    keep_table(result.run / "table.parquet", [asked], torch.tensor([12.5]), costs)
    return result


def test_a_table_beats_what_was_predicted_for_networks_that_the_run_does_not_list(
    changed: Callable[..., Result],
) -> None:
    listed = changed().reference.qualities
    asked = next(a.text for a in space.decode(space.enumerate()) if a.text not in listed)
    result = table_run(changed, asked, 17.25)
    onehot = space.encode([space.parse(asked)])
    assert result.reference.costs(result.device("fast"), [asked], onehot) == [
        {"latency_ms": Cost(17.25, "ms", "tabulated")}
    ]
    (elsewhere,) = result.reference.costs(result.device("slow"), [asked], onehot)
    assert elsewhere["latency_ms"].source == ("tabulated" if asked in space.references else "predicted")
    assert result.reference.quality_of(asked) == 12.5
    (result.run / "table.parquet").unlink()
    without = Result.load(result.run)
    (cost,) = without.reference.costs(FAST, [asked], onehot)
    assert cost["latency_ms"].source == "predicted" and without.reference.quality_of(asked) is None


def test_a_damaged_table_is_named(changed: Callable[..., Result]) -> None:
    result = table_run(changed, space.references[0], 1.0)
    (result.run / "table.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"table.parquet is damaged .*; delete it"):
        result.pick("fast", preference=[1, 0])


def test_a_prediction_outside_of_what_was_judged_is_extrapolated(
    result: Result, changed: Callable[..., Result]
) -> None:
    ray = ray_that_was_not_measured(result)
    value = ray["latency_ms"]
    for judged, outside in (([0.9 * value, 2 * value], False), ([1.1 * value, 2 * value], True),
                            ([0.1 * value, 0.9 * value], True)):  # fmt: skip
        chosen = changed(judged={"latency_ms": judged}).pick("fast", preference=ray["preference"])
        assert chosen.costs["latency_ms"].extrapolated == outside
        assert chosen.to_dict()["extrapolated"] == (["latency_ms"] if outside else [])
    measured = changed(
        judged={"latency_ms": [2 * value, 3 * value]}, measured={ray["architecture"]: {"latency_ms": value}}
    )
    assert not measured.pick("fast", preference=ray["preference"]).costs["latency_ms"].extrapolated
    assert not result.pick("fast", preference=ray["preference"]).costs["latency_ms"].extrapolated, "not judged"


def test_a_device_far_from_those_of_the_run_is_answered_by_extrapolation(changed: Callable[..., Result]) -> None:
    wide = changed(judged={"latency_ms": [1e-9, 1e9]})
    texts = [a.text for a in space.decode(space.canonical(space.sample(40, torch.Generator().manual_seed(3))))]

    def extrapolated(device: Device) -> set[bool]:
        onehot = space.encode([space.parse(text) for text in texts])
        costs = [row["latency_ms"] for row in wide.reference.costs(device, texts, onehot)]
        return {cost.extrapolated for cost in costs if cost.source == "predicted"}

    near = [low * 1.01 if i == 3 else low for i, low in enumerate([1.2, 1.0, 1.4, 1.1, 1.9, 2.0, 1.6, 2.9, 1.5, 3.0])]
    assert extrapolated(Device.from_reference_latencies("near", near)) == {False}
    far = [3.0 - value for value in near[:-1]] + [0.1]  # what is dear there is cheap here
    assert extrapolated(Device.from_reference_latencies("far", far)) == {True}


def test_what_rests_on_measurements_that_are_not_trustworthy_is_marked(changed: Callable[..., Result]) -> None:
    """Whether the number itself was measured or is predicted from what was; a device of elsewhere is not concerned."""
    result = changed(trust={"latency_ms": {"trustworthy": False, "why": "12 of 15 rounds disturbed"}})
    chosen = result.pick("fast", preference=[1, 0])
    assert chosen.costs["latency_ms"].doubt == "12 of 15 rounds disturbed"
    assert chosen.to_dict()["doubts"] == {"latency_ms": "12 of 15 rounds disturbed"}
    assert not chosen.to_record()["latency_ms_trustworthy"]
    assert not result.pick("slow", preference=[1, 0]).costs["latency_ms"].doubt
    elsewhere = Device.from_reference_latencies("elsewhere", [1.2, 1, 1.4, 1.1, 1.9, 2, 1.6, 2.9, 1.5, 3])
    assert result.pick(elsewhere, preference=[1, 0]).to_record()["latency_ms_trustworthy"]


def test_an_answer_as_plain_values(changed: Callable[..., Result]) -> None:
    text = changed().pick("fast", preference=[1, 0]).text
    result = changed(measured={text: {"latency_ms": 1.5}})
    chosen = result.pick("fast", preference=[1, 0])
    assert chosen.to_dict() == {
        "device": "fast",
        "architecture": text,
        "latency_ms": 1.5,
        "error": chosen.quality,
        "units": {"latency_ms": "ms", "error": "%"},
        "sources": {"latency_ms": "measured", "error": "inherited"},
        "extrapolated": [],
        "doubts": {},
    }
    assert json.loads(json.dumps(chosen.to_dict())) == chosen.to_dict()


def test_runs_that_cannot_be_loaded(tmp_path: Path, run: Path) -> None:
    with pytest.raises(InputError, match="is that a run folder"):
        Result.load(tmp_path / "absent")
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(InputError, match="--resume"):
        Result.load(tmp_path)
    content = json.loads((run / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**content, "schema": 1}))
    with pytest.raises(InputError, match="schema 1, this version reads 2: make the run again, or .*modnas-fast 0.1.0"):
        Result.load(tmp_path)
    for key in ("schema", "space", "configuration", "devices"):
        lacking = {name: value for name, value in content.items() if name != key}
        (tmp_path / "result.json").write_text(json.dumps(lacking))
        with pytest.raises(InputError, match="damaged"):
            Result.load(tmp_path)


def test_asking_leaves_the_global_generator_alone(run: Path) -> None:
    before = torch.get_rng_state()
    Result.load(run).pick("fast", preference=[0.5, 0.5])
    assert torch.equal(torch.get_rng_state(), before)
