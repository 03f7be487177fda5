"""docs/photos.md as it stands, line by line, with a few small photos and a board that is a folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs.test_code_blocks import PAGES, SHORT, blocks
from pictures import fill, picture

PAGE = PAGES["docs/photos.md"].read_text(encoding="utf-8")
#: a search of minutes goes the same way in seconds
SMALL = (*SHORT, "space.resolutions=[48,64]", "space.kernels=[3]", "space.expansions=[1,2]", "space.depths=[1,2]",
         "search.batch_size=8", "verify.networks=0")  # fmt: skip
PROGRAMS = {
    "modnas-fast": """
import sys
from modnas_fast.cli import main
words = sys.argv[1:]
small = [part for value in {small} for part in ("--set", value)]
few = ["--networks", "32", "--to", "onnx"] if words[0] == "kit" else []
sys.argv[1:] = [*words, *([*few, *small] if "--data" in words else ())]
main()
""",
    "scp": """
import shutil, sys
from pathlib import Path
source, target = (Path(word.replace("pi:", "{board}/")) for word in sys.argv[1:] if word != "-r")
target = target / source.name if target.is_dir() else target
(shutil.copytree if source.is_dir() else shutil.copy)(source, target)
""",
    # what was measured becomes what does not depend on the clock: the size of a network's file
    "ssh": """
import json, subprocess, sys
from pathlib import Path
ended = subprocess.run(sys.argv[2], shell=True, cwd="{board}").returncode
for path in Path("{board}").glob("*/results.jsonl"):
    header, *lines = map(json.loads, path.read_text().splitlines())
    for line in lines:
        line.update(ms=(path.parent / line["network"]).stat().st_size / 1e5, disturbed=False)
    path.write_text("".join(json.dumps(each) + chr(10) for each in (header, *lines)))
sys.exit(ended)
""",
    "pip": "",
}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for the board; programs that do with it what the page does with a Raspberry Pi."""
    folder, programs = tmp_path / "board", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    for name, program in PROGRAMS.items():
        told = program.replace("{board}", str(folder)).replace("{small}", repr(SMALL))
        (programs / name).write_text(f"#!{sys.executable}\n{told}")
        (programs / name).chmod(0o755)
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return folder


def test_every_command_in_turn_ends_in_a_class_told_on_the_board(board: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    for seed, name in enumerate(("cat", "dog")):
        fill(tmp_path / "photos" / name, 30, size=(80, 72), seed=100 * seed)
    lines = re.findall(r"^    (\S.*)$", PAGE.partition("```python")[0], re.MULTILINE)
    assert len(lines) >= 15
    for line in lines:
        # any latency is within this budget, whatever the machine
        done = subprocess.run(line.replace("=20 ", "=2000 "), shell=True, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    picture(7, size=(100, 80)).save(board / "photo.jpg")
    ((_, code),) = blocks(PAGE)
    done = subprocess.run([sys.executable, "-c", code], cwd=board, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.strip() in ("cat", "dog"), done.stderr
    again = "from modnas_fast.deployment import Classifier; print(next(iter(Classifier('app').predict('photo.jpg'))))"
    twice = subprocess.run([sys.executable, "-c", again], cwd=board, capture_output=True, text=True, timeout=300)
    assert twice.stdout == done.stdout, "as the class of this package tells it"
    manifest = json.loads((tmp_path / "app" / "manifest.json").read_text())
    assert manifest["device"] == "pi" and manifest["promised"]["latency_ms"]["source"] == "measured"
