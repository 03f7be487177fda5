"""Campaigns of measuring this machine one after the other: how far their latencies agree.

    modnas-fast bench measuring [--quick] [--campaigns K] [--networks N] [--json FILE] [--threads N]

Random networks of the default search on every setting of this machine are measured in each campaign beside the ten
reference networks, as a run measures them (docs/devices.md); what its cache holds is not used. A line per setting: how
far each later campaign lies from the first, as the median over the networks, and why, where it is not trustworthy.
Other work on the machine belongs to the question: leave the machine alone, or start some.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from modnas_fast.bench.runner import Parser, count, run, shown, write_results
from modnas_fast.config import make_config
from modnas_fast.devices import MeasurementCache, Profiler, fingerprint, machine_settings
from modnas_fast.devices.campaign import Latencies
from modnas_fast.devices.machine import Setting
from modnas_fast.devices.measure import normals_of
from modnas_fast.spaces import Architecture, SearchSpace, make_space

#: of the digits
IMAGE, CLASSES = (1, 8, 8), 10


def campaigns(
    space: SearchSpace, networks: list[Architecture], settings: list[Setting], repeats: int, wanted: int
) -> tuple[list[Latencies], list[float]]:
    """Latencies of `networks` on `settings` in each of the campaigns, and the seconds that each took.

    All know what the references took in the first, as runs do by the cache.
    """
    network = {"image_channels": IMAGE[0], "classes": CLASSES, "input_shape": IMAGE, **make_config().space.network}
    references = [space.parse(text) for text in space.references]
    found: list[Latencies] = []
    first: Latencies = {}
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(wanted):
            cache = MeasurementCache(fingerprint(), network, Path(folder) / str(number))
            profiler = Profiler(space, network, normals_of(IMAGE), cache, repeats)
            cache.update({(name, text): value for name, row in first.items() for text, value in row.items()})
            begun = time.perf_counter()
            found.append(profiler.latencies([(setting, networks) for setting in settings], say=print, refuse=False))
            seconds.append(time.perf_counter() - begun)
            if not first:
                first = profiler.latencies([(setting, references) for setting in settings])
    return found, seconds


def disagreement(first: Latencies, later: Latencies, setting: str) -> float:
    """The median over networks of |later / first − 1| on a setting."""
    return statistics.median(abs(later[setting][t].latency_ms / m.latency_ms - 1) for t, m in first[setting].items())


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints."""
    parser = Parser("measuring", __doc__ or "")
    parser.add_argument("--quick", action="store_true", help="two campaigns of 6 networks and 6 rounds")
    parser.add_argument("--campaigns", type=count, default=3, help="at least 2; default: 3")
    parser.add_argument("--networks", type=count, default=24, help="random networks per setting; default: 24")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    wanted, networks, repeats = (2, 6, 6) if given.quick else (max(2, given.campaigns), given.networks, 15)
    space, settings = make_space("nb201"), machine_settings()
    drawn = space.decode(space.candidates(space.num_architectures)[:: space.num_architectures // (2 * networks)])
    found, seconds = campaigns(space, drawn[:networks], settings, repeats, wanted)
    results = {}
    for setting in settings:
        name = setting.name
        doubts = dict.fromkeys(m.doubt for latencies in found for m in latencies[name].values() if m.doubt)
        apart = [disagreement(found[0], later, name) for later in found[1:]]
        results[name] = {"disagreement": apart, "doubts": list(doubts)}
        mark = f"   not trustworthy: {'; '.join(doubts)}" if doubts else ""
        print(f"{name:<18}" + "".join(f"{share:9.1%}" for share in apart) + mark)
    medians = [statistics.median(row) for row in zip(*(entry["disagreement"] for entry in results.values()))]
    print(f"{'median':<18}" + "".join(f"{share:9.1%}" for share in medians))
    print(f"a campaign: {', '.join(shown(spent) for spent in seconds)}")
    if given.json:
        write_results(given.json, "measuring", {"seconds": seconds, "settings": results})


if __name__ == "__main__":
    run(main)
