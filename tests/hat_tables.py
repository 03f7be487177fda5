"""Made-up HAT data: files of latencies by averages, and records of trained networks, as small as they go."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from modnas_fast.spaces.hat.latency_table import AVERAGES, LATENCIES
from modnas_fast.spaces.hat.published import RASPBERRY_PI, TITAN_XP, XEON
from modnas_fast.spaces.hat.published_form import DEPTHS, KEYS, REACHES, SUFFIX
from modnas_fast.spaces.hat.space import HATSpace

DEVICES = (XEON, TITAN_XP, RASPBERRY_PI)
#: features by which averages are divided to be shares, as in a space whose largest sizes are these
LARGEST = torch.tensor([640.0, 6, 3072, 8, 640, 6, 3072, 8, 8, 3], dtype=torch.float64)


def averages(space: HATSpace, count: int, seed: int) -> Tensor:
    """Of random networks, in units, [n, 10]."""
    onehot = space.sample(count, torch.Generator().manual_seed(seed)).double()
    return space.features(onehot) * LARGEST


def times(rows: Tensor, device: int) -> Tensor:
    """Of encoder and decoder in ms, [n, 2]: decoder layers tell most; devices differ in what width costs."""
    share = rows / LARGEST
    encoder = 4 + 2 * share[:, 2] + share[:, 3]
    decoder = 6 * share[:, 5] * (4 + (1 + device) * share[:, 4] + 2 * share[:, 6] + share[:, 7] + 0.5 * share[:, 8])
    return (1 + 9 * (device == 2)) * torch.stack([encoder, 5 * decoder], dim=-1)


def latency_file(rows: Tensor, measured: Tensor) -> str:
    """The text of a file."""
    head = ",".join([*AVERAGES, *LATENCIES, "latency_std_encoder", "latency_std_decoder"])
    lines = [",".join(map(str, [*a, *t, 0.1, 0.1])) for a, t in zip(rows.tolist(), measured.tolist())]
    return "\n".join([head, *lines, ""])


def bleu(space: HATSpace, text: str) -> float:
    """Of a network: depth and feed-forward sizes of the decoder tell it."""
    share = space.features(space.encode([space.parse(text)]).double())[0]
    return float(27.5 - 2 / (6 * share[5]) + 0.5 * share[6] + 0.7 * share[2])


def record(space: HATSpace, text: str) -> str:
    """A line of a file of trained networks."""
    shape = space.shape(space.parse(text).indices)
    published = {reach: number for number, reach in REACHES.items()}
    info = [f"{DEPTHS['encoder']}{SUFFIX}: {len(shape.encoder_ffns)}"]
    info += [f"{DEPTHS['decoder']}{SUFFIX}: {len(shape.decoder_ffns)}"]
    for name, key in KEYS.items():
        value = getattr(shape, name)
        if name == "reaches":
            value = [published[reach] for reach in value]
        info.append(f"{key}{SUFFIX}: {list(value) if isinstance(value, (tuple, list)) else value}")
    return json.dumps({"scratch": {"test_BLEU": round(bleu(space, text), 2), "arch_info": info}})


def write_tables(folder: Path, count: int = 90) -> Path:
    """The files of WMT14 En-De below a data folder, `count` rows per device that count; returns the folder."""
    wide, space = HATSpace("space1"), HATSpace("space0")
    (folder / "hat/latency_dataset").mkdir(parents=True)
    (folder / "hat/llm-pp").mkdir()
    for place, device in enumerate(DEVICES):
        rows = averages(wide, count + 145 * (device == RASPBERRY_PI), seed=place)
        file = folder / f"hat/latency_dataset/wmt14ende_{device}_all.csv"
        file.write_text(latency_file(rows, times(rows, place)))
    drawn = space.decode(space.canonical(space.sample(30, torch.Generator().manual_seed(9))))
    for name, part in (("train", drawn[:10]), ("test", drawn[10:])):
        lines = [record(space, network.text) for network in part]
        (folder / f"hat/llm-pp/wmt14ende_{name}.jsonl").write_text("\n".join([*lines, ""]))
    return folder
