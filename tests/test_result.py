"""The saved answer of a run made by hand, and its queries."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from modnas_fast import Device, Pick, Result
from modnas_fast.checkpoint import save_weights
from modnas_fast.config import Config, to_yaml, validate
from modnas_fast.devices import embeddings
from modnas_fast.errors import InputError
from modnas_fast.evaluate import Point, front
from modnas_fast.metapredictor import MetaPredictor
from modnas_fast.preferences import rays
from modnas_fast.search import initial_hypernet
from modnas_fast.spaces import NB201Space
from modnas_fast.summary import plain_points

space = NB201Space()
RAYS = 12
FAST = Device.from_reference_latencies("fast", [1.2, 1.0, 1.4, 1.1, 1.9, 2.0, 1.6, 2.9, 1.5, 3.0])
SLOW = Device.from_reference_latencies(
    "slow", [14.0, 11.0, 10.0, 12.0, 13.0, 21.0, 25.0, 28.0, 19.0, 39.0], "unseen"
)
PHONE = Device.from_reference_latencies(
    "phone", [5.0, 4.0, 3.0, 6.0, 7.0, 8.0, 2.0, 9.0, 10.0, 11.0], "unseen"
)


def configuration() -> Config:
    return validate({"space": {"channels": 4}, "evaluation": {"rays": RAYS}, "predictor": {"hidden": 8}})


def error_of(text: str) -> float:
    """The error that this run is said to have found: fewer with more convolutions."""
    return (
        90.0 - 10 * text.count("conv_3x3") - 5 * text.count("conv_1x1") - text.count("avg") - len(text) / 100
    )


@torch.no_grad()
def entry(device: Device, hypernet: torch.nn.Module, predictor: MetaPredictor) -> dict[str, Any]:
    def points(onehot: torch.Tensor, preferences: list[Any]) -> list[dict[str, Any]]:
        latency = device.denormalize(predictor(onehot, embeddings([device]))).tolist()
        texts = [a.text for a in space.decode(onehot)]
        return plain_points([Point(t, error_of(t), ms, r) for t, ms, r in zip(texts, latency, preferences)])

    r = rays(RAYS, 2)
    chosen = space.canonical(space.viable_mode(hypernet(r, embeddings([device]).expand(RAYS, -1))))
    random = space.canonical(space.sample(RAYS, torch.Generator().manual_seed(len(device.name))))
    return {
        "name": device.name,
        "split": device.split,
        "metrics": device.metrics,
        "embedding": list(device.embedding),
        "latency_range_ms": list(device.ranges["latency"]),
        "rays": points(chosen, [tuple(row) for row in r.tolist()]),
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
    save_weights(folder / "metapredictor.safetensors", predictor)
    (folder / "config.yaml").write_text(to_yaml(config))
    content = {
        "schema": 1,
        "space": {"name": "nb201"},
        "task": {"image": [3, 8, 8], "classes": 7},
        "objectives": [{"name": "error", "unit": "%"}, {"name": "latency", "unit": "ms"}],
        "configuration": config.model_dump(mode="json"),
        "devices": [entry(device, hypernet, predictor) for device in (FAST, SLOW)],
    }
    (folder / "result.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def result(run: Path) -> Result:
    return Result.load(run)


def test_load_takes_a_path_or_a_text(run: Path) -> None:
    assert Result.load(str(run)).content == Result.load(run).content


def test_devices_are_those_of_the_run(result: Result) -> None:
    assert list(result.devices) == ["fast", "slow"]
    for device in (FAST, SLOW):
        assert result.devices[device.name] == device


def assert_is_front(points: list[Point]) -> None:
    latencies, errors = [p.latency_ms for p in points], [p.error for p in points]
    assert latencies == sorted(set(latencies)) and errors == sorted(set(errors), reverse=True)


@pytest.mark.parametrize("name", ["fast", "slow"])
def test_the_front_of_a_device_is_that_of_its_rays(result: Result, name: str) -> None:
    points = result.front(name)
    assert_is_front(points)
    own = result.content["devices"][["fast", "slow"].index(name)]["rays"]
    everything = [(ray["error"], ray["latency_ms"]) for ray in own]
    assert {(p.error, p.latency_ms) for p in points} <= set(everything)
    for error, latency in everything:  # brute force: each is on the front or dominated by a point of it
        assert any(p.error <= error and p.latency_ms <= latency for p in points)
    assert result.front(result.devices[name]) == points


def test_the_front_of_a_device_that_the_run_never_saw(result: Result) -> None:
    points = result.front(PHONE)
    assert_is_front(points)
    known = {
        p["architecture"]: p["error"] for d in result.content["devices"] for p in (*d["rays"], *d["random"])
    }
    chosen = [result.pick(PHONE, preference=r) for r in rays(RAYS, 2).tolist()]
    kept = [Point(p.text, known[p.text], p.predicted["latency_ms"]) for p in chosen if p.text in known]
    assert points == front(kept)


def test_a_new_device_with_the_name_of_a_known_one_is_not_that_one(result: Result) -> None:
    double = Device("fast", PHONE.embedding, split="unseen", ranges=PHONE.ranges)
    assert [p.latency_ms for p in result.front(double)] == [p.latency_ms for p in result.front(PHONE)]
    for preference in ([1, 0], [0.5, 0.5]):
        mine, theirs = (result.pick(device, preference=preference) for device in (double, PHONE))
        assert (mine.text, mine.predicted) == (theirs.text, theirs.predicted)


@pytest.mark.parametrize("name", ["fast", "slow"])
def test_a_preference_on_a_ray_gives_the_network_of_the_ray(result: Result, name: str) -> None:
    for ray in result.content["devices"][["fast", "slow"].index(name)]["rays"]:
        chosen = result.pick(name, preference=ray["preference"])
        assert isinstance(chosen, Pick)
        assert (chosen.text, chosen.device, chosen.error) == (ray["architecture"], name, ray["error"])
        assert chosen.predicted["latency_ms"] == pytest.approx(ray["latency_ms"], rel=1e-5)
        assert space.architecture(chosen.indices).text == chosen.text == str(chosen)


def test_a_preference_counts_relative_to_its_sum(result: Result) -> None:
    assert result.pick("fast", preference=[30, 70]) == result.pick("fast", preference=(0.3, 0.7))


@pytest.mark.parametrize("device", ["fast", PHONE], ids=["known", "unseen"])
def test_a_budget_gives_the_least_error_within_it(result: Result, device: str | Device) -> None:
    target = result.devices[device] if isinstance(device, str) else device
    known = {
        p["architecture"]: p["error"] for d in result.content["devices"] for p in (*d["rays"], *d["random"])
    }
    predictor = MetaPredictor(space, 10, configuration().predictor.hidden)
    from modnas_fast.checkpoint import load_weights

    load_weights(result.run / "metapredictor.safetensors", predictor)
    with torch.no_grad():
        onehot = space.encode([space.parse(text) for text in known])
        latencies = target.denormalize(predictor(onehot, embeddings([target]))).tolist()
    for limit in sorted(latencies)[:: len(latencies) // 4]:
        limit = limit * (1 + 1e-5)
        chosen = result.pick(device, max={"latency_ms": limit})
        assert chosen.predicted["latency_ms"] <= limit
        assert chosen.error == min(e for e, ms in zip(known.values(), latencies) if ms <= limit)
    with pytest.raises(
        InputError, match=r"no evaluated network takes at most .* the fastest is predicted"
    ) as caught:
        result.pick(device, max={"latency_ms": min(latencies) * 0.99})
    named = float(str(caught.value).split("to take ")[1].split(" ms")[0])
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


def test_bad_questions(result: Result) -> None:
    with pytest.raises(InputError, match="either preference or max"):
        result.pick("fast")
    with pytest.raises(InputError, match="either preference or max"):
        result.pick("fast", preference=[1, 0], max={"latency_ms": 1.0})
    for budget in ({}, {"energy_mj": 1.0}, {"latency_ms": 1.0, "energy_mj": 1.0}):
        with pytest.raises(InputError, match="budget of latency_ms"):
            result.pick("fast", max=budget)
    for ask in (result.front, lambda device: result.pick(device, preference=[1, 0])):
        with pytest.raises(InputError, match="unknown device 'tpu'; this run has fast, slow"):
            ask("tpu")
        with pytest.raises(InputError, match="phone: wanted an embedding of 10 reference networks, got 9"):
            ask(Device.from_reference_latencies("phone", range(1, 10)))


def test_runs_that_cannot_be_loaded(tmp_path: Path, run: Path) -> None:
    with pytest.raises(InputError, match="is that a run folder"):
        Result.load(tmp_path / "absent")
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(InputError, match="--resume"):
        Result.load(tmp_path)
    content = json.loads((run / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**content, "schema": 2}))
    with pytest.raises(InputError, match="schema 2, this version reads 1"):
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
