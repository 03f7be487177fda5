"""Made-up tables of Once-for-All's MobileNetV3s: networks, latencies, a network of accuracies and tables of blocks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import yaml

from modnas_fast.reproduction.ofa_published import OTHER_WIDTH, space_of_width
from modnas_fast.spaces.mobilenetv3.block_names import NSGANETV2, TUTORIAL, Names, blocks, fixed_parts
from modnas_fast.spaces.mobilenetv3.published import PAPER_SEARCH, PAPER_UNSEEN
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

DEVICES = (*PAPER_SEARCH, *PAPER_UNSEEN)


@cache
def networks(count: int) -> tuple[str, ...]:
    """Strings of distinct networks of the published space, the references first."""
    space = MobileNetV3Space("published")
    drawn = space.decode(space.canonical(space.sample(2 * count, torch.Generator().manual_seed(0))))
    return tuple(dict.fromkeys([*space.references, *(network.text for network in drawn)]))[:count]


def latency_ms(text: str, device: str) -> float:
    """Of blocks and pixels, more of these for larger batches, with a little noise."""
    space = MobileNetV3Space("published")
    shape = space.shape(space.parse(text).indices)
    batch = int(device.rpartition("_")[2])
    depth = sum(map(len, shape.kernels))
    work = sum(k * e for ks, es in zip(shape.kernels, shape.expansions) for k, e in zip(ks, es))
    noise = 1 + 0.01 * np.random.default_rng(zlib.crc32(f"{text} {device}".encode())).standard_normal()
    return float((2 + 0.4 * depth + 0.002 * batch * work * (shape.resolution / 224) ** 2) * noise)


def write_net(file: Path) -> None:
    """A network of accuracies, untrained but of the right form; more of anything is more accurate."""
    generator, sizes, state = torch.Generator().manual_seed(0), [128, 6, 1], {}
    gain = torch.cat([torch.tensor([1.0, 1.5, 2.0]).repeat(40), torch.arange(8.0)])
    for place, (inputs, outputs) in enumerate(pairwise(sizes)):
        weight = torch.rand(outputs, inputs, generator=generator)
        state[f"{3 * place}.weight"] = 1e-3 * weight * gain if place == 0 else 0.1 + weight
        state[f"{3 * place}.bias"] = torch.full((outputs,), 0.1 if place == 0 else 0.55)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, file)


def write_tables(home: Path, count: int = 120) -> Path:
    """The data folder, as MODNAS_DATA names it."""
    space, folder = MobileNetV3Space("published"), home / "ofa"
    (folder / "help-latency").mkdir(parents=True)
    entries = []
    for text in networks(count):
        shape = space.shape(space.parse(text).indices)
        filled = [[[*stage, *[7] * (4 - len(stage))] for stage in stages] for stages in shape[1:]]
        entries.append(
            {
                "ks": [number for stage in filled[0] for number in stage],
                "e": [min(number, 6) for stage in filled[1] for number in stage],
                "d": [len(stage) for stage in shape.kernels],
                "r": np.int64(shape.resolution),
            }
        )
    torch.save({"dataset": "imagenet", "num_classes": 1000, "arch": entries}, folder / "ofa_archs.pt")
    for device in DEVICES:
        torch.save([latency_ms(text, device) for text in networks(count)], folder / f"help-latency/{device}.pt")
    write_net(folder / "ofa-tutorial/acc_predictor.pth")
    return home


def block_means(names: Names, space: MobileNetV3Space, resolution: int) -> dict[str, dict[str, float]]:
    """A made-up mean in ms of every block of a resolution, by key."""
    *fixed, classifier = fixed_parts(names, space.scale, resolution)
    keys = [*fixed, f"{classifier}1000", *(block.key for block in blocks(names, space.scale, resolution))]
    return {key: {"mean": 0.1 + zlib.crc32(key.encode()) % 1000 / 1000, "count": 10} for key in keys}


def write_blocks(file: Path, names: Names, space: MobileNetV3Space, resolutions: Sequence[int]) -> Path:
    """A table of blocks in one file."""
    means: dict[str, dict[str, float]] = {}
    for resolution in resolutions:
        means.update(block_means(names, space, resolution))
    file.write_text(yaml.safe_dump(means))
    return file


def write_published_blocks(home: Path, sides: Sequence[int]) -> None:
    """Made-up tables in the place of the published ones: of a Note10, and of an i7-8700K, which has two widths.

    JSON, which is YAML and written faster.
    """
    wide = MobileNetV3Space("published", resolutions=sides)
    phone = home / "ofa/ofa-tutorial/latency_table@note10"
    phone.mkdir(parents=True)
    means = {}
    for side in sides:
        (phone / f"{side}_lookup_table.yaml").write_text(json.dumps(block_means(TUTORIAL, wide, side)))
        means.update(block_means(NSGANETV2, wide, side))
    narrow = space_of_width(OTHER_WIDTH)
    for side in narrow.scale.resolutions:
        means.update(block_means(NSGANETV2, narrow, side))
    (home / "ofa/i7-8700K_lut.yaml").write_text(json.dumps(means))
