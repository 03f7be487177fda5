"""modnas-fast data: list, fetch, verify, convert: with a registry of two small data sets, and the published one."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer, cut_after, other, serving

from modnas_fast.datasets import registry
from modnas_fast.spaces import NB201Space

CONTENT = {"/a/one.csv": b"1\n", "/a/two.csv": b"2\n" * 2000, "/b/three.csv": b"3\n"}
DATA = os.environ.get("MODNAS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published files")
OPTIONS = {"list": ("--json",), "fetch": ("NAME", "--mirror", "--to"), "verify": ("NAME",),
           "convert": ("FILE", "--out", "--dataset")}  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A server of two data sets, a registry that lists them, and a data folder that does not exist yet."""
    with serving(dict(CONTENT)) as server:
        monkeypatch.setattr(registry, "_content", lambda: small_registry(server.url))
        monkeypatch.setenv("MODNAS_DATA", str(tmp_path / "data"))
        yield server


def small_registry(base: str) -> dict:
    def entry(name: str) -> dict:
        files = [
            {"path": path[1:], "upstream": path, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            for path, body in CONTENT.items()
            if path.startswith(f"/{name}/")
        ]
        return {"name": name, "title": f"set {name}", "licence": "MIT", "source": base, "base": base, "files": files}

    return {"datasets": [entry("a"), entry("b")], "groups": {"both": ["a", "b"]}}


def rows(command: Any) -> dict[str, str]:
    """The state of each data set, as `list` shows it."""
    cells = [line.split("│") for line in command("data", "list").out.splitlines() if line.startswith("│")]
    return {cell[1].strip(): cell[6].strip() for cell in cells}


@pytest.mark.parametrize("name", OPTIONS)
def test_help_names_every_option(command: Any, name: str) -> None:
    ended = command("data", name, "--help")
    assert (ended.code, ended.err) == (0, "")
    for option in OPTIONS[name]:
        assert option in ended.out


def test_from_nothing_to_verified(command: Any, server: FileServer, tmp_path: Path) -> None:
    assert rows(command) == {"a": "absent", "b": "absent"}
    empty = command("data", "verify")
    assert empty.code == 2 and empty.err.endswith("has no data set; fetch one with: modnas-fast data fetch nb201\n")
    server.script = [cut_after(1), cut_after(1)]
    fetched = command("data", "fetch", "both")
    assert fetched.code == 0 and fetched.out == f"a: {tmp_path}/data/a\nb: {tmp_path}/data/b\n"
    assert "Fetching a, kB: done" in fetched.err and "\x1b" not in fetched.err
    assert rows(command) == {"a": "present", "b": "present"}
    verified = command("data", "verify")
    assert (verified.code, verified.out) == (0, "a: 2 of 2 files as published\nb: 1 of 1 files as published\n")
    count = len(server.ranges)
    again = command("data", "fetch", "both")
    assert again.err == "a: all there and verified\nb: all there and verified\n" and len(server.ranges) == count


def test_verify_names_every_bad_file_and_the_remedy(command: Any, server: FileServer, tmp_path: Path) -> None:
    command("data", "fetch", "both")
    (tmp_path / "data/a/one.csv").unlink()
    (tmp_path / "data/a/two.csv").write_bytes(b"3\n" * 2000)
    assert rows(command)["a"] == "partly"
    ended = command("data", "verify")
    assert ended.code == 1 and ended.out == "b: 1 of 1 files as published\n"
    remedy = "mend it with: modnas-fast data fetch a"
    assert ended.err.splitlines() == [
        f"{tmp_path}/data/a/one.csv: missing; {remedy}",
        f"{tmp_path}/data/a/two.csv: the SHA-256 differs; {remedy}",
    ]
    assert command("data", "verify", "b").code == 0
    assert command("data", "fetch", "a").code == 0 and command("data", "verify").code == 0


def test_list_for_machines(command: Any, server: FileServer, tmp_path: Path) -> None:
    command("data", "fetch", "b")
    content = json.loads(command("data", "list", "--json").out)
    assert content["folder"] == str(tmp_path / "data") and content["groups"] == {"both": ["a", "b"]}
    assert {data["name"]: (data["state"], data["bytes"]) for data in content["datasets"]} == {
        "a": ("absent", 4002),
        "b": ("present", 2),
    }
    assert content["datasets"][1]["files"][0]["url"] == f"{server.url}/b/three.csv"


def test_another_folder_and_a_mirror(command: Any, server: FileServer, tmp_path: Path) -> None:
    assert command("data", "fetch", "both", "--to", "first").out == (
        f"a: first/a\nb: first/b\nTo use them: export MODNAS_DATA={tmp_path / 'first'}\n"
    )
    server.content.clear()
    ended = command("data", "fetch", "both", "--to", "second", "--mirror", "first")
    assert ended.code == 0 and "a: from first" in ended.err
    assert (tmp_path / "second/a/two.csv").read_bytes() == CONTENT["/a/two.csv"]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("fetch", "c"), "data: unknown name 'c'; available: a, b, both"),
        (("verify", "c"), "data: unknown name 'c'; available: a, b, both"),
        (("fetch", "b", "--mirror", "gopher://x"), "--mirror: wanted http://, https:// or file://, or a folder"),
        (("fetch", "b", "--mirror", "absent"), "absent/b/three.csv: No such file or directory; use another --mirror"),
        (("convert", "absent.pickle"), "FILE: absent.pickle does not exist"),
    ],
)
def test_bad_input_ends_with_a_line(command: Any, server: FileServer, arguments: tuple[str, ...], text: str) -> None:
    ended = command("data", *arguments)
    assert ended.code == 2 and text in ended.err
    assert "Traceback" not in ended.err and ended.err.splitlines()[-1].startswith("modnas-fast: ")


def test_a_wrong_file_of_the_server_is_not_kept(command: Any, server: FileServer, tmp_path: Path) -> None:
    server.script = [other(b"4\n")]
    ended = command("data", "fetch", "b")
    assert ended.code == 2 and "not the published file (the SHA-256 differs); nothing was kept" in ended.err
    assert list((tmp_path / "data/b").iterdir()) == []


def test_room_is_looked_for_first(
    command: Any, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10_000, 6_000, 4_000))
    ended = command("data", "fetch", "both")
    assert ended.code == 2
    assert f"{tmp_path / 'data'}: 4,004 bytes are needed, 4,000 are free; make room" in ended.err
    assert server.ranges == []
    assert command("data", "fetch", "b").code == 0


def test_a_folder_for_reading_only_is_enough_when_all_is_there(
    command: Any, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("data", "fetch", "b")

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("modnas_fast.datasets.part.open", refuse, raising=False)
    assert command("data", "fetch", "b").code == 0
    ended = command("data", "fetch", "a")
    assert ended.code == 2 and f"{tmp_path / 'data/a'}: the folder cannot be written (Read-only file" in ended.err


def test_convert(command: Any, tmp_path: Path) -> None:
    text = NB201Space.references[0]
    table = {"config": [{"arch_str": text}], "pixel3_latency": [2.5]}
    (tmp_path / "HW-NAS-Bench-v1_0.pickle").write_bytes(pickle.dumps({"nasbench201": {"cifar10": table}}))
    ended = command("data", "convert", "HW-NAS-Bench-v1_0.pickle")
    assert ended.code == 0, ended.err
    assert ended.out == "HW-NAS-Bench-v1_0.csv: 1 rows of architecture, device, latency_ms, energy_mj\n"
    assert (tmp_path / "HW-NAS-Bench-v1_0.csv").read_text() == (
        f"architecture,device,latency_ms,energy_mj\n{text},pixel3,2.5,\n"
    )
    again = command("data", "convert", "HW-NAS-Bench-v1_0.pickle")
    assert again.code == 2 and "--out: HW-NAS-Bench-v1_0.csv exists" in again.err


def test_fetching_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from modnas_fast.cli import app as cli\n"
        f"sys.argv = ['modnas-fast', 'data', 'fetch', 'nats-bench', '--to', {str(tmp_path / 'to')!r}, "
        f"'--mirror', {str(tmp_path / 'nowhere')!r}]\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert stop.code == 2\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "use another --mirror" in done.stderr


@needs_data
def test_the_published_folder_is_verified(command: Any) -> None:
    ended = command("data", "verify", "nb201")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[0] == "help-latency: 28 of 28 files as published"


@needs_data
def test_the_published_files_by_a_mirror(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("data", "fetch", "nb201", "--to", "copy", "--mirror", str(DATA)).code == 0
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path / "copy"))
    assert command("data", "verify").code == 0
