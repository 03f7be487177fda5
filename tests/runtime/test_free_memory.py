"""What is left of the memory: of the machine, of made trees of control groups, and of a shell's limit."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from modnas_fast.runtime import free_memory as module
from modnas_fast.runtime.free_memory import free_memory


def group(folder: Path, limit: str, used: int, names: tuple[str, str, str] = module.VERSION_2, idle: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {idle}\n")


def left(root: Path, *lines: str) -> int | None:
    membership = root / "cgroup-of-process"
    membership.write_text("".join(f"{line}\n" for line in lines))
    return module._left_in_groups(root, membership)


def test_of_this_machine() -> None:
    free = free_memory(torch.device("cpu"))
    assert free is None or free > 2**20


@pytest.mark.parametrize(("limit", "found"), [("max", None), ("1000", 400), ("500", 0)])
def test_the_limit_of_a_container_counts(tmp_path: Path, limit: str, found: int | None) -> None:
    assert left(tmp_path) is None
    group(tmp_path, limit, 600)
    assert left(tmp_path) == found
    assert left(tmp_path, "0::/not/visible/from/inside") == found


def test_the_tightest_group_around_the_process_counts(tmp_path: Path) -> None:
    group(tmp_path / "user/job/step", "max", 10)
    group(tmp_path / "user/job", "900", 600)
    group(tmp_path / "user", "5000", 600)
    group(tmp_path / "other", "601", 600)
    assert left(tmp_path, "0::/user/job/step") == 300


def test_groups_of_version_1(tmp_path: Path) -> None:
    group(tmp_path / "memory/job", "900", 600, module.VERSION_1)
    group(tmp_path / "memory", str(2**63 - 4096), 600, module.VERSION_1)
    assert left(tmp_path, "4:cpu,cpuacct:/job", "7:memory:/job") == 300
    assert left(tmp_path, "4:cpu,cpuacct:/job") is None


def test_pages_of_files_not_used_lately_are_free(tmp_path: Path) -> None:
    group(tmp_path, "1000", 900, idle=500)
    assert left(tmp_path) == 600


def test_the_limit_of_a_shell_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    used = module._field(Path("/proc/self/status"), "VmSize:")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (used + 2**20, used + 2**20))
    assert free_memory(torch.device("cpu")) <= 2**20
