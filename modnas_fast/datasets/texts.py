"""Documents: text files, JSON lines, parquet, token files, and an embedded default; and a corpus of tokens of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modnas_fast.datasets.vocabulary import GPT2, Vocabulary
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_text

#: the embedded default: the topics of Python's own help, some 80 documents of English and code
EMBEDDED = "python-topics"
#: what a column of texts is called
TEXT_COLUMN = "text"
#: how the names of token files end
TOKENS = ".bin"
#: documents at least: one for each part
LEAST = 3


@dataclass(frozen=True)
class Texts:
    """Documents as texts."""

    name: str
    documents: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """What each document counts for where they are divided: its bytes and its end, whatever the vocabulary."""
        return tuple(len(text.encode()) + 1 for text in self.documents)


@dataclass(frozen=True)
class Corpus:
    """Documents as tokens, int64 each, with the token at its end that ends them."""

    name: str
    documents: tuple[Tensor, ...]
    #: V
    vocabulary: int
    notes: tuple[str, ...] = ()
    #: of the tokens; None: nobody knows it
    words: Vocabulary | None = None
    #: what each document counts for where they are divided; None: its tokens
    weights: tuple[int, ...] | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """What each document counts for where they are divided."""
        return tuple(map(len, self.documents)) if self.weights is None else self.weights


def read_documents(source: str) -> Texts | Corpus:
    """The documents at a place: `python-topics`, a text, JSON-lines, parquet or token file, or a folder of such.

    - `*.txt`: a document each, UTF-8 with or without byte order mark;
    - `*.jsonl`: a document per line, under `text`; `*.parquet`: one per row of the column `text`;
    - `*.bin`: token ids of GPT-2's vocabulary as little-endian uint16, documents ended by 50256 (nanoGPT's convention);
      these come as tokens.

    Raises InputError for what is none of these, is empty, or has fewer than three documents.
    """
    if source == EMBEDDED:
        return Texts(EMBEDDED, tuple(_topics()))
    path = Path(source)
    files = _files(path)
    if is_tokens(files[0]):
        return _of_token_files(path.stem, files)
    texts = [text for file in files for text in _texts(file)]
    kept = tuple(text for text in texts if text.strip())
    empty = len(texts) - len(kept)
    _check_count(path.stem, len(kept))
    return Texts(path.stem, kept, (f"{empty} of {len(texts)} documents are empty and were left out",) if empty else ())


def is_tokens(path: Path) -> bool:
    """Whether a file, or what is in a folder, are tokens already; nothing is read."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return any(file.suffix.lower() == TOKENS for file in found)


def encoded(texts: Texts, vocabulary: Vocabulary, advance: Callable[[int], None] = lambda percent: None) -> Corpus:
    """The tokens of texts; `advance` is told percents."""
    documents = tuple(vocabulary.documents(texts.documents, advance))
    return Corpus(texts.name, documents, vocabulary.size, texts.notes, vocabulary, texts.sizes)


def _topics() -> list[str]:
    from pydoc_data.topics import topics  # half a megabyte: only where it is asked for

    return [topics[name] for name in sorted(topics)]


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"data: {path} does not exist")
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    known = [file for file in found if file.suffix.lower() in (".txt", ".jsonl", ".parquet", TOKENS)]
    kinds = {file.suffix.lower() for file in known}
    if not known:
        raise InputError(f"data: {path} has no texts; wanted *.txt, *.jsonl, *.parquet or *.bin")
    if len(kinds) > 1:
        raise InputError(f"data: {path} has {', '.join(sorted(kinds))} side by side; name a folder with one kind")
    return known


def _texts(file: Path) -> Iterator[str]:
    if file.suffix.lower() == ".txt":
        try:
            text = read_text(file)
        except (UnicodeDecodeError, InputError):
            raise InputError(f"data: {file} is no UTF-8 text; convert it, or leave it out") from None
        yield text.replace("\r\n", "\n")
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
            yield _whole(text, f"{file}, line {number}")


def _whole(text: str, where: str) -> str:
    """The text. Raises InputError for halves of characters, which JSON can write."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"data: {where}: no Unicode text: half a character at {error.start}") from None
    return text


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


def _of_token_files(name: str, files: list[Path]) -> Corpus:
    words = GPT2()
    documents: list[Tensor] = []
    for file in files:
        if file.stat().st_size % 2:
            raise InputError(f"data: {file} is no file of uint16 tokens: it has an odd number of bytes")
        ids = torch.from_numpy(np.fromfile(file, dtype="<u2").astype(np.int64))
        if len(ids) and int(ids.max()) >= words.size:
            raise InputError(f"data: {file} has the token {int(ids.max())}, GPT-2's vocabulary ends at {words.end}")
        ends = (ids == words.end).nonzero().flatten().tolist()
        documents += [part for part in ids.tensor_split([end + 1 for end in ends]) if len(part)]
    _check_count(name, len(documents))
    return Corpus(name, tuple(documents), words.size, (), words)


def _check_count(name: str, documents: int) -> None:
    if documents < LEAST:
        raise InputError(
            f"data: {name} has {documents} documents, wanted at least {LEAST}: training, validation and test part "
            "have documents of their own"
        )
