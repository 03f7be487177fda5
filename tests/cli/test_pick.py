"""Questions to a finished run on the command line."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agreement import assert_agrees

from modnas_fast import Result
from modnas_fast.spaces import NB201Space

DEVICE = "cpu_t1_b1_fp32"
NEEDED = ("config.yaml", "result.json", "hypernetwork.safetensors", "metapredictor.safetensors")
LATENCIES = [0.9, 1.0, 0.4, 1.4, 0.3, 2.0, 1.5, 3.1, 1.2, 2.9]


@pytest.fixture
def bare(run: Path, tmp_path: Path) -> Path:
    """What picking needs of a run, without checkpoint, supernet and measurements."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in NEEDED:
        shutil.copy(run / name, folder)
    return folder


def answer(ended: Any) -> dict[str, Any]:
    assert ended.code == 0 and ended.err == "", ended.err
    content = json.loads(ended.out)
    assert set(content) == {"device", "architecture", "latency_ms", "error", "units", "sources", "extrapolated",
                            "doubts"}  # fmt: skip
    assert content["units"] == {"latency_ms": "ms", "error": "%"}
    assert content["sources"]["latency_ms"] in ("measured", "predicted")
    assert content["sources"]["error"] == "inherited"
    assert content["extrapolated"] in ([], ["latency_ms"]) and content["latency_ms"] > 0
    assert NB201Space().parse(content["architecture"]).text == content["architecture"]
    assert math.isfinite(content["latency_ms"])
    assert content["error"] is None or 0 <= content["error"] <= 100
    return content


def test_by_preference_in_words(command: Any, bare: Path) -> None:
    ended = command("pick", bare, "--device", DEVICE, "--preference", "0.3,0.7")
    assert ended.code == 0 and ended.err == ""
    architecture, *rest = ended.out.splitlines()
    assert NB201Space().parse(architecture)
    words = [line.split("  ")[0] for line in rest if not line.startswith(" ")]
    assert words in (["device", kind, "supernet error"] for kind in ("predicted latency", "measured latency"))
    assert DEVICE in rest[0] and rest[1].endswith(" ms")


@pytest.fixture
def known(bare: Path) -> Callable[..., dict[str, Any]]:
    """Writes what the run knows of its first ray on `DEVICE` into the result; returns that ray."""

    def change(
        measured: float | None = None, judged: list[float] | None = None, trust: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        content = json.loads((bare / "result.json").read_text(encoding="utf-8"))
        entry = next(entry for entry in content["devices"] if entry["name"] == DEVICE)
        ray = entry["rays"][0]
        entry["measured"] = {} if measured is None else {ray["architecture"]: {"latency_ms": measured}}
        entry["judged"] = {"latency_ms": judged} if judged else entry["judged"]
        entry["trust"] = trust or entry["trust"]
        content["verified"] = []
        (bare / "result.json").write_text(json.dumps(content), encoding="utf-8")
        return ray

    return change


def test_a_measured_latency_is_told_as_such_and_counts_for_budgets(command: Any, bare: Path, known: Any) -> None:
    ray = known(measured=12345.5)
    asked = ("pick", bare, "--device", DEVICE)
    weights = ",".join(map(str, ray["preference"]))
    chosen = answer(command(*asked, "--preference", weights, "--json"))
    assert chosen["architecture"] == ray["architecture"]
    assert (chosen["latency_ms"], chosen["sources"]["latency_ms"]) == (12345.5, "measured")
    assert "measured latency     1.235e+04 ms" in command(*asked, "--preference", weights).out
    assert answer(command(*asked, "--max", "latency_ms=12345", "--json"))["architecture"] != ray["architecture"]


def test_an_extrapolated_prediction_is_marked(command: Any, bare: Path, known: Any) -> None:
    ray = known(judged=[1e6, 2e6])
    asked = ("pick", bare, "--device", DEVICE, "--preference", ",".join(map(str, ray["preference"])))
    chosen = answer(command(*asked, "--json"))
    if chosen["sources"]["latency_ms"] == "predicted":  # a reference network keeps what the embedding holds
        assert chosen["extrapolated"] == ["latency_ms"]
        assert "extrapolated: outside the range" in command(*asked).out
    known(judged=[1e-6, 1e6])
    assert answer(command(*asked, "--json"))["extrapolated"] == []
    assert "extrapolated" not in command(*asked).out


def test_measurements_that_are_not_trustworthy_are_marked(command: Any, bare: Path, known: Any) -> None:
    ray = known(trust={"latency_ms": {"trustworthy": False, "why": "12 of 15 rounds disturbed"}})
    asked = ("pick", bare, "--device", DEVICE, "--preference", ",".join(map(str, ray["preference"])))
    assert "not trustworthy: 12 of 15 rounds disturbed" in command(*asked).out
    assert answer(command(*asked, "--json"))["doubts"] == {"latency_ms": "12 of 15 rounds disturbed"}
    assert "False" in command(*asked, "--csv").out.splitlines()[1].split(",")
    known(trust={"latency_ms": {"trustworthy": True, "why": ""}})
    assert "not trustworthy" not in command(*asked).out


def test_weights_of_a_preference_count_relative_to_each_other(command: Any, bare: Path) -> None:
    asked = ("pick", bare, "--device", DEVICE, "--json", "--preference")
    assert answer(command(*asked, "3,7")) == answer(command(*asked, " 0.3 , 0.7 "))
    for corner in ("1,0", "0,1"):
        assert answer(command(*asked, corner))["device"] == DEVICE


def test_a_ray_of_the_run_is_answered_by_its_network(command: Any, bare: Path) -> None:
    content = json.loads((bare / "result.json").read_text(encoding="utf-8"))
    for device in (content["devices"][0], content["devices"][-1]):
        measured = {text: costs["latency_ms"] for text, costs in device["measured"].items()}
        for ray in device["rays"][::2]:
            weights = ",".join(map(str, ray["preference"]))
            chosen = answer(command("pick", bare, "--device", device["name"], "--preference", weights, "--json"))
            assert chosen["architecture"] == ray["architecture"] and chosen["error"] == ray["error"]
            wanted = measured.get(ray["architecture"], ray["latency_ms"])
            assert chosen["latency_ms"] == pytest.approx(wanted, rel=1e-4)
            assert (chosen["sources"]["latency_ms"] == "measured") == (ray["architecture"] in measured)


def test_within_a_budget_the_error_is_least(command: Any, bare: Path) -> None:
    content = json.loads((bare / "result.json").read_text(encoding="utf-8"))
    device = content["devices"][0]
    own = [*device["rays"], *device["random"]]
    for point in own:
        point["latency_ms"] = device["measured"].get(point["architecture"], point)["latency_ms"]
    limit = sorted(point["latency_ms"] for point in own)[len(own) // 2]
    chosen = answer(command("pick", bare, "--device", device["name"], "--max", f"latency_ms={limit * 1.001}", "--json"))
    assert chosen["latency_ms"] <= limit * 1.001
    assert chosen["error"] <= min(point["error"] for point in own if point["latency_ms"] <= limit)


def test_the_fastest_named_by_a_refusal_is_within_reach(command: Any, bare: Path) -> None:
    refused = command("pick", bare, "--device", DEVICE, "--max", "latency_ms=-1000")
    fastest = float(refused.err.partition("the least there is: latency_ms ")[2].split()[0])
    chosen = answer(
        command("pick", bare, "--device", DEVICE, "--max", f"latency_ms={fastest + 0.01 * abs(fastest)}", "--json")
    )
    assert chosen["latency_ms"] == pytest.approx(fastest, rel=1e-2)


FORMS = {
    "list": json.dumps(LATENCIES),
    "lines": "\n".join(map(str, LATENCIES)) + "\n",
    "windows": "\r\n".join(map(str, LATENCIES)) + "\r\n",
    "commas": ", ".join(map(str, LATENCIES)),
    "no blanks": ",".join(map(str, LATENCIES)),
    "texts": json.dumps([str(value) for value in LATENCIES]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_new_device_from_ten_latencies(command: Any, bare: Path, tmp_path: Path, form: str, encoding: str) -> None:
    (tmp_path / "phone.txt").write_bytes(FORMS[form].encode(encoding))
    asked = ("pick", bare, "--embedding", "phone.txt", "--json")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "phone.txt").write_text(" ".join(map(str, LATENCIES)))
    plain = ("pick", bare, "--embedding", "plain/phone.txt", "--json")
    for question in (("--preference", "0.3,0.7"), ("--max", "latency_ms=1000")):
        chosen = answer(command(*asked, *question))
        assert chosen["device"] == "phone" and chosen == answer(command(*plain, *question))
    assert chosen["error"] is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps({"latencies": LATENCIES}), "JSON object"),
        (";".join(str(value).replace(".", ",") for value in LATENCIES), "not semicolons"),
        ("\n".join(str(value).replace(".", ",") for value in LATENCIES), "with a point, not as in 0,9"),
        ("4,1 3,9 2,2 2,4 5,0", "with a point, not as in 4,1"),
        ("\n".join(f"{value} ms" for value in LATENCIES), "'ms' is no number: leave units"),
        ("\n".join(f"{value}ms" for value in LATENCIES), "'0.9ms' is no number"),
        ("latency_ms\n" + "\n".join(map(str, LATENCIES)), "'latency_ms' is no number"),
        (json.dumps([True, *LATENCIES[1:]]), "True is no number"),
        (json.dumps([[value] for value in LATENCIES]), "[0.9] is no number"),
        (json.dumps([None, *LATENCIES[1:]]), "None is no number"),
        ("[0.9, 1.0", "no valid JSON"),
        (json.dumps(LATENCIES[:-1]), "got 9"),
        ("", "got 0"),
    ],
)
def test_embeddings_of_another_form_are_refused_in_one_line(
    command: Any, bare: Path, tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "phone.txt").write_text(text)
    ended = command("pick", bare, "--embedding", "phone.txt", "--preference", "0.5,0.5")
    assert ended.code == 2 and ended.out == "" and ended.err.count("\n") == 1
    assert "phone.txt must hold 10 latencies in ms" in ended.err and reason in ended.err


def test_a_known_device_given_by_its_latencies_is_answered_alike(command: Any, bare: Path, tmp_path: Path) -> None:
    content = json.loads((bare / "result.json").read_text(encoding="utf-8"))
    device = content["devices"][-1]
    low, high = device["ranges"]["latency_ms"]
    latencies = [low + (high - low) * value for value in device["embedding"]]
    (tmp_path / "twin.json").write_text(json.dumps(latencies))
    for question in (("--preference", "0.4,0.6"), ("--max", f"latency_ms={1000 * high}")):
        known = answer(command("pick", bare, "--device", device["name"], *question, "--json"))
        twin = answer(command("pick", bare, "--embedding", "twin.json", *question, "--json"))
        assert twin["architecture"] == known["architecture"] and twin["device"] == "twin"


def test_devices_and_references_are_listed(command: Any, bare: Path) -> None:
    content = json.loads((bare / "result.json").read_text(encoding="utf-8"))
    listed = command("pick", bare, "--devices").out.splitlines()
    assert listed == [f"{device['name']}  ({device['split']})" for device in content["devices"]]
    references = command("pick", bare, "--references").out.splitlines()
    assert references == list(NB201Space.references) and len(references) == 10


def test_lists_are_json_where_json_is_asked_for(command: Any, bare: Path) -> None:
    content = json.loads((bare / "result.json").read_text(encoding="utf-8"))
    listed = json.loads(command("pick", bare, "--devices", "--json").out)
    assert listed == [
        {"name": d["name"], "split": d["split"], "metrics": {"latency": "ms"}} for d in content["devices"]
    ]
    assert json.loads(command("pick", bare, "--references", "--json").out) == list(NB201Space.references)


@pytest.mark.parametrize("question", [(), ("--max", "latency_ms=1"), ("--max", "latency_ms=1", "--preference", "1,0")])
def test_an_unknown_device_is_told_before_all_else(command: Any, bare: Path, question: tuple[str, ...]) -> None:
    ended = command("pick", bare, "--device", "cpu", *question)
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert ended.err.startswith("modnas-fast: --device: unknown device 'cpu'; did you mean cpu_t1_b")


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ((), "give either --preference W1,W2 or --max METRIC=VALUE"),
        (("--preference", "1,0", "--max", "latency_ms=1"), "give either --preference W1,W2 or --max METRIC=VALUE"),
        (("--preference", "1,0,0"), "--preference: wanted 2 weights, got 3"),
        (("--max", "energy_mj=1"), "--max: wanted a budget of latency_ms, got energy_mj"),
        (("--max", "latency_ms=1", "--max", "latency_ms=2"), "--max: wanted one budget per metric, got two"),
        (("--max", "latency_ms=0"), "--max: no evaluated network has latency_ms of at most 0"),
        (("--max", "latency_ms=5ms"), "--max: wanted METRIC=NUMBER"),
    ],
)
def test_bad_questions_name_the_option(command: Any, bare: Path, question: tuple[str, ...], text: str) -> None:
    ended = command("pick", bare, "--device", DEVICE, *question)
    assert ended.code == 2 and ended.err.count("\n") == 1 and text in ended.err


def test_as_a_process_without_supernet_and_data(cli: Any, bare: Path) -> None:
    chosen = answer(cli("pick", bare, "--device", DEVICE, "--preference", "0.5,0.5", "--json"))
    assert chosen["device"] == DEVICE
    assert {path.name for path in bare.iterdir()} == set(NEEDED)


# ---- several at once, and for other programs ----


def test_the_best_within_a_budget_as_words_json_and_csv(command: Any, bare: Path) -> None:
    asked = ("pick", bare, "--device", DEVICE, "--max", "latency_ms=1000")
    first = answer(command(*asked, "--json"))
    best = json.loads(command(*asked, "--top", "3", "--json").out)
    assert len(best) == 3 and best[0] == first
    keys = [(pick["error"], pick["latency_ms"]) for pick in best]
    assert keys == sorted(keys)
    words = command(*asked, "--top", "3").out.split("\n\n")
    assert [block.split("\n")[0] for block in words] == [pick["architecture"] for pick in best]
    rows = list(csv.DictReader(command(*asked, "--top", "3", "--csv").out.splitlines()))
    assert [row["architecture"] for row in rows] == [pick["architecture"] for pick in best]
    assert [float(row["latency_ms"]) for row in rows] == [pick["latency_ms"] for pick in best]
    assert {row["error_source"] for row in rows} == {"inherited"}
    (one,) = csv.DictReader(command("pick", bare, "--device", DEVICE, "--preference", "1,1", "--csv").out.splitlines())
    assert one["device"] == DEVICE and one["latency_ms_source"] in ("measured", "predicted")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--preference", "1,0", "--top", "2"), "--top: goes with --max; a preference has one network"),
        (("--max", "latency_ms=5", "--json", "--csv"), "give either --csv or --json"),
        (("--max", "latency_ms=5", "--known"), "--known: goes with --preference"),
    ],
)
def test_options_that_do_not_go_together(command: Any, bare: Path, options: tuple[str, ...], text: str) -> None:
    ended = command("pick", bare, "--device", DEVICE, *options)
    assert ended.code == 2 and ended.err.count("\n") == 1 and text in ended.err


def test_fronts_as_csv_and_json(command: Any, run: Path, tmp_path: Path) -> None:
    content = json.loads((run / "result.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader(command("front", run).out.splitlines()))
    records = json.loads(command("front", run, "--json").out)
    assert [row["architecture"] for row in rows] == [record["architecture"] for record in records]
    assert list(dict.fromkeys(row["device"] for row in rows)) == [device["name"] for device in content["devices"]]
    assert all(isinstance(record["latency_ms_extrapolated"], bool) for record in records)
    own = [record for record in records if record["device"] == DEVICE]
    entry = next(device for device in content["devices"] if device["name"] == DEVICE)
    for record in own:
        preference = [record["preference_error"], record["preference_latency_ms"]]
        same = [ray for ray in entry["rays"] if ray["preference"] == preference]
        if preference == [None, None]:
            same = [point for point in entry["archive"] if point["architecture"] == record["architecture"]]
        assert (record["architecture"], record["error"]) == (same[0]["architecture"], same[0]["error"])
    assert command("front", run, "--device", DEVICE, "--json", "--out", "front.json").out == "front.json\n"
    assert json.loads((tmp_path / "front.json").read_text(encoding="utf-8")) == own
    latencies = sorted(record["latency_ms"] for record in own)
    region = ("--within", f"latency_ms={latencies[0]}:{latencies[-1] + 1}", "--within", "error=:100")
    assert json.loads(command("front", run, "--device", DEVICE, *region, "--json").out) == own
    (one,) = json.loads(command("front", run, "--device", DEVICE, "--count", "1", "--json").out)
    assert one in own
    for wrong in ("latency_ms", "latency_ms=3", "latency_ms=:", "latency_ms=a:b"):
        assert "--within: wanted KEY=FROM:TO such as latency_ms=3:8" in command("front", run, "--within", wrong).err
    twice = command("front", run, "--within", "error=1:2", "--within", "error=1:3")
    assert "--within: wanted one interval per objective, got two of error" in twice.err
    assert "--within: wanted intervals of error or latency_ms" in command("front", run, "--within", "power=1:2").err
    ended = command("front", run, "--device", "cpu")
    assert ended.code == 2 and ended.err.startswith("modnas-fast: --device: unknown device 'cpu'; did you mean")
    assert "either --csv or --json" in command("front", run, "--csv", "--json").err


# ---- from answers.npz ----


def test_a_finished_run_is_asked_without_torch(copied: Path, tmp_path: Path) -> None:
    """The command, where importing torch, rich, a table's reader or the package's own configuration ends it."""
    hide = "import sys\nclass Hidden:\n    def find_spec(self, name, path=None, target=None):\n"
    hide += "        if name.split('.')[0] in ('torch', 'scipy', 'pyarrow', 'rich') or name == 'modnas_fast.config':\n"
    hide += "            raise RuntimeError(f'{name} was imported')\nsys.meta_path.insert(0, Hidden())\n"
    (tmp_path / "sitecustomize.py").write_text(hide)
    (tmp_path / "phone.txt").write_text(" ".join(map(str, LATENCIES)))

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.argv = {['modnas-fast', *arguments]}; from modnas_fast.cli.app import main; main()"
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    for who in (("--device", DEVICE), ("--embedding", "phone.txt")):
        for question in (("--preference", "0.3,0.7"), ("--max", "latency_ms=1000")):
            ended = ask("pick", str(copied), *who, *question, "--json")
            assert ended.returncode == 0, ended.stderr
            assert json.loads(ended.stdout)["sources"]["error"] == "inherited"
    for arguments in (
        ("pick", str(copied), "--devices"), ("front", str(copied)), ("report", str(copied)), ("--help",), ("--version",)
    ):  # fmt: skip
        ended = ask(*arguments)
        assert ended.returncode == 0 and ended.stdout, ended.stderr
    (copied / "answers.npz").rename(tmp_path / "answers.npz")
    told = ask("report", str(copied)).stderr
    (tmp_path / "answers.npz").rename(copied / "answers.npz")
    assert "torch was imported" in told, "the check finds what it looks for"


def test_answers_agree_with_the_reference(run: Path) -> None:
    assert_agrees(Result.load(run))


def test_report_gives_an_old_run_its_answers(command: Any, copied: Path) -> None:
    whole = (copied / "answers.npz").read_bytes()
    (copied / "answers.npz").unlink()
    ended = command("report", copied)
    assert ended.code == 0 and ended.out.splitlines() == [str(copied / "answers.npz"), str(copied / "report.html")]
    assert len((copied / "answers.npz").read_bytes()) == len(whole)
    assert command("report", copied).out.splitlines() == [str(copied / "report.html")]
    (copied / "answers.npz").unlink()
    (copied / "hypernetwork.safetensors").unlink()
    ended = command("report", copied)
    assert ended.code == 0 and "no answers.npz: " in ended.err and ended.err.count("\n") == 1
