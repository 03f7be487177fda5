"""How texts become tokens, and tokens texts: bytes, GPT-2's byte pairs, or byte pairs learned from training texts."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from modnas_fast.datasets.home import VOCABULARY_FILE, locate
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: `bytes`, `gpt2`, or how many tokens are learned
Choice: TypeAlias = str | int
#: tokens of texts that are their bytes, and one more that ends a document
BYTES = 257
#: of GPT-2; its last token ends a document
GPT2_SIZE = 50_257
#: its files, as the data set gpt2-bpe holds them
GPT2_TOKENS, GPT2_MERGES = "text/gpt2-bpe/encoder.json", "text/gpt2-bpe/vocab.bpe"
#: of UTF-8, that are encoded between two reports of progress
CHUNK_BYTES = 1 << 20
#: a pair of tokens must come up so often to become one
LEAST_PAIRS = 2


class Vocabulary(ABC):
    """V tokens 0..V−1, of which the last ends a document and stands for no text."""

    #: V
    size: int

    @property
    def end(self) -> int:
        """The token that ends a document."""
        return self.size - 1

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without an end."""
        return self._encoded([text])[0]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; ends are left out, and bytes that are no UTF-8 become U+FFFD.

        Raises InputError for a token that is none of this vocabulary.
        """
        wrong = next((token for token in tokens if not 0 <= token < self.size), None)
        if wrong is not None:
            raise InputError(f"vocabulary: wanted tokens from 0 to {self.end}, got {wrong}")
        return self._decoded([token for token in tokens if token != self.end])

    def documents(self, texts: Sequence[str], advance: Callable[[int], None] = lambda percent: None) -> list[Tensor]:
        """The tokens of whole documents, int64 each with its end; `advance` is told percents."""
        found: list[Tensor] = []
        done, total = 0, sum(map(len, texts))
        for chunk in _chunks(texts):
            found += [torch.tensor([*tokens, self.end], dtype=torch.int64) for tokens in self._encoded(chunk)]
            done += sum(map(len, chunk))
            advance(100 * done // max(1, total))
        return found

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, of which `vocabulary_of` makes the same again."""

    @abstractmethod
    def _encoded(self, texts: Sequence[str]) -> list[list[int]]: ...

    @abstractmethod
    def _decoded(self, tokens: Sequence[int]) -> str: ...


class Bytes(Vocabulary):
    """UTF-8.

    >>> Bytes().encode("né"), Bytes().decode([110, 195, 169, 256])
    ([110, 195, 169], 'né')
    """

    size = BYTES

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "bytes"}

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def _decoded(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")


class BytePairs(Vocabulary):
    """Byte pairs, by the library tokenizers."""

    @property
    @abstractmethod
    def _tokenizer(self) -> Tokenizer: ...

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _decoded(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))


class GPT2(BytePairs):
    """GPT-2's vocabulary; its files are read when a text is asked for.

    Raises InputError then, where they or the library are missing.
    """

    size = GPT2_SIZE

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "gpt2"}

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from_file = _library().models.BPE.from_file
        tokens, merges = (str(locate(path)) for path in (GPT2_TOKENS, GPT2_MERGES))
        try:
            tokenizer = _byte_level(from_file(tokens, merges))
            if tokenizer.get_vocab_size() != self.size:
                raise ValueError(f"{tokenizer.get_vocab_size()} tokens instead of {self.size}")
        except Exception as error:  # the library raises plain ones
            first = str(error).partition("\n")[0]
            text = f"{tokens} or {merges} is damaged ({first}); mend it with: modnas-fast data fetch gpt2-bpe"
            raise InputError(text) from None
        return tokenizer


class Trained(BytePairs):
    """A vocabulary that was learned.

    Args:
        tokenizer: of all tokens but the end.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._made, self.size = tokenizer, tokenizer.get_vocab_size() + 1

    @property
    def _tokenizer(self) -> Tokenizer:
        return self._made

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "trained", "tokenizer": json.loads(self._tokenizer.to_str())}


def train_byte_pairs(texts: Sequence[str], size: int) -> Trained:
    """V = `size` tokens learned from texts: 256 bytes, the most frequent pairs, and the end; always the same.

    Raises InputError for fewer than 257, where the texts have not so many pairs, and where the library is missing.
    """
    check_size(size)
    library = _library()
    tokenizer = _byte_level(library.models.BPE())
    trainer = library.trainers.BpeTrainer(
        vocab_size=size - 1,
        min_frequency=LEAST_PAIRS,
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if (found := tokenizer.get_vocab_size()) < size - 1:
        raise InputError(
            f"task.vocabulary: the training part has byte pairs for {found + 1} tokens, {size} were wanted; set it to "
            f"at most {found + 1}, or give more text"
        )
    return Trained(tokenizer)


def check_size(size: int) -> None:
    """Raises InputError where a vocabulary cannot be so small."""
    if size < BYTES:
        raise InputError(f"task.vocabulary: wanted at least {BYTES} tokens, all bytes and the end, got {size}")


def check_choice(choice: Choice) -> None:
    """Raises InputError where what a vocabulary needs is not on this machine, before any text is read."""
    if choice != "bytes":
        _library()
    if choice == "gpt2":
        for path in (GPT2_TOKENS, GPT2_MERGES):
            locate(path)


def make_vocabulary(choice: Choice, training: Sequence[str]) -> Vocabulary:
    """The vocabulary of a choice; `training` are the texts that one is learned from."""
    if choice == "bytes":
        return Bytes()
    return GPT2() if choice == "gpt2" else train_byte_pairs(training, int(choice))


def vocabulary_of(content: dict[str, Any]) -> Vocabulary:
    """The vocabulary of `Vocabulary.to_dict`.

    Raises InputError where the library is missing; KeyError, TypeError or ValueError for other content.
    """
    if content["kind"] != "trained":
        return {"bytes": Bytes, "gpt2": GPT2}[content["kind"]]()
    from_text = _library().Tokenizer.from_str
    try:
        return Trained(from_text(json.dumps(content["tokenizer"])))
    except Exception as error:  # the library raises plain ones
        raise ValueError(str(error)) from None


def keep_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Leaves a vocabulary in the folder of a run."""
    write_json(folder / VOCABULARY_FILE, vocabulary.to_dict())


def load_vocabulary(run: Path | str) -> Vocabulary:
    """The vocabulary that a run keeps in its folder, to encode prompts and decode what a network continues.

    Raises InputError where there is none, and where it is damaged.
    """
    path = Path(run) / VOCABULARY_FILE
    try:
        return vocabulary_of(read_json(path))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: is that the folder of a run on texts?") from None
    except InputError:
        raise
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} is damaged; copy it again from where the run was made") from None


def _byte_level(model: Any) -> Any:
    """A tokenizer of bytes: no normalisation, words as GPT-2 cuts them."""
    library = _library()
    tokenizer = library.Tokenizer(model)
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise InputError(
            "task.vocabulary: byte pairs need the library tokenizers; install it with: pip install 'modnas-fast[text]'"
        ) from None
    return tokenizers


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts in their order, about CHUNK_BYTES at a time, at least one."""
    begin, length = 0, 0
    for place, text in enumerate(texts):
        length += len(text)
        if length >= CHUNK_BYTES:
            yield texts[begin : place + 1]
            begin, length = place + 1, 0
    if begin < len(texts):
        yield texts[begin:]
