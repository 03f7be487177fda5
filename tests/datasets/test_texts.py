"""Documents and their tokens from every kind of file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from modnas_fast.datasets.texts import BYTES, END, GPT2_END, GPT2_VOCABULARY, read_corpus
from modnas_fast.runtime.errors import InputError

TEXTS = ["one fine day", "zwei Äpfel\n", "three"]


def words(tokens: torch.Tensor) -> str:
    assert int(tokens[-1]) == END and tokens.dtype == torch.int64
    return bytes(tokens[:-1].tolist()).decode()


def write(folder: Path, kind: str) -> Path:
    if kind == "txt":
        folder.mkdir()
        for number, text in enumerate(TEXTS):
            (folder / f"{number}.txt").write_bytes(("\ufeff" * (number == 1) + text.replace("\n", "\r\n")).encode())
        (folder / "notes.md").write_text("left alone")
        return folder
    file = folder.with_suffix(f".{kind}")
    if kind == "jsonl":
        file.write_text("\n".join(json.dumps({"text": text, "id": 1}) for text in TEXTS) + "\n")
    else:
        pq.write_table(pa.table({"text": TEXTS, "other": [1, 2, 3]}), file)
    return file


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_texts_become_bytes(tmp_path: Path, kind: str) -> None:
    corpus = read_corpus(str(write(tmp_path / "corpus", kind)))
    assert (corpus.name, corpus.vocabulary, corpus.notes) == ("corpus", BYTES, ())
    assert [words(document) for document in corpus.documents] == TEXTS


def test_token_files_are_divided_at_their_separator(tmp_path: Path) -> None:
    ids = [5, 6, GPT2_END, 7, GPT2_END, 8, 9]
    np.array(ids, dtype="<u2").tofile(tmp_path / "val.bin")
    corpus = read_corpus(str(tmp_path / "val.bin"))
    assert corpus.vocabulary == GPT2_VOCABULARY
    assert [document.tolist() for document in corpus.documents] == [[5, 6, GPT2_END], [7, GPT2_END], [8, 9]]


def test_the_embedded_texts_need_no_file() -> None:
    corpus = read_corpus("python-topics")
    assert len(corpus.documents) > 50 and sum(map(len, corpus.documents)) > 200_000
    assert "statement" in words(corpus.documents[0])


def test_empty_documents_are_left_out_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for text in [*TEXTS, "", " \n"]))
    corpus = read_corpus(str(file))
    assert len(corpus.documents) == 3 and corpus.notes == ("2 of 5 documents are empty and were left out",)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("absent", None, "does not exist"),
        ("one.txt", b"only one", "has 1 documents, wanted at least 3"),
        ("empty.txt", b"", "has 0 documents"),
        ("binary.txt", b"\x80\x81\xff", "is no UTF-8 text"),
        ("bad.jsonl", b'{"text": "a"}\n{"words": "b"}', "line 2: wanted a JSON object"),
        ("odd.bin", b"abc", "odd number of bytes"),
        ("large.bin", b"\xff\xff", "token 65535, GPT-2's vocabulary ends at 50256"),
        ("no.parquet", b"PAR", "no readable parquet file"),
        ("picture.png", b"x", "no texts; wanted"),
    ],
)
def test_what_is_no_corpus(tmp_path: Path, name: str, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told) as error:
        read_corpus(str(tmp_path / name))
    assert len(str(error.value).splitlines()) == 1


def test_folders_hold_one_kind(tmp_path: Path) -> None:
    write(tmp_path / "a", "txt")
    write(tmp_path / "a" / "b", "jsonl")
    with pytest.raises(InputError, match=r"has \.jsonl, \.txt side by side"):
        read_corpus(str(tmp_path / "a"))


def test_a_column_is_missing_or_no_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"words": TEXTS}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no column text; it has words"):
        read_corpus(str(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"text": ["a", None, "b"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="row 2: text must be text, got NoneType"):
        read_corpus(str(tmp_path / "b.parquet"))
