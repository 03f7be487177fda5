"""The tables of a run: what its search logged, its hypervolume on the way, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modnas_fast.report.checked import Part, read_part
from modnas_fast.report.run.contents import DeviceResult, History, Result, RunContents, read_run
from modnas_fast.report.tables.records import Record, Tables


class Curve(Part):
    """`curve.json`: steps at which the search was evaluated on its way, and seconds since the run began."""

    step: list[int] = []
    seconds: list[float] = []


def run_tables(run: Path) -> Tables:
    """`scores`, `history`, `steps` and `anytime` of a run folder; what was not logged has no records."""
    contents = read_run(run)
    curve = read_part(run / "curve.json", Curve, "search") or Curve()
    return {
        "scores": [record for device in contents.result.devices for record in _scores(device)],
        "history": _history(contents),
        "steps": _steps(contents.history),
        "anytime": _anytime(contents, dict(zip(curve.step, curve.seconds))),
    }


def _scores(device: DeviceResult) -> list[Record]:
    """The hypervolume of each way of answering."""
    exact = _exact(device)
    found = {
        "modnas": device.hypervolume,
        "modnas-all": device.hypervolume_front,
        "random": device.hypervolume_random,
        **{f"shared-{name}": baseline.hypervolume for name, baseline in device.baselines.items()},
    }
    return [
        {"method": name, "device": device.name, "split": device.split, **_volume(value, exact)}
        for name, value in found.items()
        if value is not None
    ]


def _exact(device: DeviceResult) -> float | None:
    """Hypervolume of the exact or judged front; None where nobody knows it."""
    if device.hypervolume is None or not device.hypervolume_ratio:
        return None
    return device.hypervolume / device.hypervolume_ratio


def _volume(value: float | None, exact: float | None) -> Record:
    return {"hypervolume": value, "ratio": None if value is None or exact is None else value / exact}


def _history(contents: RunContents) -> list[Record]:
    """A record per logged step and search device."""
    history = contents.history
    if history is None:
        return []
    keys = [cost.key for cost in contents.result.costs]
    split = {device.name: device.split for device in contents.result.devices}
    found = [
        {
            "phase": "search",
            "step": step,
            "device": device,
            "split": split.get(device),
            "task_loss": _at(history.task_loss, row, column),
            **{f"{key}_share": _at(history.costs.get(key, ()), row, column) for key in keys},
            "mgd_weight": _at(history.mgd_weights, row, column),
        }
        for row, step in enumerate(history.step)
        for column, device in enumerate(history.devices)
    ]
    return found + [
        {
            "phase": "refinement",
            "step": entry.step,
            "device": device,
            "split": split.get(device),
            "task_loss": None,
            **dict.fromkeys(f"{key}_share" for key in keys),
            "mgd_weight": weight,
        }
        for entry in history.refinement
        for device, weight in zip(history.devices, entry.mgd_weights, strict=True)
    ]


def _at(rows: Sequence[Sequence[float | None]], row: int, column: int) -> float | None:
    return rows[row][column] if rows else None


def _steps(history: History | None) -> list[Record]:
    """A record per logged step."""
    if history is None:
        return []
    nothing: list[float | None] = [None] * len(history.step)
    columns = zip(history.step, history.gradient_cosine or nothing, history.learning_rate_w or nothing, strict=True)
    found: list[Record] = [
        {"phase": "search", "step": step, "gradient_cosine": cosine, "learning_rate_w": rate}
        for step, cosine, rate in columns
    ]
    return found + [
        {"phase": "refinement", "step": e.step, "gradient_cosine": e.gradient_cosine, "learning_rate_w": None}
        for e in history.refinement
    ]


def _anytime(contents: RunContents, seconds: dict[int, float]) -> list[Record]:
    """A record per evaluation on the way and device."""
    if contents.history is None:
        return []
    log, devices = contents.history.hypervolume, _by_name(contents.result)
    return [
        {
            "step": step,
            "seconds": seconds.get(step),
            "device": name,
            "split": devices[name].split,
            **_volume(value, _exact(devices[name])),
        }
        for step, row in zip(log.step, log.values, strict=True)
        for name, value in zip(log.devices, row, strict=True)
        if name in devices
    ]


def _by_name(result: Result) -> dict[str, DeviceResult]:
    return {device.name: device for device in result.devices}
