"""Pairs as minibatches, their losses, their division, what translating takes, and BLEU."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from modnas_fast.datasets.pairs import Pairs
from modnas_fast.datasets.vocabulary import Bytes
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.hat import HATSpace
from modnas_fast.supernets.linear_outputs import LinearOutputs
from modnas_fast.tasks.translation import Translation, bleu, divided_pairs, translation_of

SENTENCES = tuple((f"{'a' * (i % 9)}{i}", f"{i}{'b' * (i % 5)}") for i in range(60))


def made(longest: int = 64, **limits: int) -> Translation:
    pairs = Pairs("letters", ("a", "b"), {"train": SENTENCES})
    return translation_of(pairs, divided_pairs(pairs, (0.7, 0.2, 0.1), 0), Bytes(), longest, **limits)


def test_pairs_stand_beside_each_other_and_targets_one_further() -> None:
    task = made()
    source, target = (Bytes().documents([text])[0] for text in ("aa11", "11b"))
    x, y = task.batch([type(task.parts["train"][0])(source, target)])
    end, pad = 256, 257
    assert x.tolist() == [[[97, 97, 49, 49, end, pad, pad, pad], [end, 49, 49, 98, pad, pad, pad, pad]]]
    assert y.tolist() == [[49, 49, 98, end, pad, pad, pad, pad]]
    assert task.network == {"vocabulary": 258, "padding": pad, "end": end, "input_shape": (2, 30)}


def test_losses_are_means_over_the_tokens_of_targets() -> None:
    task = made()
    x, y = task.batch(task.parts["train"][:3])
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, *y.shape, 258, generator=generator, dtype=torch.float64)
    known = y != task.padding
    wanted = torch.stack([F.cross_entropy(each[known], y[known]) for each in logits])
    torch.testing.assert_close(task.losses(logits, y), wanted)
    hidden, weight = torch.randn(2, *y.shape, 6, generator=generator).double(), torch.randn(258, 6).double()
    outputs = LinearOutputs(hidden.unbind(), weight)
    torch.testing.assert_close(task.losses(outputs, y), task.losses(outputs.logits(), y))
    smoothed = torch.stack([F.cross_entropy(each[known], y[known], label_smoothing=0.1) for each in outputs.logits()])
    torch.testing.assert_close(task.training_losses(outputs, y), smoothed)
    torch.testing.assert_close(task.training_losses(outputs.logits(), y), smoothed)
    counts = task.counts(logits, y)
    assert counts[:, 1].tolist() == [int(known.sum())] * 2
    torch.testing.assert_close(task.quality_of(counts, "test"), wanted)
    assert x.shape == (3, 2, y.shape[1]) and task.chance == math.log(258)


def test_minibatches_hold_pairs_of_like_length_each_once_in_an_epoch() -> None:
    task = made()
    stream = task.stream("train", 4, seed=0)
    seen, rows = [], 0
    while rows < task.size("train"):
        _, y = next(stream)
        lengths = (y != task.padding).sum(1)
        assert y.numel() <= 4 * (sum(s.length for s in task.parts["train"]) / task.size("train")) + 4 * len(y)
        assert len(y) == 1 or int(lengths.max() - lengths.min()) <= 8
        seen += [tuple(row[row != task.padding].tolist()) for row in y]
        rows += len(y)
    assert rows == task.size("train")
    assert sorted(seen) == sorted(tuple(sentence.target.tolist()) for sentence in task.parts["train"])


def test_a_stream_goes_on_where_it_was() -> None:
    stream = made().stream("train", 4, seed=0)
    for _ in range(23):
        next(stream)
    other = made().stream("train", 4, seed=1)
    other.load_state_dict(stream.state_dict())
    for _ in range(25):
        assert all(torch.equal(a, b) for a, b in zip(next(stream), next(other)))


def test_whole_parts_come_once() -> None:
    task = made()
    for part in ("train", "validation", "test", "train+validation"):
        assert sum(len(y) for _, y in task.batches(part, 7)) == task.size(part)
    assert sum(task.size(part) for part in ("train", "validation", "test")) == 60
    assert sum(made(limit=20).size(part) for part in ("train", "validation")) == 20
    assert made(test_limit=2).size("test") == 2


def test_pairs_with_one_source_stay_together() -> None:
    doubled = Pairs(
        "d", ("a", "b"), {"train": tuple((f"s{i // 3}", f"t{i}") for i in range(60)), "test": (("s", "t"),)}
    )
    parts = divided_pairs(doubled, (0.8, 0.2, 0.0), 0)
    sources = {part: {source for source, _ in those} for part, those in parts.items()}
    assert not sources["train"] & sources["validation"] and parts["test"] == [("s", "t")]
    assert len(parts["train"]) + len(parts["validation"]) == 60 and len(parts["validation"]) >= 12


def test_long_pairs_are_left_out_and_counted() -> None:
    task = made(longest=8)
    assert any("are longer than 8 tokens and were left out (task.context)" in note for note in task.notes)
    assert max(sentence.length for part in task.parts.values() for sentence in part) <= 8
    with pytest.raises(InputError, match="no pair of the train part has at most 2 tokens"):
        made(longest=2)


def network(task: Translation) -> nn.Module:
    space = HATSpace("small")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return space.build(space.parse(space.references[0]), **task.network).eval()


def test_translating_is_what_is_measured() -> None:
    task = made()
    timing = task.timing("latency")
    ids = timing.inputs(2, "cpu", torch.float32)
    assert ids.shape == (2, 2, 30) and int(ids.max()) < task.end
    assert timing.prepare(network(task), ids)().shape == (2,)  # type: ignore[union-attr]
    with pytest.raises(InputError, match="a Linear does not translate token by token"):
        timing.prepare(nn.Linear(1, 1), ids)


def test_decoding_for_a_number_of_tokens_takes_the_greedy_ones() -> None:
    task = made()
    translator = network(task)
    source = task.batch(task.parts["test"][:2])[0][:, 0]
    for row, last in zip(source, translator.decode_for(source, 5)):
        before = [task.end]
        for _ in range(5):
            pair = torch.full((1, 2, max(len(row), 6)), task.padding)
            pair[0, 0, : len(row)], pair[0, 1, : len(before)] = row, torch.tensor(before)
            before.append(int(translator(pair)[0, len(before) - 1].argmax()))
        assert before[-1] == int(last)


class Echo(nn.Module):
    """Translates by saying the source again, or nothing."""

    def __init__(self, task: Translation, silent: bool) -> None:
        super().__init__()
        self.task, self.silent = task, silent

    def translate(self, source: torch.Tensor, **_: object) -> list[list[int]]:
        return [[] if self.silent else row[row < self.task.end].tolist() for row in source]

    def decode_for(self, source: torch.Tensor, tokens: int) -> object:
        return source


def test_bleu_is_sacrebleus() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    same = tuple((f"a sentence of number {i} and more", f"a sentence of number {i} and {'more' if i % 2 else 'less'}")
                 for i in range(60))  # fmt: skip
    pairs = Pairs("same", ("a", "b"), {"train": same})
    task = translation_of(pairs, divided_pairs(pairs, (0.5, 0.2, 0.3), 0), Bytes(), 64)
    texts = [tuple(Bytes().decode(side.tolist()) for side in sentence) for sentence in task.parts["test"]]
    wanted = sacrebleu.corpus_bleu([source for source, _ in texts], [[target for _, target in texts]]).score
    assert bleu(Echo(task, silent=False), task, "test", batch_size=5) == pytest.approx(wanted) and 50 < wanted < 100
    assert bleu(Echo(task, silent=True), task, "test") == 0
    assert task.measures_of(Echo(task, silent=False)) == {"100 - BLEU": pytest.approx(100 - wanted)}
    first = sacrebleu.corpus_bleu([texts[0][0]], [[texts[0][1]]]).score
    assert task.measures_of(Echo(task, silent=False), samples=1) == {"100 - BLEU": pytest.approx(100 - first)}
    with pytest.raises(InputError, match="a Linear has no method translate"):
        bleu(nn.Linear(1, 1), task, "test")
