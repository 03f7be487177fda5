"""How a search would scale over ranks: messages measured between two processes here, steps predicted by a formula.

Measured: bytes and time of what a search exchanges (gloo, two processes of one thread each), from which latency and
bandwidth are fitted; and, at the paper's sizes of each space, both passes of one device's network (of a part of the
minibatch where that would take minutes, multiplied), Φ's part of a step for up to 1,000 devices, and w's optimiser.

Predicted: the step on R ranks, by the formula of modnas_fast/bench/scaling_formula.py, which is printed with its
inputs; all is assumed, nothing run, on more than two ranks. Weak scaling: devices grow with the ranks. Strong: the
paper's devices are divided, then minibatches. Efficiency: devices per second that a rank adds, over those of one alone.

Another network, here one like InfiniBand, and steps of another machine (its own --json file, or seconds by hand):

    modnas-fast bench scaling --latency-us 5 --bandwidth-gb 25 --compute gpu.json --json scaling.json --plot scaling.svg
    modnas-fast bench scaling --latency-us 5 --bandwidth-gb 25 --step nb201=0.01+0.004

--measure-step times whole steps of NAS-Bench-201 instead, of one rank and of two, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch

from modnas_fast.bench import scaling_formula as formula
from modnas_fast.bench.runner import Parser, count, counts, run, shown, write_results
from modnas_fast.bench.scaling_formula import Network, Predicted, Workload
from modnas_fast.bench.scaling_ranks import Message, exchanged, on_ranks, steps_in_turns
from modnas_fast.bench.scaling_tables import inputs_table, messages_table, plot, predictions_table
from modnas_fast.bench.scaling_workloads import DEVICES, PUBLISHED, Published, chosen, measured
from modnas_fast.bench.step_setting import Setting
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.terminal_table import show

#: bytes of the sums that tell latency and bandwidth
FITTED = (1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 26_214_400)

#: of the predictions
RANKS = (8, 64, 512, 1024)
SPACES = ", ".join(PUBLISHED)


def options(arguments: list[str] | None) -> argparse.Namespace:
    """The options; what does not go together is refused."""
    parser = Parser("scaling", __doc__ or "")
    parser.set_defaults(threads=1)
    parser.add_argument("--spaces", type=_spaces, default=[*PUBLISHED], help=f"of {SPACES}; default: all")
    parser.add_argument("--ranks", type=counts, default=[*RANKS], metavar="R,R", help="default: 8,64,512,1024")
    parser.add_argument("--per-rank", type=count, default=1, help="weak: searched devices on each rank; default: 1")
    parser.add_argument("--most-devices", type=count, default=1000, help="weak: never more than these; default: 1000")
    parser.add_argument("--latency-us", type=_positive, help="of another network's message, in microseconds")
    parser.add_argument("--bandwidth-gb", type=_positive, help="of another network between two ranks, GB per second")
    parser.add_argument("--compute", type=Path, metavar="FILE", help="take steps from another machine's --json file")
    parser.add_argument(
        "--step", type=_step, action="append", default=[], metavar="SPACE=C+O",
        help="seconds: both passes of one device's network, and what each rank does whole for every step",
    )  # fmt: skip
    parser.add_argument("--rounds", type=count, default=3, help="of every measurement; default: 3")
    parser.add_argument("--quick", action="store_true", help="nb201 alone, 16 images, small messages, one round")
    parser.add_argument("--measure-step", action="store_true", help="time steps of two ranks beside one, nothing else")
    parser.add_argument("--batch", type=count, help="--measure-step: images of a minibatch; default: 256")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw efficiencies: .svg or .png")
    given = parser.parse_args(arguments)
    if (given.latency_us is None) != (given.bandwidth_gb is None):
        parser.error("--latency-us and --bandwidth-gb describe one network: give both or neither")
    if given.plot and given.plot.suffix not in (".svg", ".png"):
        parser.error(f"--plot: wanted a name that ends with .svg or .png, got {given.plot.name}")
    if given.batch and not given.measure_step:
        parser.error("--batch goes with --measure-step: predictions are for the paper's minibatches")
    return given


def _spaces(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in PUBLISHED:
            raise argparse.ArgumentTypeError(f"wanted some of {SPACES}, got {name!r}")
    return names


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"wanted a number above 0, got {text!r}")
    return number


def _step(text: str) -> tuple[str, float, float]:
    name, _, seconds = text.partition("=")
    divided, _, whole = seconds.partition("+")
    if name not in PUBLISHED:
        raise argparse.ArgumentTypeError(f"wanted one of {SPACES} before =, got {name!r}")
    return name, _positive(divided), _positive(whole)


# ---- inputs of the formula ----


def messages_of(spaces: list[Published], quick: bool) -> list[Message]:
    """What steps of the spaces exchange, and sums that tell of the network."""
    most = 1_048_576 if quick else max(FITTED)
    found = [Message(f"{size} bytes", "all_reduce", (size,)) for size in FITTED if size <= most]
    for one in spaces:
        options = one.space().num_options
        for devices in (one.devices, max(DEVICES)):
            size = formula.phi_bytes(devices, options)
            found.append(Message(f"{one.name}, Φ, T = {devices}", "all_reduce", (size,)))
            found.append(Message(f"{one.name}, Φ, T = {devices}, gathered", "all_gather", (size // 8 * 4,)))
        if not quick:
            sizes = tuple(formula.weight_messages(one.weights()))
            found.append(Message(f"{one.name}, gradients of w", "all_reduce", sizes))
    return found


def network_of(given: argparse.Namespace, spaces: list[Published]) -> tuple[Network, list[dict[str, Any]]]:
    """What the predictions are for, and what was measured here."""
    messages = messages_of(spaces, given.quick)
    (seconds,) = on_ranks(partial(exchanged, messages=messages, rounds=1 if given.quick else max(given.rounds, 5)))
    rows = [
        {"name": each.name, "kind": each.kind, "messages": len(each.sizes), "bytes": each.size, "seconds": took}
        for each, took in zip(messages, seconds, strict=True)
    ]
    show(messages_table(rows))
    told = [row for row in rows if row["bytes"] in FITTED and row["messages"] == 1 and row["kind"] == "all_reduce"]
    here = formula.fitted([row["bytes"] for row in told], [row["seconds"] for row in told])
    print(f"fitted here: latency {shown(here.latency_s)}, bandwidth {here.bytes_per_s / 1e9:.3g} GB/s")
    if given.latency_us is None:
        return here, rows
    return Network(given.latency_us * 1e-6, given.bandwidth_gb * 1e9, "best", measured=False), rows


def workloads_of(given: argparse.Namespace, spaces: list[Published]) -> dict[str, tuple[Workload, str]]:
    """By space, what a step takes and where that is from."""
    by_hand = {name: (divided, whole) for name, divided, whole in given.step}
    elsewhere = _read(given.compute, [one.name for one in spaces]) if given.compute else {}
    found: dict[str, tuple[Workload, str]] = {}
    for one in spaces:
        if one.name in by_hand:
            divided, whole = by_hand[one.name]
            work = Workload(one.name, one.space().num_options, one.weights(), divided, {1: whole}, 0.0)
            found[one.name] = work, "given"
        elif one.name in elsewhere:
            found[one.name] = elsewhere[one.name], str(given.compute)
        else:
            samples, places = (min(16, one.measured), (1, 32, 1000)) if given.quick else (None, DEVICES)
            found[one.name] = measured(one, 1 if given.quick else given.rounds, places, samples), "measured here"
    return found


def _read(path: Path, names: list[str]) -> dict[str, Workload]:
    try:
        rows = json.loads(path.read_text())["results"]["compute"]
        found = {row["space"]: _workload(row) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"bench scaling: --compute: {path} is no result of this benchmark ({error!r})") from None
    if missing := [name for name in names if name not in found]:
        raise InputError(f"bench scaling: --compute: {path} has no {', '.join(missing)}; set --spaces to what it has")
    return found


def _workload(row: dict[str, Any]) -> Workload:
    phi = {int(devices): float(seconds) for devices, seconds in row["phi_s"].items()}
    weights = tuple(int(numbers) for numbers in row["weights"])
    network, optimizer = float(row["network_s"]), float(row["optimizer_s"])
    return Workload(row["space"], int(row["options"]), weights, network, phi, optimizer)


# ---- predictions ----


def predictions(given: argparse.Namespace, work: Workload, network: Network) -> dict[str, list[Predicted]]:
    """Weak and strong scaling, each with one rank first."""
    return {
        "weak": formula.weak(work, given.ranks, given.per_rank, given.most_devices, network),
        "strong": formula.strong(work, given.ranks, PUBLISHED[work.space].devices, network),
    }


def _plain(steps: list[Predicted]) -> list[dict[str, Any]]:
    rows = zip(steps, [1.0, *formula.efficiency(steps)], strict=True)
    return [{**step._asdict(), "step_s": step.step_s, "efficiency": share} for step, share in rows]


def main(arguments: list[str] | None = None) -> None:
    """Measures, predicts, prints."""
    given = options(arguments)
    torch.set_num_threads(given.threads)
    if given.measure_step:
        measure_step(given)
        return
    spaces = chosen(["nb201"] if given.quick else given.spaces)
    network, rows = network_of(given, spaces)
    works = workloads_of(given, spaces)
    found = {name: {kind: _plain(steps) for kind, steps in predictions(given, work, network).items()}
             for name, (work, _) in works.items()}  # fmt: skip
    show(inputs_table(works, network))
    print(formula.__doc__.partition("\n\n")[2] if formula.__doc__ else "")
    for kind in ("weak", "strong"):
        show(predictions_table(kind, {name: rows[kind] for name, rows in found.items()}, network))
    if given.json:
        compute = [
            {**work._asdict(), "source": source, **PUBLISHED[work.space].to_dict()} for work, source in works.values()
        ]
        results = {"messages": rows, "network": network._asdict(), "compute": compute, "predicted": found}
        write_results(given.json, "scaling", results, load=os.getloadavg())
    if given.plot:
        plot(found, network, given.plot)


def measure_step(given: argparse.Namespace) -> None:
    """Two ranks of one thread beside one rank of one thread."""
    setting = Setting(13, given.batch or (32 if given.quick else 256))
    load = os.getloadavg()
    (times,) = on_ranks(partial(steps_in_turns, setting=setting, rounds=1 if given.quick else given.rounds))
    ratio = {}
    print(f"a step of NAS-Bench-201, T = 13, {setting.batch} images; {os.cpu_count()} cores, load before {load[0]:.1f}")
    for place, kind in enumerate(("clock", "cpu")):
        one, two = (statistics.median(row[place] for row in times[name]) for name in ("one rank", "two ranks"))
        ratio[kind] = one / two
        print(f"by {kind:<6} one rank {shown(one)}, two ranks {shown(two)}, {one / two:.2f} × as fast")
    if given.json:
        row = {**setting.to_dict(), "seconds_of_clock_and_cpu": times, "ratio": ratio}
        write_results(given.json, "scaling_step", [row], load=load, rounds=given.rounds)


if __name__ == "__main__":
    run(main)
