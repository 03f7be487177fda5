#!/usr/bin/env python3
"""Measures the networks of a kit on this device; needs Python 3.8 and onnxruntime, or torch for .pt2 files.

    python measure.py                        results.jsonl, 30 rounds, one thread
    python measure.py --rounds 50 --threads 4
    python measure.py --format pt2           with torch, where there is no onnxruntime
    python measure.py --energy-file /sys/class/powercap/intel-rapl:0/energy_uj --energy-unit uj
    python measure.py --energy-command "nvidia-smi --query-gpu=power.draw --format=csv,noheader,nounits" --energy-unit w

Every round visits all networks once in a new order. A value is a line, written at the end of its round: a killed
measurement continues there when it is started again. The first network is also measured at the begin and at the end of
each round, which tells whether something else kept the device busy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from typing import Any, Callable  # noqa: UP035 - of Python 3.8

HERE = os.path.dirname(os.path.abspath(__file__))
WARMUP = 3
#: between the two values of a round's first network, beyond which the round counts as disturbed
DISTURBED = 0.25
#: passes are repeated until they take so long together: clocks and counters of energy are coarse
LEAST_SECONDS = 0.002


def runner(path: str, threads: int) -> Callable[[Any], Any]:
    """What makes one pass over the kit's input."""
    if path.endswith(".pt2"):
        import torch

        torch.set_num_threads(threads)
        network = torch.export.load(path).module()

        def call(x: Any) -> Any:
            with torch.no_grad():
                network(torch.from_numpy(x))

        return call
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=onnxruntime.get_available_providers())
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})


def made_up(given: dict[str, Any]) -> Any:
    """The input that every network gets: normal numbers, or ids below a bound."""
    import numpy

    source = numpy.random.RandomState(0)
    if given["below"] is not None:
        return source.randint(0, given["below"], given["shape"]).astype(given["dtype"])
    return source.standard_normal(given["shape"]).astype(given["dtype"])


class Energy:
    """Millijoules between two looks, from a counter (uj, mj, j) or from the power at the moment (mw, w)."""

    UNITS = {"uj": 1e-3, "mj": 1.0, "j": 1e3, "mw": 1.0, "w": 1e3}

    def __init__(self, file: str | None, command: str | None, unit: str) -> None:
        self.file, self.command, self.unit = file, command, unit

    def known(self) -> bool:
        """Whether there is anything to be read."""
        return bool(self.file or self.command)

    def look(self) -> float:
        """The counter, in mJ, or the power, in mW."""
        if self.file:
            with open(self.file) as file:
                text = file.read()
        else:
            text = subprocess.check_output(str(self.command), shell=True, universal_newlines=True)
        return float(text.split()[0]) * self.UNITS[self.unit]

    def between(self, before: float, after: float, seconds: float) -> float | None:
        """None where a counter has begun again."""
        if self.unit in ("w", "mw"):
            return (before + after) / 2 * seconds
        return after - before if after >= before else None


def measured(call: Callable[[Any], Any], x: Any, repeats: int, energy: Energy) -> dict[str, Any]:
    """Milliseconds of a pass, and its energy where that can be read."""
    before = energy.look() if energy.known() else None
    begun = time.perf_counter()
    for _ in range(repeats):
        call(x)
    seconds = time.perf_counter() - begun
    line: dict[str, Any] = {"ms": 1e3 * seconds / repeats}
    if before is not None:
        spent = energy.between(before, energy.look(), seconds)
        if spent is not None:
            line["energy_mj"] = spent / repeats
    return line


def lines_of(path: str) -> list[dict[str, Any]]:
    """The whole lines of a file; a kill may have left half of one, which is cut off."""
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with open(path, "r+b") as file:
            file.truncate(len(whole))
    return [json.loads(line) for line in whole.decode("utf-8").splitlines() if line]


def main() -> None:
    """Measures what is left."""
    parser = argparse.ArgumentParser(description="Measures the networks of a kit on this device.")
    parser.add_argument("--results", default="results.jsonl", help="file of the values, continued where it is there")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--energy-file", help="file that holds a counter or the power now")
    parser.add_argument("--energy-command", help="command that prints it")
    parser.add_argument("--energy-unit", choices=sorted(Energy.UNITS), default="uj")
    parser.add_argument("--format", choices=["onnx", "pt2"], help="which files; default: those named in kit.json")
    parser.add_argument("--references", action="store_true", help="the ten reference networks alone: enough for pick")
    given = parser.parse_args()
    with open(os.path.join(HERE, "kit.json")) as file:
        kit = json.load(file)
    networks = [each for each in kit["networks"] if each["reference"] or not given.references]
    names = [each["file"] for each in networks]
    if given.format:
        names = [os.path.splitext(name)[0] + "." + given.format for name in names]
    setting = {"threads": given.threads, "references": given.references, "format": os.path.splitext(names[0])[1]}
    known = lines_of(given.results)
    if known and (known[0].get("kit") != kit or known[0].get("setting") != setting):
        sys.exit(f"{given.results} holds values of another kit or setting: give another --results")
    done = {(line["round"], line["network"]) for line in known[1:]}
    energy, x = Energy(given.energy_file, given.energy_command, given.energy_unit), made_up(kit["input"])
    calls = [runner(os.path.join(HERE, name), given.threads) for name in names]
    repeats = []
    for call in calls:
        for _ in range(WARMUP):
            call(x)
        repeats.append(
            max(1, int(LEAST_SECONDS / max(1e-6, measured(call, x, 1, Energy(None, None, "j"))["ms"] / 1e3)))
        )
    with open(given.results, "a") as out:

        def write(line: dict[str, Any]) -> None:
            out.write(json.dumps(line) + "\n")
            out.flush()
            os.fsync(out.fileno())

        if not known:
            machine = {"system": platform.platform(), "processor": platform.processor() or platform.machine()}
            write({"kit": kit, "setting": setting, "machine": machine})
        for number in range(given.rounds):
            left = [at for at, each in enumerate(networks) if (number, each["file"]) not in done]
            if not left:
                continue
            random.Random(number).shuffle(left)
            first = measured(calls[0], x, repeats[0], energy)["ms"]
            lines = []
            for at in left:
                lines.append({"round": number, "network": networks[at]["file"]})
                lines[-1].update(measured(calls[at], x, repeats[at], energy))
            last = measured(calls[0], x, repeats[0], energy)["ms"]
            disturbed = abs(last - first) > DISTURBED * min(first, last)
            for line in lines:
                line["disturbed"] = disturbed
                write(line)
            middle = statistics.median(line["ms"] for line in lines)
            note = ", disturbed" if disturbed else ""
            print(f"round {number + 1} of {given.rounds}: median {middle:.3f} ms{note}")
    print(f"done: modnas-fast devices add NAME {given.results}")


if __name__ == "__main__":
    main()
