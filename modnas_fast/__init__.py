"""modnas-fast: one search, a Pareto set of networks for many devices (MODNAS, ICLR 2025, arXiv 2402.18213)."""

from typing import TYPE_CHECKING, Any

from modnas_fast.runtime.extras import named_extras
from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.devices import Device
    from modnas_fast.errors import InputError
    from modnas_fast.mgd import MinNorm, min_norm
    from modnas_fast.result import Pick, Result
    from modnas_fast.runs.api import search

    __version__: str

__all__ = ["Device", "InputError", "MinNorm", "Pick", "Result", "__version__", "min_norm", "search"]

_find = names_from(
    __name__,
    {
        "Device": "modnas_fast.devices",
        "InputError": "modnas_fast.errors",
        "MinNorm": "modnas_fast.mgd",
        "Pick": "modnas_fast.result",
        "Result": "modnas_fast.result",
        "min_norm": "modnas_fast.mgd",
        "search": "modnas_fast.search",  # a room that is called, see there
    },
)


def _search(*arguments: Any, **options: Any) -> Any:
    """What the room modnas_fast.search answers when it is called."""
    with named_extras():
        from modnas_fast.runs.api import search

    return search(*arguments, **options)


def __getattr__(name: str) -> Any:
    """A public name when it is first asked for; the version costs a look at the installed distributions."""
    if name == "__version__":
        from importlib.metadata import version

        return version("modnas-fast")
    return _find(name)
