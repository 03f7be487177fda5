"""Bad input of every kind: exit status 2 and at most two lines that name what is wrong, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import fill, picture

DEVICE = "cpu_t1_b1_fp32"
PREFERENCE = ("--preference", "0.5,0.5")


def assert_refused(ended: Any, *texts: str) -> None:
    """Exit status 2 and one or two lines that hold the texts, after lines of progress alone."""
    assert ended.code == 2, (ended.out, ended.err)
    assert "Traceback" not in ended.err and ended.out == ""
    lines = ended.err.splitlines()
    (first,) = [i for i, line in enumerate(lines) if line.startswith("modnas-fast: ")]
    assert len(lines) - first <= 2
    assert all(line.startswith("Run folder: ") or ": done in" in line for line in lines[:first]), ended.err
    for text in texts:
        assert text in "\n".join(lines[first:]), ended.err


@pytest.mark.parametrize(
    ("option", "texts"),
    [
        ("search.stepz=3", ("search.stepz", "steps")),
        ("serch.steps=3", ("unknown key serch", "search")),
        ("nonsense", ("key=value", "nonsense")),
        ("=3", ("key=value",)),
        ("search.steps=", ("search.steps",)),
        ("search.steps=many", ("search.steps", "'many'")),
        ("search.steps=-1", ("search.steps", "greater than or equal to 0")),
        ("search.steps=2.5", ("search.steps",)),
        ("search.steps=[1]", ("search.steps",)),
        ("search.steps.more=1", ("search.steps",)),
        ("search=3", ("search",)),
        ("search.weight_learning_rate=nan", ("search.weight_learning_rate",)),
        ("search.weight_learning_rate=inf", ("search.weight_learning_rate",)),
        ("mgd.scheme=sum", ("mgd.scheme", "'mean'")),
        ("architect.tau_max=3", ("tau_min",)),
        ("seed=-1", ("seed",)),
        ("task.fractions=[0.5,0.5]", ("task.fractions",)),
        ("a.b={", ("no valid YAML",)),
    ],
)
def test_settings(command: Any, option: str, texts: tuple[str, ...]) -> None:
    assert_refused(command("search", "--set", option), *texts)


def test_a_refused_setting_leaves_no_folder(command: Any, tmp_path: Path) -> None:
    assert_refused(command("search", "--out", "run", "--set", "search.steps=-1"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--preset", "nothing"), "unknown preset 'nothing'; available: digits, images, cifar10-small"),
        (("--preset", "cifar10"), "did you mean cifar10-small?"),
        (("--seed", "-1"), "seed"),
        (("--seed", "9999999999"), "seed"),
        (("--verify", "-1"), "verify.networks"),
    ],
)
def test_options(command: Any, arguments: tuple[str, ...], text: str) -> None:
    assert_refused(command("search", *arguments), text)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"search: [", "no valid YAML"),
        (b"search:\n\tsteps: 3\n", "no valid YAML"),
        (b"\xff\xfe\x00", "no valid YAML"),
        (b"- 1\n- 2\n", "mapping"),
        (b"just text", "mapping"),
        (b"search: {steps: 3, stepz: 4}", "search.stepz"),
        (b"1: 2", "string"),
        (b"search:\n", "search"),
    ],
    ids=["cut", "tab", "binary", "list", "text", "key", "number", "empty section"],
)
def test_configuration_files(command: Any, tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    assert_refused(command("search", "--config", "bad.yaml"), text)


def test_a_missing_configuration_file(command: Any, tmp_path: Path) -> None:
    assert_refused(command("search", "--config", "absent.yaml"), "absent.yaml", "No such file")
    assert_refused(command("search", "--config", tmp_path), str(tmp_path), "directory")


def test_a_folder_in_use(command: Any, tmp_path: Path, run: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    assert_refused(command("search", "--out", run), str(run), f"--resume {run}")
    assert_refused(command("search", "--out", "used"), "not empty")
    assert_refused(command("search", "--out", "file"), "file")
    assert_refused(command("search", "--out", "file/below"), "file")
    assert (tmp_path / "used" / "notes.txt").read_text() == "mine"


def images(folder: Path) -> None:
    """Data of every bad kind."""
    (folder / "empty").mkdir()
    fill(folder / "one" / "only", 12)
    fill(folder / "few" / "a", 12)
    fill(folder / "few" / "b", 2)
    fill(folder / "hollow" / "a", 12)
    (folder / "hollow" / "b").mkdir()
    fill(folder / "corrupt" / "a", 12)
    fill(folder / "corrupt" / "b", 12)
    for index in range(6):
        (folder / "corrupt" / "b" / f"{index:03}.png").write_bytes(b"no image")
    (folder / "bad.parquet").write_bytes(b"no parquet")
    (folder / "text.txt").write_text("text")
    picture(0).save(folder / "lone.png")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("absent", "does not exist"),
        ("empty", "no sub-folders"),
        ("one", "single class (only)"),
        ("few", "class b"),
        ("hollow", "no images"),
        ("corrupt", "000.png"),
        ("bad.parquet", "bad.parquet"),
        ("text.txt", "neither a folder nor a .parquet file"),
        ("lone.png", "neither a folder nor a .parquet file"),
    ],
)
def test_data(command: Any, tmp_path: Path, data: str, text: str) -> None:
    images(tmp_path)
    ended = command("search", "--data", data)
    assert_refused(ended, "data", text)
    if data != "corrupt":  # nothing but decoding shows that one
        assert len(ended.err.splitlines()) == 1 and not (tmp_path / "runs").exists()
    else:
        assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("preset", ["images", "cifar10-small", "nb201-supernet", "nb201-paper"])
def test_a_preset_for_images_without_images(command: Any, tmp_path: Path, preset: str) -> None:
    ended = command("search", "--preset", preset)
    assert_refused(ended, "--data: ")
    assert len(ended.err.splitlines()) == 1 and list(tmp_path.iterdir()) == []


def test_a_saved_configuration_for_images_without_images(command: Any, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(command("search", "--show-config", "--preset", "cifar10-small").out)
    assert_refused(command("search", "--config", "my.yaml"), "--data")
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


def test_all_wrong_settings_are_told(command: Any, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("search: {step: 3}\n")
    ended = command("search", "--config", "my.yaml", "--set", "task.steps=3", "--set", "mgd.scheme=meen")
    assert ended.code == 2 and ended.out == ""
    lines = ended.err.splitlines()
    assert len(lines) == 3 and all(line.startswith("modnas-fast: config: ") for line in lines)
    for text in ("did you mean search.steps?", "predictor.steps or search.steps?", "did you mean mean?"):
        assert text in ended.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_this_machine_lacks(command: Any, tmp_path: Path) -> None:
    """Before anything is measured."""
    ended = command("search", "--out", "run", "--set", "search.device=cuda")
    assert_refused(ended, "search.device: cuda was asked for", "set search.device to auto or cpu")
    assert not (tmp_path / "run").exists() and "done in" not in ended.err


def test_a_device_that_this_machine_lacks(command: Any) -> None:
    ended = command("search", "--set", "devices.unseen=[tpu]")
    assert_refused(ended, "unknown device 'tpu'", DEVICE)
    assert "Run folder" not in ended.err


def test_after_bad_data_the_same_folder_can_be_used(command: Any, tmp_path: Path) -> None:
    for _ in range(2):
        assert_refused(command("search", "--data", "absent", "--out", "run"), "does not exist")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("--device", "tpu", *PREFERENCE), ("unknown device 'tpu'", DEVICE)),
        (("--device", "", *PREFERENCE), ("unknown device", DEVICE)),
        (PREFERENCE, ("--device", "--embedding")),
        (("--device", DEVICE), ("--preference", "or --max")),
        (("--device", DEVICE, *PREFERENCE, "--max", "latency_ms=1"), ("either --preference", "or --max")),
        (("--device", DEVICE, "--preference", "-1,2"), ("at least 0",)),
        (("--device", DEVICE, "--preference", "1"), ("2 weights, got 1",)),
        (("--device", DEVICE, "--preference", "1,1,1"), ("2 weights, got 3",)),
        (("--device", DEVICE, "--preference", "a,b"), ("numbers", "'a,b'")),
        (("--device", DEVICE, "--preference", ""), ("numbers",)),
        (("--device", DEVICE, "--preference", "0,0"), ("positive sum",)),
        (("--device", DEVICE, "--preference", "nan,1"), ("nan",)),
        (("--device", DEVICE, "--preference", "inf,1"), ("inf",)),
        (
            ("--device", DEVICE, "--max", "latency_ms=-1000"),
            ("no evaluated network", "the least there is: latency_ms "),
        ),
        (("--device", DEVICE, "--max", "latency_ms=nan"), ("must be a number", "nan")),
        (("--device", DEVICE, "--max", "latency_ms"), ("METRIC=NUMBER", "'latency_ms'")),
        (("--device", DEVICE, "--max", "latency_ms=fast"), ("METRIC=NUMBER", "fast")),
        (("--device", DEVICE, "--max", "energy_mj=3"), ("latency_ms", "energy_mj")),
        (("--device", DEVICE, "--max", "latency_ms=3", "--max", "energy_mj=3"), ("energy_mj",)),
    ],
)
def test_questions(command: Any, run: Path, arguments: tuple[str, ...], texts: tuple[str, ...]) -> None:
    assert_refused(command("pick", run, *arguments), *texts)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"1 2 3 4 5 6 7 8 9", "10 latencies in ms, got 9"),
        (b"[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]", "10 latencies in ms, got 11"),
        (b"", "10 latencies in ms, got 0"),
        (b"one two three", "10 latencies in ms"),
        (b"[1, 2, null, 4, 5, 6, 7, 8, 9, 10]", "10 latencies in ms"),
        (b"[1, 2", "10 latencies in ms"),
        (b"\xff\xfe\x00\x81", "10 latencies in ms"),
        (b"1 2 3 4 5 6 7 8 9 -10", "positive"),
        (b"1 2 3 4 5 6 7 8 9 0", "positive"),
        (b"1 2 3 4 5 6 7 8 9 nan", "positive"),
        (b"1 2 3 4 5 6 7 8 9 inf", "positive"),
        (b"1 1 1 1 1 1 1 1 1 1", "must differ"),
    ],
    ids=[
        "nine",
        "eleven",
        "empty",
        "text",
        "null",
        "cut",
        "binary",
        "negative",
        "zero",
        "nan",
        "infinite",
        "equal",
    ],
)
def test_embeddings(command: Any, run: Path, tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "phone.txt").write_bytes(content)
    assert_refused(command("pick", run, "--embedding", "phone.txt", *PREFERENCE), "phone", text)


def test_an_embedding_that_is_no_file(command: Any, run: Path, tmp_path: Path) -> None:
    assert_refused(command("pick", run, "--embedding", "absent.txt", *PREFERENCE), "absent.txt", "does not exist")
    assert_refused(command("pick", run, "--embedding", tmp_path, *PREFERENCE), str(tmp_path))


def test_a_device_and_an_embedding(command: Any, run: Path, tmp_path: Path) -> None:
    (tmp_path / "phone.txt").write_text("1 2 3 4 5 6 7 8 9 10")
    ended = command("pick", run, "--device", DEVICE, "--embedding", "phone.txt", *PREFERENCE)
    assert_refused(ended, "either --device NAME or --embedding FILE")


def test_runs_that_are_none(command: Any, copied: Path, tmp_path: Path) -> None:
    question = ("--device", DEVICE, *PREFERENCE)
    (copied / "result.json").unlink()
    (tmp_path / "empty").mkdir()
    for command_line in (("pick", "PLACE", *question), ("report", "PLACE")):
        for place in (copied, "empty", "absent"):
            arguments = [place if part == "PLACE" else part for part in command_line]
            assert_refused(command(*arguments), "result.json", "does not exist")
    assert_refused(command("pick", copied, *question), "--resume")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\x00", b"[]", b"null", b"{}", b'{"schema": 1}', b'{"schema": 1, "devices": []}'],
    ids=["empty", "cut", "binary", "list", "null", "no schema", "schema alone", "no devices"],
)
def test_a_damaged_result(command: Any, copied: Path, content: bytes) -> None:
    (copied / "result.json").write_bytes(content)
    assert_refused(command("pick", copied, "--devices"), "result.json", "damaged")
    assert_refused(command("report", copied), "result.json")


@pytest.mark.parametrize("spoilt", ["devices", "space", "configuration", "task"])
def test_a_result_that_lacks_a_part(command: Any, copied: Path, spoilt: str) -> None:
    content = json.loads((copied / "result.json").read_text(encoding="utf-8"))
    del content[spoilt]
    (copied / "result.json").write_text(json.dumps(content), encoding="utf-8")
    ended = command("pick", copied, "--device", DEVICE, *PREFERENCE)
    if spoilt == "task":  # not needed to pick
        assert ended.code == 0
    else:
        assert_refused(ended, "result.json", "damaged")


def test_a_result_of_another_version(command: Any, copied: Path) -> None:
    content = json.loads((copied / "result.json").read_text(encoding="utf-8"))
    (copied / "result.json").write_text(json.dumps({**content, "schema": 99}), encoding="utf-8")
    assert_refused(command("pick", copied, "--devices"), "schema 99")
    assert_refused(command("report", copied), "schema 99")


@pytest.mark.parametrize(
    ("name", "limit"),
    [("hypernetwork.safetensors", PREFERENCE), ("metapredictor.safetensors", ("--max", "latency_ms=9"))],
)
def test_damaged_and_missing_weights(
    command: Any, copied: Path, tmp_path: Path, name: str, limit: tuple[str, ...]
) -> None:
    """On a device that the run never saw, where every answer needs a prediction, and without answers.npz."""
    (tmp_path / "phone.txt").write_text("4.1 3.9 2.2 2.4 5.0 5.2 5.1 7.7 3.8 9.9", encoding="utf-8")
    question = ("pick", copied, "--embedding", tmp_path / "phone.txt", *limit)
    (copied / name).write_bytes(b"nothing")
    assert command(*question).code == 0, "answers.npz holds the weights too"
    (copied / "answers.npz").unlink()
    assert_refused(command(*question), name)
    (copied / name).unlink()
    assert_refused(command(*question), name, "missing")


def test_a_refusal_as_a_process(cli: Any, run: Path) -> None:
    assert_refused(cli("search", "--set", "search.stepz=3"), "search.stepz")
    assert_refused(cli("search", "--data", "absent"), "does not exist")
    assert_refused(cli("pick", run, "--device", "tpu", *PREFERENCE), "unknown device")


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("search", "--nonsense"), ("search", "--seed", "x"), ("pick",), ("search", "extra")],
    ids=" ".join,
)
def test_usage(command: Any, arguments: tuple[str, ...]) -> None:
    ended = command(*arguments)
    assert ended.code == 2 and ended.out == ""
    assert "Usage: modnas-fast" in ended.err and "Error" in ended.err and "Traceback" not in ended.err
