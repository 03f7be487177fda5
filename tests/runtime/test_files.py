"""Files appear whole or not at all."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, read_text, replacing, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="disk full"), replacing(path) as temporary:
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
        raise RuntimeError("disk full")
    assert path.read_text() == "old" and names(tmp_path) == ["value.json"]


def test_a_failing_first_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), replacing(tmp_path / "a"):
        raise ValueError
    assert names(tmp_path) == []


def test_success_replaces_the_file_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "value.txt"
    write_text(path, "first")
    write_text(path, "zweite · 第二")
    assert path.read_text(encoding="utf-8") == "zweite · 第二" and names(path.parent) == ["value.txt"]


def test_the_old_file_is_visible_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent and path.read_text() == "old"
    assert path.read_text() == "new"


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode
    mask = os.umask(0o077)
    try:
        write_text(tmp_path / "private", "")
        assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "b": {"ü": "µs"}}
    write_json(tmp_path / "v.json", value)
    assert read_json(tmp_path / "v.json") == value
    assert "µs" in (tmp_path / "v.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_json_has_no_nan_and_the_old_file_stays(tmp_path: Path, number: float) -> None:
    write_json(tmp_path / "v.json", 1)
    with pytest.raises(ValueError):
        write_json(tmp_path / "v.json", {"a": number})
    assert read_json(tmp_path / "v.json") == 1 and names(tmp_path) == ["v.json"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_of_other_systems_is_read_without_its_mark(tmp_path: Path, encoding: str) -> None:
    text = '{"größe": "µs"}\r\n'
    (tmp_path / "t").write_bytes(text.encode(encoding))
    assert read_text(tmp_path / "t") == text and read_json(tmp_path / "t") == {"größe": "µs"}


def test_a_mark_of_either_byte_order_is_understood(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"\xfe\xff" + "[1]".encode("utf-16-be"))
    assert read_text(tmp_path / "t") == "[1]"
    (tmp_path / "t").write_bytes(b"\xff\xfe" + "[1]".encode("utf-16-le"))
    assert read_text(tmp_path / "t") == "[1]"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("größe".encode("latin-1"), r"t is no UTF-8 text \(byte 2\): save it as UTF-8"),
        (b"\xef\xbb\xbf\xff", "t is no UTF-8 text"),
        (b"\xff\xfe1", "t is no UTF-16 text"),
        ("1.5".encode("utf-16-le"), "UTF-16 without a byte order mark: save it as UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_in_one_line(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(InputError, match=text) as caught:
        read_text(tmp_path / "t")
    assert "\n" not in str(caught.value)
