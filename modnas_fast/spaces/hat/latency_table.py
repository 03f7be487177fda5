"""HAT's tables of latencies: 2,000 networks per task and device, known by ten averages; rows that mislead left out.

Latency is encoder and decoder for a sentence of 30 tokens, batch 1, in ms. Left out are

- of the Raspberry Pi (En-De) the rows in which its measuring began: an encoder took three times as long there;
- rows measured while a device was slow: where the median of as many rows around takes so much longer than all
  networks of their features, whatever else ran there was measured, too.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.hat.details import details_of
from modnas_fast.spaces.rows import LinearModel

#: as the files have them, with what follows
AVERAGES = (
    "encoder_embed_dim",
    "encoder_layer_num",
    "encoder_ffn_embed_dim_avg",
    "encoder_self_attention_heads_avg",
    "decoder_embed_dim",
    "decoder_layer_num",
    "decoder_ffn_embed_dim_avg",
    "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg",
    "decoder_arbitrary_ende_attn_avg",
)
LATENCIES = ("latency_mean_encoder", "latency_mean_decoder")
#: what HAT divides the averages by
SCALES = torch.tensor([640.0, 6, 2048, 6, 640, 6, 2048, 6, 6, 2], dtype=torch.float64)
#: rows at the beginning of a file, and ms of an encoder, beyond which a device was not at rest yet
START_UP = {"wmt14ende_cpu_raspberrypi": (145, 600.0)}
#: rows of a running median, and the share of the time by which it says that a device was slow
WINDOW, SLOW = 15, 0.1
#: of the models that tell how long networks take, per row
PENALTY = 1e-4


class Measured(NamedTuple):
    """The rows of a file that count."""

    #: in units, float64 [n, 10]
    averages: Tensor
    #: float64 [n]
    latency_ms: Tensor
    #: their places in the file, from 0 on
    numbers: list[int]
    #: of the others, in words; empty where there are none
    left_out: str


def read_latencies(file: Path) -> Measured:
    """The rows of a file of HAT's that count. Raises InputError where it is no such file."""
    averages, times = _read(file)
    latency = times.sum(-1)
    kept = torch.ones(len(latency), dtype=torch.bool)
    rows, most = START_UP.get(file.stem.removesuffix("_all"), (0, torch.inf))
    kept[:rows] = False
    kept &= times[:, 0] <= most
    first = len(kept) - int(kept.sum())
    kept &= ~slow_rows(details_of(averages / SCALES), latency, kept)
    later = len(kept) - int(kept.sum()) - first
    words = [
        f"{first} rows of its start" if first else "",
        f"{later} rows measured while it was slow" if later else "",
    ]
    left_out = " and ".join(filter(None, words))
    return Measured(averages[kept], latency[kept], kept.nonzero().flatten().tolist(), left_out)


def slow_rows(counts: Tensor, latency: Tensor, kept: Tensor) -> Tensor:
    """Rows among those kept, bool [n], around which a device took longer than its networks do elsewhere.

    Args:
        counts: of the networks, [n, F].
        latency: in the order in which they were measured, [n].
        kept: rows that count, bool [n].
    """
    places = kept.nonzero().flatten()
    slow = torch.zeros(len(places), dtype=torch.bool)
    for _ in range(2):  # slow rows are part of the first model
        quiet = places[~slow]
        usual = LinearModel(counts[quiet], latency[quiet, None], PENALTY)(counts[places])[:, 0]
        around = scipy.ndimage.median_filter((latency[places] / usual - 1).numpy(), size=WINDOW, mode="nearest")
        slow = torch.from_numpy(around > SLOW)
    found = torch.zeros_like(kept)
    found[places[slow]] = True
    return found


def _read(file: Path) -> tuple[Tensor, Tensor]:
    """Averages [n, 10] and times of encoder and decoder in ms [n, 2]."""
    try:
        with open(file, encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            rows = [[float(row[name]) for name in (*AVERAGES, *LATENCIES)] for row in reader]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        reason = f"no column {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise _not_hat(file, reason) from None
    values = torch.from_numpy(np.array(rows, dtype=np.float64).reshape(len(rows), len(AVERAGES) + len(LATENCIES)))
    if len(values) < WINDOW or not bool((values.isfinite() & (values > 0)).all()):
        raise _not_hat(file, f"wanted at least {WINDOW} rows of positive numbers")
    return values[:, : len(AVERAGES)], values[:, len(AVERAGES) :]


def _not_hat(file: Path, reason: str) -> InputError:
    return InputError(
        f"{file} is no table of HAT's latencies ({reason}); delete it and use: modnas-fast data fetch hat"
    )
