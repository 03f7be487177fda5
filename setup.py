"""Runs CMake for the compiled core and maps the folders kernels/ and bench/ to subpackages of modnas_fast.

Two environment variables steer the build:

- MODNAS_FAST_BUILD=none leaves the compiled core out; the package then uses its PyTorch references;
- MODNAS_FAST_CUDA=auto|on|off builds the CUDA sources when a working nvcc is found (the default), always,
  or never.

Everything else (sources, flags, architectures) is in CMakeLists.txt.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import setuptools
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
CORE = "modnas_fast._C"
#: what pyproject.toml requires of the build; with pip's --no-build-isolation nobody else looks
REQUIRED = {"setuptools": (77,), "pybind11": (2, 13), "cmake": (3, 24)}


def requirement(name: str) -> str:
    """A requirement as pip takes it."""
    return f"{name}>={'.'.join(map(str, REQUIRED[name]))}"


def is_old(name: str, version: str) -> bool:
    """Whether a version is lower than the one required."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < REQUIRED[name]


if is_old("setuptools", setuptools.__version__):  # it would build a package without name, or fail on the licence
    raise SystemExit(
        f"modnas-fast: setuptools {setuptools.__version__} is too old: pip install '{requirement('setuptools')}', or "
        "leave --no-build-isolation out"
    )


def choice(variable: str, allowed: tuple[str, ...]) -> str:
    """The value of an environment variable; its first allowed value when it is unset or empty."""
    value = os.environ.get(variable, "").strip().lower() or allowed[0]
    if value not in allowed:
        raise SystemExit(f"{variable} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def tool(name: str) -> str | None:
    """The path of cmake or ninja: the one installed as a Python package, else the one on PATH."""
    if importlib.util.find_spec(name) is not None:
        module = importlib.import_module(name)
        folder = getattr(module, "CMAKE_BIN_DIR", None) or getattr(module, "BIN_DIR", None)
        found = shutil.which(name, path=folder) if folder else None
        if found:
            return found
    return shutil.which(name)


def lacking(cmake: str | None) -> list[str]:
    """What the compiled core needs and is not here, as requirements that pip takes."""
    found = {"cmake": "", "pybind11": ""}
    if cmake is not None:
        answer = subprocess.run([cmake, "--version"], capture_output=True, text=True)
        found["cmake"] = answer.stdout.partition("version")[2].partition("\n")[0]
    try:
        found["pybind11"] = importlib.import_module("pybind11").__version__
    except (ImportError, AttributeError):
        pass
    names = [requirement(name) for name, version in found.items() if is_old(name, version)]
    return names if tool("ninja") or shutil.which("make") else [*names, "ninja"]


class CMakeBuild(build_ext):
    """Builds the one extension with CMake instead of setuptools' own compiler driver."""

    def build_extension(self, ext: Extension) -> None:
        cmake, ninja = tool("cmake"), tool("ninja")
        missing = lacking(cmake)
        if missing:
            raise SystemExit(
                f"modnas-fast: the build needs {' and '.join(missing)}: pip install {' '.join(map(repr, missing))}, or "
                "set MODNAS_FAST_BUILD=none to install without the compiled core"
            )
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        folder = Path(self.build_temp).resolve() / "core"
        folder.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        configure = [
            cmake,
            "--fresh",
            "-S",
            str(ROOT),
            "-B",
            str(folder),
            f"-DMODNAS_FAST_CUDA={choice('MODNAS_FAST_CUDA', ('auto', 'on', 'off'))}",
            f"-DMODNAS_FAST_VERSION={self.distribution.get_version()}",
            f"-DMODNAS_FAST_OUTPUT={target}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
        ]
        if ninja is not None:
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        self.call(configure)
        self.call([cmake, "--build", str(folder), "--parallel", str(self.parallel or os.cpu_count() or 1)])

    def call(self, command: list[str]) -> None:
        """Runs one step of the build; a failure ends it with the remedy instead of a traceback."""
        if subprocess.run(command).returncode != 0:
            raise SystemExit(
                "modnas-fast: building the compiled core failed; the reason stands above. Mend it, or "
                "set MODNAS_FAST_BUILD=none to install without the compiled core."
            )


setup(
    packages=[*find_packages(include=["modnas_fast", "modnas_fast.*"]), "modnas_fast.kernels", "modnas_fast.bench"],
    package_dir={"modnas_fast.kernels": "kernels", "modnas_fast.bench": "bench"},
    exclude_package_data={"modnas_fast.bench": ["results/*"]},
    ext_modules=[Extension(CORE, sources=[])] if choice("MODNAS_FAST_BUILD", ("all", "none")) == "all" else [],
    cmdclass={"build_ext": CMakeBuild},
)
