"""Ranks that meet in a store in which an earlier group has met."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch

pytest.importorskip("torch.distributed")
if not torch.distributed.is_available():
    pytest.skip("this torch has no torch.distributed", allow_module_level=True)

from torch.distributed import HashStore

from modnas_fast.runtime.agent_store import note_folder, noted_folder, place_of_group

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("late", [0, 2])
def test_a_group_meets_where_no_other_has(late: int) -> None:
    """Whoever comes last: another rank first finds the place of the earlier group, which has long been seen there."""
    store = HashStore()
    places = []

    def come(rank: int) -> str:
        if rank == late and places:
            time.sleep(0.3)
        place = place_of_group(store, rank, 3, MINUTE)
        place.set(f"address {rank}", f"group {len(places)}")
        place.wait([f"address {other}" for other in range(3)], MINUTE)
        return place.get(f"address {1 - min(rank, 1)}").decode()

    for number in range(3):
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(come, range(3))) == [f"group {number}"] * 3
        places.append(number)


def test_ranks_that_do_not_come_are_missed() -> None:
    with pytest.raises(TimeoutError, match="not all of 2 ranks came"):
        place_of_group(HashStore(), 0, 2, timedelta(seconds=0.1))


def test_without_torchrun_nothing_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    note_folder(0, "runs/a")
    assert noted_folder(0) is None
