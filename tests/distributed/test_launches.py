"""Whole runs under torchrun: killed, stopped, continued by fewer ranks, refused; beside a run of one process."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("torch.distributed")
if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this torch has no gloo", allow_module_level=True)

import ranked_run
from cli.test_kinds_of_runs import write_own_table
from ranked_run import TABLE, networks, search

from modnas_fast.runtime.checkpoint import load_checkpoint
from modnas_fast.runtime.lock import locked

FOLDER = Path(ranked_run.__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the table, and the run of one process in `alone`."""
    found = tmp_path_factory.mktemp("runs")
    write_own_table(found / TABLE)
    search(found, out=found / "alone")
    return found


def environment(**changes: str) -> dict[str, str]:
    path = os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **changes}


def torchrun(folder: Path, *options: str, ranks: int = 2, **given: Any) -> str:
    """What ranks print."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={ranks}",
    ]
    ended = subprocess.run(
        [*command, *options, ranked_run.__file__, json.dumps({"folder": str(folder), **given})],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    return ended.stdout + ended.stderr


def as_ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@pytest.fixture
def hosts() -> Iterator[list[tuple[str, str]]]:
    """Two network namespaces joined by a cable, as hosts: their names, which their ends have too, and addresses."""
    if shutil.which("ip") is None:
        pytest.skip("no ip of iproute2 to make network namespaces")
    names, net = [f"mf{os.getpid() % 10**8}{end}" for end in "ab"], f"10.213.{os.getpid() % 256}"
    found = [(name, f"{net}.{place}") for place, name in enumerate(names, 1)]
    try:
        try:
            for name in names:
                as_ip("netns", "add", name)
            as_ip("link", "add", names[0], "netns", names[0], "type", "veth", "peer", names[1], "netns", names[1])
            for name, address in found:
                as_ip("-n", name, "address", "add", f"{address}/24", "dev", name)
                for device in ("lo", name):
                    as_ip("-n", name, "link", "set", device, "up")
        except OSError as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield found
    finally:
        for name in names:  # a cable goes with its ends
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=30)


def test_two_hosts_end_as_the_run_of_one_process(folder: Path, hosts: list[tuple[str, str]]) -> None:
    """They reach each other by the cable alone; rendezvous and ranks use its addresses."""
    run = folder / "hosts"
    options = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=hosts", "--max-restarts=0"]
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", *options]
    given = json.dumps({"folder": str(folder), "searches": [{"out": str(run)}]})
    started = [
        subprocess.Popen(
            ["ip", "netns", "exec", name, *command, f"--rdzv-endpoint={hosts[0][1]}:29400", f"--local-addr={address}",
             f"--rdzv-conf=is_host={place == 0}", ranked_run.__file__, given],
            env=environment(GLOO_SOCKET_IFNAME=name),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for place, (name, address) in enumerate(hosts)
    ]  # fmt: skip
    try:
        told = [host.communicate(timeout=300)[0] for host in started]
    finally:
        for host in started:
            host.kill()
    assert "Ranks: 2; 2 divide the devices, 1 the minibatches" in "".join(told), told
    assert networks(run) == networks(folder / "alone")


def test_a_run_whose_rank_is_killed_ends_as_the_unbroken_run_of_one_process(folder: Path) -> None:
    told = torchrun(folder, "--max-restarts=1", searches=[{"out": str(folder / "killed")}], kill=[1, 9])
    assert "Ranks: 2; 2 divide the devices, 1 the minibatches" in told, told
    assert "rank 0 ended: RankLost: another rank ended or cannot be reached" in told, told
    assert "Continuing at step 8 of 18" in told, told
    assert networks(folder / "killed") == networks(folder / "alone")
    assert len(set(networks(folder / "alone")[0])) > 1
    assert not (folder / "killed" / "run.lock").exists()


def test_ranks_stop_together_and_one_process_goes_on(folder: Path) -> None:
    """Minibatches divided; the signal comes to one rank."""
    run = folder / "stopped"
    told = torchrun(folder, searches=[{"out": str(run), "overrides": ["search.mesh=1x2"]}], stop=[1, 7])
    assert "Ranks: 2; 1 divide the devices, 2 the minibatches" in told, told
    assert all(f"rank {rank} ended: Stopped: 15" in told for rank in range(2)), told
    assert load_checkpoint(run / "checkpoint.pt")["search"]["finished_steps"] == 7
    search(folder, resume=run)
    assert networks(run) == networks(folder / "alone")


def test_four_ranks_then_two_then_one_end_as_the_unbroken_run_of_one(folder: Path) -> None:
    run = folder / "fewer"
    told = torchrun(folder, ranks=4, searches=[{"out": str(run), "overrides": ["search.mesh=2x2"]}], stop=[2, 5])
    assert "Ranks: 4; 2 divide the devices, 2 the minibatches" in told, told
    assert load_checkpoint(run / "checkpoint.pt")["search"]["finished_steps"] == 5
    told = torchrun(folder, searches=[{"resume": str(run)}], stop=[0, 11])
    assert "Ranks: 2" in told and "Continuing at step 5 of 18" in told, told
    assert load_checkpoint(run / "checkpoint.pt")["search"]["finished_steps"] == 11
    search(folder, resume=run)
    assert networks(run) == networks(folder / "alone")


@pytest.mark.parametrize("moment", range(10))
def test_killed_at_any_moment_it_ends_as_the_unbroken_run(folder: Path, moment: int) -> None:
    draw = random.Random(moment)
    rank, step = draw.randrange(2), draw.randint(1, 17)
    run = folder / f"killed-{moment}"
    told = torchrun(folder, "--max-restarts=1", searches=[{"out": str(run)}], kill=[rank, step])
    assert networks(run) == networks(folder / "alone"), (rank, step, told)


def test_what_cannot_be_is_refused_by_rank_0_alone(folder: Path) -> None:
    none, taken = folder / "none", folder / "taken"
    taken.mkdir()
    (taken / "config.yaml").write_bytes((folder / "alone" / "config.yaml").read_bytes())
    with locked(taken):
        told = torchrun(
            folder,
            searches=[{"out": str(none), "overrides": ["search.mesh=2x2"]}, {"resume": str(taken)}],
        )
    assert "rank 0 ended: InputError: search.mesh: 2x2 wants 4 ranks, there are 2" in told, told
    assert f"rank 0 ended: InputError: {taken} is in use by process {os.getpid()}" in told, told
    assert told.count("rank 1 ended: EndedElsewhere: 2") == 2, told
    assert not none.exists() and sorted(os.listdir(taken)) == ["config.yaml"]
