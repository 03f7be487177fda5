"""The reproduction with a supernet on a few tiny images: its content, its judge, and that it can be stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pictures import fill

from modnas_fast.report.reproduction.contents import read_reproduction
from modnas_fast.reproduction import supernet as module
from modnas_fast.reproduction.supernet import reproduce_with_supernet
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json
from modnas_fast.runtime.progress import Silent
from modnas_fast.runtime.stopping import Stopped, Stopper

SMALL = (
    "task.source=supernet",
    "task.resize=8",
    "task.limit=60",
    "space.channels=2",
    "search.batch_size=8",
    "search.warmup_steps=3",
    "search.refine_networks=12",
    "search.checkpoint_every=2",
    "devices.search=[1080ti_1, pixel3]",
    "devices.unseen=[raspi4]",
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, name in enumerate("abc"):
        fill(folder / name, 24, seed=100 * number)
    return folder


@pytest.fixture
def reproduce(tables: Path, tiny: tuple[str, ...], images: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A quick reproduction on three devices into a folder, with further overrides."""
    monkeypatch.setattr(module, "JUDGED", 12)

    def call(folder: Path, *overrides: str, **changes: Any) -> dict[str, Any]:
        options = {"data": images, "command": "modnas-fast", "reporter": Silent(), "stopper": Stopper(), **changes}
        return reproduce_with_supernet(folder, overrides=[*tiny, *SMALL, *overrides], quick=True, **options)

    return call


class Interrupts(Silent):
    """Sends this process SIGTERM once the search has made some steps."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.said: list[str] = []

    @contextmanager
    def stage(self, title: str, total: int, begun: int = 0) -> Iterator[Any]:
        def advance(done: int) -> None:
            if (title, done) == ("Searching", self.after):
                os.kill(os.getpid(), signal.SIGTERM)

        yield advance

    def say(self, line: str) -> None:
        self.said.append(line)


def timeless(tree: Any) -> Any:
    if isinstance(tree, dict):
        times = ("seconds", "search_seconds", "stages")
        return {key: timeless(value) for key, value in tree.items() if key not in times}
    return [timeless(part) for part in tree] if isinstance(tree, list | tuple) else tree


def test_a_stopped_search_goes_on_and_ends_the_same(reproduce: Any, tmp_path: Path) -> None:
    whole = reproduce(tmp_path / "whole")
    check(whole, tmp_path / "whole")

    stopper = Stopper()
    with pytest.raises(Stopped), stopper.listening():
        reproduce(tmp_path / "broken", reporter=Interrupts(3), stopper=stopper)
    assert (tmp_path / "broken" / "checkpoint.pt").exists()
    assert not (tmp_path / "broken" / "reproduction.json").exists()
    with pytest.raises(InputError, match="a reproduction with configuration.search.steps 2; give another folder"):
        reproduce(tmp_path / "broken", "search.steps=3")
    reporter = Interrupts(0)
    continued = reproduce(tmp_path / "broken", reporter=reporter)
    assert reporter.said == ["Continuing at step 4 of 7"]
    assert timeless(continued) == timeless(whole)


def check(content: dict[str, Any], folder: Path) -> None:
    read = read_reproduction(folder)
    assert (read.source, read.quick, read.evaluations) == ("supernet", True, 0)
    assert read.names("search") == ["1080ti_1", "pixel3"] and read.names("unseen") == ["raspi4"]
    (method,) = content["methods"]
    (run,) = method["runs"]
    assert run["evaluations"] == 0 and run["measured"] == 40
    judged = content["supernet"]
    assert judged["networks"] == len(judged["points"]) == 12 and -1 <= judged["spearman"] <= 1
    assert all(0 <= inherited <= 100 and 0 < true < 89.9 for inherited, true in judged["points"])
    assert judged["hypervolume_ratio"] == run["ratio"]
    assert "C = 2, N = 1, 60 images of 8×8 pixels, batch 8, 3 + 2 steps of w" in judged["setting"]
    assert read_json(folder / "reproduction.json")["supernet"]["points"] == [list(pair) for pair in judged["points"]]


def test_missing_images_tell_how_to_get_them(reproduce: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data: .*nothing does not exist; fetch CIFAR-10 with: modnas-fast data"):
        reproduce(tmp_path, data=tmp_path / "nothing")
