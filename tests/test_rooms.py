"""The rooms of the package, from the door to the ground: each module imports from its own room and from those below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import modnas_fast

ROOT = Path(modnas_fast.__file__).parent
#: from the door to the ground; the order of CONTRIBUTING.md
ROOMS = (
    "cli",
    "reproduction",
    "deployment",
    "runs",
    "result",
    "search",
    "baselines",
    "method",
    "tasks",
    "predictors",
    "evaluation",
    "devices",
    "spaces",
    "supernets",
    "mgd",
    "datasets",
    "report",
    "config",
    "runtime",
)
#: folders of the sources that are installed as rooms; kernels serve the room of their operation, benchmarks use all
BESIDE = ("bench", "kernels")
#: modules of the root: public names, each of the rooms below it
FLAT = ("__init__.py", "__main__.py", "elastic.py", "errors.py")


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in BESIDE)


def imported(source: str) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it, also below `if TYPE_CHECKING`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(dotted: str) -> str | None:
    """The room that an import enters; None for other packages and for what the root itself defines."""
    package, _, rest = dotted.partition(".")
    room = rest.partition(".")[0]
    return room if package == "modnas_fast" and room not in ("", "__version__", "_C", *BESIDE) else None


def upward(room: str, source: str) -> list[str]:
    """Imports of a module of `room` that go to a room above, or to none that is known."""
    below = ROOMS[ROOMS.index(room) :]
    return [name for name in imported(source) if (entered := room_of(name)) is not None and entered not in below]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_downwards(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    if room not in FLAT:
        assert upward(room, path.read_text(encoding="utf-8")) == []


def test_nothing_lies_flat_in_the_root_but_public_names() -> None:
    assert sorted(path.name for path in ROOT.glob("*.py")) == sorted(FLAT)
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - set(BESIDE)
    assert folders == set(ROOMS)


def test_every_room_says_what_it_is() -> None:
    for room in ROOMS:
        assert ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))), room


def test_the_check_finds_what_it_looks_for() -> None:
    source = "import modnas_fast.cli.app\ndef f():\n    from modnas_fast.runs import run\n"
    assert upward("search", source) == ["modnas_fast.cli.app", "modnas_fast.runs.run"]
    assert upward("cli", source) == []
    assert upward("search", "from modnas_fast.elsewhere import x") == ["modnas_fast.elsewhere.x"]
    assert upward("report", "import torch\nfrom modnas_fast import __version__\nfrom modnas_fast.report import a") == []
