"""The published tables of the GPT space: HW-GPT-Bench's measurements of 10,000 networks per scale."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from modnas_fast.datasets.home import data_home, locate
from modnas_fast.runtime.objective import Objective
from modnas_fast.spaces.gpt.judge import CostModels, PerplexityNet
from modnas_fast.spaces.gpt.table import Arrays, load_table, texts_of
from modnas_fast.spaces.published import CostTable, Published, Truth

if TYPE_CHECKING:
    from modnas_fast.spaces.gpt.space import GPTSpace

HW_GPT_BENCH, OPENWEBTEXT = "hw-gpt-bench", "openwebtext"
#: devices as MODNAS splits them for the energy
PAPER_SEARCH = ("P100", "a6000", "rtx2080", "rtx3080")
PAPER_UNSEEN = ("v100", "a100", "a40", "h100")
#: tokens of the GPT-NeoX vocabulary, and of a sample
VOCABULARY, CONTEXT = 50_254, 1024
#: the array with the memory of the two GPUs where it was measured
MEMORY = {"a100": "bfloat16_memory_mb", "rtx2080": "float16_memory_mb"}
MILLI = 1e3


class GPTPublished(Published):
    """What was measured of one scale; a scale with sizes of its own has nothing.

    Args:
        space: of the scale.
        scale: s, m or l.
    """

    tables = (HW_GPT_BENCH,)
    tasks = (OPENWEBTEXT,)

    def __init__(self, space: GPTSpace, scale: str) -> None:
        self._space = space
        self._scale = scale

    @property
    def measured(self) -> tuple[str, ...]:
        """The networks of the table; none where its file is not there."""
        return self._texts if (data_home() / self._file).is_file() else ()

    @property
    def _file(self) -> str:
        return f"gpt/hw_gpt_bench_{self._scale}.npz"

    @cached_property
    def _arrays(self) -> Arrays:
        return load_table(locate(self._file))

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        return texts_of(self._arrays)

    @cached_property
    def _onehot(self) -> Tensor:
        return self._space.encode([self._space.parse(text) for text in self._texts])

    def costs(self, table: str) -> CostTable:
        """Latency in ms, energy in mWh and, of two GPUs, memory in MB; others are judged by ridge models.

        Medians of ten repeats of the latency and of fifty of a GPU's energy; a CPU's energy is the mean that its
        meter tells.
        """
        arrays, values = self._arrays, {}
        latency = np.nanmedian(arrays["latency_ms"].astype(float), axis=-1)
        median = arrays["energy_wh_median"]
        energy = MILLI * np.where(np.isnan(median), arrays["energy_wh_mean"], median).astype(float)
        for row, device in enumerate(arrays["device"].tolist()):
            memory = arrays[MEMORY[device]].astype(float) if device in MEMORY else np.full(len(self._texts), np.nan)
            values[device] = torch.from_numpy(np.stack([latency[row], energy[row], memory], axis=-1))
        judge = CostModels(self._space, self._onehot, values)
        return CostTable(self._texts, {"latency": "ms", "energy": "mWh", "device_memory": "MB"}, values, judge)

    def truth(self, task: str) -> Truth:
        """Perplexity on OpenWebText with weights inherited from the published supernet; judged where none was told."""
        measured = torch.from_numpy(self._arrays["perplexity"].astype(float))
        judged = torch.from_numpy(self._arrays["perplexity_mlp"].astype(float))
        known = int((~measured.isnan()).sum())
        origin = f"measured with inherited weights for {known:,} of the table's {len(measured):,} networks"
        if known < len(measured):
            origin += ", judged for the others"
        return Truth(
            task,
            Objective("perplexity"),
            self._texts,
            torch.where(measured.isnan(), judged, measured),
            torch.ones(len(measured), dtype=torch.bool),
            float(VOCABULARY),
            f"{origin} (HW-GPT-Bench)",
            {"vocabulary": VOCABULARY, "input_shape": (CONTEXT,)},
            {"vocabulary": VOCABULARY, "context": CONTEXT, "sizes": {}},
            PerplexityNet.load(locate(f"gpt/perplexity_{self._scale}.pt"), self._space),
        )

    def split(self, table: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """MODNAS's four GPUs that are searched and four unseen ones; the other five are CPUs."""
        return PAPER_SEARCH, PAPER_UNSEEN
