"""Triton kernels of modnas_fast, one file per operation; installed as the subpackage modnas_fast.kernels.

There are none yet: every operation is served by the compiled core or by its PyTorch reference, as
`modnas-fast doctor` shows.
"""

from __future__ import annotations

import importlib.util


def triton_available() -> bool:
    """Whether Triton is installed; found without importing it.

    >>> isinstance(triton_available(), bool)
    True
    """
    return importlib.util.find_spec("triton") is not None
