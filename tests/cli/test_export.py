"""`modnas-fast export`: whole, continued, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import picture
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from modnas_fast import InputError, Result
from modnas_fast.cli.export import kept_promises
from modnas_fast.datasets.registry import sha256_of
from modnas_fast.deployment import Classifier
from modnas_fast.result.folder import open_run
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runtime.progress import Silent
from modnas_fast.tasks.training import network_quality

ANY = ("--preference", "0.5,0.5")


def device_of(run: Path) -> str:
    return next(iter(Result.load(run).devices))


def test_files_are_whole_tested_measured_and_told(command: Any, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    out, device = tmp_path / "out", device_of(run)
    formats = ("--to", "onnx", "--to", "pt2", "--to", "safetensors", "--int8")
    ended = command("export", run, out, "--device", device, *ANY, "--finetune", "1", *formats)
    assert ended.code == 0, ended.err
    manifest = json.loads((out / "manifest.json").read_text())
    result = Result.load(run)
    pick = result.pick(device, preference=[0.5, 0.5])
    assert manifest["architecture"] == pick.text and manifest["seed"] == 0 and manifest["opset"] == 20
    assert manifest["promised"]["latency_ms"]["value"] == pick.costs["latency_ms"].value
    assert manifest["measured"]["latency_ms"]["value"] > 0 and manifest["timed_on"] == {
        "name": device,
        "is_device": True,
    }
    assert set(manifest["files"]) == {"network.onnx", "network.int8.onnx", "network.pt2", "network.safetensors"}
    for name, facts in manifest["files"].items():
        assert facts["sha256"] == sha256_of(out / name)
    assert manifest["files"]["network.onnx"]["test"] == pytest.approx(manifest["quality"]["test"])
    assert {"mean", "std", "classes"} == set(manifest["preparation"])
    network = result.build(pick)
    network.load_state_dict(load_file(out / "network.safetensors"))
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.export.load(out / "network.pt2").module()(x), network.eval()(x), atol=1e-4, rtol=0)
    assert pick.text in (out / "README.md").read_text() and not (out / "finetuning.pt").exists()
    check_photos(out, network, manifest["preparation"], tmp_path)
    again = command("export", run, out, "--device", device, *ANY, "--finetune", "1", *formats)
    assert again.code == 0 and again.out == ended.out and "Fine-tuning" not in again.err
    other = command("export", run, out, "--device", device, *ANY)
    assert other.code == 2 and f"OUT: {out} already holds another export" in other.err


def test_verified_networks_keep_their_weights(command: Any, run: Path, tmp_path: Path) -> None:
    device, result = device_of(run), Result.load(run)
    (entry,) = result.content["verified"]
    text = entry["architecture"]
    assert result.trained_networks == (text,)
    folder = open_run(run)
    task = Inputs(folder, Silent(), remeasure=False, folder=lambda: run).task
    assert network_quality(result.trained(text), task, "test") == pytest.approx(entry["test"])
    told = ("--device", device, "--verified", "--to", "safetensors")
    ended = command("export", run, tmp_path / "out", *told, "--max", "latency_ms=1e9")
    assert ended.code == 0, ended.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["architecture"] == text and "inherited_test" not in manifest["quality"]
    assert manifest["quality"]["test"] == manifest["quality"]["verified_test"] == pytest.approx(entry["test"])
    weights = load_file(tmp_path / "out" / "network.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in result.trained(text).state_dict().items())
    card = (tmp_path / "out" / "README.md").read_text()
    assert "trained from scratch by the search, without fine-tuning" in card and "weights as the search trained" in card
    assert command("export", run, tmp_path / "all", *told, "--all").code == 0
    assert [path.name for path in (tmp_path / "all").iterdir() if path.is_dir()] == ["01"]
    for options, says in (
        (ANY, "--verified: takes the best of few networks within a budget; give --max"),
        (("--max", "latency_ms=1e-9"), "--max: no trained network has latency_ms of at most 1e-09"),
    ):
        refused = command("export", run, tmp_path / "none", *told, *options)
        assert refused.code == 2 and says in refused.err and len(refused.err.splitlines()) == 1
    other = next(text for text in result.space.references if text not in result.trained_networks)
    with pytest.raises(InputError, match="has no trained weights of"):
        result.trained(other)


def test_a_run_without_such_weights_says_so(command: Any, copied: Path, tmp_path: Path) -> None:
    shutil.rmtree(copied / "verified")
    device = device_of(copied)
    ended = command("export", copied, tmp_path / "out", "--device", device, "--verified", "--max", "latency_ms=1e9")
    assert ended.code == 2 and "keeps no weights of verified networks; search with verify.networks" in ended.err
    ended = command("export", copied, tmp_path / "out", "--device", device, "--verified", "--all")
    assert ended.code == 2 and "keeps no weights of verified networks" in ended.err


def check_photos(out: Path, network: nn.Module, told: dict[str, Any], folder: Path) -> None:
    """Probabilities of photos are the network's, of either file; what is no photo, and another file, is refused."""
    pixels = picture(3, size=(8, 8), mode="L")
    pixels.save(folder / "grey.png")
    picture(4, size=(80, 60)).save(folder / "photo.jpg", quality=95)
    x = (torch.from_numpy(np.array(pixels)) / 255 - told["mean"][0]) / told["std"][0]
    wanted = network.eval()(x[None, None])[0].softmax(0)
    found = Classifier(out).predict(folder / "grey.png")
    assert list(found) == [told["classes"][place] for place in wanted.argsort(descending=True)]
    assert list(found.values()) == pytest.approx(wanted.sort(descending=True).values.tolist(), abs=1e-4)
    photo = Classifier(out).predict((folder / "photo.jpg").read_bytes())
    assert sum(photo.values()) == pytest.approx(1) and list(photo.values()) == sorted(photo.values(), reverse=True)
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(folder / "deep.png")
    (folder / "text.png").write_text("no image")
    for name, says in (("deep.png", "16 or 32 bits"), ("text.png", "cannot be read"), ("absent.png", "cannot be read")):
        with pytest.raises(InputError, match=says):
            Classifier(out).predict(folder / name)
    other = Path(shutil.copytree(out, folder / "other"))
    (other / "network.onnx").write_bytes((out / "network.int8.onnx").read_bytes())
    with pytest.raises(InputError, match="is not the file that its manifest tells of"):
        Classifier(other)
    content = json.loads((other / "manifest.json").read_text())
    del content["files"]["network.onnx"]
    (other / "manifest.json").write_text(json.dumps(content))
    assert list(Classifier(other).predict(folder / "grey.png")) == list(found), "by the ExportedProgram"
    del content["files"]["network.pt2"]
    (other / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="export with --to onnx"):
        Classifier(other)


#: the command in a process that kills itself in fine-tuning: three checkpoints, one for each step, and a step more
KILLED = """
import os, signal
from modnas_fast.cli.app import main
from modnas_fast.deployment import finetuning
real, calls = finetuning.save_checkpoint, []
def save(*arguments):
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(real(*arguments))
finetuning.save_checkpoint, finetuning.CHECKPOINT_SECONDS = save, 0.0
main()
"""


def test_after_kill_9_fine_tuning_ends_as_if_unbroken(cli: Any, command: Any, run: Path, tmp_path: Path) -> None:
    told = ("--device", device_of(run), *ANY, "--finetune", "8", "--to", "safetensors")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert command("export", run, whole, *told).code == 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MODNAS_CACHE": str(cli.cache)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "export", run, broken, *told], env=environment, check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL and not (broken / "manifest.json").exists(), killed.stderr
    steps = torch.load(broken / "finetuning.pt", weights_only=True)["state"]
    assert steps["done"] == 3 < 8 and not (broken / "network.safetensors").exists()
    ended = command("export", run, broken, *told)
    assert ended.code == 0, ended.err
    wanted, found = (json.loads((folder / "manifest.json").read_text()) for folder in (whole, broken))
    assert (broken / "network.safetensors").read_bytes() == (whole / "network.safetensors").read_bytes()
    assert found["quality"] == wanted["quality"] and found["files"] == wanted["files"]


def test_the_whole_front(command: Any, run: Path, tmp_path: Path) -> None:
    device = device_of(run)
    ended = command("export", run, tmp_path / "out", "--device", device, "--all", "--to", "safetensors")
    assert ended.code == 0, ended.err
    manifests = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("out/*/manifest.json"))]
    assert [each["architecture"] for each in manifests] == [
        point.architecture for point in Result.load(run).front(device)
    ]
    assert all(line in ended.out for line in kept_promises(manifests))


def test_promises_that_were_measured_already_or_extrapolated_do_not_count() -> None:
    def manifest(source: str, promised: float, measured: float, extrapolated: bool = False) -> dict[str, Any]:
        cost = {"source": source, "value": promised, "extrapolated": extrapolated}
        return {"promised": {"latency_ms": cost}, "measured": {"latency_ms": {"value": measured}}}

    some = [manifest("predicted", 1.0, 1.1), manifest("predicted", 2.0, 2.6), manifest("measured", 1.0, 1.0)]
    told = "latency_ms: measured beside promised, median deviation 20.0 % of 2 predicted networks"
    assert kept_promises(some) == [told] and kept_promises(some[2:]) == []
    beyond = manifest("predicted", 1e-5, 1.0, True)
    assert kept_promises([*some, beyond]) == [f"{told}; 1 more were extrapolated"]
    assert kept_promises([beyond]) == ["latency_ms: no promise to be judged; 1 were extrapolated"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--max", "latency_ms=1e-9"), "--max: no evaluated network has latency_ms of at most 1e-09"),
        ((), "export: give either --max METRIC=VALUE, --preference W1,W2 or --all"),
        ((*ANY, "--all"), "--all: exports the whole front"),
        ((*ANY, "--to", "tflite"), "--to: wanted onnx, pt2, safetensors, got tflite"),
        ((*ANY, "--to", "pt2", "--int8"), "--int8: quantises ONNX; add --to onnx"),
        ((*ANY, "--to", "pt2", "--finetune", "1", "--distill", "0.5"), "--distill: space nb201 has no largest network"),
    ],
)
def test_bad_input(command: Any, run: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    ended = command("export", run, tmp_path / "out", "--device", device_of(run), *arguments)
    assert ended.code == 2 and message in ended.err and "Traceback" not in ended.err


def test_a_run_without_weights_is_told(command: Any, copied: Path, tmp_path: Path) -> None:
    (copied / "supernet.safetensors").unlink()
    ended = command("export", copied, tmp_path / "out", "--device", device_of(copied), *ANY)
    assert ended.code == 2 and "supernet.safetensors is missing; make the weights again" in ended.err
