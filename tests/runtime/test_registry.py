"""Named choices: where names are looked for, what is refused, and that nothing is imported before it is used."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from modnas_fast.runtime import choices, registry
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.registry import Registry

ROOT = Path(__file__).parent.parent.parent


def roots(**builtin: str) -> Registry:
    return Registry("roots", "section.root", builtin or {"square": "math:sqrt"}, arguments=("x",))


@pytest.mark.parametrize("found", [value for value in vars(choices).values() if isinstance(value, Registry)])
def test_every_built_in_name_loads(found: Registry) -> None:
    assert len(found) and list(found) == list(found.builtin)
    for name in found:
        assert callable(found[name]) and found.check(name) == name and name in found


def test_names_and_places_are_found() -> None:
    some = roots()
    assert some["square"] is math.sqrt and some.find("math:cbrt" if hasattr(math, "cbrt") else "math:exp")
    some.register("half", lambda x: x / 2)
    assert some["half"](4) == 2 and some.names == ("square", "half") and list(some) == ["square"]
    assert "half" not in some


def test_entry_points_of_other_distributions_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"modnas_fast.roots": (EntryPoint("log", "math:log2", ""), EntryPoint("square", "math:exp", ""))}
    monkeypatch.setattr(registry, "entry_points", lambda group: points.get(group, ()))
    some = roots()
    assert some["log"] is math.log2 and some.names == ("square", "log")
    assert some["square"] is math.sqrt, "a built-in name stays what it is"


def test_the_distribution_registers_its_spaces() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["modnas_fast.spaces"]
    assert declared == choices.SPACES.builtin


def test_options_are_bound() -> None:
    def root(x: float, base: int = 2) -> float:
        return x ** (1 / base)

    some = roots()
    some.register("root", root)
    found = some.find("root", {"base": 3})
    assert isinstance(found, partial) and found(8) == 2
    with pytest.raises(InputError, match=r"section.root: 'root' cannot be called with \(x, bass=\): .*'bass'"):
        some.find("root", {"bass": 3})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("squire", "section.root: wanted 'square' or package.module:object, got 'squire'; did you mean square?"),
        ("zzz", "section.root: wanted 'square' or package.module:object, got 'zzz'"),
        ("math:", "section.root: wanted 'square' or .* got 'math:'"),
        ("math:none", "section.root: 'math:none' cannot be loaded: AttributeError: .*none"),
        ("no_such_package.x:y", "section.root: 'no_such_package.x:y' cannot be imported: No module .*; install it"),
        ("math:pi", r"section.root: 'math:pi' is a float; wanted a function or class, called with \(x\)"),
        ("builtins:hasattr", r"section.root: 'builtins:hasattr' cannot be called with \(x\): missing"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        roots().find(name)
    assert len(str(error.value).splitlines()) == 1


def test_a_module_that_fails_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_module.py").write_text("raise RuntimeError('two\\nlines')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="cannot be loaded: RuntimeError: two lines"):
        roots().find("failing_module:x")


@pytest.mark.parametrize("name", ["square", "a:b"])
def test_names_that_mean_something_else_cannot_be_registered(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' cannot be registered"):
        roots().register(name, math.exp)


def test_a_configuration_imports_no_object_that_it_names() -> None:
    code = (
        "import sys; from modnas_fast.config import make_config;"
        "make_config(scalarization={'kind': 'antigravity:x'}, mgd={'scheme': 'antigravity:y'});"
        "print('antigravity' in sys.modules, 'torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.split() == ["False", "False"]
