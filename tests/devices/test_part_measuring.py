"""Parts measured into a table: all, in the form that is read, from where it was stopped; and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from modnas_fast.cli.app import app
from modnas_fast.devices import machine_settings
from modnas_fast.devices import part_measuring as module
from modnas_fast.devices.part_measuring import measure_parts
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Silent
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space("small", resolutions=(32,), kernels=(3, 5), expansions=(3,), depths=(1, 2), width=0.1)
(SETTING, *_) = machine_settings()


def test_a_table_is_measured_continued_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, parts = tmp_path / "desk.yaml", list(SPACE.parts(classes=5))
    monkeypatch.setattr(module, "TOGETHER", 12)
    monkeypatch.setattr(module, "ANCHORS", 4)
    stopped = parts[:20]
    assert measure_parts(stopped, SETTING, file, 2, Silent())[0] == 20
    before = yaml.safe_load(file.read_text())
    assert measure_parts(parts, SETTING, file, 2, Silent())[0] == len(parts) - 20
    after = yaml.safe_load(file.read_text())
    assert {key: after[key] for key in before} == before and set(after) == {part.key for part in parts}
    table = SPACE.part_table(file)
    onehot = SPACE.sample(20, torch.Generator().manual_seed(0))
    assert table.devices == ("desk",) and bool((table.costs("desk", onehot) > 0).all())
    assert measure_parts(parts, SETTING, file, 2, Silent())[0] == 0


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "desk.yaml"
    file.write_text("a: {mean: none}")
    with pytest.raises(InputError, match="is no table of latencies"):
        measure_parts(SPACE.parts(classes=5), SETTING, file, 1, Silent())
    assert file.read_text() == "a: {mean: none}"


def test_the_command_measures_and_compares_with_whole_networks(tmp_path: Path) -> None:
    sizes = ("resolutions=[32]", "kernels=[3]", "expansions=[3,4]", "depths=[1,2]", "width=0.1")
    options = [word for size in sizes for word in ("--set", f"space.{size}")]
    command = ["data", "measure-blocks", "--out", str(tmp_path / "desk.yaml"), "--repeats", "1", "--classes", "5"]
    told = CliRunner().invoke(app, [*command, *options, "--check", "6"])
    assert told.exit_code == 0, told.output
    assert "blocks measured with cpu_t1_b1_fp32" in told.output
    assert "sums over blocks: Spearman" in told.output and "regression on 48 networks: Spearman" in told.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--out", "a.csv"], "wanted a name that ends in .yaml"),
        (["--out", "a.yaml", "--setting", "tpu"], "wanted one of cpu_t1_b1_fp32"),
        (["--out", "a.yaml", "--set", "space.name=nb201"], "space nb201 has no tables of parts"),
    ],
)
def test_bad_input_is_told_in_one_line(options: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        CliRunner().invoke(app, ["data", "measure-blocks", *options], catch_exceptions=False)
