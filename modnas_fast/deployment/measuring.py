"""Costs of networks on a device of a finished run, measured on request: here, or on the device with a kit."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modnas_fast.deployment.kit_results import read_results
from modnas_fast.devices.machine import fingerprint, machine_setting
from modnas_fast.result import Result
from modnas_fast.result.folder import open_run
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Reporter
from modnas_fast.spaces import SearchSpace

#: of the reference networks' ratios between run and now, a median away from their median
SPREAD = 0.15


@dataclass(frozen=True)
class Taken:
    """A cost of networks on a device, in its unit."""

    #: value, and why it is not trustworthy, by architecture
    networks: dict[str, tuple[float, str]]
    #: of the reference networks in their order
    references: list[float]
    #: beyond which change of the reference networks since the run it is told, as a share
    told_beyond: float = 0.05


class Here:
    """Measures on this machine, as the run did.

    Raises InputError where the device is not a setting of this machine, with the way to measure elsewhere.
    """

    def __init__(self, run: Path, result: Result, device: str, reporter: Reporter) -> None:
        self._inputs = Inputs(open_run(run), reporter, remeasure=False, folder=lambda: run)
        self._reporter = reporter
        setting = machine_setting(device) if self._inputs.measures else None
        made_on, here = result.content["machine"], fingerprint().to_dict()
        if setting is None or any(made_on.get(part) != here[part] for part in ("cpu", "gpus")):
            which = f" ({made_on.get('cpu')})" if setting is not None else ""
            raise InputError(
                f"--verify: {device}{which} is not this machine; write the networks with modnas-fast kit OUT --run "
                f"{shlex.quote(str(run))} --device {device} --max … --top K, measure them there, and add --results FILE"
            )
        self._setting = setting

    def costs(self, texts: Sequence[str]) -> dict[str, Taken]:
        """By key of what this machine measures, costs of the networks and of the references."""
        space, found = self._inputs.space, {}
        references = [space.parse(text) for text in space.references]
        networks = [space.parse(text) for text in texts]
        canonical = [a.text for a in space.decode(space.canonical(space.encode([*references, *networks])))]
        names = [cost for cost, kind in self._inputs.source.kinds.items() if kind == "measured"]
        for cost in names:
            with self._reporter.stage(f"Measuring {cost}", 100) as advance:
                measured = self._inputs.profiler(cost).latencies([(self._setting, [*references, *networks])], advance)
            rows = [measured[self._setting.name][text] for text in canonical]
            values = [(row.latency_ms, row.doubt) for row in rows[len(references) :]]
            found[f"{cost}_ms"] = Taken(
                dict(zip(texts, values, strict=True)), [row.latency_ms for row in rows[: len(references)]]
            )
        return found

    def check(self, spread: float, device: str) -> None:
        """What the references disagree on here stands among the doubts of the measurements."""


class FromKit:
    """Takes values that a kit's script wrote on the device.

    Raises InputError for a file that is none of a kit, or is not to be trusted.
    """

    def __init__(self, path: Path, space: SearchSpace) -> None:
        self._path, self._results = path, read_results(path)
        if self._results.references != list(space.references):
            raise InputError(f"--results: {path} is of a kit of another space; make one with modnas-fast kit --run RUN")

    def costs(self, texts: Sequence[str]) -> dict[str, Taken]:
        """By key, costs of those of the networks that the file has. Raises InputError where it has none."""
        found = {
            key: Taken(
                {text: (rows[text], "") for text in texts if text in rows},
                [rows[text] for text in self._results.references],
            )
            for key, rows in self._results.values.items()
        }
        if not any(taken.networks for taken in found.values()):
            raise InputError(
                f"--results: {self._path} has none of these {len(texts)} networks; measure a kit of them: modnas-fast "
                "kit OUT --run RUN --device D --max … --top K"
            )
        return found

    def check(self, spread: float, device: str) -> None:
        """Raises InputError where the reference networks are not those of the device."""
        if spread > SPREAD:
            raise InputError(
                f"--results: {self._path} has reference networks whose ratios to those of {device} differ by "
                f"{100 * spread:.0f} %: that is another device, or another way of running networks"
            )
