"""Parts of networks measured one by one on a setting of this machine, into a table that sums give networks from."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from modnas_fast.devices.contention import Watch
from modnas_fast.devices.machine import Setting
from modnas_fast.devices.measure import threads_restored
from modnas_fast.devices.rounds import Block, doubt, least_rounds, run_rounds
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_text, write_text
from modnas_fast.runtime.progress import Reporter
from modnas_fast.spaces.parts import Part

#: parts that are measured in the same rounds, and those among the first that tell the drift of all later ones
TOGETHER, ANCHORS = 60, 8


class Timed(NamedTuple):
    """A module and the batch that it gets."""

    module: torch.nn.Module
    x: Tensor


def measure_parts(
    parts: Iterable[Part], setting: Setting, file: Path, repeats: int, reporter: Reporter
) -> tuple[int, list[str]]:
    """Adds latencies in ms of the parts that are not in `file` yet, YAML; how many, and why not to trust some of them.

    Some parts are measured in the same rounds as `devices.measure` does it, medians count; the file is written after
    each of these, so that the same call goes on where it was stopped.

    Args:
        parts: each once.
        setting: of this machine.
        file: by key `mean` (a median, under the name that published tables have), `std` and `count`.
        repeats: counted rounds.
        reporter: where progress is told.

    Raises InputError where the file is there and is no such table.
    """
    every, known, doubts = list(parts), _read(file), list[str]()
    left = [part for part in every if part.key not in known]
    anchors = every[:: max(1, len(every) // ANCHORS)][:ANCHORS]
    with reporter.stage("Measuring parts", len(every), len(every) - len(left)) as advance:
        first = [part for part in anchors if part.key not in known]
        keys = {part.key for part in first}
        others = iter([part for part in left if part.key not in keys])
        while chunk := [*first, *islice(others, TOGETHER - len(first))]:
            first = []
            before = {part.key: known[part.key]["mean"] for part in anchors if part.key in known}
            beside = [part for part in anchors if part.key in before]
            found, why = measure_together(chunk, setting, repeats, beside, before)
            known.update(found)
            doubts += [why] if why else []
            write_text(file, yaml.safe_dump(known, sort_keys=False))
            advance(sum(part.key in known for part in every))
    return len(left), list(dict.fromkeys(doubts))


def measure_together(
    parts: Sequence[Part], setting: Setting, repeats: int, anchors: Sequence[Part], first_ms: Mapping[str, float]
) -> tuple[dict[str, dict[str, float]], str]:
    """`mean`, `std` and `count` in ms by key, and why not to trust them, empty where they are.

    Args:
        parts: measured in turns.
        setting: of this machine.
        repeats: counted rounds.
        anchors: measured beside, to take out the machine's drift; none: what is measured now is the unit.
        first_ms: what the anchors took at first, by key.
    """
    items = [_timed(part, setting) for part in (*parts, *anchors)]
    block = Block(items, range(len(parts), len(items)), [first_ms[part.key] for part in anchors] or None)
    with torch.inference_mode(), threads_restored():
        torch.set_num_threads(setting.threads)
        watch = Watch()
        run_rounds([block], _seconds, lambda item: watch.look(), repeats, repeats // 3)
    found = block.corrected(least_rounds(repeats))
    values = zip(parts, found.latency_ms.tolist(), found.noise.tolist())
    entries = {p.key: {"mean": ms, "std": ms * noise, "count": len(block.values_ms)} for p, ms, noise in values}
    return entries, doubt(block, least_rounds(repeats))


def _timed(part: Part, setting: Setting) -> Timed:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(setting.batch, *part.input_shape, generator=generator).to(setting.dtype)
    return Timed(part.module.eval().to(setting.dtype), x)


def _seconds(item: Timed) -> float:
    start = time.perf_counter()
    item.module(item.x)
    return time.perf_counter() - start


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content = yaml.safe_load(read_text(file))
        if not isinstance(content, dict) or any(float(entry["mean"]) <= 0 for entry in content.values()):
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        raise InputError(f"{file} is no table of latencies; delete it, or give another --out") from None
    return content
