"""Language modelling: parts by document, samples, losses and perplexity, and a GPT that learns."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from modnas_fast.config import Config, make_config
from modnas_fast.datasets.texts import Corpus
from modnas_fast.datasets.vocabulary import Bytes
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.gpt.space import GPTSpace
from modnas_fast.tasks.language import LanguageModelling, split_corpus
from modnas_fast.tasks.make import check_task, make_task
from modnas_fast.tasks.task_objective import SupernetObjective
from modnas_fast.tasks.training import train_network

V = 7


def corpus(count: int = 12, length: int = 40) -> Corpus:
    """Documents that count upwards from a place of their own: easy to continue."""
    return Corpus("counting", tuple((torch.arange(length) + k) % V for k in range(count)), V, ("made up",))


def task(context: int = 8, **options: int) -> LanguageModelling:
    return split_corpus(corpus(), (0.5, 0.25, 0.25), 0, context, **options)


def test_documents_are_divided_whole_and_by_seed() -> None:
    made = task()
    assert sum(map(len, made.parts.values())) == 12 * 40 and made.notes == ("made up",)
    assert all(len(tokens) % 40 == 0 for tokens in made.parts.values())
    assert [len(made.parts[part]) for part in ("train", "validation", "test")] == [240, 120, 120]
    again, other = (split_corpus(corpus(), (0.5, 0.25, 0.25), seed, 8) for seed in (0, 1))
    assert torch.equal(again.parts["train"], made.parts["train"])
    assert not torch.equal(other.parts["train"], made.parts["train"])


def test_samples_are_tokens_and_what_follows_them() -> None:
    made = task()
    assert made.size("train") == 29 and made.size("train+validation") == 29 + 14
    batches = list(made.batches("train", 10))
    assert [len(x) for x, _ in batches] == [10, 10, 9]
    tokens = made.parts["train"]
    assert torch.equal(torch.cat([x for x, _ in batches]).flatten(), tokens[: 29 * 8])
    assert torch.equal(torch.cat([y for _, y in batches]).flatten(), tokens[1 : 29 * 8 + 1])
    for x, y in [next(made.stream("train", 5, 0)) for _ in range(3)]:
        assert x.shape == y.shape == (5, 8) and torch.equal(x[:, 1:], y[:, :-1])


def test_a_stream_goes_on_where_it_was() -> None:
    stream = task().stream("train", 4, 3)
    next(stream)
    state, wanted = stream.state_dict(), next(stream)
    other = task().stream("train", 4, 9)
    other.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(next(other), wanted))


def test_limits_are_in_samples() -> None:
    made = task(limit=12, test_limit=2)
    assert made.size("train") == 8 and made.size("validation") == 4 and made.size("test") == 2


def test_perplexity_is_e_to_the_mean_of_the_nats() -> None:
    made, logits = task(), torch.randn(2, 3, 8, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.randint(V, (3, 8), generator=torch.Generator().manual_seed(1))
    chosen = logits.log_softmax(-1).gather(-1, y.expand(2, 3, 8)[..., None])
    nats = -chosen.flatten(1).mean(1)
    torch.testing.assert_close(made.losses(logits, y), nats)
    torch.testing.assert_close(made.quality_of(made.counts(logits, y), "test"), nats.exp())
    guess = torch.zeros(1, 3, 8, V)
    assert made.quality_of(made.counts(guess, y), "test").item() == pytest.approx(made.chance) == V
    assert float(made.losses(guess, y)) == pytest.approx(made.chance_loss) == pytest.approx(math.log(V))


def test_a_context_longer_than_a_part_is_refused() -> None:
    with pytest.raises(
        InputError, match="task.context: wanted fewer tokens than the 120 of the validation part, got 120"
    ):
        task(context=120)


def test_its_description_tells_the_tokens() -> None:
    description = task().description()
    assert description["network"] == {"vocabulary": V, "input_shape": [8]}
    assert description["tokens"] == {"train": 240, "validation": 120, "test": 120}
    ids = task().inputs(3, dtype=torch.bfloat16)
    assert ids.shape == (3, 8) and ids.dtype == torch.int64 and int(ids.max()) < V


def test_a_gpt_learns_alone_and_with_shared_weights() -> None:
    space, made = GPTSpace("small", widths=(16, 32), depths=(1, 2), heads=(1, 2)), task()
    config = make_config(
        preset="gpt-small",
        search={"batch_size": 8, "weight_learning_rate": 0.01, "weight_warmup": 0.0, "warmup_steps": 200, "steps": 0},
        verify={"epochs": 40, "batch_size": 8, "learning_rate": 0.01},
    )  # fmt: skip
    torch.manual_seed(0)
    network = space.build(space.parse(space.references[1]), **made.network)
    assert train_network(network, made, config.verify, augment=False, seed=0) < 1.3, "counting is easy"
    objective = SupernetObjective(config, space, made)
    onehot = space.encode([space.parse(text) for text in space.references])
    before = objective.errors(onehot)
    for step in range(120):
        objective.train_step(space.sample(2, torch.Generator().manual_seed(step)), 0.0, True)
    after = objective.errors(onehot)
    assert bool((after < 0.6 * before).all()) and float(before.min()) > 0.7 * V


def test_the_configuration_names_texts() -> None:
    config = make_config(preset="gpt-small")
    check_task(config)
    made = make_task(config)
    assert made.quality.key == "perplexity" and made.name == "python-topics"
    for data, told in ((None, "--data: language wants texts"), ("/nowhere/at/all", "does not exist")):
        with pytest.raises(InputError, match=told):
            check_task(make_config(preset="gpt-small", task={"data": data}))


def texts(folder: Path, documents: int = 12) -> Path:
    """Documents of which each says something of its own, often enough to be learned."""
    folder.mkdir()
    for place in range(documents):
        (folder / f"{place}.txt").write_text(f"only number{place}x says number{place}x. " * 40)
    return folder


def configured(data: Path, vocabulary: object, **task: object) -> Config:
    section = {"data": str(data), "vocabulary": vocabulary, "fractions": [0.5, 0.25, 0.25], **task}
    return make_config(preset="gpt-small", task=section)


def test_byte_pairs_are_learned_from_the_training_part_and_kept_with_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="byte pairs need the extra text")
    folder, run = texts(tmp_path / "texts"), tmp_path / "run"
    run.mkdir()
    config = configured(folder, 270)
    made = make_task(config, folder=run)
    assert made.network["vocabulary"] == made.words.size == 270
    spoken = {part: made.words.decode(tokens.tolist()) for part, tokens in made.parts.items()}
    by_bytes = make_task(configured(folder, "bytes"))
    assert {part: by_bytes.words.decode(tokens.tolist()) for part, tokens in by_bytes.parts.items()} == spoken

    def rewrite(part: str) -> None:
        for file in folder.iterdir():
            if file.read_text() in spoken[part]:
                file.write_text(file.read_text().replace("number", "figure"))

    for part in ("validation", "test"):
        rewrite(part)
        assert make_task(config).words.to_dict() == made.words.to_dict(), f"it was not learned from the {part} part"
    rewrite("train")
    assert make_task(config).words.to_dict() != made.words.to_dict()
    assert make_task(config, folder=run).words.to_dict() == made.words.to_dict(), "a run goes on with its own"


def test_token_files_have_a_vocabulary(tmp_path: Path) -> None:
    file, run = tmp_path / "some.bin", tmp_path / "run"
    run.mkdir()
    np.array([*range(100), 50_256] * 6, dtype="<u2").tofile(file)
    for vocabulary in (None, "gpt2"):
        config = configured(file, vocabulary)
        assert make_task(config, folder=run).network["vocabulary"] == 50_257
    check_task(configured(file, None))
    assert json.loads((run / "vocabulary.json").read_text()) == {"kind": "gpt2"}
    for vocabulary in ("bytes", 2048):
        with pytest.raises(InputError, match=f"holds tokens of GPT-2 already; .* got {vocabulary}"):
            check_task(configured(file, vocabulary))


@pytest.mark.parametrize("vocabulary", ["words", 257, -1, 2.5, True])
def test_no_vocabulary(vocabulary: object) -> None:
    with pytest.raises(InputError, match=r"task.vocabulary: wanted bytes, gpt2, or .* more than 257, got") as error:
        configured(Path("python-topics"), vocabulary)
    assert len(str(error.value).splitlines()) == 1


class Counting(nn.Module):
    """Draws the next token by counting on, as its prompt does, and the end behind a few."""

    def __init__(self, size: int, after: int) -> None:
        super().__init__()
        self.size, self.left, self.asked = size, after, []

    def generate(self, ids: torch.Tensor, count: int, *, temperature: float, top: int, generator: torch.Generator):
        self.asked.append((ids.shape[1], count))
        assert temperature > 0 and top > 1 and not self.training
        for _ in range(count):
            self.left -= 1
            new = torch.full((1, 1), self.size - 1) if self.left < 0 else (ids[:, -1:] + 1) % 100
            ids = torch.cat([ids, new], dim=1)
        return ids


@pytest.mark.parametrize("after", [0, 7, 30, 1000])
def test_a_network_shows_how_it_goes_on_with_the_test_part(after: int) -> None:
    tokens, parts = torch.arange(60).remainder(100), {}
    parts = dict.fromkeys(("train", "validation", "test"), tokens)
    made = LanguageModelling("bytes", parts, 16, 257, words=Bytes())
    network = Counting(257, after)
    shown = made.sample_of(network, 3)
    assert shown["prompt"] == "".join(map(chr, range(8))) and shown["seed"] == 3
    length = min(after, 200)
    assert shown["continuation"] == "".join(chr(token % 100) for token in range(8, 8 + length))
    assert all(seen + count <= 16 for seen, count in network.asked), "never longer than a sample"
    assert LanguageModelling("ids", parts, 16, 257).sample_of(network, 3) is None
    assert made.sample_of(nn.Linear(1, 1), 3) is None


def test_what_a_gpt_shows_is_fixed_by_the_seed() -> None:
    tokens = torch.randint(256, (80,), generator=torch.Generator().manual_seed(0))
    made = LanguageModelling("bytes", dict.fromkeys(("train", "validation", "test"), tokens), 16, 257, words=Bytes())
    space = GPTSpace("small", widths=(8, 16), depths=(1, 2), heads=(1, 2))
    torch.manual_seed(0)
    network = space.build(space.parse(space.references[0]), **made.network)
    first, again, other = (made.sample_of(network, seed) for seed in (0, 0, 1))
    assert first == again and first["continuation"] != other["continuation"]
