"""Tables at every width: no name or figure is cut, what is left out is said, and networks can be copied."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from report.make_run import make_result, tabulate
from rich.console import Console, RenderableType

from modnas_fast.baselines.standings import standings_table
from modnas_fast.cli.summary import summary_tables
from modnas_fast.result import Result
from modnas_fast.runtime.terminal_table import UNLIMITED, Column, FittedTable, WholeLine, show

WIDTHS = (40, 60, 80, 120, UNLIMITED)
NETWORK = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
COLUMNS = [Column("name"), Column("figure", rank=1, right=True), Column("words", rank=2, wraps=True)]
ROWS = [["cpu_t16_b128_bf16", "0.7123", "two or three words"], ["gpu[red]", "−12.5", "unbreakable_word_of_30_letters"]]


def printed(part: RenderableType, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(part, crop=False)
    return console.file.getvalue().splitlines()


def cells(lines: list[str]) -> set[str]:
    return {cell.strip() for line in lines for cell in re.split("[│┃]", line) if cell.strip()}


@pytest.mark.parametrize("width", [*range(21, 100), UNLIMITED])
def test_no_line_is_too_wide_and_no_cell_is_cut(width: int) -> None:
    lines = printed(FittedTable(COLUMNS, ROWS), width)
    assert all(len(line) <= width for line in lines) and "…" not in "".join(lines)
    text = "\n".join(lines)
    assert "cpu_t16_b128_bf16" in text and "gpu[red]" in text
    assert ("0.7123" in text and "−12.5" in text) or "Not shown" in text
    assert "unbreakable_word_of_30_letters" in text or "words" in text.partition("Not shown")[2].replace("\n", " ")


def test_columns_go_by_rank_and_that_is_said() -> None:
    assert "Not shown" not in "".join(printed(FittedTable(COLUMNS, ROWS), 63))
    at_40 = printed(FittedTable(COLUMNS, ROWS), 40)
    assert "0.7123" in cells(at_40) and at_40[-1] == "Not shown at a width of 40: words."
    at_25 = " ".join(printed(FittedTable(COLUMNS, ROWS), 25))
    assert "0.7123" not in at_25 and at_25.endswith("figure, words.")


def test_where_the_first_column_is_too_wide_rows_become_paragraphs() -> None:
    table = FittedTable([Column("name"), Column("figure", right=True)], [["n" * 30, "0.7123"], ["m", "2"]], "Title")
    assert printed(table, 30) == ["Title", "n" * 30, "  figure: 0.7123", "m", "  figure: 2"]
    assert printed(table, 10)[1:3] == ["n" * 30, "  figure: 0.7123"]


def test_words_share_what_room_there_is() -> None:
    table = FittedTable([Column("a", wraps=True), Column("b", wraps=True)], [["x y " * 10, "one two"]])
    lines = printed(table, 40)
    assert {len(line) for line in lines} == {40} and len(lines) == 6  # two lines for each of the cells


def test_a_heading_breaks_between_words() -> None:
    assert {"a heading", "of words"} <= cells(printed(FittedTable([Column("a heading of words")], [["123456789"]]), 14))


@pytest.mark.parametrize(
    ("every", "words"),
    [(1, "true error and tabulated latency"), (3, "true error and tabulated or predicted latency")],
)
def test_the_summary_of_true_errors_says_where_costs_come_from(every: int, words: str) -> None:
    content = {**tabulate(make_result(), "latency_ms", every), "configuration": {}, "quality_kind": "true"}
    devices, *_ = summary_tables(Result(Path("run"), content))
    assert words in " ".join(" ".join(printed(devices, 100)).split())


@pytest.mark.parametrize("width", WIDTHS)
def test_the_summary_of_a_run(width: int) -> None:
    content = {**make_result(), "configuration": {}}
    for place, device in enumerate(content["devices"]):
        device["name"] = f"cpu_t16_b128_bf16_{place}"
    for entry in content["verified"]:
        entry["architecture"] = NETWORK
    devices, verified, *networks = summary_tables(Result(Path("run"), content))
    found = cells(printed(devices, width))
    for device in content["devices"]:
        assert device["name"] in found and f"{device['hypervolume']:.4f}" in found
    if width >= 80:
        assert {"search", "unseen", "random"} <= found
    if width == UNLIMITED:
        assert {"Spearman", "noise", "networks"} <= found
    assert {"mean of search", "mean of unseen"} <= found
    names = [f"n{number}" for number in range(1, len(content["verified"]) + 1)]
    shown = cells(printed(verified, width))
    assert set(names) <= shown and {f"{entry['test']:.2f} %" for entry in content["verified"]} <= shown
    assert [printed(line, width) for line in networks] == [[f"{name}  {NETWORK}"] for name in names]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_standings_of_baselines(width: int) -> None:
    line = {"runs": 57, "ratio_search": 0.95312, "ratio_unseen": None, "worst": 0.9, "networks": 10.2, "seconds": 41.27}
    settings = {"space": "nb201", "task": "imagenet16-120", "evaluations": 300}
    lines = printed(standings_table({"random-hypernet": line, "gp": line}, settings), width)
    assert {"random-hypernet", "gp", "0.9531", "–"} <= cells(lines)
    assert all(len(line) <= width for line in lines)
    assert ("41.27" in cells(lines)) is (width >= 80)


def test_output_into_a_file_has_no_limit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = FittedTable([Column("name"), Column("other", rank=1)], [["n" * 90, "o" * 90]])
    show(wide, WholeLine(NETWORK * 3))
    lines = capsys.readouterr().out.splitlines()
    assert any("n" * 90 in line and "o" * 90 in line for line in lines) and lines[-1] == NETWORK * 3
    monkeypatch.setenv("COLUMNS", "100")
    show(wide)
    assert capsys.readouterr().out.splitlines()[-1] == "Not shown at a width of 100: other."


@pytest.mark.parametrize("command_line", [("data", "list"), ("doctor",)], ids=" ".join)
@pytest.mark.parametrize("width", [40, 60, 80])
def test_commands_in_narrow_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, command_line: tuple[str, ...]
) -> None:
    from modnas_fast.cli import app as cli

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.argv", ["modnas-fast", *command_line])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out = capsys.readouterr().out
    assert not stop.value.code and "…" not in out
    names = {"data": ("hw-nas-bench-360", "143.6"), "doctor": ("entangled_linear", "reference")}
    assert all(name in out for name in names[command_line[0]])


@pytest.mark.parametrize("width", WIDTHS)
def test_devices_whose_measurements_are_not_trustworthy_are_marked_and_told_why(width: int) -> None:
    content = {**make_result(), "configuration": {}, "cost_sources": {"latency_ms": "measured"}}
    for place, device in enumerate(content["devices"]):
        why = "9 of 20 rounds disturbed" if place == 1 else ""
        device["trust"] = {"latency_ms": {"trustworthy": not why, "why": why}}
    parts = summary_tables(Result(Path("run"), content))
    names = [device["name"] for device in content["devices"]]
    found = cells(printed(parts[0], width))
    assert f"{names[1]} !" in found and names[1] not in found and names[0] in found
    last = " ".join(printed(parts[-1], UNLIMITED))
    assert last.startswith(f"not trustworthy: {names[1]} (9 of 20 rounds disturbed). ") and "--remeasure" in last
    title = " ".join(" ".join(printed(parts[1], UNLIMITED)).split())
    assert title.startswith("Verified: trained from scratch and measured (not trustworthy on 1 of 5 devices)")
    for device in content["devices"]:
        device["trust"]["latency_ms"] = {"trustworthy": True, "why": ""}
    assert "trustworth" not in " ".join(
        line for part in summary_tables(Result(Path("run"), content)) for line in printed(part, UNLIMITED)
    )
