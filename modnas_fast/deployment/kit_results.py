"""Values that a kit's script wrote on a device: checked, and made a device of tables and of `pick`."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modnas_fast.deployment.kit import KIT, kit_id
from modnas_fast.devices.table_costs import LEAST_NETWORKS
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, read_text, write_json, write_text

#: rounds without disturbance that a median wants
LEAST_ROUNDS = 6
#: median absolute deviation over the median, as a median over the networks, beyond which values are refused
NOISE = 0.15
#: of the networks' ratios between the last and the first third of the rounds, a median away from 1
DRIFT = 0.15
#: columns by the script's names
METRICS = {"ms": "latency_ms", "energy_mj": "energy_mj"}


@dataclass(frozen=True)
class KitResults:
    """Medians over calm rounds of what a device took, and how well they are known."""

    kit: dict[str, Any]
    #: by metric, such as latency_ms, then by architecture
    values: dict[str, dict[str, float]]
    #: relative, a median over the networks
    noise: float
    #: of the last third of the rounds against the first, 1 for none
    drift: float
    rounds: int
    disturbed: int
    #: architectures without enough values
    missing: list[str] = field(default_factory=list)

    @property
    def references(self) -> list[str]:
        """The space's ten reference networks in their order; small spaces name some more than once."""
        marked = [entry["architecture"] for entry in self.kit["networks"] if entry["reference"]]
        found: list[str] = self.kit["about"].get("references", marked)  # older kits mark them alone
        return found

    @property
    def serves_search(self) -> bool:
        """Whether there are enough networks for a table that is searched; else for `pick` alone."""
        return len(self.values["latency_ms"]) >= LEAST_NETWORKS


def read_results(path: Path, kit: Path | None = None) -> KitResults:
    """The values of a results file.

    Args:
        path: JSON lines of a kit's measure.py; of an interrupted one the last line may be half.
        kit: folder of the kit that it shall be of; None: of any.

    Raises InputError, with the remedy, where it is no such file, of another kit, where reference networks are missing,
    too few rounds were calm, or values are too noisy or drift.
    """
    header, lines = _lines(path)
    if kit is not None:
        _same_kit(header["kit"], kit, path)
    by_file = {entry["file"]: entry["architecture"] for entry in header["kit"]["networks"]}
    strange = [line["network"] for line in lines if line["network"] not in by_file]
    if strange:
        raise InputError(f"RESULTS: {path} has {strange[0]}, which is no network of its kit; measure again")
    calm = [line for line in lines if not line["disturbed"]]
    rounds, quiet = ({line["round"] for line in part} for part in (lines, calm))
    if len(quiet) < LEAST_ROUNDS:
        raise InputError(
            f"RESULTS: {path} has {len(quiet)} calm rounds of {len(rounds)}; wanted {LEAST_ROUNDS}: stop what else "
            "runs on the device, and start measure.py again with more --rounds"
        )
    found = {
        metric: _by_network(calm, name, by_file)
        for name, metric in METRICS.items()
        if any(name in line for line in calm)
    }
    times = found["latency_ms"]
    medians = {
        metric: {text: statistics.median(taken) for text, taken in rows.items()} for metric, rows in found.items()
    }
    results = KitResults(
        header["kit"],
        medians,
        statistics.median(_noise(taken) for taken in times.values()) if times else 0.0,
        _drift(calm),
        len(rounds),
        len(rounds - quiet),
        [text for text in by_file.values() if any(text not in rows for rows in found.values())],
    )
    _check(results, path)
    return results


def _lines(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise InputError(f"RESULTS: {path} does not exist; run measure.py of a kit on the device") from None
    rows = text.split("\n")
    try:
        header, *lines = [json.loads(row) for row in rows[:-1] if row]  # behind the last line end stands a half line
        if header["kit"]["id"] != kit_id(header["kit"]):
            raise ValueError
        for line in lines:
            if not (float(line["ms"]) > 0 and isinstance(line["round"], int) and isinstance(line["disturbed"], bool)):
                raise ValueError
            _ = line["network"]
        return header, lines
    except (ValueError, KeyError, TypeError):
        raise InputError(f"RESULTS: {path} is no file of a kit's measure.py, or was changed; measure again") from None


def _same_kit(found: dict[str, Any], kit: Path, path: Path) -> None:
    try:
        wanted = read_json(kit / KIT)["id"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        raise InputError(f"--kit: {kit} holds no kit ({KIT})") from None
    if found["id"] != wanted:
        raise InputError(f"RESULTS: {path} has networks of kit {found['id']}, {kit} is {wanted}: measure with that one")


def _by_network(lines: Sequence[dict[str, Any]], name: str, by_file: dict[str, str]) -> dict[str, list[float]]:
    """Positive values by architecture, of those with enough of them."""
    found: dict[str, list[float]] = {}
    for line in lines:
        if line.get(name, 0) > 0:
            found.setdefault(by_file[line["network"]], []).append(float(line[name]))
    return {text: found[text] for text in by_file.values() if len(found.get(text, [])) >= LEAST_ROUNDS}


def _noise(taken: Sequence[float]) -> float:
    median = statistics.median(taken)
    return statistics.median(abs(value - median) for value in taken) / median


def _drift(lines: Sequence[dict[str, Any]]) -> float:
    """Median over networks of the last third's median over the first third's."""
    rounds = sorted({line["round"] for line in lines})
    third = max(1, len(rounds) // 3)
    early, late = set(rounds[:third]), set(rounds[-third:])
    parts: dict[str, tuple[list[float], list[float]]] = {}
    for line in lines:
        part = parts.setdefault(line["network"], ([], []))
        if line["round"] in early or line["round"] in late:
            part[line["round"] in late].append(line["ms"])
    ratios = [statistics.median(b) / statistics.median(a) for a, b in parts.values() if a and b]
    return statistics.median(ratios) if ratios else 1.0


def _check(results: KitResults, path: Path) -> None:
    lost = [text for text in results.references if text in results.missing]
    if lost:
        raise InputError(
            f"RESULTS: {path} lacks {len(lost)} of the {len(results.references)} reference networks, such as "
            f"{lost[0]}; start measure.py again: it continues"
        )
    if results.noise > NOISE:
        raise InputError(
            f"RESULTS: values in {path} scatter by {100 * results.noise:.0f} %, wanted at most {100 * NOISE:.0f} %: "
            "stop what else runs on the device, fix its clock, and measure into a new file"
        )
    if abs(results.drift - 1) > DRIFT:
        raise InputError(
            f"RESULTS: the device became {results.drift:.2f} times as slow while {path} was written: let it warm up or "
            "cool, and measure into a new file"
        )


def add_device(name: str, results: KitResults, folder: Path) -> dict[str, Path]:
    """Writes what makes the values a device; the files by what they are for.

    `pick`: NAME.json, costs of the reference networks, for `pick --embedding`. `search`, with 30 networks or more:
    devices.csv, a table of all devices of the folder, for `devices.table`; a device of that name is replaced.

    Raises InputError for a name that is none, and where the folder's table has networks of another space or metrics.
    """
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise InputError(f"NAME: wanted letters, digits, dots and hyphens, got {name!r}")
    own = {metric: [rows[text] for text in results.references] for metric, rows in results.values.items()}
    written = {"pick": folder / f"{name}.json"}
    table = folder / "devices.csv"
    rows = _other_devices(table, name, list(results.values)) if results.serves_search else []
    write_json(written["pick"], own["latency_ms"] if list(own) == ["latency_ms"] else own)
    if results.serves_search:
        whole = [text for text in results.values["latency_ms"] if text not in results.missing]
        rows += [[text, name, *(repr(column[text]) for column in results.values.values())] for text in whole]
        content = io.StringIO()
        csv.writer(content, lineterminator="\n").writerows([["architecture", "device", *results.values], *rows])
        write_text(table, content.getvalue())
        written["search"] = table
    return written


def _other_devices(table: Path, name: str, metrics: list[str]) -> list[list[str]]:
    if not table.exists():
        return []
    header, *rows = list(csv.reader(io.StringIO(read_text(table))))
    if header != ["architecture", "device", *metrics]:
        raise InputError(
            f"--folder: {table} has {', '.join(header[2:])}, these values are {', '.join(metrics)}; choose another "
            "folder"
        )
    return [row for row in rows if row[1] != name]
