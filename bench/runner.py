"""What the benchmarks share: their options, medians in turns, facts about machine and versions, tables, files."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from modnas_fast.cli import diagnosis as doctor
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import write_json

Times = dict[str, float]
Main = Callable[[list[str] | None], None]
#: float32 numbers that a copy moves to tell the bandwidth: 256 MB
COPIED = 64_000_000


class Parser(argparse.ArgumentParser):
    """The options of one benchmark. What is wrong with them becomes an InputError of one line."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(
            prog=f"modnas-fast bench {name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._name = name
        self.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
        self.add_argument(
            "--threads", type=count, default=os.cpu_count() or 1, help="CPU threads, for all contenders; default: all"
        )

    def error(self, message: str) -> NoReturn:
        """Raises it as an InputError."""
        raise InputError(f"bench {self._name}: {message}; --help tells more")


def count(text: str) -> int:
    """An option's whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wanted a whole number of at least 1, got {text!r}")
    return int(text)


def counts(text: str) -> list[int]:
    """An option's whole numbers between commas, each at least 1.

    >>> counts("1,13")
    [1, 13]
    """
    return [count(part.strip()) for part in text.split(",")]


def torch_device(text: str) -> str:
    """An option's torch device, `cpu` or `cuda`, which must be there."""
    if text not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"wanted cpu or cuda, got {text!r}")
    if text == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("torch sees no CUDA GPU here (`modnas-fast doctor` tells why)")
    return text


def run(main: Main) -> None:
    """Runs a benchmark as a script: bad input ends with one line and exit status 2."""
    try:
        main(None)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def synchronize(where: str = "cpu") -> None:
    """Waits until the torch device has done all that it was told."""
    if where != "cpu":
        torch.cuda.synchronize(where)


def seconds_of(call: Callable[[], object], where: str = "cpu") -> float:
    """How long one call takes, until the torch device is done with it."""
    synchronize(where)
    start = time.perf_counter()
    call()
    synchronize(where)
    return time.perf_counter() - start


def medians(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    where: str = "cpu",
    calls: int = 1,
    warm: bool = True,
) -> Times:
    """Median seconds of one call of each contender, in turns.

    Args:
        contenders: calls without arguments, by name.
        rounds: how often each has its turn.
        where: torch device that they work on; it is waited for before and behind every turn.
        calls: calls per turn, more than one where a call is too short for the clock.
        warm: one call of each before, which is not counted.
    """

    def turn(call: Callable[[], object]) -> None:
        for _ in range(calls):
            call()

    for call in contenders.values() if warm else ():
        call()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            times[name].append(seconds_of(lambda call=call: turn(call), where) / calls)
    return {name: statistics.median(values) for name, values in times.items()}


def ratios(times: Times, ours: str = "ours") -> Times:
    """Each time over ours: above 1 where ours is faster.

    >>> ratios({"ours": 2.0, "peer": 3.0})
    {'peer': 1.5}
    """
    return {name: value / times[ours] for name, value in times.items() if name != ours}


def copy_bandwidth(rounds: int, where: str = "cpu") -> float:
    """Bytes read and written per second by a copy of 256 MB."""
    source = torch.ones(COPIED, device=where)
    target = torch.empty_like(source)
    seconds = medians({"copy": lambda: target.copy_(source)}, rounds, where=where)["copy"]
    return 2 * source.numel() * source.element_size() / seconds


def commit() -> str | None:
    """The commit of the source tree, None outside of one."""
    done = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None


def write_results(path: Path, op: str, results: Any, **facts: Any) -> None:
    """The results of a benchmark as JSON with what they depend on; the file appears whole or not at all."""
    about = {"op": op, "commit": commit(), "threads": torch.get_num_threads(), **facts}
    write_json(path, {**about, **doctor.diagnose().to_dict(), "results": results})


def shown(seconds: float) -> str:
    """A time with a unit that suits it.

    >>> shown(0.00123), shown(62.4), shown(1280)
    ('1.23 ms', '62.4 s', '21 min')
    """
    if seconds >= 300:
        return f"{seconds / 60:.0f} min"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def shown_bytes(size: int) -> str:
    """An amount of memory with a unit that suits it.

    >>> shown_bytes(24_300_000_000), shown_bytes(7_000_000)
    ('24.3 GB', '7 MB')
    """
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def source_folder(needed: Sequence[str], name: str) -> Path:
    """The source tree's folder tests/, put on the path for its makers of inputs, with the packages `needed` there.

    Raises InputError where this is no source tree or a package is missing: wheels have no tests.
    """
    from importlib.util import find_spec

    tests = Path(__file__).resolve().parents[1] / "tests"
    if not (tests / "conftest.py").exists():
        raise InputError(f"bench {name}: runs in a source tree alone; clone it, then: pip install --editable '.[test]'")
    missing = [package for package in needed if find_spec(package) is None]
    if missing:
        raise InputError(f"bench {name}: {', '.join(missing)} missing; pip install 'modnas-fast[test]'")
    if str(tests) not in sys.path:
        sys.path.insert(0, str(tests))
    return tests
