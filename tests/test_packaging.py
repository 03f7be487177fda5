"""Wheel, sdist and editable installs: what is in them, and that each works without the source tree."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "c++")) is None, reason="there is no C++ compiler"
)
SOURCES = ("pyproject.toml", "setup.py", "CMakeLists.txt", "MANIFEST.in", "README.md", "LICENSE",
           "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "constraints.txt", "bench", "csrc", "kernels",
           "modnas_fast")  # fmt: skip
USE_IT = """
import sys

# An editable install beside this one would lend it what it lacks.
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
import modnas_fast, modnas_fast.bench.search_step, modnas_fast.kernels, torch
from modnas_fast.runtime import implementations
from modnas_fast.cli.bench import available
from modnas_fast.mgd import min_norm
answer = min_norm(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
assert answer.weights.tolist() == [0.5, 0.5]
assert "search_step" in available()
print(modnas_fast.__file__, implementations.chosen("min_norm", "cpu").name)
"""


def copy_of_sources(folder: Path) -> Path:
    """The package's sources without anything built, in a folder of their own."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "build", "*.egg-info")
    folder.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        elif source.exists():
            shutil.copy2(source, folder / name)
    return folder


def run(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {"MODNAS_FAST_CUDA": "off", "MODNAS_FAST_BUILD": "", **environment}
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def build(what: str, source: Path, out: Path, says: str = "", **environment: str) -> Path:
    """The one file that `python -m build` makes of the sources, without network access, and what it says on the way."""
    done = run([sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check", f"--{what}",
                "--outdir", str(out), str(source)], source, **environment)  # fmt: skip
    assert done.returncode == 0 and says in done.stdout, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made


def program(file: Path, line: str) -> str:
    """Writes a program of the shell; its path."""
    file.write_text(f"#!/bin/sh\n{line}\n")
    file.chmod(0o755)
    return str(file)


def use(wheel: Path, folder: Path) -> str:
    """Which implementation serves min_norm when the unpacked wheel is imported from elsewhere."""
    installed = folder / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    done = run([sys.executable, "-c", USE_IT], folder, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    file, name = done.stdout.split()
    assert Path(file).parent == installed / "modnas_fast"
    return name


def check_wheel(wheel: Path, compiled: bool) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "modnas_fast/__init__.py",
        "modnas_fast/bench/__init__.py",
        "modnas_fast/bench/search_step.py",
        "modnas_fast/kernels/__init__.py",
        "modnas_fast/kernels/gramian.py",
        "modnas_fast/mgd/min_norm.py",
        "modnas_fast/py.typed",
    } <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"modnas_fast"}
    assert any(name.startswith("modnas_fast/_C.") for name in names) == compiled
    assert not [name for name in names if name.endswith((".cpp", ".h", ".cu", ".pyc")) or "/results/" in name]
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    assert "modnas-fast = modnas_fast.cli:main" in zipfile.ZipFile(wheel).read(entry).decode()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_sources(tmp_path_factory.mktemp("packaging") / "sources")


def test_every_file_of_the_package_is_in_the_wheel(sources: Path, tmp_path: Path) -> None:
    wheel = build("wheel", sources, tmp_path / "dist", MODNAS_FAST_BUILD="none")
    check_wheel(wheel, compiled=False)
    assert wheel.name.endswith("-py3-none-any.whl")
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "modnas_fast").rglob("*")
        if path.is_file() and path.suffix not in (".so", ".pyc") and not path.name.startswith(".")
    }
    wanted |= {
        f"modnas_fast/{folder}/{path.name}" for folder in ("bench", "kernels") for path in (ROOT / folder).glob("*.py")
    }
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())
    assert use(wheel, tmp_path) == "reference"


@needs_compiler
def test_the_sdist_builds_a_compiled_wheel_and_leaves_a_broken_nvcc_out(sources: Path, tmp_path: Path) -> None:
    sdist = build("sdist", sources, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path / "unpacked", **({"filter": "data"} if sys.version_info >= (3, 12) else {}))
    wanted = {"CMakeLists.txt", "setup.py", "LICENSE", "csrc/bindings.cpp", "csrc/min_norm/min_norm.h",
              "csrc/min_norm/cuda.cu", "csrc/tests/test_min_norm.cpp", "bench/__init__.py",
              "bench/search_step.py", "bench/results/min_norm.json", "kernels/__init__.py",
              "modnas_fast/__init__.py"}  # fmt: skip
    assert wanted <= names
    assert not [name for name in names if name.endswith((".so", ".pyc"))]
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    nvcc = program(tmp_path / "nvcc", "echo 'unsupported GNU version' >&2; exit 1")
    fast = program(tmp_path / "c++", f'exec {os.environ.get("CXX", "c++")} "$@" -O0')  # what it makes need not be fast
    left_out = "building without CUDA: the nvcc found does not work"
    wheel = build("wheel", unpacked, tmp_path / "wheel", left_out, MODNAS_FAST_CUDA="auto", CUDACXX=nvcc, CXX=fast)
    check_wheel(wheel, compiled=True)
    assert use(wheel, tmp_path) == "c++"


@pytest.mark.parametrize("folder", ["bench", "kernels"])
def test_a_subpackage_of_another_folder_has_one_name(folder: str) -> None:
    program = f"import modnas_fast.{folder} as p, importlib.util as u; print(p.__name__, u.find_spec({folder!r}))"
    done = run([sys.executable, "-c", program], Path(sys.prefix))
    assert done.stdout.split() == [f"modnas_fast.{folder}", "None"], done.stderr


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"MODNAS_FAST_BUILD": "some"}, "MODNAS_FAST_BUILD must be one of all, none, not 'some'"),
        ({"MODNAS_FAST_CUDA": "yes"}, "MODNAS_FAST_CUDA must be one of auto, on, off, not 'yes'"),
        ({"MODNAS_FAST_CUDA": "on", "CUDACXX": "/nonexistent/nvcc"}, "MODNAS_FAST_CUDA=on, but"),
        ({"CXX": "/nonexistent/c++"}, "MODNAS_FAST_BUILD=none"),
    ],
)
def test_a_build_that_cannot_be_says_why(sources: Path, tmp_path: Path, environment: dict[str, str], text: str) -> None:
    command = [
        sys.executable,
        "setup.py",
        "build_ext",
        "--build-temp",
        str(tmp_path),
        "--build-lib",
        str(tmp_path),
    ]
    done = run(command, sources, **environment)
    assert done.returncode != 0
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def build_extension(sources: Path, folder: Path, *stand_ins: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    """A build in whose environment modules have been replaced: (name, content)."""
    for name, content in stand_ins:
        (folder / "modules").mkdir(exist_ok=True)
        (folder / "modules" / f"{name}.py").write_text(content)
    command = [sys.executable, "setup.py", "build_ext", "--build-temp", str(folder), "--build-lib", str(folder)]
    return run(command, sources, PYTHONPATH=str(folder / "modules"))


OLD_CMAKE = ("cmake", "CMAKE_BIN_DIR = {folder!r}")


@pytest.mark.parametrize(
    ("stand_ins", "texts"),
    [
        ([("pybind11", "raise ImportError")], ("needs pybind11>=2.13: pip install 'pybind11>=2.13'",)),
        ([("pybind11", "__version__ = '2.6.0'")], ("pip install 'pybind11>=2.13'",)),
        ([("pybind11", "")], ("pip install 'pybind11>=2.13'",)),
        ([OLD_CMAKE], ("needs cmake>=3.24: pip install 'cmake>=3.24'",)),
        ([OLD_CMAKE, ("pybind11", "raise ImportError")], ("pip install 'cmake>=3.24' 'pybind11>=2.13'",)),
        ([("setuptools", "__version__ = '59.8.0'\nExtension = find_packages = setup = None\n"
           "import sys, types\n__path__ = []\nsys.modules['setuptools.command'] = types.ModuleType('c')\n"
           "sys.modules['setuptools.command.build_ext'] = m = types.ModuleType('b')\nm.build_ext = object\n")],
         ("setuptools 59.8.0 is too old: pip install 'setuptools>=77'", "--no-build-isolation")),
    ],
    ids=["no pybind11", "old pybind11", "empty pybind11", "old cmake", "two", "old setuptools"],
)  # fmt: skip
def test_what_the_build_lacks_is_told_in_one_line(
    sources: Path, tmp_path: Path, stand_ins: list[tuple[str, str]], texts: tuple[str, ...]
) -> None:
    cmake = tmp_path / "cmake"
    cmake.write_text("#!/bin/sh\necho 'cmake version 3.22.1'\n")
    cmake.chmod(0o755)
    filled = [
        (name, content.format(folder=str(tmp_path)) if name == "cmake" else content) for name, content in stand_ins
    ]
    done = build_extension(sources, tmp_path, *filled)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("modnas-fast: ")]
    assert all(text in line for text in texts), line
    assert "Traceback" not in done.stderr
    assert ("MODNAS_FAST_BUILD=none" in line) is ("setuptools" not in line)


def test_setup_asks_for_what_pyproject_requires() -> None:
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    required = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("requires = [")[2].partition("]")[0]
    stated = {name: tuple(map(int, version.split("."))) for name, version in re.findall(r'"(\w+)>=([\d.]+)"', required)}
    assert ast.literal_eval(re.search(r"^REQUIRED = (.*)$", text, re.MULTILINE)[1]) == stated
