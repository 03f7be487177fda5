"""Every public name has an entry in the reference pages, which build without a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_api import PUBLIC

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages as text."""
    pytest.importorskip("sphinx", reason="Sphinx is not installed: make docs brings it")
    folder = tmp_path_factory.mktemp("pages")
    arguments = ["-q", "-W", "-b", "text", "-d", folder / "cache", ROOT / "docs", folder / "text"]
    command = [sys.executable, "-m", "sphinx", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return folder / "text"


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_has_an_entry(pages: Path, package: str) -> None:
    text = (pages / "reference" / f"{package.removeprefix('modnas_fast.')}.txt").read_text(encoding="utf-8")
    # the heading of an entry, or the link of a name that another package describes
    starts = [f"{kind}{package}.{{}}" for kind in ("", "class ", "exception ", '"')]
    lines = [line + " " for line in text.splitlines()]
    for name in PUBLIC[package]:
        wanted = tuple(start.format(name) + end for start in starts for end in '( "')
        assert any(line.startswith(wanted) for line in lines), name


def test_no_entry_lacks_its_text(pages: Path) -> None:
    for page in (pages / "reference").glob("*.txt"):
        assert "Alias for field number" not in page.read_text(encoding="utf-8"), page.name


def test_every_key_of_the_configuration_is_told_with_its_default(pages: Path) -> None:
    from modnas_fast.config.tree import with_keys_of

    text = (pages / "reference" / "configuration.txt").read_text(encoding="utf-8")
    for name, section in with_keys_of("nb201").model_fields.items():
        for key in getattr(section.annotation, "model_fields", ()):
            assert f'"{name}.{key}": "' in text
