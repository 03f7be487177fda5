"""The search: the bilevel loop, the refinement, the spread of networks that w is trained on, history.

The package is called, too: `modnas_fast.search(...)` runs all stages from the configuration to the result, see
`modnas_fast.runs.api.search`. The room and the public function share one name, and Python binds the name to the room as
soon as anything in it is imported, so the room itself must answer the call.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.search.bilevel import Search, initial_hypernet
    from modnas_fast.search.history import History

__all__ = ["History", "Search", "initial_hypernet"]

__getattr__ = names_from(
    __name__,
    {
        "History": "modnas_fast.search.history",
        "Search": "modnas_fast.search.bilevel",
        "initial_hypernet": "modnas_fast.search.bilevel",
    },
)


class _CallableRoom(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """`modnas_fast.runs.api.search`, found through the root: the rooms above are none of this one's business."""
        return sys.modules["modnas_fast"]._search(*arguments, **options)


sys.modules[__name__].__class__ = _CallableRoom
