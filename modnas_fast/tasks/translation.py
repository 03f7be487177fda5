"""Translation: the next token of the target, given the source and what is before it; nats per token, and BLEU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modnas_fast.datasets.pairs import Pair, Pairs
from modnas_fast.datasets.vocabulary import Vocabulary
from modnas_fast.devices.measure import Timing
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective
from modnas_fast.supernets.linear_outputs import LinearOutputs
from modnas_fast.supernets.supernet import Outputs
from modnas_fast.tasks.buckets import Buckets, Sentence
from modnas_fast.tasks.distilling import distilled
from modnas_fast.tasks.task import Batch, Part, Task

PARTS = ("train", "validation", "test")
#: of the loss that trains weights: a share of the probability that goes to all tokens alike (HAT)
LABEL_SMOOTHING = 0.1
#: lengths of minibatches are multiples of this, so that few shapes come up
STEP = 4
#: candidates that are kept where translations are judged (HAT)
BEAM = 4
#: what translations are measured by: BLEU in percent as something to be minimised
SHORT_OF_BLEU = "100 - BLEU"
#: tokens of the sentence whose translation is measured, and of that (HAT)
MEASURED_TOKENS = 30


class Translation(Task):
    """The task of telling the next token of a translation.

    x are pairs [B, 2, L]: sources, and targets behind the token `end`; y [B, L] the targets with `end` behind them.
    Both sides share one vocabulary, and end in `padding`. Networks are built with `vocabulary`, `padding` and `end`;
    they give logits [B, L, V]. Quality is the mean cross-entropy per token of the target, in nats.

    Args:
        name: of the texts.
        parts: pairs by part.
        words: what the tokens stand for.
        notes: what was done to the texts.
        device: where minibatches lie.
    """

    quality = Objective("loss", "nats")
    measures = (SHORT_OF_BLEU,)
    takes_linear_outputs = True
    varying = {2: "length"}
    computes = (
        "logits [batch, length, vocabulary] of the next target token behind each place, of token ids "
        "[batch, 2, length]: the source, and the target so far behind the end token; both end in padding. "
        "It decodes nothing by itself"
    )

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Sequence[Sentence]],
        words: Vocabulary,
        notes: Sequence[str] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.parts, self.words, self.notes = name, parts, words, tuple(notes)
        self._device = torch.device(device)
        self.end, self.padding, vocabulary = words.end, words.size, words.size + 1
        self.chance = self.chance_loss = math.log(vocabulary)
        self.network = {
            "vocabulary": vocabulary,
            "padding": self.padding,
            "end": self.end,
            "input_shape": (2, MEASURED_TOKENS),
        }

    @property
    def device(self) -> torch.device:
        """Where minibatches lie."""
        return self._device

    def to(self, device: torch.device | str) -> Translation:
        """The same task with its minibatches on `device`."""
        return Translation(self.name, self.parts, self.words, self.notes, device)

    def size(self, part: Part) -> int:
        """How many pairs."""
        return len(self._of(part))

    def stream(self, part: Part, batch_size: int, seed: int, augment: bool | str = False) -> Buckets:
        """Minibatches of as many tokens as `batch_size` pairs of mean length have, of pairs of like length."""
        return Buckets(self._of(part), batch_size, seed, self.batch)

    def batches(self, part: Part, batch_size: int, first: int | None = None) -> Iterator[Batch]:
        """The pairs by length, `batch_size` at a time; of the `first` so many alone."""
        ordered = sorted(self._of(part)[:first], key=lambda sentence: sentence.length)
        for begin in range(0, len(ordered), batch_size):
            yield self.batch(ordered[begin : begin + batch_size])

    def batch(self, sentences: Sequence[Sentence]) -> Batch:
        """x [B, 2, L] and y [B, L] of pairs."""
        length = -(-max(sentence.length for sentence in sentences) // STEP) * STEP
        x = torch.full((len(sentences), 2, length), self.padding)
        y = torch.full((len(sentences), length), self.padding)
        for row, (source, target) in enumerate(sentences):
            x[row, 0, : len(source)] = source
            x[row, 1, 0] = self.end
            x[row, 1, 1 : len(target)] = target[:-1]
            y[row, : len(target)] = target
        return x.to(self._device), y.to(self._device)

    def losses(self, outputs: Outputs, y: Tensor) -> Tensor:
        """Mean cross-entropy [S] in nats of logits [S, B, L, V], or of what makes them, over tokens of the target."""
        return self._losses(outputs, y, smoothing=0.0)

    def training_losses(self, outputs: Outputs, y: Tensor) -> Tensor:
        """The same with label smoothing."""
        return self._losses(outputs, y, LABEL_SMOOTHING)

    def distilled_losses(self, outputs: Outputs, y: Tensor, told: Outputs, share: float) -> Tensor:
        """The same, and in their `share` the cross-entropies for the probabilities that were told, of logits."""
        return distilled(self.training_losses(outputs, y), outputs, told, share, y != self.padding)

    def _losses(self, outputs: Outputs, y: Tensor, smoothing: float) -> Tensor:
        known = y != self.padding
        if isinstance(outputs, LinearOutputs):
            return outputs.losses(y, known, smoothing)
        return (self._nats(outputs, y, smoothing) * known).sum(dim=(1, 2)) / known.sum()

    def mean_over(self, y: Tensor) -> Tensor:
        """Tokens of the target."""
        return (y != self.padding).sum().double()

    def counts(self, outputs: Outputs, y: Tensor) -> Tensor:
        """Nats and tokens, float64 [S, 2]."""
        known = y != self.padding
        nats = (self._nats(outputs, y).double() * known).sum(dim=(1, 2))
        return torch.stack([nats, known.sum().double().expand(len(nats))], dim=-1)

    def quality_of(self, counts: Tensor, part: Part) -> Tensor:
        """Nats per token [S], float64."""
        nats, tokens = counts.double().unbind(-1)
        return nats / tokens

    @staticmethod
    def _nats(outputs: Outputs, y: Tensor, smoothing: float = 0.0) -> Tensor:
        """Of each token, [S, B, L]."""
        if isinstance(outputs, LinearOutputs):
            return outputs.nats(y)
        targets = y.expand(len(outputs), *y.shape)
        nats = F.cross_entropy(outputs.flatten(0, 2), targets.flatten(), reduction="none", label_smoothing=smoothing)
        return nats.view(targets.shape)

    def inputs(self, count: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """Made-up pairs of ids [count, 2, 30], whatever the format of the weights; without padding."""
        ids = torch.arange(count * 2 * MEASURED_TOKENS, device=device).view(count, 2, MEASURED_TOKENS)
        return ids.remainder(self.end)

    def timing(self, cost: str) -> Timing:
        """What translating takes: the encoder once, and the decoder for each of 30 tokens one after the other."""
        return Timing(self.inputs, partial(translating, tokens=MEASURED_TOKENS), "translation")

    def measures_of(self, network: nn.Module, samples: int | None = None) -> dict[str, float]:
        """100 - BLEU of the test part, beam 4 and length penalty 0.6, as HAT is evaluated.

        Of so many `samples`, its first sentences, greedily: the beam costs as many times as much, and moves networks
        little against each other.
        """
        how = {} if samples is None else {"beam": 1, "sentences": samples}
        return {SHORT_OF_BLEU: 100 - bleu(network.to(self.device), self, "test", **how)}

    def sample_of(self, network: nn.Module, seed: int) -> dict[str, Any] | None:
        """A sentence of the test part, and its translation."""
        if not isinstance(network, Translator):
            return None
        source = self.parts["test"][seed % self.size("test")].source
        (tokens,) = network.to(self.device).eval().translate(source[None].to(self.device), beam=BEAM)
        return {
            "prompt": self.words.decode(source.tolist()) + "\n",
            "continuation": self.words.decode(tokens),
            "seed": seed,
        }

    def description(self) -> dict[str, Any]:
        """As for every task, and how many tokens of the target each part has."""
        tokens = {part: sum(len(s.target) for s in sentences) for part, sentences in self.parts.items()}
        return {**super().description(), "tokens": tokens}

    def _of(self, part: Part) -> list[Sentence]:
        return [sentence for name in part.split("+") for sentence in self.parts[name]]


@runtime_checkable
class Translator(Protocol):
    """A network that translates, such as HAT's."""

    def translate(
        self, source: Tensor, *, beam: int = 1, length_penalty: float = 0.6, longest: int | None = None
    ) -> list[list[int]]:
        """Ids of the translations of sources [B, S], without those of beginning and end."""
        ...

    def decode_for(self, source: Tensor, tokens: int) -> object:
        """Encodes sources [B, S], and decodes so many tokens one after the other, whatever they are."""
        ...


def translating(network: nn.Module, pairs: Tensor, tokens: int) -> Callable[[], object]:
    """What translates the sources of pairs [B, 2, L] into so many tokens each.

    Raises InputError for networks that do not translate token by token.
    """
    if not isinstance(network, Translator):
        raise InputError(
            f"space.name: a {type(network).__name__} does not translate token by token (translate, decode_for)"
        )
    source = pairs[:, 0].contiguous()
    return lambda: network.decode_for(source, tokens)


def bleu(
    network: nn.Module,
    task: Translation,
    part: Part,
    *,
    beam: int = BEAM,
    sentences: int | None = None,
    batch_size: int = 64,
) -> float:
    """BLEU of a network's translations of a part, in percent (sacreBLEU, Post 2018).

    Args:
        network: on the task's device.
        task: whose texts are translated.
        part: of it.
        beam: as in `Translator.translate`.
        sentences: the first so many of the part; None: all.
        batch_size: sentences at a time.

    Raises InputError where the library sacrebleu is missing, and for networks that do not translate.
    """
    if not isinstance(network, Translator):
        raise InputError(f"bleu: a {type(network).__name__} has no method translate")
    try:
        from sacrebleu import corpus_bleu
    except ImportError:
        raise InputError("bleu: install sacrebleu with: pip install 'modnas-fast[text]'") from None
    network.eval()
    found, wanted = [], []
    for x, y in task.batches(part, batch_size, sentences):
        found += [task.words.decode(tokens) for tokens in network.translate(x[:, 0], beam=beam)]
        wanted += [task.words.decode(row[row != task.padding].tolist()) for row in y]
    return float(corpus_bleu(found, [wanted]).score)


def divided_pairs(pairs: Pairs, fractions: Sequence[float], seed: int) -> dict[str, list[Pair]]:
    """Pairs by part: those that the source has, and what is missing of `fractions` (train, validation, test) of train.

    Pairs with one source stay together, so that no part knows a sentence of another.
    """
    found = {part: list(those) for part, those in pairs.parts.items()}
    missing = [part for part in PARTS if part not in found]
    if not missing:
        return found
    groups: dict[str, list[Pair]] = {}
    for pair in found["train"]:
        groups.setdefault(pair[0], []).append(pair)
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled, total = [list(groups.values())[place] for place in order], len(found["train"])
    whole = sum(fractions) or 1.0
    for part in missing:
        wanted, found[part] = max(1.0, total * fractions[PARTS.index(part)] / whole), []
        while shuffled and len(found[part]) < wanted:
            found[part] += shuffled.pop()
    found["train"] = [pair for group in shuffled for pair in group]
    if not found["train"]:
        raise InputError(f"task.fractions: nothing is left to train on of {total} pairs; give more of them")
    return found


def translation_of(
    pairs: Pairs,
    parts: dict[str, list[Pair]],
    words: Vocabulary,
    longest: int,
    limit: int | None = None,
    test_limit: int | None = None,
    advance: Callable[[int], None] = lambda percent: None,
) -> Translation:
    """The task of pairs.

    Args:
        pairs: whose name and notes it has.
        parts: as `divided_pairs` gives them.
        words: of both languages.
        longest: tokens of a side, its end included; longer pairs are left out and counted.
        limit: pairs of training and validation together, at most; None: all.
        test_limit: the same of the test part.
        advance: told percents.

    Raises InputError where no pair of a part is left.
    """
    notes, made = list(pairs.notes), {}
    share = (limit or 0) / max(1, len(parts["train"]) + len(parts["validation"]))
    for number, part in enumerate(PARTS):
        most = test_limit if part == "test" else (round(share * len(parts[part])) if limit else None)
        chosen = parts[part] if most is None else parts[part][: max(1, most)]
        sides = [words.documents([pair[side] for pair in chosen]) for side in (0, 1)]
        sentences = [Sentence(source, target) for source, target in zip(*sides)]
        made[part] = [sentence for sentence in sentences if sentence.length <= longest]
        if left := len(sentences) - len(made[part]):
            notes.append(f"{left} of {len(sentences)} pairs of the {part} part are longer than {longest} tokens and "
                         "were left out (task.context)")  # fmt: skip
        if not made[part]:
            raise InputError(f"task.context: no pair of the {part} part has at most {longest} tokens; set it higher")
        advance(100 * (number + 1) // len(PARTS))
    return Translation(pairs.name, made, words, notes)
