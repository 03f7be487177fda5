"""Signals that stop a run: at once, or held back until the state is written."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext

import pytest

from modnas_fast.runtime.stopping import Stopped, Stopper

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_at_once(number: int) -> None:
    stopper = Stopper()
    with pytest.raises(Stopped) as stopped, stopper.listening():
        send(number)
        pytest.fail("not reached")
    assert stopped.value.signal_number == number


@pytest.mark.parametrize("number", SIGNALS)
def test_a_deferred_signal_waits_for_check(number: int) -> None:
    stopper, reached = Stopper(), []
    with pytest.raises(Stopped) as stopped, stopper.listening(), stopper.deferred():
        assert not stopper.requested
        stopper.check()
        send(number)
        assert stopper.requested
        reached.append("the checkpoint is written")
        stopper.check()
        reached.append("not reached")
    assert reached == ["the checkpoint is written"] and stopped.value.signal_number == number


def test_a_second_signal_does_not_wait() -> None:
    stopper, reached = Stopper(), []
    with pytest.raises(Stopped) as stopped, stopper.listening(), stopper.deferred():
        send(signal.SIGTERM)
        reached.append("first")
        send(signal.SIGINT)
        reached.append("second")
    assert reached == ["first"] and stopped.value.signal_number == signal.SIGINT


def test_a_signal_after_the_last_check_is_not_lost() -> None:
    stopper = Stopper()
    with pytest.raises(Stopped), stopper.listening():
        with stopper.deferred():
            stopper.check()
            send(signal.SIGINT)
        pytest.fail("not reached")


def test_an_error_is_not_hidden_by_a_held_back_signal() -> None:
    stopper = Stopper()
    with pytest.raises(ZeroDivisionError), stopper.listening(), stopper.deferred():
        send(signal.SIGINT)
        raise ZeroDivisionError


def test_outside_of_deferred_a_signal_stops_at_once_again() -> None:
    stopper = Stopper()
    with pytest.raises(Stopped), stopper.listening():
        with stopper.deferred():
            stopper.check()
        send(signal.SIGINT)
        pytest.fail("not reached")


def test_the_previous_handlers_come_back() -> None:
    seen: list[int] = []
    before = {number: signal.signal(number, lambda n, frame: seen.append(n)) for number in SIGNALS}
    try:
        for error in (False, True):
            with pytest.raises(Stopped) if error else nullcontext(), Stopper().listening():
                if error:
                    send(signal.SIGINT)
            for number in SIGNALS:
                send(number)
        assert seen == SIGNALS * 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_without_listening_nothing_changes() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    stopper = Stopper()
    with stopper.deferred():
        stopper.check()
    assert not stopper.requested and [signal.getsignal(number) for number in SIGNALS] == before


def test_ordinary_error_handling_does_not_swallow_a_stop() -> None:
    assert not issubclass(Stopped, Exception)
