"""The code of README.md and docs/: Python is run, commands are parsed, links lead somewhere."""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from docs.surroundings import SURROUNDINGS

import modnas_fast
from modnas_fast.cli.app import app
from modnas_fast.cli.bench import available
from modnas_fast.config import make_config

ROOT = Path(__file__).parents[2]
#: docs/extending.md is one file in parts, which tests/test_extending.py puts together and runs
PAGES = {
    path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: a search of a page takes minutes; here it goes the same way in seconds
SHORT = (
    "devices.networks=8", "devices.heldout=6", "devices.repeats=2", "predictor.steps=50", "search.steps=12",
    "search.warmup_steps=8", "search.refine_steps=4", "search.refine_preferences=3", "search.refine_networks=24",
    "search.evaluations=1", "evaluation.rays=6", "verify.networks=1", "verify.epochs=1", "report.plots=false",
)  # fmt: skip
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def blocks(text: str) -> list[tuple[int, str]]:
    """The Python blocks of a page, each with the line that it stands in."""
    return [(text[: found.start(2)].count("\n"), found[2]) for found in FENCE.finditer(text) if found[1] == "python"]


def commands(text: str) -> Iterator[list[str]]:
    """The words behind `modnas-fast` of every command of a page, in indented blocks and in backquotes."""
    for line in re.findall(r"^    modnas-fast +(.*)$", text, re.MULTILINE):
        yield shlex.split(line, comments=True)
    for quoted in re.findall(r"`modnas-fast\s+([^`]*)`", text):
        yield shlex.split(quoted)


def parse(words: list[str]) -> None:
    """Raises where the command line would refuse the words, without running anything."""
    command: Any = typer.main.get_command(app)
    name, words = "modnas-fast", list(words)
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    given = command.make_context(name, words).params
    if "set_" in given:
        space = {"space": {"name": "mobilenetv3"}} if name == "measure-blocks" else {}
        make_config(space, preset=given.get("preset"), overrides=given["set_"] or ())
    if name == "bench" and given["name"] != "NAME":
        assert given["name"] in available()


@pytest.mark.filterwarnings("ignore")  # of torch where there is no GPU
@pytest.mark.parametrize(
    "page",
    [page for page, path in PAGES.items() if page != "docs/extending.md" and blocks(path.read_text(encoding="utf-8"))],
)
def test_python_blocks_run_in_turn(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if os.environ.get("MODNAS_FAST_LONG_TESTS") != "1":
        monkeypatch.setattr(modnas_fast, "search", functools.partial(modnas_fast.search, overrides=SHORT))
    try:
        names = SURROUNDINGS[page]() if page in SURROUNDINGS else {}
        for line, code in blocks(PAGES[page].read_text(encoding="utf-8")):
            within = code.replace('max={"latency_ms": 0.8}', 'max={"latency_ms": 800}')  # on any machine
            exec(compile("\n" * line + within, page, "exec"), names)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_taken(page: str) -> None:
    for words in commands(PAGES[page].read_text(encoding="utf-8")):
        parse(words)


def test_an_option_that_is_not_there_is_found() -> None:
    assert list(commands("Try\n\n    modnas-fast pick runs/x  # why\n\nor `modnas-fast\ndoctor`."))[1] == ["doctor"]
    wrong = {"sed": "search --sed 1", "search.step": "search --set search.step=1", "nothing": "bench nothing"}
    for told, words in wrong.items():
        with pytest.raises(Exception, match=told):
            parse(words.split())


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    for file, heading in LINK.findall(PAGES[page].read_text(encoding="utf-8")):
        target = PAGES[page].parent / file if file else PAGES[page]
        assert target.exists(), file
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
