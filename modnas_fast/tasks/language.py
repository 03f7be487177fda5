"""Language modelling: the next token of texts; perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.datasets.texts import Corpus
from modnas_fast.datasets.vocabulary import Vocabulary
from modnas_fast.devices.machine_costs import LATENCY
from modnas_fast.devices.measure import Timing
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective
from modnas_fast.supernets.linear_outputs import LinearOutputs
from modnas_fast.supernets.supernet import Outputs
from modnas_fast.tasks.distilling import distilled
from modnas_fast.tasks.task import Batch, Part, Task

PARTS = ("train", "validation", "test")
#: what one further token of every sample of a batch takes, keys and values of those before it being kept
TOKEN_LATENCY = "token_latency"
#: of the text that a trained network shows: tokens at most, and how they are drawn
SHOWN_TOKENS, SHOWN_TEMPERATURE, SHOWN_TOP = 200, 0.8, 40


class LanguageModelling(Task):
    """The task of telling the next token.

    A sample are `context` tokens x [L] and those behind each, y [L]. Networks are built with `vocabulary`; they take
    ids [B, L] and give logits [B, L, V]. Quality is perplexity, e to the mean cross-entropy in nats.

    Args:
        name: of the texts.
        parts: tokens of each part, int64 [n], documents one after the other.
        context: L.
        vocabulary: V.
        notes: what was done to the texts.
        words: what the tokens stand for; None: nobody knows.
    """

    quality = Objective("perplexity")
    takes_linear_outputs = True
    varying = {1: "length"}
    computes = "logits [batch, length, vocabulary] of the next token behind each of the token ids [batch, length]"
    timed = (LATENCY, TOKEN_LATENCY)

    def __init__(
        self,
        name: str,
        parts: dict[str, Tensor],
        context: int,
        vocabulary: int,
        notes: Sequence[str] = (),
        words: Vocabulary | None = None,
    ) -> None:
        self.name, self.notes, self.words = name, tuple(notes), words
        self.parts, self.context = parts, context
        self.chance, self.chance_loss = float(vocabulary), math.log(vocabulary)
        self.network = {"vocabulary": vocabulary, "input_shape": (context,)}
        for part, tokens in parts.items():
            if len(tokens) <= context:
                raise InputError(
                    f"task.context: wanted fewer tokens than the {len(tokens)} of the {part} part, got {context}; "
                    "lower it, or give more text"
                )

    @property
    def device(self) -> torch.device:
        """Where the tokens lie."""
        return self.parts["train"].device

    def to(self, device: torch.device | str) -> LanguageModelling:
        """The same task with its tokens on `device`."""
        parts = {name: tokens.to(device) for name, tokens in self.parts.items()}
        return LanguageModelling(self.name, parts, self.context, self.network["vocabulary"], self.notes, self.words)

    def size(self, part: Part) -> int:
        """How many samples follow each other without a common token."""
        return sum((len(tokens) - 1) // self.context for tokens in self._of(part))

    def stream(self, part: Part, batch_size: int, seed: int, augment: bool | str = False) -> Windows:
        """Samples that begin at random places, with replacement."""
        return Windows(torch.cat(self._of(part)), self.context, min(batch_size, self.size(part)), seed)

    def batches(self, part: Part, batch_size: int) -> Iterator[Batch]:
        """Samples that follow each other; fewer tokens than a sample at the end are left out."""
        places = [self._places(tokens) for tokens in self._of(part)]
        x, y = (torch.cat([place[i] for place in places]) for i in range(2))
        yield from zip(x.split(batch_size), y.split(batch_size))

    def _places(self, tokens: Tensor) -> Batch:
        count = (len(tokens) - 1) // self.context
        x, y = (tokens[shift : shift + count * self.context].view(count, self.context) for shift in (0, 1))
        return x, y

    def losses(self, outputs: Outputs, y: Tensor) -> Tensor:
        """Mean cross-entropy [S] in nats of logits [S, B, L, V], or of what makes them."""
        if isinstance(outputs, LinearOutputs):
            return outputs.losses(y)
        means: Tensor = self._nats(outputs, y).mean(dim=(1, 2))
        return means

    def distilled_losses(self, outputs: Outputs, y: Tensor, told: Outputs, share: float) -> Tensor:
        """Cross-entropies [S] for the tokens, and in their `share` for the probabilities that were told, of logits."""
        return distilled(self.losses(outputs, y), outputs, told, share)

    def counts(self, outputs: Outputs, y: Tensor) -> Tensor:
        """Nats and tokens, float64 [S, 2]."""
        nats = self._nats(outputs, y).double().sum(dim=(1, 2))
        return torch.stack([nats, torch.full_like(nats, y.numel())], dim=-1)

    @staticmethod
    def _nats(outputs: Outputs, y: Tensor) -> Tensor:
        if isinstance(outputs, LinearOutputs):
            return outputs.nats(y)
        targets = y.expand(len(outputs), *y.shape)
        nats: Tensor = F.cross_entropy(outputs.flatten(0, 2), targets.flatten(), reduction="none")
        return nats.view(targets.shape)

    def quality_of(self, counts: Tensor, part: Part) -> Tensor:
        """Perplexity [S], float64."""
        nats, tokens = counts.double().unbind(-1)
        perplexity: Tensor = (nats / tokens).exp()
        return perplexity

    def inputs(self, count: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """Made-up token ids [count, L], whatever the format of the weights."""
        ids = torch.arange(count * self.context, device=device).view(count, self.context)
        return ids.remainder(self.network["vocabulary"])

    def timing(self, cost: str) -> Timing:
        """A whole pass over a batch, or a further token of every sample, behind half a context of others.

        What a token takes grows along the context in proportion to its place: the middle is the mean of a whole sample.
        """
        if cost != TOKEN_LATENCY:
            return super().timing(cost)
        return Timing(self.inputs, partial(further_token, seen=self.context // 2), "token")

    def sample_of(self, network: nn.Module, seed: int) -> dict[str, Any] | None:
        """`prompt`, the beginning of the test part, and the `continuation` that the network draws, with their `seed`.

        Samples of a context follow each other, each of which begins with the last half of the one before.
        """
        if self.words is None or not isinstance(network, Generating):
            return None
        network.cpu().eval()
        half = max(1, self.context // 2)
        prompt = self.parts["test"][:half].cpu()
        generator, ids = torch.Generator().manual_seed(seed), prompt[None]
        while ids.shape[1] < half + SHOWN_TOKENS and self.words.end not in ids[0, half:]:
            behind = min(self.context - half, half + SHOWN_TOKENS - ids.shape[1])
            whole = network.generate(
                ids[:, -half:], behind, temperature=SHOWN_TEMPERATURE, top=SHOWN_TOP, generator=generator
            )
            ids = torch.cat([ids, whole[:, half:]], dim=1)
        drawn = ids[0, half:].tolist()
        end = drawn.index(self.words.end) if self.words.end in drawn else len(drawn)
        texts = {"prompt": prompt.tolist(), "continuation": drawn[:end]}
        return {**{name: self.words.decode(tokens) for name, tokens in texts.items()}, "seed": seed}

    def description(self) -> dict[str, Any]:
        """As for every task, and how many tokens each part has."""
        return {**super().description(), "tokens": {name: len(tokens) for name, tokens in self.parts.items()}}

    def _of(self, part: Part) -> list[Tensor]:
        return [self.parts[name] for name in part.split("+")]


@runtime_checkable
class Generating(Protocol):
    """A network that draws tokens itself, as `GPTNetwork.generate`."""

    def generate(
        self, ids: Tensor, count: int, *, temperature: float, top: int | None, generator: torch.Generator | None
    ) -> Tensor:
        """Token ids [B, L + count], those given [B, L] first."""
        ...


@runtime_checkable
class Continuing(Protocol):
    """A network that keeps what it needs of the tokens it has seen, as GPTs do."""

    def made_up_cache(self, count: int, seen: int) -> Any:
        """What it would keep of `seen` tokens of `count` samples, made up."""
        ...

    def continued(self, ids: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits [B, L, V] of further tokens [B, L], and what is kept then."""
        ...


def further_token(network: nn.Module, ids: Tensor, seen: int) -> Callable[[], object]:
    """What makes logits of one further token of each sample of ids [B, L], behind `seen` others that are made up.

    Raises InputError for networks that are not `Continuing`.
    """
    if not isinstance(network, Continuing):
        raise InputError(
            f"objectives: a {type(network).__name__} does not generate token by token (made_up_cache, continued); "
            f"leave {TOKEN_LATENCY} out"
        )
    cache, new = network.made_up_cache(len(ids), seen), ids[:, :1]
    return lambda: network.continued(new, cache)


class Windows:
    """Random samples of `context` tokens, in minibatches without end, which can be saved and continued."""

    def __init__(self, tokens: Tensor, context: int, batch_size: int, seed: int) -> None:
        self._tokens, self._context, self._batch_size = tokens, context, batch_size
        self._generator = torch.Generator().manual_seed(seed)

    def __next__(self) -> Batch:
        starts = torch.randint(len(self._tokens) - self._context, (self._batch_size,), generator=self._generator)
        places = starts[:, None] + torch.arange(self._context + 1)
        window = self._tokens[places.to(self._tokens.device)]
        return window[:, :-1], window[:, 1:]

    def state_dict(self) -> dict[str, Any]:
        """The generator's state."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        self._generator.set_state(state["generator"])


def split_corpus(
    corpus: Corpus,
    fractions: Sequence[float],
    seed: int,
    context: int,
    limit: int | None = None,
    test_limit: int | None = None,
) -> LanguageModelling:
    """The task of a corpus: documents divided at random by `fractions` of their sizes, at least one for each part.

    Args:
        corpus: at least three documents.
        fractions: of train, validation and test, in any unit; 0 for test gives it one document.
        seed: fixes the division.
        context: L.
        limit: samples of training and validation together, at most; None: all.
        test_limit: the same for the test part.
    """
    places, pool = divided(corpus.sizes, fractions, seed), sum(fractions[:2]) or 1.0
    parts = {name: torch.cat([corpus.documents[place] for place in chosen]) for name, chosen in places.items()}
    most = {"train": limit and fractions[0] / pool * limit, "validation": limit and fractions[1] / pool * limit,
            "test": test_limit}  # fmt: skip
    for name, samples in most.items():
        if samples:
            parts[name] = parts[name][: max(1, round(samples)) * context + 1]
    return LanguageModelling(corpus.name, parts, context, corpus.vocabulary, corpus.notes, corpus.words)


def divided(sizes: Sequence[int], fractions: Sequence[float], seed: int) -> dict[str, list[int]]:
    """Places of the documents of each part, in random order: a document goes to the part that lacks most of its share.

    >>> {part: len(places) for part, places in divided([5, 5, 5, 5, 5, 5], (1, 0, 0), 0).items()}
    {'train': 4, 'validation': 1, 'test': 1}
    """
    order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed)).tolist()
    parts: dict[str, list[int]] = {name: [place] for name, place in zip(PARTS, order)}
    have = [float(sizes[place]) for place in order[: len(PARTS)]]
    for place in order[len(PARTS) :]:
        lacking = min(range(len(PARTS)), key=lambda part: have[part] / max(fractions[part], 1e-9))
        parts[PARTS[lacking]].append(place)
        have[lacking] += sizes[place]
    return parts
