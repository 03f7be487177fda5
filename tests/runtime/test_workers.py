"""Worker processes: what they are set to, and that they end with what they work for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from modnas_fast.runtime.workers import worker_pool


def test_workers_are_fresh_processes_of_one_thread_that_leave_ctrl_c_to_the_parent(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    with worker_pool(1, os.chdir, (tmp_path,)) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
        assert pool.submit(torch.get_num_threads).result() == 1
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
        assert pool.submit(os.getcwd).result() == str(tmp_path), "the initializer ran"
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result()
        worker = pool.submit(os.getpid).result()
    assert not lives(worker) and torch.get_num_threads() == threads


def test_an_exception_ends_workers_at_once_and_nobody_else() -> None:
    bystander = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    bystander.start()
    try:
        with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
            worker = pool.submit(os.getpid).result()
            waiting = [pool.submit(time.sleep, 600) for _ in range(3)]
            start = time.monotonic()
            raise KeyboardInterrupt
        while lives(worker):
            assert time.monotonic() - start < 60, "the worker sleeps on"
            multiprocessing.active_children()  # fetches what has ended
            time.sleep(0.05)
        assert bystander.is_alive()
        assert all(future.done() for future in waiting)
    finally:
        bystander.terminate()
        bystander.join()


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
