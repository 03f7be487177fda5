"""Documents and their tokens: text files, JSON lines, parquet, token files, and an embedded default."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_text

#: the embedded default: the topics of Python's own help, some 80 documents of English and code
EMBEDDED = "python-topics"
#: what a column of texts is called
TEXT_COLUMN = "text"
#: tokens of texts are their UTF-8 bytes, and one more that ends each document
BYTES, END = 257, 256
#: what ends a document in token files (GPT-2's vocabulary)
GPT2_VOCABULARY, GPT2_END = 50_257, 50_256
#: documents at least: one for each part
LEAST = 3


@dataclass(frozen=True)
class Corpus:
    """Documents as tokens, int64 each, with the token at its end that ends them."""

    name: str
    documents: tuple[Tensor, ...]
    #: V
    vocabulary: int
    notes: tuple[str, ...] = ()


def read_corpus(source: str) -> Corpus:
    """The documents at a place: `python-topics`, a text, JSON-lines, parquet or token file, or a folder of such.

    - `*.txt`: a document each, UTF-8 with or without byte order mark;
    - `*.jsonl`: a document per line, under `text`; `*.parquet`: one per row of the column `text`;
    - `*.bin`: token ids of GPT-2's vocabulary as little-endian uint16, documents ended by 50256 (nanoGPT's convention).

    Raises InputError for what is none of these, is empty, or has fewer than three documents.
    """
    if source == EMBEDDED:
        return _of_texts(EMBEDDED, [text.encode() for text in _topics()], [])
    path = Path(source)
    files = _files(path)
    if files[0].suffix == ".bin":
        return _of_token_files(path.stem, files)
    texts, empty = [], 0
    for file in files:
        for text in _texts(file):
            texts.append(text.encode())
            empty += not text.strip()
    notes = [f"{empty} of {len(texts)} documents are empty and were left out"] if empty else []
    return _of_texts(path.stem, [text for text in texts if text.strip()], notes)


def _topics() -> list[str]:
    from pydoc_data.topics import topics  # half a megabyte: only where it is asked for

    return [topics[name] for name in sorted(topics)]


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"data: {path} does not exist")
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    known = [file for file in found if file.suffix.lower() in (".txt", ".jsonl", ".parquet", ".bin")]
    kinds = {file.suffix.lower() for file in known}
    if not known:
        raise InputError(f"data: {path} has no texts; wanted *.txt, *.jsonl, *.parquet or *.bin")
    if len(kinds) > 1:
        raise InputError(f"data: {path} has {', '.join(sorted(kinds))} side by side; name a folder with one kind")
    return known


def _texts(file: Path) -> Iterator[str]:
    if file.suffix.lower() == ".txt":
        try:
            yield read_text(file).replace("\r\n", "\n")
        except (UnicodeDecodeError, InputError):
            raise InputError(f"data: {file} is no UTF-8 text; convert it, or leave it out") from None
    elif file.suffix.lower() == ".jsonl":
        yield from _lines(file)
    else:
        yield from _rows(file)


def _lines(file: Path) -> Iterator[str]:
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if line.strip():
            try:
                text = json.loads(line)[TEXT_COLUMN]
            except (ValueError, KeyError, TypeError):
                text = None
            if not isinstance(text, str):
                raise InputError(f'data: {file}, line {number}: wanted a JSON object with "{TEXT_COLUMN}"')
            yield text


def _rows(file: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(file).names
        if TEXT_COLUMN not in names:
            raise InputError(f"data: {file} has no column {TEXT_COLUMN}; it has {', '.join(names)}")
        column = pq.read_table(file, columns=[TEXT_COLUMN])[TEXT_COLUMN].to_pylist()
    except (pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"data: {file} is no readable parquet file: {first}") from None
    for row, text in enumerate(column, 1):
        if not isinstance(text, str):
            raise InputError(f"data: {file}, row {row}: {TEXT_COLUMN} must be text, got {type(text).__name__}")
        yield text


def _of_texts(name: str, texts: list[bytes], notes: list[str]) -> Corpus:
    end = np.array([END], dtype=np.int64)
    documents = [np.concatenate([np.frombuffer(text, dtype=np.uint8).astype(np.int64), end]) for text in texts]
    return _checked(name, [torch.from_numpy(document) for document in documents], BYTES, notes)


def _of_token_files(name: str, files: list[Path]) -> Corpus:
    documents: list[Tensor] = []
    for file in files:
        if file.stat().st_size % 2:
            raise InputError(f"data: {file} is no file of uint16 tokens: it has an odd number of bytes")
        ids = torch.from_numpy(np.fromfile(file, dtype="<u2").astype(np.int64))
        if len(ids) and int(ids.max()) >= GPT2_VOCABULARY:
            raise InputError(f"data: {file} has the token {int(ids.max())}, GPT-2's vocabulary ends at {GPT2_END}")
        ends = (ids == GPT2_END).nonzero().flatten().tolist()
        documents += [part for part in ids.tensor_split([end + 1 for end in ends]) if len(part)]
    return _checked(name, documents, GPT2_VOCABULARY, [])


def _checked(name: str, documents: list[Tensor], vocabulary: int, notes: list[str]) -> Corpus:
    if len(documents) < LEAST:
        raise InputError(
            f"data: {name} has {len(documents)} documents, wanted at least {LEAST}: training, validation and test part "
            "have documents of their own"
        )
    return Corpus(name, tuple(documents), vocabulary, tuple(notes))
