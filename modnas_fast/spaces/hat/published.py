"""What was published of the HAT space: latencies by averages of networks, and BLEU of some that were trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modnas_fast.datasets.home import locate
from modnas_fast.runtime.objective import Objective
from modnas_fast.spaces.hat.bleu import BleuModel, read_trained
from modnas_fast.spaces.hat.details import samples_of
from modnas_fast.spaces.hat.latency_table import PENALTY, read_latencies
from modnas_fast.spaces.published import Fit, Published, Truth
from modnas_fast.spaces.rows import LinearModel, RowTable

if TYPE_CHECKING:
    from modnas_fast.spaces.hat.space import HATSpace

WMT14_EN_DE = "wmt14-ende"
XEON, TITAN_XP, RASPBERRY_PI = "cpu_xeon", "gpu_titanxp", "cpu_raspberrypi"
#: as in the paper
PAPER_SEARCH, PAPER_UNSEEN = (XEON, TITAN_XP), (RASPBERRY_PI,)
#: task of the files and devices by table; the first is WMT14 En-De
TABLES = {
    "hat": ("wmt14ende", (XEON, TITAN_XP, RASPBERRY_PI)),
    "hat-wmt14enfr": ("wmt14enfr", (XEON, TITAN_XP, RASPBERRY_PI)),
    "hat-wmt19ende": ("wmt19ende", (TITAN_XP,)),
    "hat-iwslt14deen": ("iwslt14deen", (TITAN_XP,)),
}
#: of the joint vocabulary, and tokens of the sentence that latencies are of
VOCABULARY, SENTENCE = 32_768, 30
TRAINED_FILES = ("hat/llm-pp/wmt14ende_train.jsonl", "hat/llm-pp/wmt14ende_test.jsonl")


class HATPublished(Published):
    """What was measured of the published spaces 0 and 1.

    Args:
        space: one of the two.
    """

    tables = tuple(TABLES)
    tasks = (WMT14_EN_DE,)

    def __init__(self, space: HATSpace) -> None:
        self._space = space

    def costs(self, table: str) -> RowTable:
        """Latency of encoder and decoder in ms: rows of each device's own; any network is judged by a ridge model."""
        task, devices = TABLES[table]
        measured = {d: read_latencies(locate(f"hat/latency_dataset/{task}_{d}_all.csv")) for d in devices}
        samples = {device: samples_of(self._space, rows.averages) for device, rows in measured.items()}
        values = {device: rows.latency_ms[:, None] for device, rows in measured.items()}
        return RowTable(
            {"latency": "ms"},
            samples,
            values,
            {device: rows.numbers for device, rows in measured.items()},
            LatencyModels(self._space, samples, values),
            {device: rows.left_out for device, rows in measured.items() if rows.left_out},
        )

    @cached_property
    def bleu(self) -> BleuModel:
        """The judge of WMT14 En-De."""
        return BleuModel(self._space, read_trained([locate(file) for file in TRAINED_FILES], self._space))

    def truth(self, task: str) -> Truth:
        """100 − BLEU, judged for any network: 47 were trained, too few for a table."""
        trained = {each.architecture: 100 - each.bleu for each in self.bleu.trained}
        error = self.bleu.left_out
        return Truth(
            task,
            Objective("bleu_loss", "%"),
            tuple(trained),
            torch.tensor(list(trained.values()), dtype=torch.float64),
            torch.ones(len(trained), dtype=torch.bool),
            100.0,
            f"100 − BLEU on newstest2014, judged for every network, those that the search asked for too, by a ridge "
            f"regression on {len(self.bleu.trained)} trained ones (left out one by one: Spearman "
            f"{error.spearman:.3f}, off by {error.mean_error:.2f} BLEU on average); beyond what those span it is "
            "extrapolation, in which no network gains",
            {"vocabulary": VOCABULARY, "input_shape": (2, SENTENCE)},
            {"vocabulary": VOCABULARY, "languages": ["en", "de"], "sizes": {}},
            self.bleu,
            "that regression",
            asks_judge=True,
        )

    def split(self, table: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """As published: Xeon and Titan Xp are searched, the Raspberry Pi is held out, where a table has it."""
        return (PAPER_SEARCH, PAPER_UNSEEN) if RASPBERRY_PI in TABLES[table][1] else (None, ())


class LatencyModels:
    """Latencies of any network on the devices of a table, by ridge models of all its rows: a `CostJudge`.

    No network is judged to be faster than half the fastest that was measured there: a line knows no limit.

    Args:
        space: the search space.
        samples: of the rows by device, [n, N].
        values: their costs, float64 [n, C].
    """

    def __init__(self, space: HATSpace, samples: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        self._space, self._samples, self._values = space, samples, values
        self._models: dict[str, LinearModel] = {}

    def __call__(self, device: str, onehot: Tensor) -> Tensor:
        """Costs [n, C], float64, of networks or relaxed samples [n, N] on a device."""
        if device not in self._models:
            counts = self._space.details(self._samples[device])
            self._models[device] = LinearModel(counts, self._values[device], PENALTY)
        told = self._models[device](self._space.details(onehot.double()))
        return torch.maximum(told, self._values[device].amin(0) / 2)

    def fits(self, device: str) -> list[Fit]:
        """How well the cost of the rows is told on a device, [C]."""
        return Fit.of_each(self(device, self._samples[device]), self._values[device])
