"""Files that a configuration names: where they are, and that a run goes on with those that it began with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from docs.surroundings import write_run

import modnas_fast
from modnas_fast.config import make_config, with_absolute_paths
from modnas_fast.report.drawings import DRAWINGS_FILE, read_drawings
from modnas_fast.result.folder import create_run, discard_unstarted
from modnas_fast.runs.drawings import keep_drawings
from modnas_fast.runs.run import Run
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space


def test_paths_of_a_space_are_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    for given, kept in (("w.pt", str(tmp_path / "w.pt")), ("~/w.pt", "/home/somebody/w.pt"), ("/w.pt", "/w.pt")):
        config = with_absolute_paths(make_config(preset="gpt-small", space={"checkpoint": given}))
        assert config.space.files == {"checkpoint": kept} and config.space.supernet == {"checkpoint": kept}
        assert config.space.scale == "small"
    plain = make_config(preset="gpt-small")
    assert with_absolute_paths(plain) == plain and plain.space.files == {}


def test_a_run_does_not_go_on_with_another_file(tmp_path: Path) -> None:
    file, folder = tmp_path / "w.pt", tmp_path / "run"
    config = make_config(preset="gpt-small", space={"checkpoint": str(file)})
    with pytest.raises(InputError, match=r"space.checkpoint: .*w.pt does not exist"):
        Run(folder, config).check()
    file.write_bytes(b"first")
    Run(create_run(folder, config), config)._check_files()
    Run(folder, config)._check_files()
    file.write_bytes(b"other")
    with pytest.raises(
        InputError, match=r"space.checkpoint: .*w.pt is another file than when .* was a7937b64b8ca…"
    ) as e:
        Run(folder, config)._check_files()
    assert len(str(e.value).splitlines()) == 1
    (folder / "files.json").write_text('{"seconds": 0}')
    with pytest.raises(InputError, match="files.json is damaged"):
        Run(folder, config)._check_files()


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_CACHE", str(tmp_path / "cache"))
    torch.save({"lm_head.weight": torch.zeros(3, 3)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="w.pt: lacks transformer.wte.weight"):
        modnas_fast.search(preset="gpt-small", space={"checkpoint": str(tmp_path / "w.pt")}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    kept = create_run(tmp_path / "kept", make_config(preset="gpt-small"))
    (kept / "measurements.json").write_text("{}")
    discard_unstarted(kept)
    assert sorted(path.name for path in kept.iterdir()) == ["config.yaml", "measurements.json"]


def write_run_with_front(run: Path) -> None:
    write_run(run)
    content = json.loads((run / "result.json").read_text())
    for device in content["devices"]:
        device["front"] = device["rays"][:2]
    (run / "result.json").write_text(json.dumps(content))


def test_runs_of_before_are_drawn(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_run_with_front(run)
    keep_drawings(run)
    kept = read_drawings(run)
    assert kept is not None and kept.legend == NB201Space().legend and kept.networks
    for text, drawing in kept.networks.items():
        assert drawing == NB201Space().draw(NB201Space().parse(text))
    before = (run / DRAWINGS_FILE).read_bytes()
    (run / DRAWINGS_FILE).write_bytes(b"{}")
    keep_drawings(run)
    assert (run / DRAWINGS_FILE).read_bytes() == b"{}" != before, "what stands there stays"


def test_spaces_that_draw_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    write_run_with_front(run)
    monkeypatch.setattr(NB201Space, "draw", lambda space, architecture: None)
    keep_drawings(run)
    assert not (run / DRAWINGS_FILE).exists()
