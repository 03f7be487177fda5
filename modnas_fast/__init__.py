"""modnas-fast: one search, a Pareto set of networks for many devices (MODNAS, ICLR 2025, arXiv 2402.18213)."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modnas_fast.devices import Device
    from modnas_fast.mgd import MinNorm, min_norm
    from modnas_fast.result.result import Pick, Result

__version__ = version("modnas-fast")
__all__ = ["Device", "MinNorm", "Pick", "Result", "__version__", "min_norm"]

_HOMES = {
    "Device": "modnas_fast.devices",
    "MinNorm": "modnas_fast.mgd",
    "Pick": "modnas_fast.result.result",
    "Result": "modnas_fast.result.result",
    "min_norm": "modnas_fast.mgd",
}


def __getattr__(name: str) -> Any:
    """Public names on first use, so that `import modnas_fast` loads nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
