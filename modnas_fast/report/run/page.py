"""The self-contained page of a run, and the call that writes page and plots."""

from __future__ import annotations

from pathlib import Path

from modnas_fast.report.own_style import own_style
from modnas_fast.report.rendering import render, writing
from modnas_fast.report.run.contents import RunContents, read_run
from modnas_fast.report.run.figures import all_figures
from modnas_fast.report.run.prepared import prepare
from modnas_fast.runtime.files import write_text


def write_report(run: Path | str) -> Path:
    """The path of `report.html`, written anew with the PNG files under `plots/`, each by rename.

    `run` is the folder of a finished run: `result.json` is needed; where `history.json` or
    `predictor.json` is absent, the page says so in the place of their figures. The page needs no network.
    Raises InputError, in one line with the remedy, where a file is absent, cut short or of another schema
    version, or where the folder cannot be written.
    """
    run = Path(run)
    contents = read_run(run)
    path = run / "report.html"
    with writing(run):
        with own_style():
            from modnas_fast.report.run.plots import write_plots  # imports matplotlib

            write_plots(contents, run / "plots")
        write_text(path, page_html(contents))
    return path


def page_html(contents: RunContents) -> str:
    """The whole page: markup, style, scripts and data in one text."""
    figures = all_figures(contents.result, contents.history, contents.predictor)
    return render("run.html", figures, ("figures.js", "devices.js"), **prepare(contents))
