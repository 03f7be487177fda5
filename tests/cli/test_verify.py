"""`modnas-fast pick --verify`: what is measured on request corrects predictions, and is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from modnas_fast import Result
from modnas_fast.deployment import verifying
from modnas_fast.deployment.kit import kit_id
from modnas_fast.deployment.measuring import Here, Taken
from modnas_fast.deployment.verifying import verified_pick
from modnas_fast.result.content import listed_points
from modnas_fast.result.measured_later import corrections, measured_later
from modnas_fast.runtime.errors import InputError

KEY = "latency_ms"
ANY = {KEY: 1e6}


@pytest.fixture
def unmeasured(copied: Path) -> Path:
    """A finished run that measured nothing behind its search: the dearer a network, the better, and all are predicted.

    Whatever its networks and predictions are, no prediction is extrapolated.
    """
    result = Result.load(copied)
    known = set(result.reference.measured_references)
    picks = sorted(result.top(device_of(copied), max=ANY, count=10_000), key=lambda pick: pick.costs[KEY].value)
    errors = {pick.text: 90.0 - number for number, pick in enumerate(picks)}
    other = next(text for text in errors if text not in known)
    content = json.loads((copied / "result.json").read_text())
    for entry in content["devices"]:
        entry |= {"measured": {}, "judged": {KEY: [1e-9, 1e9]}}
        for point in listed_points(entry):
            if point["architecture"] in known:
                point["architecture"] = other
            point["error"] = errors[point["architecture"]]
    (copied / "result.json").write_text(json.dumps(content))
    return copied


def device_of(run: Path) -> str:
    return next(iter(Result.load(run).devices))


def predicted_of(run: Path, count: int) -> list[Any]:
    picks = Result.load(run).top(device_of(run), max=ANY, count=count)
    assert all(pick.costs[KEY].source == "predicted" for pick in picks)
    return picks


def slower(run: Path, factor: Callable[[int], float], asked: list[list[str]], unit: float = 1.0) -> type:
    """Stands for measuring here: the k-th network that is asked for takes factor(k) times what was predicted."""
    result = Result.load(run)
    told = {pick.text: pick.costs[KEY].value for pick in result.top(device_of(run), max=ANY, count=10_000)}
    references = result.reference.listed(result.devices[device_of(run)], result.reference.measured_references)

    class Measured(Here):
        def __init__(self, *_: Any) -> None:
            self.count = 0

        def costs(self, texts: Sequence[str]) -> dict[str, Taken]:
            asked.append(list(texts))
            values = {}
            for text in texts:
                values[text] = (unit * told[text] * factor(self.count), "")
                self.count += 1
            return {KEY: Taken(values, [unit * pick.costs[KEY].value for pick in references])}

    return Measured


def test_measured_on_this_machine_and_kept(command: Any, unmeasured: Path) -> None:
    run, device = unmeasured, device_of(unmeasured)
    best = predicted_of(run, 3)
    arguments = ("pick", run, "--device", device, "--max", f"{KEY}=1e6")
    ended = command(*arguments, "--verify", "3", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["sources"][KEY] == "measured" and found["verified"]["measured"] >= 3
    kept = measured_later(run)[device][KEY]
    assert {pick.text for pick in best} <= set(kept)
    assert all(pair.measured > 0 for pair in kept.values())
    again = json.loads(command(*arguments, "--json").out)
    assert again["architecture"] == found["architecture"] and again[KEY] == found[KEY]
    assert Result.load(run)._from_file is not None, "answers.npz is of all that is known"
    other = next(name for name in Result.load(run).devices if name != device)
    assert other not in measured_later(run)


def test_predictions_are_corrected_and_the_budget_is_kept(unmeasured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, device, asked = unmeasured, device_of(unmeasured), []
    picks = predicted_of(run, 10_000)
    before = {pick.text: pick.costs[KEY].value for pick in picks}
    first = picks[len(picks) // 4]
    budget = {KEY: first.costs[KEY].value * 1.0001}
    monkeypatch.setattr(verifying, "Here", slower(run, lambda k: 1.2, asked))
    found = verified_pick(run, device, budget, 4)
    assert found.before.predicted[KEY] <= budget[KEY] < found.before.measured[KEY]
    assert found.after.measured[KEY] == pytest.approx(1.2 * before[found.after.architecture]) and (
        found.after.measured[KEY] <= budget[KEY]
    )
    texts = [text for some in asked for text in some]
    assert found.corrections[KEY] == pytest.approx(1.2) and len(texts) == len(set(texts)) == found.networks
    result = Result.load(run)
    for pick in result.top(device, max=ANY, count=10_000):
        assert pick.costs[KEY].value == pytest.approx(1.2 * before[pick.text], rel=1e-5), pick.costs[KEY].source
    for queries in (result._from_file, result.reference):
        costs = [pick.costs[KEY].source for pick in queries.evaluated(result.devices[device])]
        assert costs.count("measured") == found.networks < len(costs)


def test_another_unit_of_the_machine_is_taken_out(unmeasured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked = unmeasured, []
    first = predicted_of(run, 1)[0]
    monkeypatch.setattr(verifying, "Here", slower(run, lambda k: 1.1, asked, unit=2.0))
    found = verified_pick(run, device_of(run), ANY, 1)
    assert found.after.measured[KEY] == pytest.approx(1.1 * first.costs[KEY].value)
    assert found.corrections == {KEY: 1.0} and "2.00 times as long as in the run" in found.notes[0]


def test_noise_leaves_predictions_alone(unmeasured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "Here", slower(unmeasured, lambda k: 1 + 0.1 * (-1) ** k, []))
    verified_pick(unmeasured, device_of(unmeasured), ANY, 4)
    assert corrections(unmeasured)[device_of(unmeasured)] == {KEY: 1.0}


def test_extrapolated_predictions_correct_nothing(unmeasured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads((unmeasured / "result.json").read_text())
    content["devices"][0]["judged"] = {KEY: [1e4, 2e4]}
    (unmeasured / "result.json").write_text(json.dumps(content))
    monkeypatch.setattr(verifying, "Here", slower(unmeasured, lambda k: 2.0, []))
    found = verified_pick(unmeasured, device_of(unmeasured), ANY, 4)
    assert found.networks >= 4 and found.corrections == {KEY: 1.0}
    assert {pair.predicted for pair in measured_later(unmeasured)[found.pick.device][KEY].values()} == {None}


def test_what_is_known_is_not_measured_again(unmeasured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked, best = unmeasured, [], predicted_of(unmeasured, 1)[0]
    monkeypatch.setattr(verifying, "Here", slower(run, lambda k: 1.0, asked))
    content = json.loads((run / "result.json").read_text())
    content["devices"][0]["measured"] = {best.text: {KEY: 0.5}}
    (run / "result.json").write_text(json.dumps(content))
    found = verified_pick(run, device_of(run), ANY, 1)
    assert asked == [] and found.networks == 0 and found.known == 1 and found.pick.text == best.text
    assert found.after.measured[KEY] == found.pick.costs[KEY].value == 0.5


def results_of(run: Path, path: Path, chosen: list[str], factor: Callable[[int], float]) -> Path:
    """A kit's results: references as in the run times factor(k), chosen networks 3 ms."""
    result = Result.load(run)
    rows = result.reference.listed(result.devices[device_of(run)], result.reference.measured_references)
    texts = [*result.references, *chosen]
    values = [pick.costs[KEY].value * factor(k) for k, pick in enumerate(rows)] + [3.0] * len(chosen)
    entries = [
        {"file": f"{at:03d}.onnx", "architecture": text, "reference": at < len(rows), "sha256": ""}
        for at, text in enumerate(texts)
    ]
    kit: dict[str, Any] = {"schema": 1, "about": {}, "input": {}, "networks": entries}
    kit["id"] = kit_id(kit)
    lines = [{"kit": kit, "setting": {}, "machine": {}}]
    lines += [
        {"round": number, "network": entry["file"], "ms": value, "disturbed": False}
        for number in range(6)
        for entry, value in zip(entries, values)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_values_of_a_kit(command: Any, unmeasured: Path, tmp_path: Path) -> None:
    run, device = unmeasured, device_of(unmeasured)
    best = [pick.text for pick in predicted_of(run, 2)]
    arguments = ("pick", run, "--device", device, "--max", f"{KEY}=1e6", "--verify", "2", "--results")
    ended = command(*arguments, results_of(run, tmp_path / "r.jsonl", best, lambda k: 2.0))
    assert ended.code == 0, ended.err
    assert {text: pair.measured for text, pair in measured_later(run)[device][KEY].items()} == {
        text: pytest.approx(1.5) for text in best
    }
    assert "measured 1.5" in ended.out and "first pick           the same" in ended.out
    strange = command(*arguments, results_of(run, tmp_path / "s.jsonl", best, lambda k: 1.0 + k))
    assert strange.code == 0, "what is known wants no file"
    budget = ("--max", f"{KEY}=1e5", "--verify", "3")
    further = ("pick", run, "--device", device, *budget, "--results")
    none = command(*further, results_of(run, tmp_path / "n.jsonl", [], lambda k: 2.0))
    assert none.code == 2 and "has none of these 1 networks; measure a kit of them" in none.err
    third = [pick.text for pick in Result.load(run).top(device, max=ANY, count=3)]
    strange = command(*further, results_of(run, tmp_path / "t.jsonl", third, lambda k: 1.0 + k))
    assert strange.code == 2 and "that is another device, or another way of running networks" in strange.err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--preference", "1,1", "--verify", "2"), "--verify: goes with --device and --max"),
        (("--max", "latency_ms=1e6", "--verify", "2", "--top", "3"), "--verify: goes with --device and --max"),
        (("--max", "latency_ms=1e6", "--results", "x"), "--results: goes with --verify K"),
        (("--max", "latency_ms=1e-9", "--verify", "2"), "--max: no evaluated network has latency_ms"),
        (("--max", "latency_ms=1e6", "--verify", "2", "--results", "none"), "none does not exist; run measure.py"),
    ],
)
def test_bad_input(command: Any, run: Path, arguments: tuple[str, ...], message: str) -> None:
    ended = command("pick", run, "--device", device_of(run), *arguments)
    assert ended.code == 2 and message in ended.err and "Traceback" not in ended.err


def test_another_machine_is_told(command: Any, unmeasured: Path) -> None:
    content = json.loads((unmeasured / "result.json").read_text())
    content["machine"]["cpu"] = "Another CPU"
    (unmeasured / "result.json").write_text(json.dumps(content))
    device = device_of(unmeasured)
    ended = command("pick", unmeasured, "--device", device, "--max", f"{KEY}=1e6", "--verify", "2")
    assert ended.code == 2 and f"--verify: {device} (Another CPU) is not this machine; write the networks" in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_a_damaged_file_is_told(unmeasured: Path) -> None:
    (unmeasured / "measured.json").write_text('{"schema": 1, "devices": {"a": {"b": {"c": [1, -1, ""]}}}}')
    with pytest.raises(InputError, match="measured.json is damaged or of another version; delete it"):
        Result.load(unmeasured).pick(device_of(unmeasured), max=ANY)
