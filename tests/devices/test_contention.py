"""What others on the machine do to a measurement: read from files of a made-up kernel, and tried."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from modnas_fast.devices import Measurement, Setting
from modnas_fast.devices.contention import Reading, Watch, causes
from modnas_fast.devices.measure import Anchor, Job, measure, normals_of
from modnas_fast.devices.surroundings import available_cpus


class Kernel:
    """Files of a kernel below a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.now = root, 0.0
        self.tell()

    def tell(self, waited_s: float = 0, pressed_s: float = 0, stolen: int = 0, busy: int = 0, khz: int = 0) -> None:
        texts = {
            "proc/thread-self/schedstat": f"123456 {waited_s * 1e9:.0f} 7\n",
            "proc/pressure/cpu": f"some avg10=1.00 avg60=0.00 avg300=0.00 total={pressed_s * 1e6:.0f}\nfull total=0\n",
            "proc/stat": f"cpu  {busy} 0 0 0 0 0 0 {stolen} 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n",
        }
        if khz:
            for cpu in available_cpus():
                texts[f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq"] = f"{khz}\n"
        for name, text in texts.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def clock(self) -> float:
        return self.now


def test_shares_of_the_time_since_the_last_look(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    watch = Watch(tmp_path, kernel.clock)
    kernel.now = 2.0
    kernel.tell(waited_s=0.5, pressed_s=1.0, stolen=30, busy=70, khz=2_000_000)
    assert watch.look() == Reading(0.25, 0.3, 0.5, 2000.0)
    kernel.now = 3.0
    assert watch.look() == Reading(0.0, 0.0, 0.0, 2000.0)
    assert watch.look() == Reading(clock_mhz=2000.0)  # no time passed


def test_a_kernel_that_tells_nothing_disturbs_nothing(tmp_path: Path) -> None:
    assert Watch(tmp_path).look() == Reading() and Reading().disturbance == 0


def test_causes_in_words() -> None:
    assert causes([Reading(), Reading(), Reading(waited=0.9)]) == []
    assert causes([Reading(stolen=0.2, pressed=0.9)] * 2) == ["the hypervisor took 20 % of the CPUs"]
    assert causes([Reading(pressed=0.9)]) == ["CPUs were short 90 % of the time"]
    assert causes([Reading(clock_mhz=3000.0), Reading(clock_mhz=1500.0)]) == ["the clock fell from 3000 to 1500 MHz"]
    assert causes([Reading(clock_mhz=3000.0), Reading(clock_mhz=2900.0)]) == [] == causes([])


# ---- tried ----

BUSY = "while True: pass"


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 8, 3, padding=1))


def campaign(jobs: list[Job], anchors: list[Anchor]) -> dict[tuple[str, str], Measurement]:
    return measure(jobs, normals_of((3, 16, 16)), 6, spare=2, anchors=anchors)


@pytest.mark.skipif(len(available_cpus()) < 2, reason="two busy processes beside need two cores")
def test_beside_two_busy_processes_latencies_are_right_or_marked() -> None:
    """A first campaign, then one beside two processes that keep the cores busy."""
    torch.manual_seed(0)
    settings = [Setting("cpu", threads, 8, torch.float32) for threads in (1, 2)]
    jobs = [Job(setting, f"{width}", network(width)) for setting in settings for width in range(8, 72, 8)]
    references = jobs[::2]
    alone = campaign(jobs, [Anchor(job) for job in references])
    known = [Anchor(job, alone[job.setting.name, job.key].latency_ms) for job in references]
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2)]
    try:
        beside = campaign(jobs, known)
    finally:
        for other in others:
            other.kill()
            other.wait()
    for setting in settings:
        found = [key for key in beside if key[0] == setting.name]
        errors = sorted(abs(beside[key].latency_ms / alone[key].latency_ms - 1) for key in found)
        doubts = {measured[key].doubt for measured in (alone, beside) for key in found}
        assert errors[len(errors) // 2] < 0.15 or doubts != {""}, (setting.name, errors)
