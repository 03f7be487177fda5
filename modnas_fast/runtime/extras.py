"""Which extra of this distribution brings a package that is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

#: packages that each extra brings; torch and NumPy alone are always there
EXTRAS = {
    "search": (
        "PIL", "jinja2", "matplotlib", "moocore", "optuna", "platformdirs", "plotly", "pyarrow", "pydantic", "rich",
        "safetensors", "scipy", "sklearn", "typer", "yaml",
    ),
    "text": ("sacrebleu", "tokenizers"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
}  # fmt: skip


@contextmanager
def named_extras() -> Iterator[None]:
    """Where a package of an extra is missing, the error says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages:
                told = f"{package} is missing; pip install 'modnas-fast[{extra}]'"
                raise ModuleNotFoundError(told, name=error.name) from None
        raise
