"""What a run folder holds for its report, read from JSON and checked before anything is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from modnas_fast.report.checked import Machine, Part, read_part
from modnas_fast.runtime.errors import InputError


class Point(Part):
    """One architecture on one device: error in percent and latency in ms, of the result's `source`."""

    architecture: str
    error: float
    latency_ms: float


class Ray(Point):
    """The network chosen for one preference; the first weight is that of the error."""

    preference: list[float] = Field(min_length=1)
    nondominated: bool = False


class FrontPoint(Ray):
    """A non-dominated network; where verified, its test error in percent and measured latency in ms."""

    test_error: float | None = None
    measured_latency_ms: float | None = None

    @property
    def verified(self) -> bool:
        """Whether the network's latency was measured."""
        return self.measured_latency_ms is not None


class DeviceResult(Part):
    """What the search found for one device."""

    name: str
    split: Literal["search", "unseen"]
    latency_range_ms: tuple[float, float] | None = None
    hypervolume_bounds: dict[str, tuple[float, float]] = {}
    noise: float | None = None
    spearman: float | None = None
    spearman_networks: int | None = None
    hypervolume: float | None = None
    hypervolume_random: float | None = None
    hypervolume_ratio: float | None = None
    distinct_nondominated: int | None = None
    rays: list[Ray]
    front: list[FrontPoint]
    random: list[Point] = []

    @property
    def measured(self) -> list[FrontPoint]:
        """The points of the front with both a test error and a measured latency."""
        return [p for p in self.front if p.test_error is not None and p.measured_latency_ms is not None]


class LatencyPair(Part):
    """One latency in ms, as predicted and as measured."""

    predicted: float
    measured: float

    @property
    def relative_error(self) -> float | None:
        """(predicted - measured) / measured; None where nothing positive was measured."""
        return (self.predicted - self.measured) / self.measured if self.measured > 0 else None


class VerifiedNetwork(Part):
    """A network trained from scratch, with its latency on each device it was measured on."""

    architecture: str
    supernet_error: float | None = None
    test_error: float | None = None
    latency_ms: dict[str, LatencyPair] = {}


class Named(Part):
    """Anything whose name is shown, with whatever else its file says about it."""

    model_config = ConfigDict(extra="allow")

    name: str


class Objective(Part):
    """One minimised quantity and its unit."""

    name: str
    unit: str = ""


class Task(Named):
    """The data set searched on."""

    classes: int | None = None
    image: list[int] | None = None
    sizes: dict[str, int] = {}
    notes: list[str] = []


class HypervolumeProtocol(Part):
    """How hypervolumes were computed."""

    reference_point: list[float] = []
    normalisation: str = ""


class Result(Part):
    """`result.json`, version 1."""

    schema_version: Literal[1] = Field(alias="schema")
    package: dict[str, Any] = {}
    space: Named
    task: Task
    error_kind: Literal["inherited", "true"] = "inherited"
    objectives: list[Objective] = Field(min_length=1)
    seed: int | None = None
    configuration: dict[str, Any] = {}
    machine: Machine = Machine()
    seconds: dict[str, float] = {}
    hypervolume_protocol: HypervolumeProtocol = HypervolumeProtocol()
    devices: list[DeviceResult] = Field(min_length=1)
    verified: list[VerifiedNetwork] = []

    @property
    def tabulated(self) -> bool:
        """Whether errors and latencies of rays, fronts and random networks are those of a table."""
        return self.error_kind == "true"

    @property
    def source(self) -> str:
        """Where errors and latencies of rays, fronts and random networks come from, in a word for legends."""
        return "table" if self.tabulated else "predicted"

    @property
    def judged_on(self) -> str:
        """The networks that the predictor is judged on."""
        return "all networks of the table" if self.tabulated else "held-out networks"

    @model_validator(mode="after")
    def _names_differ(self) -> Result:
        names = [device.name for device in self.devices]
        if len(set(names)) < len(names):
            raise ValueError("two devices share one name")
        return self


Row = list[float | None]


class HypervolumeHistory(Part):
    """Hypervolume [step, device] during the search."""

    step: list[int] = []
    devices: list[str] = []
    values: list[Row] = []

    @model_validator(mode="after")
    def _shapes_agree(self) -> HypervolumeHistory:
        _check_rows("values", self.values, len(self.step), len(self.devices))
        return self


class History(Part):
    """`history.json`: what was logged during the search, rows [step, device]."""

    devices: list[str]
    step: list[int]
    task_loss: list[Row] = []
    latency: list[Row] = []
    mgd_weights: list[Row] = []
    gradient_cosine: Row = []
    hypervolume: HypervolumeHistory = Field(default_factory=HypervolumeHistory)

    @model_validator(mode="after")
    def _shapes_agree(self) -> History:
        for name in ("task_loss", "latency", "mgd_weights"):
            _check_rows(name, getattr(self, name), len(self.step), len(self.devices))
        if self.gradient_cosine and len(self.gradient_cosine) != len(self.step):
            raise ValueError(f"gradient_cosine has {len(self.gradient_cosine)} of {len(self.step)} steps")
        return self


class DevicePredictor(Part):
    """The predictor on one device's held-out networks, latencies in ms.

    `networks` is how many the correlations are over where only some of them are listed.
    """

    split: Literal["search", "unseen"]
    networks: int | None = None
    spearman: float | None = None
    kendall: float | None = None
    mape: float | None = None
    architectures: list[str] = []
    predicted_ms: list[float] = []
    measured_ms: list[float] = []

    @property
    def judged(self) -> int:
        """Networks that the correlations are over."""
        return len(self.measured_ms) if self.networks is None else self.networks

    @model_validator(mode="after")
    def _lengths_agree(self) -> DevicePredictor:
        if len(self.predicted_ms) != len(self.measured_ms):
            counts = f"{len(self.predicted_ms)} predicted but {len(self.measured_ms)} measured"
            raise ValueError(f"{counts} latencies")
        return self


class Predictor(Part):
    """`predictor.json`: the quality of the predictor, by device name."""

    devices: dict[str, DevicePredictor]


class RunContents(Part):
    """The three files of a run; the last two are None where the run has none."""

    result: Result
    history: History | None
    predictor: Predictor | None


def read_run(run: Path | str) -> RunContents:
    """The checked contents of a run folder.

    Raises InputError, naming the file and what mends it, where `result.json` is absent or any of the three
    files is cut short, of another schema version, or lacks something the report needs.
    """
    run = Path(run)
    result = read_part(run / "result.json", Result, "search")
    if result is None:
        raise InputError(
            f"{run / 'result.json'} does not exist: give the folder of a finished run, "
            f"or finish it with `modnas-fast search --resume {run}`"
        )
    history = read_part(run / "history.json", History, "search")
    predictor = read_part(run / "predictor.json", Predictor, "search")
    return RunContents(result=result, history=history, predictor=predictor)


def _check_rows(name: str, rows: list[Row], steps: int, devices: int) -> None:
    if rows and len(rows) != steps:
        raise ValueError(f"{name} has {len(rows)} rows for {steps} steps")
    for row in rows:
        if len(row) != devices:
            raise ValueError(f"{name} has a row of {len(row)} values for {devices} devices")
