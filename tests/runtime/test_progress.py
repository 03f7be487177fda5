"""Plain progress lines against a clock of the test; the bar on a terminal; silence."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from modnas_fast.runtime import progress as progress_module
from modnas_fast.runtime.progress import Silent, Terminal


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def terminal(**options: object) -> tuple[Terminal, io.StringIO]:
    stream = io.StringIO()
    return Terminal(Console(file=stream, width=60, **options)), stream


def test_lines_tell_the_share_and_the_time_left(clock: Clock) -> None:
    reporter, stream = terminal()
    with reporter.stage("Searching", 600) as advance:
        clock.now += 16
        advance(120)
        clock.now += 4
        advance(150)  # too soon after the last line
        clock.now += 1
        advance(200)
        clock.now += 60
        advance(600)
    lines = stream.getvalue().splitlines()
    # 16 s for 120 of 600: 64 s for the rest; 21 s for 200: 42 s
    assert [line.replace(" %", "%") for line in lines] == [
        "Searching 120/600 (20%), 1:04 left",
        "Searching 200/600 (33%), 0:42 left",
        "Searching 600/600 (100%), 0:00 left",
        "Searching: done in 81.0 s",
    ]


def test_short_stages_print_their_closing_line_alone(clock: Clock) -> None:
    reporter, stream = terminal()
    with reporter.stage("Evaluating", 10) as advance:
        for done in range(11):
            clock.now += 0.4
            advance(done)
    assert stream.getvalue().splitlines() == ["Evaluating: done in 4.4 s"]


def test_no_estimate_from_nothing(clock: Clock) -> None:
    reporter, stream = terminal()
    with reporter.stage("Measuring", 10) as advance:
        clock.now += 100
        advance(0)
    assert stream.getvalue().splitlines() == ["Measuring: done in 100.0 s"]


def test_a_failing_stage_is_not_called_done(clock: Clock) -> None:
    reporter, stream = terminal()
    with pytest.raises(KeyError), reporter.stage("Searching", 10):
        raise KeyError
    assert "done" not in stream.getvalue()


def test_lines_are_printed_as_they_are() -> None:
    reporter, stream = terminal()
    reporter.say("[bold]|nor_conv_3x3~0|+|none~0|[/bold] " + "x" * 200)
    assert stream.getvalue() == "[bold]|nor_conv_3x3~0|+|none~0|[/bold] " + "x" * 200 + "\n"


def test_a_terminal_gets_a_bar() -> None:
    reporter, stream = terminal(force_terminal=True)
    with reporter.stage("Searching", 4) as advance:
        advance(3)
        reporter.say("a note")
    text = stream.getvalue()
    assert "3/4" in text and "a note" in text and "Searching: done in" in text
    assert "3/4 (75" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_bar_cuts_no_figure(width: int) -> None:
    stream = io.StringIO()
    reporter = Terminal(Console(file=stream, width=width, force_terminal=True, color_system=None))
    with reporter.stage("Training the metapredictor", 12000) as advance:
        advance(11999)
    assert "11999/12000" in stream.getvalue() and "left" in stream.getvalue()


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Silent()
    with reporter.stage("Searching", 3) as advance:
        advance(3)
    reporter.say("anything")
    assert capsys.readouterr() == ("", "")
