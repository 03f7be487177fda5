"""Documents and their tokens from every kind of file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modnas_fast.datasets.texts import Corpus, Texts, encoded, is_tokens, read_documents
from modnas_fast.datasets.vocabulary import Bytes
from modnas_fast.runtime.errors import InputError

END = 50_256
TEXTS = ["one fine day", "zwei Äpfel\n", "three"]


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
def test_texts_are_read_and_become_tokens(tmp_path: Path, kind: str) -> None:
    texts = read_documents(str(write(tmp_path / "corpus", kind)))
    assert texts == Texts("corpus", tuple(TEXTS)) and texts.sizes == (13, 13, 6)
    corpus = encoded(texts, Bytes())
    assert (corpus.name, corpus.vocabulary, corpus.notes, corpus.sizes) == ("corpus", 257, (), (13, 13, 6))
    assert [document.tolist() for document in corpus.documents] == [[*text.encode(), 256] for text in TEXTS]


def test_token_files_are_divided_at_their_separator(tmp_path: Path) -> None:
    ids = [5, 6, END, 7, END, 8, 9]
    np.array(ids, dtype="<u2").tofile(tmp_path / "val.bin")
    corpus = read_documents(str(tmp_path / "val.bin"))
    assert isinstance(corpus, Corpus) and (corpus.vocabulary, corpus.sizes) == (50_257, (3, 2, 2))
    assert is_tokens(tmp_path) and is_tokens(tmp_path / "val.bin") and not is_tokens(tmp_path / "a.txt")
    assert [document.tolist() for document in corpus.documents] == [[5, 6, END], [7, END], [8, 9]]


def test_the_embedded_texts_need_no_file() -> None:
    texts = read_documents("python-topics")
    assert isinstance(texts, Texts) and len(texts.documents) > 50 and sum(texts.sizes) > 200_000
    assert "statement" in texts.documents[0]


def test_empty_documents_are_left_out_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for text in [*TEXTS, "", " \n"]))
    corpus = read_documents(str(file))
    assert len(corpus.documents) == 3 and corpus.notes == ("2 of 5 documents are empty and were left out",)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("absent", None, "does not exist"),
        ("one.txt", b"only one", "has 1 documents, wanted at least 3"),
        ("empty.txt", b"", "has 0 documents"),
        ("binary.txt", b"\x80\x81\xff", "is no UTF-8 text"),
        ("zeros.txt", b"a\0b", "is no UTF-8 text"),
        ("half.jsonl", b'{"text": "a \\ud83c b"}', "line 1: no Unicode text: half a character at 2"),
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
        read_documents(str(tmp_path / name))
    assert len(str(error.value).splitlines()) == 1


def test_folders_hold_one_kind(tmp_path: Path) -> None:
    write(tmp_path / "a", "txt")
    write(tmp_path / "a" / "b", "jsonl")
    with pytest.raises(InputError, match=r"has \.jsonl, \.txt side by side"):
        read_documents(str(tmp_path / "a"))


def test_a_column_is_missing_or_no_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"words": TEXTS}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no column text; it has words"):
        read_documents(str(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"text": ["a", None, "b"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="row 2: text must be text, got NoneType"):
        read_documents(str(tmp_path / "b.parquet"))
