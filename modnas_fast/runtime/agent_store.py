"""The store of torchrun's agent, which outlives the ranks: where they meet, and what one group leaves for the next.

`torchrun --max-restarts` starts a new group of ranks in place of one of which a rank ended. The store still holds the
addresses of the old one, and how often ranks were restarted is counted on each host by itself. So each group agrees on
a place of its own first.
"""

from __future__ import annotations

import os
import secrets
import time
from datetime import timedelta

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # torch names them in no list

#: of what this package keeps there
_PLACE, _FOLDER = "modnas-fast/place", "modnas-fast/folder"
#: seconds between two looks
_LOOK = 0.05


def agent_store(timeout: timedelta) -> TCPStore | None:
    """The store; None where there is none, because no torchrun began this process."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timeout)


def place_of_group(store: Store, rank: int, size: int, timeout: timedelta) -> PrefixStore:
    """A part of the store that no earlier group has used; all ranks of the group call this.

    Rank 0 names a new place. Another rank writes its own mark into the place that it finds named, and stays with the
    one in which rank 0 has seen this very mark. Raises TimeoutError where not all come.
    """
    own, end = secrets.token_hex(8), time.monotonic() + timeout.total_seconds()
    if rank == 0:
        store.set(_PLACE, own)
    while time.monotonic() < end:
        place = store.get(_PLACE).decode() if store.check([_PLACE]) else ""
        if rank == 0:
            marks = [f"{own}/{other}" for other in range(1, size)]
            if store.check(marks):
                store.set(f"{own}/seen", " ".join(store.get(mark).decode() for mark in marks))
                return PrefixStore(own, store)
        elif place:
            store.set(f"{place}/{rank}", own)
            if store.check([f"{place}/seen"]) and own in store.get(f"{place}/seen").decode().split():
                return PrefixStore(place, store)
        time.sleep(_LOOK)
    raise TimeoutError(f"not all of {size} ranks came")


def note_folder(number: int, folder: str) -> None:
    """Notes the folder of the search of this number in a process, where ranks may be restarted; called by rank 0."""
    if (store := agent_store(timedelta(minutes=1))) is not None:
        store.set(f"{_FOLDER}/{number}", folder)


def noted_folder(number: int) -> str | None:
    """The folder that an earlier group of the same torchrun noted for this number; None where there was none."""
    store, key = agent_store(timedelta(minutes=1)), f"{_FOLDER}/{number}"
    return store.get(key).decode() if store is not None and store.check([key]) else None
