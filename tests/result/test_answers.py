"""answers.npz: the same answers as the run's reference, without torch, and its layout as docs/answers.md tells it."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from agreement import assert_agrees, assert_same, front_of_reference, new_devices
from result.test_result import FAST, PHONE, run  # noqa: F401 - a fixture

from modnas_fast import InputError, Result
from modnas_fast.devices import Device
from modnas_fast.method.metahypernet import BankHypernetwork, MLPHypernetwork
from modnas_fast.method.preferences import dirichlet, rays
from modnas_fast.result import compose_answers
from modnas_fast.result.answers_file import AnswersFile
from modnas_fast.result.compose_answers import keep_answers
from modnas_fast.result.hypernetworks import logits_on
from modnas_fast.result.new_device import denormalized, normalized

#: raises where anything imports it
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden}:
            raise ModuleNotFoundError("hidden by the test", name=name.split(".")[0])
sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture(scope="module")
def answered(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The run with its answers.npz."""
    folder = Path(shutil.copytree(run, tmp_path_factory.mktemp("answered") / "run"))
    assert keep_answers(folder)
    return folder


@pytest.fixture
def copied(answered: Path, tmp_path: Path) -> Path:
    """The same, free to be spoilt."""
    return Path(shutil.copytree(answered, tmp_path / "copied"))


def without(code: str, *hidden: str) -> str:
    """What Python prints where these packages cannot be imported."""
    source = HIDE.format(hidden=set(hidden)) + code
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


# ---- the same answers ----


def test_answers_are_those_of_the_reference(answered: Path) -> None:
    result = Result.load(answered)
    assert_agrees(result)
    for device in (*result.devices.values(), PHONE):
        mine = [(point.architecture, point.preference, point.sources) for point in result.front(device)]
        assert mine == front_of_reference(result, device)


def test_a_network_that_is_not_viable_gives_way_to_the_best_change(answered: Path) -> None:
    """With random logits, most modes of which the reference changes are met."""
    result = Result.load(answered)
    queries, space = result._from_file, result.space
    assert queries is not None
    logits = torch.randn(400, 30, generator=torch.Generator().manual_seed(4))
    logits[:, ::5] += 1.5  # `none` on every edge: few of them are viable
    wanted = [a.text for a in space.decode(space.canonical(space.viable_mode(logits)))]
    assert sum(not bool(v) for v in space.viable(space.mode(logits)) > 0.5) > 100
    canonical = queries._file["space.canonical"]
    texts = [*queries._file["networks.text"].tolist(), *queries._file["others.text"].tolist()]
    assert [texts[canonical[queries._viable_mode(row.numpy())]] for row in logits] == wanted


@pytest.mark.parametrize("objectives", [2, 3, 4])
@pytest.mark.parametrize("kind", ["nearest row", "interpolated", "mlp"])
def test_logits_are_those_of_the_hypernetwork(kind: str, objectives: int) -> None:
    generator = torch.Generator().manual_seed(objectives)
    if kind == "mlp":
        hypernet: torch.nn.Module = MLPHypernetwork(30, objectives, 20, 40, generator=generator)
    else:
        hypernet = BankHypernetwork(30, 20, 8, 33, kind == "interpolated", generator, objectives)
    with torch.no_grad():
        for parameter in hypernet.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    header, arrays = compose_answers._hypernetwork(hypernet)
    assert header is not None
    d = torch.rand(20, generator=generator)
    drawn = dirichlet(200, objectives, 0.5, generator=generator)
    r = torch.cat([drawn, rays(20, objectives), torch.eye(objectives), drawn.mul(8).round().clamp(min=0.1)])
    r = r / r.sum(-1, keepdim=True)
    asked = logits_on(AnswersFile(arrays, {"hypernetwork": header}), d.numpy())
    with torch.no_grad():
        wanted = hypernet(r, d.expand(len(r), -1)).numpy()
    np.testing.assert_allclose(np.stack([asked(row.numpy()) for row in r]), wanted, rtol=1e-4, atol=1e-4)


def test_ranges_of_devices_are_those_of_the_reference() -> None:
    """Also below the knee, where costs stay positive."""
    value = torch.tensor([-30.0, -1.0, -0.01, 0.0, 0.3, 1.0, 4.0], dtype=torch.float64)
    low, high = PHONE.ranges["latency"]
    cost = PHONE.denormalize(value)
    np.testing.assert_allclose(denormalized(value.numpy(), low, high), cost.numpy(), rtol=1e-12)
    np.testing.assert_allclose(normalized(cost.numpy(), low, high), PHONE.normalize(cost).numpy(), rtol=1e-9)


# ---- without torch ----

ASK = """
from modnas_fast import Result
result = Result.load({run!r})
new = result.unseen_device("phone", {{"latency_ms": {latencies}}})
for device in ("fast", new):
    print(result.pick(device, preference=[0.3, 0.7]).text, result.pick(device, max={{"latency_ms": 30}}).text)
    print(len(result.front(device)), len(result.top(device, max={{"latency_ms": 30}}, count=3)))
print(len(result.to_records()))
try:
    result.build("x")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_questions_need_neither_torch_nor_pydantic(answered: Path) -> None:
    code = ASK.format(run=str(answered), latencies=[5.0, 4.0, 3.0, 6.0, 7.0, 8.0, 2.0, 9.0, 10.0, 11.0])
    lines = without(code, "torch", "pydantic", "scipy", "pyarrow").splitlines()
    result = Result.load(answered)
    assert lines[0].split()[0] == result.pick("fast", preference=[0.3, 0.7]).text
    assert lines[2].split()[1] == result.pick(PHONE, max={"latency_ms": 30}).text
    assert lines[5].startswith("InputError") and "install it" in lines[5]


# ---- when it is not used ----


def test_a_file_of_another_result_is_not_asked(copied: Path) -> None:
    content = json.loads((copied / "result.json").read_text())
    ray = content["devices"][0]["rays"][0]
    content["devices"][0]["measured"] = {ray["architecture"]: {"latency_ms": 77.5}}
    (copied / "result.json").write_text(json.dumps(content))
    result = Result.load(copied)
    assert result._from_file is None
    assert result.pick("fast", preference=ray["preference"]).costs["latency_ms"].value == 77.5
    assert keep_answers(copied) and not keep_answers(copied)
    renewed = Result.load(copied)
    assert renewed._from_file is not None
    assert renewed.pick("fast", preference=ray["preference"]).costs["latency_ms"].value == 77.5


@pytest.mark.parametrize("spoil", ["half", "empty", "other version", "no header"])
def test_a_damaged_file_is_not_asked(copied: Path, spoil: str) -> None:
    file = copied / "answers.npz"
    whole = file.read_bytes()
    if spoil in ("half", "empty"):
        file.write_bytes(whole[: len(whole) // 2] if spoil == "half" else b"")
    else:
        with np.load(file) as members:
            arrays = dict(members)
        header = {**json.loads(str(arrays.pop("header"))), "version": 2}
        np.savez(file, **arrays, **({"header": np.array(json.dumps(header))} if spoil == "other version" else {}))
    assert Result.load(copied)._from_file is None
    assert keep_answers(copied) and Result.load(copied)._from_file is not None


def test_a_member_that_is_damaged_is_told_in_one_line(copied: Path) -> None:
    content = bytearray((copied / "answers.npz").read_bytes())
    with zipfile.ZipFile(copied / "answers.npz") as file:
        begin = file.getinfo("networks.costs.npy").header_offset
    content[begin + 120] ^= 0xFF
    (copied / "answers.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"answers.npz is damaged \(networks.costs\); delete it"):
        Result.load(copied).pick("fast", max={"latency_ms": 30})


def test_a_result_goes_to_another_process_after_questions(answered: Path) -> None:
    result = Result.load(answered)
    chosen = result.pick("fast", preference=[1, 1])
    assert pickle.loads(pickle.dumps(result)).pick("fast", preference=[1, 1]) == chosen


def test_new_devices_with_exchanged_ranges_are_not_confused(answered: Path) -> None:
    result = Result.load(answered)
    dear = Device("phone", PHONE.embedding, split="unseen", ranges={"latency": (20.0, 110.0)})
    for device in (PHONE, dear, PHONE):
        cost = result.pick(device, preference=[1, 1]).costs["latency_ms"].value
        assert cost == pytest.approx(result.reference.preferred(device, [1, 1]).costs["latency_ms"].value, rel=1e-4)


def test_what_the_file_cannot_answer_is_said_and_the_reference_answers(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose_answers, "SMALL_SPACE", 100)
    (copied / "answers.npz").unlink()
    keep_answers(copied)
    result = Result.load(copied)
    assert result._file is not None and "space.canonical" not in result._file
    assert "more than 100 networks" in result._file.header["needs_torch"]["preferences"]
    assert result._queries(FAST, preference=True) is result.reference
    assert_same(result.pick("fast", preference=[1, 2]), result.reference.preferred(FAST, [1.0, 2.0]), FAST)
    assert result._queries(PHONE) is not result.reference, "budgets of new devices need no rules of the space"
    line = without(
        f"from modnas_fast import Result\ntry:\n    Result.load({str(copied)!r}).pick('fast', preference=[1, 2])\n"
        "except ValueError as error: print(error)",
        "torch",
    )
    assert "needs torch, which is missing; install it" in line and "more than 100 networks" in line
    assert line.count("\n") == 1


def test_predictors_that_are_no_product_answer_for_devices_of_the_run(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose_answers, "priced", lambda *_: ({}, "its predictor of latency_ms is no product"))
    (copied / "answers.npz").unlink()
    keep_answers(copied)
    result = Result.load(copied)
    assert result._queries(FAST, preference=True) is not result.reference
    assert result._queries(PHONE) is result.reference
    assert_same(
        result.pick(PHONE, max={"latency_ms": 30}), result.reference.within(PHONE, {"latency_ms": 30}, 1)[0], PHONE
    )


def test_many_new_devices_are_not_all_kept(answered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    monkeypatch.setattr("modnas_fast.result.queries.NEW_DEVICES", 3)
    result = Result.load(answered)
    for device in new_devices(result, 8, random.Random(1)):
        result.pick(device, preference=[1, 1])
    assert result._from_file is not None and len(result._from_file._new) <= 3


# ---- many at once ----


def test_the_best_within_a_budget_come_in_order(answered: Path) -> None:
    result = Result.load(answered)
    best = result.top("fast", max={"latency_ms": 2.0}, count=5)
    assert best[0] == result.pick("fast", max={"latency_ms": 2.0})
    keys = [(pick.quality, pick.costs["latency_ms"].value) for pick in best]
    assert keys == sorted(keys) and all(cost <= 2.0 for _, cost in keys)
    everything = result.top("fast", max={"latency_ms": 1e9}, count=10_000)
    assert len(everything) == len(result.reference.qualities)
    for wrong in (0, 1.5, True):
        with pytest.raises(InputError, match="count: wanted a whole number"):
            result.top("fast", max={"latency_ms": 2.0}, count=wrong)  # type: ignore[arg-type]


def test_the_file_tells_which_measurements_are_not_trustworthy(copied: Path) -> None:
    content = json.loads((copied / "result.json").read_text(encoding="utf-8"))
    content["devices"][0]["trust"] = {"latency_ms": {"trustworthy": False, "why": "clock throttled"}}
    (copied / "result.json").write_text(json.dumps(content), encoding="utf-8")
    assert keep_answers(copied)
    result = Result.load(copied)
    assert {r["device"]: r["latency_ms_trustworthy"] for r in result.to_records()} == {"fast": False, "slow": True}
    assert_agrees(result, preferences=10, budgets=4)


def test_records_hold_every_network_on_every_device(answered: Path) -> None:
    result = Result.load(answered)
    records = result.to_records()
    assert len(records) == 2 * len(result.reference.qualities)
    assert list(records[0]) == [
        "device", "split", "architecture", "error", "error_source", "latency_ms", "latency_ms_source",
        "latency_ms_extrapolated", "latency_ms_trustworthy",
    ]  # fmt: skip
    for device, split in (("fast", "search"), ("slow", "unseen")):
        own = {record["architecture"]: record for record in records if record["device"] == device}
        for point in result.front(device):
            record = own[point.architecture]
            assert (record["split"], record["error_source"]) == (split, "inherited")
            assert (record["error"], record["latency_ms"]) == point.values
            assert record["latency_ms_source"] == point.costs["latency_ms"].source
    assert json.loads(json.dumps(records)) == records


def test_pandas_takes_the_records_or_is_named(answered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Result.load(answered)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pandas is missing; pip install pandas, or use Result.to_records"):
        result.to_pandas()
    pandas: Any = ModuleType("pandas")
    pandas.DataFrame = lambda records: ("frame", records)
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert result.to_pandas() == ("frame", result.to_records())


# ---- the layout ----

DOCS = Path(__file__).parents[2] / "docs" / "answers.md"


def reader() -> str:
    """The example of docs/answers.md."""
    blocks = re.findall(r"```python\n(# answers.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


def test_the_reader_of_the_page_gives_the_same_answers_with_numpy_alone(answered: Path) -> None:
    source = reader()
    assert len(source.splitlines()) <= 40
    source = source.replace("runs/digits-001", str(answered)).replace("cpu_t1_b1_fp32", "fast").replace("0.8", "2.0")
    result = Result.load(answered)
    for weight in (0.3, 0.55, 0.9):
        found = without(source.replace("[0.3, 0.7]", f"[{weight}, {1 - weight}]"), "torch", "modnas_fast").split()
        chosen = result.pick("fast", preference=[weight, 1 - weight])
        assert found == [result.pick("fast", max={"latency_ms": 2.0}).text, chosen.text]


def test_the_page_names_every_member(answered: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    with np.load(answered / "answers.npz") as file:
        names, header = list(file), json.loads(str(file["header"]))
    for name in names:
        shown = name.replace("latency_ms", "KEY").replace("others.", "networks.")
        assert f"`{shown}`" in text, name
    for key in header:
        assert f"`{key}`" in text, key
    assert header["version"] == 1


def test_a_device_of_the_run_by_another_order_of_metrics_is_left_to_the_reference(answered: Path) -> None:
    result = Result.load(answered)
    other = Device("x", FAST.embedding, {"power": "W"}, "unseen", {"power": (1.0, 2.0)})
    assert result._queries(other) is result.reference
