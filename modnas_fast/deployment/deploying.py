"""`deploy`: networks of a finished run as files, tested, measured and described."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modnas_fast.datasets.home import VOCABULARY_FILE
from modnas_fast.datasets.registry import sha256_of
from modnas_fast.deployment.checks import check_outputs, latencies_ms
from modnas_fast.deployment.finetuning import FineTuning, finetune
from modnas_fast.deployment.formats import FORMATS, OnnxNetwork, need, save, save_int8
from modnas_fast.deployment.inheriting import inherited_network, largest_network, shared_weights
from modnas_fast.deployment.manifest import MANIFEST, Facts, read_manifest, write_manifest
from modnas_fast.devices.machine import Setting, cpu_setting
from modnas_fast.result import Result
from modnas_fast.result.answers import Cost
from modnas_fast.result.folder import SUPERNET_FILE, open_run, trained_file
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_text, write_text
from modnas_fast.runtime.lock import locked
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.runtime.stopping import Stopper
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.training import network_quality

CHECKPOINT = "finetuning.pt"
#: where nothing is known of the device: one sample on one thread
ALONE = Setting("cpu", 1, 1, torch.float32)


@dataclass(frozen=True)
class Deployment:
    """A folder with the files of one network, and what its manifest.json says."""

    folder: Path
    manifest: dict[str, Any]


@dataclass(frozen=True)
class _Chosen:
    """A network and what the run promises of it on the device."""

    text: str
    quality: float | None
    costs: Mapping[str, Cost]


def deploy(
    run: Path | str,
    out: Path | str,
    *,
    device: str,
    max: Mapping[str, float] | None = None,
    preference: Sequence[float] | None = None,
    front: bool = False,
    verified: bool = False,
    finetuning: FineTuning | None = None,
    formats: Sequence[str] = ("onnx",),
    int8: bool = False,
    reporter: Reporter | None = None,
    stopper: Stopper | None = None,
) -> list[Deployment]:
    """Networks for a device with the weights of the run's supernet, or those it was verified with, as files in `out`.

    A call that was killed continues where it was; what is done is not repeated.

    Args:
        run: folder of a finished run whose networks were trained.
        out: new folder; with `front`, of a folder for each network.
        device: of the run.
        max, preference: as of `Result.pick`.
        front: all networks of the device's front in place of one; with `verified`, all that were.
        verified: of the networks that the run trained from scratch, the best within `max`, with those weights.
        finetuning: on the run's data; None: none.
        formats: of `onnx`, `pt2` (ExportedProgram), `safetensors` (weights alone).
        int8: beside ONNX, the same quantised dynamically to 8 bits.
        reporter: where progress is told.
        stopper: listens for signals, so that fine-tuning writes a checkpoint first.

    Raises InputError for bad arguments, a run without weights, and files that give other outputs than their network.
    """
    formats = _checked(formats, int8)
    run, out = Path(run).expanduser(), Path(out).expanduser()
    result = Result.load(run)
    chosen = _chosen(result, device, max, preference, front, verified)
    if out.is_file():
        raise InputError(f"OUT: {out} is a file; choose another folder")
    asked = {"max": dict(max or {}), "preference": list(preference or []), "front": front, "verified": verified}
    deploying = _Deploying(run, result, device, finetuning or FineTuning(), formats, int8, verified, reporter, stopper)
    return deploying.networks(out, chosen, asked)


def _checked(formats: Sequence[str], int8: bool) -> tuple[str, ...]:
    wrong = [form for form in formats if form not in FORMATS]
    if wrong or not formats:
        raise InputError(f"--to: wanted {', '.join(FORMATS)}, got {', '.join(wrong) or 'nothing'}")
    if int8 and "onnx" not in formats:
        raise InputError("--int8: quantises ONNX; add --to onnx")
    if "onnx" in formats:
        need("onnx", "onnxscript", "onnxruntime")
    return tuple(dict.fromkeys(formats))


def _chosen(
    result: Result,
    device: str,
    budgets: Mapping[str, float] | None,
    preference: Sequence[float] | None,
    front: bool,
    verified: bool,
) -> list[_Chosen]:
    if front:
        if budgets is not None or preference is not None:
            raise InputError("--all: exports the whole front; leave out --max and --preference")
        if verified:
            return [_Chosen(pick.text, pick.quality, pick.costs) for pick in result.trained_picks(device)]
        return [_Chosen(point.architecture, point.values[0], point.costs) for point in result.front(device)]
    if (budgets is None) == (preference is None):
        raise InputError("export: give either --max METRIC=VALUE, --preference W1,W2 or --all")
    if not verified:
        pick = result.pick(device, preference=preference, max=budgets)
    elif budgets is not None:
        pick = result.pick_trained(device, max=budgets)
    else:
        raise InputError("--verified: takes the best of few networks within a budget; give --max METRIC=VALUE or --all")
    return [_Chosen(pick.text, pick.quality, pick.costs)]


class _Deploying:
    """What networks of one run have in common."""

    def __init__(
        self,
        run: Path,
        result: Result,
        device: str,
        options: FineTuning,
        formats: tuple[str, ...],
        int8: bool,
        verified: bool,
        reporter: Reporter | None,
        stopper: Stopper | None,
    ) -> None:
        self._run, self._result, self._device, self._options = run, result, device, options
        self._formats, self._int8, self._verified = formats, int8, verified
        self._reporter: Reporter = reporter or Silent()
        self._stopper = stopper or Stopper()
        self._inputs = Inputs(open_run(run), self._reporter, remeasure=False, folder=lambda: run)
        #: of the supernet; verified networks have weights of their own
        self._shared = {} if verified else shared_weights(run, self._inputs)
        self._task = self._inputs.task.to("cpu")
        self._data = data_sha256(self._task)

    def networks(self, out: Path, chosen: Sequence[_Chosen], asked: dict[str, Any]) -> list[Deployment]:
        """All of them, one after the other; with several, in folders of their own."""
        found = []
        with locked(out):
            for number, network in enumerate(chosen, 1):
                folder = out / f"{number:02d}" if asked["front"] else out
                found.append(self._network(folder, network, asked))
        return found

    def _about(self, chosen: _Chosen) -> dict[str, Any]:
        """What the files of a folder are made of."""
        weights = (
            {"verified_sha256": sha256_of(trained_file(self._run, chosen.text))}
            if self._verified
            else {"supernet_sha256": sha256_of(self._run / SUPERNET_FILE)}
        )
        return {
            "architecture": chosen.text,
            **weights,
            "data_sha256": self._data,
            "finetuning": self._options.told(),
        }

    def _network(self, folder: Path, chosen: _Chosen, asked: dict[str, Any]) -> Deployment:
        about = self._about(chosen)
        wanted = {**about, "device": self._device, "formats": list(self._formats), "int8": self._int8}
        if (folder / MANIFEST).exists():
            kept = read_manifest(folder)
            if kept["made_of"] != wanted:
                raise InputError(f"OUT: {folder} already holds another export; choose another folder")
            return Deployment(folder, kept)
        folder.mkdir(parents=True, exist_ok=True)
        inputs, task = self._inputs, self._task
        network = self._begun(chosen.text)
        begun = network_quality(network, task, "test")
        self._finetune(network, folder / CHECKPOINT, about)
        tested = network_quality(network, task, "test") if self._options.epochs else begun
        batches = [x for x, _ in _first_batches(task)]
        with self._reporter.stage("Writing files", 1):
            names = save(network, batches[0], task.varying, self._formats, folder)
            differences = check_outputs(network, [folder / name for name in names], batches)
        if (self._run / VOCABULARY_FILE).exists():  # what the ids are
            write_text(folder / VOCABULARY_FILE, read_text(self._run / VOCABULARY_FILE))
        qualities = {}
        if self._int8:
            save_int8(folder / "network.onnx", folder / "network.int8.onnx")
            names.append("network.int8.onnx")
        for name in names:
            if name.endswith(".onnx"):
                qualities[name] = network_quality(OnnxNetwork(folder / name), task, "test")
        setting = self._setting()
        timed_on = setting or ALONE
        facts = Facts(
            wanted,
            asked,
            inputs,
            task,
            self._result.quality,
            {
                "validation_of_run": chosen.quality,
                "verified_test" if self._verified else "inherited_test": begun,
                "test": tested,
                "files": qualities,
            },
            {key: vars(cost) for key, cost in chosen.costs.items()},
            self._measured(chosen),
            {"name": timed_on.name, "is_device": setting is not None},
            latencies_ms([folder / name for name in names], _sample(task, timed_on), timed_on.threads),
            differences,
            names,
        )
        manifest = write_manifest(folder, facts)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return Deployment(folder, manifest)

    def _begun(self, text: str) -> torch.nn.Module:
        """A network with the weights that the run has for it."""
        if self._verified:
            return self._result.trained(text)
        return inherited_network(self._inputs, self._shared, self._inputs.space.parse(text))

    def _teacher(self) -> torch.nn.Module:
        """The space's largest network with the supernet's weights."""
        return largest_network(self._inputs, self._shared or shared_weights(self._run, self._inputs))

    def _finetune(self, network: torch.nn.Module, path: Path, about: dict[str, Any]) -> None:
        device = self._inputs.device
        finetune(
            network.to(device),
            self._task.to(device),
            self._inputs.config,
            self._options,
            path,
            lambda: self._teacher().to(device),
            self._reporter,
            self._stopper,
            about,
        )
        network.to("cpu")

    def _setting(self) -> Setting | None:
        """The setting of this machine that the device is."""
        if not self._inputs.measures:
            return None
        return cpu_setting(self._device)

    def _measured(self, chosen: _Chosen) -> dict[str, dict[str, Any]]:
        """By cost, what the network takes in torch on this device, in the units of the run's own measurements."""
        setting, found = self._setting(), {}
        if setting is None:
            return {}
        architecture = self._inputs.space.parse(chosen.text)
        for cost, kind in self._inputs.source.kinds.items():
            if kind == "measured":
                with self._reporter.stage(f"Measuring {cost}", 100) as advance:
                    latencies = self._inputs.profiler(cost).latencies([(setting, [architecture])], advance)
                (measurement,) = latencies[setting.name].values()
                found[f"{cost}_ms"] = {
                    "value": measurement.latency_ms,
                    "noise": measurement.noise,
                    "doubt": measurement.doubt,
                }
        return found


def _first_batches(task: Task) -> list[tuple[Tensor, Tensor]]:
    """Samples of the test part to compare outputs on: several, and one alone."""
    x, y = next(iter(task.batches("test", min(8, max(2, task.size("test"))))))
    if len(x) < 2:
        x, y = torch.cat([x, x]), torch.cat([y, y])
    return [(x, y), (x[:1], y[:1])]


def _sample(task: Task, setting: Setting) -> Tensor:
    return task.inputs(setting.batch, "cpu", torch.float32)


def data_sha256(task: Task) -> str:
    """The SHA-256 of all samples of a task as its networks get them: parts, their order, inputs and targets."""
    digest = hashlib.sha256()
    for part in ("train", "validation", "test"):
        digest.update(part.encode())
        for x, y in task.batches(part, 512):
            for tensor in (x, y):
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
