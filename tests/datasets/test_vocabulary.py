"""Vocabularies: bytes, GPT-2's byte pairs, learned ones; what is kept of them, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modnas_fast.datasets.home import VOCABULARY_FILE
from modnas_fast.datasets.vocabulary import (
    GPT2,
    GPT2_SIZE,
    Bytes,
    Vocabulary,
    check_choice,
    keep_vocabulary,
    load_vocabulary,
    make_vocabulary,
    train_byte_pairs,
)
from modnas_fast.runtime.errors import InputError

pytest.importorskip("tokenizers", reason="byte pairs need the extra text")
needs_gpt2 = pytest.mark.skipif("MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name GPT-2's files")
TEXTS = ["the cat sat on the mat, the cat sat", "the hat on the cat\n\tthe rat", "zwei Äpfel → 🍎🍎, zwei Äpfel"]
STRANGE = ["", " ", "\n", "Ä", "🍎", "a\r\nb", "<|endoftext|>", "never seen: ξ\u200b", "   spaces   "]


@pytest.fixture(scope="module", params=["bytes", 275, pytest.param("gpt2", marks=needs_gpt2)])
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    return make_vocabulary(request.param, TEXTS)


@pytest.mark.parametrize("text", [*TEXTS, *STRANGE])
def test_every_text_comes_back(vocabulary: Vocabulary, text: str) -> None:
    tokens = vocabulary.encode(text)
    assert vocabulary.decode(tokens) == text == vocabulary.decode([*tokens, vocabulary.end])
    assert all(0 <= token < vocabulary.end for token in tokens), "the end stands for no text"


def test_documents_end_and_their_encoding_is_told(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modnas_fast.datasets.vocabulary.CHUNK_BYTES", 40)
    told: list[int] = []
    found = vocabulary.documents(TEXTS, told.append)
    assert [document.tolist() for document in found] == [[*vocabulary.encode(t), vocabulary.end] for t in TEXTS]
    assert all(document.dtype == torch.int64 for document in found)
    assert len(told) > 1 and told == sorted(told) and told[-1] == 100


def test_a_vocabulary_is_kept_with_a_run(vocabulary: Vocabulary, tmp_path: Path) -> None:
    keep_vocabulary(tmp_path, vocabulary)
    again = load_vocabulary(tmp_path)
    assert (type(again), again.size) == (type(vocabulary), vocabulary.size)
    assert [again.encode(text) for text in TEXTS] == [vocabulary.encode(text) for text in TEXTS]
    for token in (-1, vocabulary.size):
        with pytest.raises(InputError, match=f"wanted tokens from 0 to {vocabulary.end}, got {token}"):
            again.decode([0, token])


def test_learned_byte_pairs_are_those_of_the_texts_and_come_out_the_same_elsewhere() -> None:
    found = train_byte_pairs(TEXTS, 275)
    assert found.size == 275 and len(found.encode("the cat sat")) < 6 < len("the cat sat")
    assert len(found.encode("dog dog")) == len("dog dog"), "nothing of it came up"
    program = (
        "import json; from modnas_fast.datasets.vocabulary import train_byte_pairs;"
        f"print(json.dumps(train_byte_pairs({TEXTS!r}, 275).to_dict()))"
    )
    environment = {**os.environ, "RAYON_NUM_THREADS": "3", "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout) == found.to_dict()


def test_learning_knows_how_many_tokens_there_can_be() -> None:
    with pytest.raises(
        InputError, match=r"byte pairs for (\d+) tokens, 5000 were wanted; set it to at most \1,"
    ) as error:
        train_byte_pairs(TEXTS, 5000)
    most = int(str(error.value).partition("at most ")[2].partition(",")[0])
    assert train_byte_pairs(TEXTS, most).size == most
    with pytest.raises(InputError, match="wanted at least 257 tokens, all bytes and the end, got 256"):
        train_byte_pairs(TEXTS, 256)


@needs_gpt2
def test_gpt2_is_that_of_openai() -> None:
    words = GPT2()
    assert (words.size, words.end) == (GPT2_SIZE, 50_256)
    assert words.encode("Hello world, it's 2026!") == [15496, 995, 11, 340, 338, 1160, 2075, 0]
    assert words.decode([15496, 995, 50256]) == "Hello world"


def test_gpt2s_files_are_missing_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(tmp_path))
    for ask in (lambda: check_choice("gpt2"), lambda: GPT2().encode("a")):
        with pytest.raises(InputError, match="encoder.json is missing; fetch it with: modnas-fast data fetch gpt2-bpe"):
            ask()
    folder = tmp_path / "text" / "gpt2-bpe"
    folder.mkdir(parents=True)
    (folder / "encoder.json").write_text('{"a": 0}')
    (folder / "vocab.bpe").write_text("#version: 0.2\n")
    with pytest.raises(InputError, match=r"vocab.bpe is damaged \(1 tokens .*\); mend it with: .*gpt2-bpe"):
        GPT2().encode("a")
    (folder / "encoder.json").write_text("{")
    with pytest.raises(InputError, match="is damaged") as error:
        GPT2().encode("a")
    assert len(str(error.value).splitlines()) == 1


def test_without_the_library_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    check_choice("bytes")
    for ask in (lambda: check_choice(2048), lambda: check_choice("gpt2"), lambda: train_byte_pairs(TEXTS, 300)):
        with pytest.raises(InputError, match=r"the library tokenizers; .*pip install 'modnas-fast\[text\]'"):
            ask()
    assert Bytes().decode(Bytes().encode("né")) == "né"


@pytest.mark.parametrize("content", ["{}", "[", '{"kind": "words"}', '{"kind": "trained", "tokenizer": {"model": 3}}'])
def test_a_damaged_vocabulary(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match="does not exist: is that the folder of a run on texts"):
        load_vocabulary(tmp_path)
    (tmp_path / VOCABULARY_FILE).write_text(content)
    with pytest.raises(InputError, match="vocabulary.json is damaged"):
        load_vocabulary(tmp_path)
