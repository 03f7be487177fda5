"""What a group of ranks leaves for the one that `torchrun --max-restarts` starts in its place.

The store of torchrun's agent outlives the ranks; rank 0 notes there which folder the run has.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from torch.distributed import TCPStore

#: of the store
_KEY = "modnas-fast/folder"


def note_folder(folder: str) -> None:
    """Notes the run's folder, where ranks may be restarted; called by rank 0."""
    if (store := _store()) is not None:
        store.set(_KEY, folder)


def noted_folder() -> str | None:
    """The folder that an earlier group of ranks noted; None for the first group, and where none was."""
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return None
    store = _store()
    if store is None or not store.check([_KEY]):
        return None
    return str(store.get(_KEY).decode())


def _store() -> Any:
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(host, port, is_master=False, timeout=timedelta(seconds=60))
