"""Pairs of sentences from every kind of source, and what is refused."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modnas_fast.datasets.pairs import read_pairs
from modnas_fast.runtime.errors import InputError

ENGLISH = [f"A dog runs to house number {i}." for i in range(40)]
GERMAN = [f"Ein Hund läuft zum Haus Nummer {i}." for i in range(40)]
PAIRS = tuple(zip(ENGLISH, GERMAN))


def write(file: Path, lines: list[str], encoding: str = "utf-8") -> None:
    file.write_text("\n".join(lines) + "\n", encoding=encoding)


def two_files(folder: Path, english: list[str] = ENGLISH, german: list[str] = GERMAN) -> Path:
    folder.mkdir(exist_ok=True)
    write(folder / "train.en", english)
    write(folder / "train.de", german)
    return folder


def test_two_files_of_lines_per_part(tmp_path: Path) -> None:
    folder = two_files(tmp_path / "texts")
    write(folder / "val.en", ENGLISH[:3], "utf-8-sig")
    write(folder / "val.de", GERMAN[:3])
    for name in ("test_2016", "test_2017"):
        for ending, lines in (("en", ENGLISH), ("de", GERMAN)):
            (folder / f"{name}.{ending}.gz").write_bytes(gzip.compress("\r\n".join(lines[5:9]).encode()))
    (folder / "README.md").write_text("not a part", encoding="utf-8")
    found = read_pairs(folder)
    assert found.languages == ("de", "en") and found.name == "texts"
    assert found.parts["train"] == tuple(zip(GERMAN, ENGLISH)) and len(found.parts["validation"]) == 3
    assert found.parts["test"] == tuple(zip(GERMAN, ENGLISH))[5:9]
    assert found.notes == ("the test part is test_2016; test_2017 were left out",)
    assert read_pairs(folder, ("en", "de")).parts["train"] == PAIRS


def test_a_tab_between_them(tmp_path: Path) -> None:
    write(tmp_path / "deu.txt", [f"{source}\t{target}\tCC-BY" for source, target in PAIRS])
    found = read_pairs(tmp_path / "deu.txt")
    assert found.parts == {"train": PAIRS} and found.languages == ("source", "target")


def zipped(file: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return file


def test_the_one_file_of_pairs_in_an_archive(tmp_path: Path) -> None:
    lines = "\ufeff" + "".join(f"{source}\t{target}\r\n" for source, target in PAIRS)
    found = read_pairs(zipped(tmp_path / "deu-eng.zip", {"deu.txt": lines, "_about.txt": "Where it is from\n"}))
    assert found.name == "deu-eng" and found.parts == {"train": PAIRS} and list(tmp_path.iterdir()) == [
        tmp_path / "deu-eng.zip"
    ]  # fmt: skip


def test_parquet_with_two_columns_or_one_of_fields(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": range(40), "en": ENGLISH, "de": GERMAN}), tmp_path / "two.parquet")
    assert read_pairs(tmp_path / "two.parquet").parts["train"] == PAIRS
    rows = [{"de": target, "en": source} for source, target in PAIRS]
    pq.write_table(pa.table({"translation": rows}), tmp_path / "one.parquet")
    assert read_pairs(tmp_path / "one.parquet", ("en", "de")).parts["train"] == PAIRS
    with pytest.raises(InputError, match="wanted en and fr; it has id, en, de"):
        read_pairs(tmp_path / "two.parquet", ("en", "fr"))


def test_pairs_with_an_empty_side_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = two_files(tmp_path / "texts", ["", *ENGLISH[1:]], [*GERMAN[:-1], "  "])
    found = read_pairs(folder, ("en", "de"))
    assert found.parts["train"] == PAIRS[1:-1]
    assert found.notes == ("2 of 40 pairs of the train part have an empty side and were left out",)


def test_what_is_refused(tmp_path: Path) -> None:
    def refused(told: str, place: Path, languages: tuple[str, str] | None = None) -> None:
        with pytest.raises(InputError, match=told) as caught:
            read_pairs(place, languages)
        assert len(str(caught.value).splitlines()) == 1

    refused("does not exist", tmp_path / "nothing")
    refused("train.en has 40 lines, train.de has 39", two_files(tmp_path / "lengths", german=GERMAN[1:]), ("en", "de"))
    refused("one language twice: 40 of 40", two_files(tmp_path / "same", german=ENGLISH))
    refused("has 7 pairs of sentences, wanted at least 30", two_files(tmp_path / "few", ENGLISH[:7], GERMAN[:7]))
    third = two_files(tmp_path / "third")
    write(third / "train.fr", GERMAN)
    refused("files that end in de, en, fr; wanted pairs", third)
    refused("no train.en and train.it", third, ("en", "it"))
    write(two_files(tmp_path / "latin") / "train.de", GERMAN, "latin-1")
    refused("train.de is no UTF-8 text", tmp_path / "latin")
    (two_files(tmp_path / "zip") / "train.de").unlink()
    (tmp_path / "zip" / "train.de.gz").write_bytes(gzip.compress(b"Ein Hund.")[:-4])
    refused("train.de.gz is no whole gzip file", tmp_path / "zip")
    refused(r"has 0 files of pairs \(no tab in a first line\)", zipped(tmp_path / "none.zip", {"a.txt": "a\n"}))
    refused(r"2 files of pairs \(a.txt, b.tsv\)", zipped(tmp_path / "two.zip", {"a.txt": "a\tb", "b.tsv": "a\tb"}))
    refused("is no UTF-8", zipped(tmp_path / "latin.zip", {"a.txt": b"a\tH\xe4user\n"}))  # type: ignore[dict-item]
    (tmp_path / "cut.zip").write_bytes((tmp_path / "two.zip").read_bytes()[:60])
    refused("is no whole zip archive", tmp_path / "cut.zip")
    write(tmp_path / "one.tsv", [*(f"{s}\t{t}" for s, t in PAIRS), "alone"])
    refused("line 41: wanted two sentences with a tab", tmp_path / "one.tsv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    refused("no readable parquet file", tmp_path / "bad.parquet")
    pq.write_table(pa.table({"text": ENGLISH}), tmp_path / "single.parquet")
    refused("wanted two columns of text; it has text", tmp_path / "single.parquet")
