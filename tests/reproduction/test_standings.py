"""The summary on the terminal: means over devices and seeds, by hand."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from modnas_fast.reproduction.standings import headline_table


def run(seconds: float, **ratios: float) -> dict:
    return {"seconds": seconds, "devices": {name: {"ratio": r, "networks": 10 * r} for name, r in ratios.items()}}


def told(devices: dict[str, str], *methods: dict) -> list[list[str]]:
    console = Console(file=StringIO(), width=120)
    listed = [{"name": name, "split": split} for name, split in devices.items()]
    console.print(headline_table({"devices": listed, "methods": list(methods)}))
    lines = [line for line in console.file.getvalue().splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_a_line_per_method() -> None:
    runs = [run(10, a=0.5, b=0.9, c=0.8), run(20, a=0.7, b=1.0, c=0.6)]
    lines = told({"a": "search", "b": "search", "c": "unseen"}, {"label": "MODNAS", "runs": runs})
    assert lines == [["MODNAS", "0.7750", "0.7000", "0.6000 a", "7.5", "15"]]


def test_without_unseen_devices_their_mean_is_a_dash() -> None:
    lines = told({"a": "search"}, {"label": "x", "runs": [run(1, a=0.5)]}, {"label": "y", "runs": [run(2, a=0.25)]})
    assert lines == [["x", "0.5000", "–", "0.5000 a", "5.0", "1"], ["y", "0.2500", "–", "0.2500 a", "2.5", "2"]]
