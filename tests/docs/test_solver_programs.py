"""The whole programs of docs/solver.md as files of their own, in every number format, alone and in two processes."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from docs.test_code_blocks import PAGES

PLAIN, LIGHTNING = re.findall(r"^```py\n(.*?)^```$", PAGES["docs/solver.md"].read_text(), re.MULTILINE | re.DOTALL)
#: what a process ends with, in a file of its own
KEPT = """
import os
rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
torch.save([p.detach() for p in {parameters}], f"weights-{{rank}}.pt")
"""


def run(program: str, parameters: str, folder: Path, *before: str) -> str:
    """Runs a program without GPUs, which keeps `parameters`, a list in its own words; what it prints."""
    code, _, end = program.partition("\nprint(")
    (folder / "train.py").write_text(f"{code}{KEPT.format(parameters=parameters)}print({end}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *before, "train.py"],
        cwd=folder,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kept(folder: Path, ranks: int) -> list[torch.Tensor]:
    """The parameters that all processes ended with, the same in each."""
    first, *others = (torch.load(folder / f"weights-{rank}.pt", weights_only=True) for rank in range(ranks))
    for other in others:
        assert all(map(torch.equal, first, other))
    return first


@pytest.mark.parametrize(("precision", "ranks"), [("bfloat16", 2), ("float16", 1)])
def test_the_plain_loop_learns_alike_in_all_processes(precision: str, ranks: int, tmp_path: Path) -> None:
    assert "precision = torch.bfloat16" in PLAIN
    program = PLAIN.replace("precision = torch.bfloat16", f"precision = torch.{precision}")
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    run(program, "[*trunk.parameters(), *heads.parameters()]", tmp_path, *several)
    ends = kept(tmp_path, ranks)
    trunk, heads = ends[:4], ends[4:]
    x = torch.randn(2000, 16, generator=torch.Generator().manual_seed(1))
    features = x
    for weight, bias in zip(trunk[::2], trunk[1::2]):
        features = torch.relu(features @ weight.T + bias)
    value, size, kind = (features @ weight.T + bias for weight, bias in zip(heads[::2], heads[1::2]))
    assert (value - x[:, :1].sin()).square().mean() < 0.06, "0.39 where nothing is learned"
    assert (size - x[:, 1:2].abs()).abs().mean() < 0.2, "0.48 where nothing is learned"
    assert (kind.argmax(1) == (x[:, 0] > x[:, 1])).float().mean() > 0.95


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="PyTorch Lightning is not installed")
@pytest.mark.parametrize("ranks", [1, 2])
def test_lightning_trains_alike_in_all_processes(ranks: int, tmp_path: Path) -> None:
    assert 'precision="bf16-mixed"' in LIGHTNING
    chosen = f'precision="bf16-mixed", accelerator="cpu", devices={ranks}, strategy="{"ddp" if ranks > 1 else "auto"}"'
    told = run(LIGHTNING.replace('precision="bf16-mixed"', chosen), "list(model.parameters())", tmp_path)
    assert "weight_2" in told
    assert len(kept(tmp_path, ranks)) == 10


@pytest.mark.parametrize("normalize", ["none", "l2", "loss", "loss+"])
def test_which_normalisations_see_the_unit_of_a_loss(normalize: str) -> None:
    from modnas_fast.mgd import mgd_weights

    generator = torch.Generator().manual_seed(0)
    gradients, losses = torch.randn(3, 20, generator=generator), torch.tensor([0.5, 1.0, 2.0])
    unit = torch.tensor([1.0, 128.0, 1.0])
    one = mgd_weights(gradients, normalize, losses=losses).weights
    other = mgd_weights(gradients * unit[:, None], normalize, losses=losses * unit).weights
    assert torch.allclose(one, other, atol=1e-9) == (normalize in ("l2", "loss"))
