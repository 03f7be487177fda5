"""BLEU of WMT14 En-De of any network: a ridge regression on the 47 networks that were trained and told of.

17 are HAT's own, 30 were trained from scratch by others (drawn at random from space 0, of at most three decoder
layers). The two have other averaging and scoring; a column for it lets the networks speak of one scale, HAT's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.hat.published_networks import NETWORKS
from modnas_fast.spaces.rows import LinearModel

if TYPE_CHECKING:
    from modnas_fast.spaces.hat.space import HATSpace

#: per network, of standardised columns
PENALTY = 0.05
#: place of the decoder's layers among the features
DECODER_LAYERS = 5


class Trained(NamedTuple):
    """A network that was trained."""

    architecture: str
    bleu: float
    #: whether HAT trained it
    of_hat: bool


class LeftOut(NamedTuple):
    """What the regression tells of networks that it did not see, one after the other."""

    told: Tensor
    known: Tensor

    @property
    def spearman(self) -> float:
        """Rank correlation."""
        import scipy.stats  # takes a second to load

        return float(scipy.stats.spearmanr(self.told.numpy(), self.known.numpy()).statistic)

    @property
    def mean_error(self) -> float:
        """Mean distance in BLEU."""
        return float((self.told - self.known).abs().mean())


def read_trained(files: Sequence[Path], space: HATSpace) -> list[Trained]:
    """HAT's networks, then those of files of records, one per line, with `scratch`: architecture and test BLEU.

    Raises InputError that names the file and line.
    """
    found = [Trained(space.parse(each.architecture).text, each.bleu, True) for each in NETWORKS]
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                record = json.loads(line)["scratch"]
                text = space.parse("\n".join(record["arch_info"])).text
                found.append(Trained(text, float(record["test_BLEU"]), False))
            except (ValueError, KeyError, TypeError, InputError) as error:
                raise InputError(
                    f"{file}, line {number}: no network with its BLEU ({str(error).partition(chr(10))[0]}); delete the "
                    "file and use: modnas-fast data fetch hat"
                ) from None
    return found


class BleuModel:
    """100 − BLEU, float64 [n], of networks [n, N]: the averages of a network and 1 / decoder layers, linear in each.

    Beyond what the trained networks span a line may lead anywhere. So in every column the line goes on where that
    costs BLEU, and stands still where it would gain some: no network is judged better for being out of range.

    Args:
        space: of the networks.
        trained: what the regression rests on.
    """

    def __init__(self, space: HATSpace, trained: Sequence[Trained]) -> None:
        self._space = space
        self.trained = tuple(trained)

    def columns(self, onehot: Tensor) -> Tensor:
        """[n, 11]: the features of the space, and 1 / decoder layers."""
        features = self._space.features(onehot.double())
        layers = features[:, [DECODER_LAYERS]] * self._space.scale.decoder_layers
        return torch.cat([features, 1 / layers], dim=-1)

    @cached_property
    def _known(self) -> tuple[Tensor, Tensor]:
        """Columns [n, 12], the last one whether a network is HAT's, and BLEU [n, 1]."""
        onehot = self._space.encode([self._space.parse(each.architecture) for each in self.trained])
        of_hat = torch.tensor([[float(each.of_hat)] for each in self.trained], dtype=torch.float64)
        bleu = torch.tensor([[each.bleu] for each in self.trained], dtype=torch.float64)
        return torch.cat([self.columns(onehot), of_hat], dim=-1), bleu

    @cached_property
    def _model(self) -> LinearModel:
        return LinearModel(*self._known, PENALTY)

    @cached_property
    def range(self) -> tuple[Tensor, Tensor]:
        """The least and the largest of each column among the trained networks, [11] each."""
        columns = self._known[0][:, :-1]
        return columns.amin(0), columns.amax(0)

    def beyond(self, onehot: Tensor) -> Tensor:
        """Which of networks [n, N] are beyond the range of the trained ones in some column, bool [n]."""
        columns, (low, high) = self.columns(onehot), self.range
        return ((columns < low - 1e-9) | (columns > high + 1e-9)).any(-1)

    @torch.no_grad()
    def __call__(self, onehot: Tensor) -> Tensor:
        columns, (low, high) = self.columns(onehot), self.range
        inside = columns.clamp(low, high)
        of_hat = torch.ones_like(columns[:, :1])
        told = self._model(torch.cat([inside, of_hat], dim=-1))[:, 0]
        outside = ((columns - inside) * self._model.slopes[:-1, 0]).clamp(max=0).sum(-1)
        return 100 - (told + outside)

    @cached_property
    def left_out(self) -> LeftOut:
        """What it tells of each of the trained networks without having seen it."""
        columns, bleu = self._known
        told = []
        for row in range(len(bleu)):
            others = torch.arange(len(bleu)) != row
            told.append(LinearModel(columns[others], bleu[others], PENALTY)(columns[[row]])[0])
        return LeftOut(torch.cat(told), bleu[:, 0])
