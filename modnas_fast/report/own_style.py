"""Matplotlib as it ships: whatever the user's settings are, plots look alike, and the settings stay as they were."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

BACKEND = "MPLBACKEND"
#: settings of the process, not of a figure
OF_THE_PROCESS = ("backend", "backend_fallback", "interactive")


@contextmanager
def own_style() -> Iterator[None]:
    """Draws with matplotlib's defaults, and without its warnings, until the end of the context.

    Import modules that import matplotlib inside. A `matplotlibrc`, a style, `MPLBACKEND` and what the process has set
    neither reach the figures nor are changed by them; glyphs that a font lacks and folders for caches that cannot be
    written are no matter for the terminal.
    """
    with _quiet():
        matplotlib = _matplotlib()
        shipped = matplotlib.rcParamsDefault
        defaults = {key: shipped[key] for key in shipped if key not in OF_THE_PROCESS}
        with matplotlib.rc_context(defaults):
            yield


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _matplotlib() -> ModuleType:
    """The module, imported also where the user's settings would end the import."""
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    backend = os.environ.pop(BACKEND, None)  # the import would check it
    try:
        import matplotlib
    except (UnicodeDecodeError, OSError):  # a matplotlibrc that is no text, or cannot be opened
        for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
            del sys.modules[name]  # they are parts of the module that failed
        with _without_matplotlibrc():
            import matplotlib
    finally:
        if backend is not None:
            os.environ[BACKEND] = backend
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend  # as the import would have done
    return matplotlib


@contextmanager
def _without_matplotlibrc() -> Iterator[None]:
    """A folder without a `matplotlibrc` as the working directory, and no other place to look for one."""
    places = {name: os.environ.pop(name, None) for name in ("MATPLOTLIBRC", "MPLCONFIGDIR")}
    stood = os.open(".", os.O_RDONLY)
    try:
        with tempfile.TemporaryDirectory() as empty:
            os.environ["MPLCONFIGDIR"] = empty
            os.chdir(empty)
            yield
    finally:
        os.fchdir(stood)
        os.close(stood)
        for name, value in places.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
