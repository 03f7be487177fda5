"""The settings that a machine offers, with and without a second core or GPUs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modnas_fast.devices import Fingerprint, MeasurementCache, fingerprint, machine_settings
from modnas_fast.devices.machine import available_cores, cpu_setting, default_unseen, native_formats
from modnas_fast.devices.surroundings import HARMLESS, available_cpus, cpu_quota

#: a root without /proc and /sys: no quota
NOWHERE = Path("/nowhere")


def pretend(monkeypatch: pytest.MonkeyPatch, threads: int, gpus: int) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"gpu {index}")


@pytest.mark.parametrize("gpus", [0, 1, 2])
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_there_are_at_least_eight_settings_with_unique_names(
    monkeypatch: pytest.MonkeyPatch, threads: int, gpus: int
) -> None:
    pretend(monkeypatch, threads, gpus)
    settings = machine_settings(NOWHERE)
    cpu = [setting for setting in settings if setting.processor == "cpu"]
    names = [setting.name for setting in settings]
    assert len(cpu) >= 8 and len(settings) == len(cpu) + 3 * gpus
    assert len(set(names)) == len(names)
    assert {setting.threads for setting in cpu} == {1, threads}
    assert {setting.dtype for setting in cpu} == {torch.float32, torch.bfloat16}
    assert [setting.batch for setting in settings if setting.processor != "cpu"] == [1, 32, 256] * gpus


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_one_format_leaves_half_of_them_or_more(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    pretend(monkeypatch, threads, 0)
    for name in ("float32", "bfloat16"):
        settings = machine_settings(NOWHERE, [name])
        assert len(settings) >= 4 and {setting.dtype for setting in settings} == {getattr(torch, name)}
        (unseen,) = default_unseen(settings)
        assert unseen in [setting.name for setting in settings]


@pytest.mark.parametrize(
    ("line", "formats"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile", ("float32", "bfloat16")),
        ("flags\t\t: fpu avx2 amx_bf16", ("float32", "bfloat16")),
        ("Features\t: fp asimd bf16 i8mm", ("float32", "bfloat16")),
        ("flags\t\t: fpu avx2 fma", ("float32",)),
        ("model name\t: bf16 in a name is no instruction", ("float32",)),
    ],
)
def test_bfloat16_is_native_where_the_cpu_has_instructions(tmp_path: Path, line: str, formats: tuple[str, ...]) -> None:
    assert native_formats(tmp_path) == ("float32",)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(f"processor\t: 0\n{line}\n", encoding="utf-8")
    assert native_formats(tmp_path) == formats


@pytest.mark.parametrize("threads", [1, 2])
def test_a_setting_is_found_by_its_name_whatever_formats_were_measured(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    pretend(monkeypatch, threads, 1)
    for formats in (("float32", "bfloat16"), ("float32",), ("bfloat16",)):
        for setting in machine_settings(NOWHERE, formats):
            assert cpu_setting(setting.name) == (setting if setting.processor == "cpu" else None)


@pytest.mark.parametrize("gpus", [0, 1, 2])
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_held_out_settings_resemble_searched_ones(monkeypatch: pytest.MonkeyPatch, threads: int, gpus: int) -> None:
    pretend(monkeypatch, threads, gpus)
    settings = machine_settings(NOWHERE)
    names = default_unseen(settings)
    unseen = [setting for setting in settings if setting.name in names]
    searched = [setting for setting in settings if setting.name not in names]
    assert len(unseen) == len(set(names)) == 2 + gpus and len(searched) >= 6
    for setting in unseen:
        alike = [other for other in searched if other.processor == setting.processor]
        assert {setting.dtype} <= {other.dtype for other in alike}
        assert {setting.threads} <= {other.threads for other in alike}
        assert setting.processor != "cpu" or setting.batch in {other.batch for other in alike}


def test_fingerprint_changes_with_threads_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 2, 0)
    plain = fingerprint()
    assert plain == fingerprint() and plain.cpu and plain.cores == len(available_cpus()) >= available_cores() >= 1
    assert plain.to_dict()["threads"] == 2 and plain.to_dict()["torch"] == torch.__version__
    pretend(monkeypatch, 1, 0)
    assert fingerprint() != plain
    pretend(monkeypatch, 2, 1)
    assert fingerprint().to_dict()["gpus"] == ["gpu 0"]


# ---- containers ----


def tree(root: Path, files: dict[str, str]) -> Path:
    """A made /proc and /sys."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


V1 = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        # version 2: a container sees its own group at the top
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2.0),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        # a service with a limit of a parent, and one tighter in the midst
        (
            {
                "proc/self/cgroup": "0::/a.slice/b.service/c\n",
                "sys/fs/cgroup/a.slice/cpu.max": "400000 100000",
                "sys/fs/cgroup/a.slice/b.service/cpu.max": "25000 50000",
                "sys/fs/cgroup/a.slice/b.service/c/cpu.max": "max 100000",
            },
            0.5,
        ),
        # a group of somebody else does not count
        ({"proc/self/cgroup": "0::/mine\n", "sys/fs/cgroup/other/cpu.max": "100000 100000"}, None),
        # a process outside of its namespace's top
        ({"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/cpu.max": "300000 100000"}, 3.0),
        # version 1, the path seen from the host or not
        (
            {
                "proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n",
                f"{V1}/docker/x/cpu.cfs_quota_us": "250000\n",
                f"{V1}/docker/x/cpu.cfs_period_us": "100000\n",
                f"{V1}/cpu.cfs_quota_us": "-1\n",
                f"{V1}/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpuacct,cpu:/docker/x\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        ({"proc/self/cgroup": "1:cpu:/\n", f"{V1}/cpu.cfs_quota_us": "-1", f"{V1}/cpu.cfs_period_us": "100000"}, None),
        ({"proc/self/cgroup": "3:cpuset:/x\n", "sys/fs/cgroup/cpuset/x/cpu.max": "100000 100000"}, None),
        # both versions side by side
        (
            {
                "proc/self/cgroup": "4:cpu:/x\n0::/x\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "800000",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/unified/x/cpu.max": "600000 100000",
            },
            6.0,
        ),
        ({"sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_quota_is_the_least_of_all_groups(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    assert cpu_quota(tree(tmp_path, files)) == quota
    assert fingerprint(tmp_path).quota == quota


@pytest.mark.parametrize(("allowed", "threads"), [(0.5, 1), (1, 1), (1.5, 1), (2, 2), (3.9, 3), (64, 16), (None, 16)])
def test_threads_are_offered_within_the_quota(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: float | None, threads: int
) -> None:
    pretend(monkeypatch, 16, 0)
    limit = "max" if allowed is None else str(int(allowed * 100_000))
    root = tree(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": f"{limit} 100000"})
    settings = machine_settings(root)
    assert {setting.threads for setting in settings} == {1, threads} and len(settings) >= 8
    assert fingerprint(root).threads == 16 and fingerprint(root).quota == allowed
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    assert available_cores(root) == threads


# ---- what else changes latencies ----


def test_the_fingerprint_tells_which_cpus_these_are(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for cpus in ({0, 1, 2, 3}, {4, 5, 6, 7}, {0, 2, 3, 7}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cpus=cpus: cpus, raising=False)
        found[fingerprint().affinity] = fingerprint().cores
    assert found == {"0-3": 4, "4-7": 4, "0,2-3,7": 4}


def test_what_scikit_learn_sets_when_it_is_imported_makes_no_other_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in HARMLESS:
        monkeypatch.delenv(name, raising=False)
    before = fingerprint()
    for name in HARMLESS:
        monkeypatch.setenv(name, "TRUE")
    assert fingerprint() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ONEDNN_MAX_CPU_ISA", "AVX2"),
        ("DNNL_DEFAULT_FPMATH_MODE", "BF16"),
        ("ATEN_CPU_CAPABILITY", "default"),
        ("OMP_WAIT_POLICY", "PASSIVE"),
        ("KMP_AFFINITY", "compact"),
        ("GOMP_CPU_AFFINITY", "0-3"),
        ("GOMP_SPINCOUNT", "0"),
        ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
        ("OPENBLAS_CORETYPE", "Zen"),
        ("MALLOC_ARENA_MAX", "1"),
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
        ("LD_PRELOAD", "libjemalloc.so"),
        ("TORCH_BLAS_PREFER_CUBLASLT", "1"),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"),
        ("PYTORCH_NO_CUDA_MEMORY_CACHING", "1"),
        ("CUDA_VISIBLE_DEVICES", "1"),
        ("CUDA_MODULE_LOADING", "LAZY"),
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
        ("CUBLASLT_WORKSPACE_SIZE", "0"),
        ("NVIDIA_TF32_OVERRIDE", "0"),
    ],
)
def test_variables_that_libraries_read_are_part_of_the_fingerprint(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    plain = fingerprint()
    monkeypatch.setenv(name, value)
    assert fingerprint() != plain and fingerprint().variables[name] == value


@pytest.mark.parametrize("name", ["HOME", "PATH", "PWD", "TERM", "MODNAS_CACHE", "PYTHONPATH", "LANG"])
def test_other_variables_are_not(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plain = fingerprint()
    monkeypatch.setenv(name, "something else")
    assert fingerprint() == plain


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    precision, benchmark, mkldnn = (
        torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark, torch.backends.mkldnn.enabled
    )  # fmt: skip
    yield
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.benchmark, torch.backends.mkldnn.enabled = benchmark, mkldnn
    torch.set_flush_denormal(False)
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "change",
    [
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: torch.use_deterministic_algorithms(True),
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
        lambda: setattr(torch.backends.mkldnn, "enabled", False),
        lambda: torch.set_flush_denormal(True) or pytest.skip("this CPU does not flush"),
    ],
    ids=["precision", "deterministic", "cudnn benchmark", "mkldnn", "flush denormal"],
)
def test_settings_of_torch_are_part_of_the_fingerprint(torch_as_it_was: None, change: Callable[[], object]) -> None:
    plain = fingerprint()
    assert plain.settings["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    change()
    assert fingerprint() != plain


def test_a_setting_put_back_is_the_same_as_never_set(torch_as_it_was: None) -> None:
    plain = fingerprint()
    torch.set_float32_matmul_precision("medium")
    torch.set_float32_matmul_precision("highest")
    assert fingerprint() == plain


CPU = "sys/devices/system/cpu"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (f"{CPU}/cpu0/cpufreq/scaling_governor", "powersave\n"),
        (f"{CPU}/cpu1/cpufreq/scaling_governor", "powersave\n"),
        (f"{CPU}/cpu0/cpufreq/scaling_max_freq", "1200000\n"),
        (f"{CPU}/cpufreq/boost", "0\n"),
        (f"{CPU}/intel_pstate/no_turbo", "1\n"),
        (f"{CPU}/smt/active", "0\n"),
        ("proc/cpuinfo", "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd40\n"),
    ],
)
def test_a_change_of_the_clock_is_another_fingerprint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, content: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    files = {f"{CPU}/cpu{n}/cpufreq/scaling_{name}": value for n in (0, 1, 2)
             for name, value in (("governor", "performance\n"), ("max_freq", "3000000\n"))}  # fmt: skip
    files |= {f"{CPU}/cpufreq/boost": "1\n", "proc/cpuinfo": "CPU implementer : 0x41\nCPU part : 0xd0c\n"}
    plain = fingerprint(tree(tmp_path, files))
    assert plain == fingerprint(tmp_path) and plain.clock["scaling_governor"] == "performance"
    tree(tmp_path, {f"{CPU}/cpu2/cpufreq/scaling_governor": "powersave\n"})
    assert fingerprint(tmp_path) == plain, "of a CPU that this process does not run on"
    tree(tmp_path, {file: content})
    assert fingerprint(tmp_path) != plain


@pytest.mark.parametrize(
    "change",
    [
        {"quota": 2.0},
        {"affinity": "4-5"},
        {"clock": {"scaling_governor": "powersave"}},
        {"variables": {"OMP_WAIT_POLICY": "ACTIVE"}},
        {"settings": {"mkldnn": "False"}},
    ],
)
def test_measurements_of_other_surroundings_are_not_used(tmp_path: Path, change: dict[str, object]) -> None:
    plain = Fingerprint("a cpu", 4, 4, "2.8", ())
    paths = {MeasurementCache(machine, {}, tmp_path).path for machine in (plain, replace(plain, **change))}
    assert len(paths) == 2


def test_the_fingerprint_is_plain_values_and_keeps_what_reports_read() -> None:
    plain = fingerprint().to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert {"cpu", "cores", "threads", "torch", "gpus"} <= set(plain)
