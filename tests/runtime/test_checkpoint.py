"""Checkpoints: exact round trip, damage of every kind refused, no code run from the file."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from modnas_fast.runtime import checkpoint as checkpoint_module
from modnas_fast.runtime.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from modnas_fast.runtime.errors import InputError


def state() -> dict:
    generator = torch.Generator().manual_seed(3)
    return {
        "step": 7,
        "rate": 0.1,
        "name": "bank",
        "nothing": None,
        "flag": True,
        "list": [[1.5, None], ["a"]],
        "weights": {"w": torch.randn(3, 4, generator=generator), "b": torch.zeros(0)},
        "generator": generator.get_state(),
    }


def assert_equal(first: object, second: object) -> None:
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_equal(value, second[key])
    else:
        assert first == second


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint.pt", state())
    return tmp_path / "checkpoint.pt"


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        load_checkpoint(path)
    text = str(error.value)
    assert str(path) in text and "delete it to restart the search" in text and "\n" not in text
    return text


def test_round_trip_is_exact(saved: Path) -> None:
    assert_equal(load_checkpoint(saved), state())
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
def test_truncated_checkpoints_are_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    assert "damaged" in refused(saved)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_damage_leads_to_another_error(saved: Path) -> None:
    content, draw = saved.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(draw.randrange(1, 40)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        garbage = draw.randbytes(draw.randrange(200))
        for attempt in (bytes(damaged), bytes(damaged[: draw.randrange(len(damaged))]), garbage):
            saved.write_bytes(attempt)
            try:
                load_checkpoint(saved)
            except InputError:
                pass


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n", b"\x80\x02", b"PK\x03\x04", b"c", b"{}", pickle.dumps({"schema": 1, "state": {}})],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize(
    "value", [{}, [], 3, "x", {"schema": 0, "state": {}}, {"schema": 2}, {"schema": 1, "state": {}}, {"schema": "2"}]
)
def test_other_contents_are_refused(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "checkpoint.pt")
    assert "version" in refused(tmp_path / "checkpoint.pt")


class Malicious:
    """Runs a shell command when it is unpickled without care."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["pickle", "torch", "zip"])
def test_no_code_is_run_from_a_checkpoint(tmp_path: Path, kind: str) -> None:
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "executed"
    value = {"schema": 2, "state": Malicious(trace)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(value))
    elif kind == "torch":
        torch.save(value, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(value, protocol=2))
            archive.writestr("archive/version", "3")
    assert "damaged" in refused(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Malicious(trace)))  # the trap itself works
    assert trace.exists()


def test_a_missing_checkpoint_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_a_failing_save_keeps_the_old_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(value: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint_module.torch, "save", half)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(saved, {"step": 8})
    assert_equal(load_checkpoint(saved), state())
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint.pt"]


# ---- weights ----


def network(width: int = 3, seed: int = 0) -> nn.Module:
    module = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return module


def test_weights_round_trip_with_buffers(tmp_path: Path) -> None:
    first, second = network(), network(seed=1)
    first(torch.ones(2, 1, 4, 4))
    save_weights(tmp_path / "w.safetensors", first)
    load_weights(tmp_path / "w.safetensors", second)
    assert_equal(dict(first.state_dict()), dict(second.state_dict()))


def test_weights_that_are_not_contiguous(tmp_path: Path) -> None:
    module = nn.Linear(3, 2)
    module.weight = nn.Parameter(torch.arange(6.0).view(3, 2).T)
    save_weights(tmp_path / "w.safetensors", module)
    other = nn.Linear(3, 2)
    load_weights(tmp_path / "w.safetensors", other)
    assert torch.equal(other.weight, module.weight)


def test_missing_weights_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"w\.safetensors is missing: .*--resume"):
        load_weights(tmp_path / "w.safetensors", network())


@pytest.mark.parametrize("content", [b"", b"\x00", b"garbage garbage garbage", b"\xff" * 64])
def test_damaged_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(InputError, match="does not fit this run") as error:
        load_weights(tmp_path / "w", network())
    assert "\n" not in str(error.value)


def test_truncated_and_unfitting_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    save_weights(path, network())
    with pytest.raises(InputError, match="does not fit this run") as error:
        load_weights(path, network(width=4))
    assert "\n" not in str(error.value)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="does not fit this run"):
        load_weights(path, network())
