"""Pickles of plain values, read without running anything that they name.

A pickle can name any function and have it called. Here a name stands for a function of this module or a plain
container, and one that is not listed ends the reading. NumPy's own unpickling is not used either: its arrays and
scalars become lists and numbers, and torch's tensors become None.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, Literal

import numpy as np

from modnas_fast.runtime.errors import InputError


class _DType:
    """A NumPy type: numbers and truth values, or objects; nothing structured."""

    def __init__(self, code: str, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[biufO]\d*", code):
            raise InputError(f"an array of the type {code!r}")
        self.code = code
        self.order: Literal["|", "=", "<", ">"] = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def numbers(self, data: bytes) -> list[Any]:
        """The numbers in a buffer."""
        dtype = np.dtype(self.code)
        return np.frombuffer(data, dtype if self.order == "|" else dtype.newbyteorder(self.order)).tolist()


class _Array(list[Any]):
    """A NumPy array, filled by its pickled state; of several axes only the flat numbers are kept."""

    def __init__(self, *arguments: object) -> None:
        super().__init__()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, _, dtype, _, data = state
        self[:] = data if isinstance(data, list) else dtype.numbers(_bytes(data))


def _scalar(dtype: _DType, data: object) -> Any:
    return data if dtype.code.endswith("O") else dtype.numbers(_bytes(data))[0]


def _frombuffer(data: object, dtype: _DType, *shape_and_order: object) -> list[Any]:
    return dtype.numbers(bytes(data))  # type: ignore[call-overload]


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def _bytes(data: object) -> bytes:
    return data.encode("latin1") if isinstance(data, str) else data  # type: ignore[return-value]


def _nothing(*arguments: object) -> None:
    """Stands for a tensor and its storage, which nobody here wants."""


#: what a pickle may name, and what is called instead; NumPy 1 says numpy.core, NumPy 2 numpy._core
ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("_codecs", "encode"): _latin1,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("torch._utils", "_rebuild_tensor_v2"): _nothing,
    ("torch._utils", "_rebuild_parameter"): _nothing,
    ("torch.storage", "_load_from_bytes"): _nothing,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) not in ALLOWED:
            raise InputError(f"it wants to run {module}.{name}")
        return ALLOWED[module, name]


def load_plain(file: IO[bytes], label: str) -> Any:
    """The value of a pickle that holds only plain values: numbers, texts, lists, dictionaries, arrays of numbers.

    Raises InputError, with `label` for the file, where the pickle names anything else or is damaged; what it names is
    never looked up, much less called.
    """
    try:
        return _PlainUnpickler(file).load()
    except InputError as error:
        raise InputError(f"{label} is refused: {error}, which is not plain data") from None
    except Exception as error:  # a damaged or hostile pickle can end in any exception
        raise InputError(f"{label} is no readable pickle of plain data ({type(error).__name__})") from None
