"""Where benchmark data lies on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from modnas_fast.datasets.registry import owner
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import cache_folder

#: where a run on texts keeps what its tokens are, in its folder
VOCABULARY_FILE = "vocabulary.json"


def data_home() -> Path:
    """The folder of benchmark data: `$MODNAS_DATA`, else `data` in this package's cache folder. It need not exist."""
    own = os.environ.get("MODNAS_DATA")
    return Path(own) if own else cache_folder() / "data"


def locate(path: str) -> Path:
    """The file of the registry at `path` below the data folder, such as `nb201/nats_bench.csv`.

    Raises InputError that names the command that fetches it where it is not there; KeyError where no data set has it.
    """
    name, found = owner(path), data_home() / path
    if not found.is_file():
        raise InputError(
            f"data: {found} is missing; fetch it with: modnas-fast data fetch {name}, or let MODNAS_DATA name a "
            "folder that has it"
        )
    return found
