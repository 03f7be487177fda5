"""A kit on this machine as if it were another device: its values beside direct measurements of the same files.

    modnas-fast bench kit [--quick] [--run RUN] [--networks N] [--rounds N] [--json FILE]

The networks are those of `modnas-fast kit`, of a run or of the default search. Its measure.py times them in a process
of its own, on one thread; then the same files are timed in this one, in turns, as `export` does. Per format, a line:
the median over the networks of |kit / direct - 1|, the factor that all have in common, and what is left when that is
taken out, on which embeddings and tables rest. Other work on the machine belongs to the question: leave it alone, or
start some.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from modnas_fast.bench.runner import Parser, count, run, write_results
from modnas_fast.config import make_config
from modnas_fast.deployment.checks import latencies_ms
from modnas_fast.deployment.kit import KIT_FORMATS, SCRIPT, make_kit
from modnas_fast.result.folder import open_run
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent


def medians_of(lines: list[dict[str, Any]]) -> tuple[dict[str, float], float]:
    """Of lines that measure.py wrote: ms by network, over calm rounds where there are any, and the disturbed share."""
    calm = [line for line in lines if not line["disturbed"]]
    taken: dict[str, list[float]] = {}
    for line in calm or lines:
        taken.setdefault(Path(line["network"]).stem, []).append(line["ms"])
    return {name: statistics.median(values) for name, values in taken.items()}, 1 - len(calm) / len(lines)


def compared(kit: Mapping[str, float], direct: Mapping[str, float]) -> dict[str, float]:
    """How far values of a kit are from direct ones: in the median, in common, and beside that.

    >>> told = compared({"a": 1.1, "b": 2.2, "c": 3.6}, {"a": 1.0, "b": 2.0, "c": 3.0})
    >>> {name: round(value, 3) for name, value in told.items()}
    {'deviation': 0.1, 'factor': 1.1, 'beside': 0.0}
    """
    ratios = [kit[name] / value for name, value in direct.items()]
    factor = statistics.median(ratios)
    return {
        "deviation": statistics.median(abs(ratio - 1) for ratio in ratios),
        "factor": factor,
        "beside": statistics.median(abs(ratio / factor - 1) for ratio in ratios),
    }


def by_script(folder: Path, form: str, rounds: int) -> tuple[dict[str, float], float]:
    """What the kit's script measures in a process of its own, see `medians_of`."""
    results = folder / f"results-{form}.jsonl"
    command = [sys.executable, SCRIPT, "--rounds", str(rounds), "--format", form, "--results", str(results)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise InputError(f"bench kit: {SCRIPT} ended with {ended.stderr.strip().splitlines()[-1]}")
    _, *lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return medians_of(lines)


def main(arguments: list[str] | None = None) -> None:
    """Writes a kit, measures, prints."""
    parser = Parser("kit", __doc__ or "")
    parser.add_argument("--quick", action="store_true", help="10 networks and 6 rounds")
    parser.add_argument("--run", type=Path, help="folder of a run; default: the default search, digits")
    parser.add_argument("--networks", type=count, default=20, help="at least the 10 references; default: 20")
    parser.add_argument("--rounds", type=count, default=15, help="default: 15")
    given = parser.parse_args(arguments)
    networks, rounds = (10, 6) if given.quick else (given.networks, given.rounds)
    torch.set_num_threads(given.threads)
    config = open_run(given.run) if given.run else make_config()
    inputs = Inputs(config, Silent(), remeasure=False, folder=lambda: given.run)
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "kit"
        make_kit(inputs, folder, networks, 1, KIT_FORMATS, 0, Silent())
        for form in KIT_FORMATS:
            kit, disturbed = by_script(folder, form, rounds)
            files = sorted(folder.glob(f"*.{form}"))
            direct = latencies_ms(files, inputs.task.inputs(1), 1)
            told = compared(kit, {Path(name).stem: value["pass_ms"] for name, value in direct.items()})
            results[form] = {**told, "disturbed": disturbed, "networks": networks}
            print(
                f"{form:<5} kit beside direct: median deviation {told['deviation']:.1%} of {networks} networks; in "
                f"common × {told['factor']:.3f}, beside that {told['beside']:.1%}; {disturbed:.0%} of values disturbed"
            )
    if given.json:
        write_results(given.json, "kit", results)


if __name__ == "__main__":
    run(main)
