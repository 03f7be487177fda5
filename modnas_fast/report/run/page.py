"""The self-contained page of a run, and the call that writes page and plots."""

from __future__ import annotations

from pathlib import Path

from modnas_fast.report.rendering import render, write_page
from modnas_fast.report.run.contents import RunContents, read_run
from modnas_fast.report.run.figures import all_figures
from modnas_fast.report.run.prepared import prepare


def write_report(run: Path | str, with_plots: bool = True) -> Path:
    """The path of `report.html`, written anew with the PNG files under `plots/` if wanted, each by rename.

    `run` is the folder of a finished run: `result.json` is needed; where `history.json` or
    `predictor.json` is absent, the page says so in the place of their figures. The page needs no network.
    Raises InputError, in one line with the remedy, where a file is absent, cut short or of another schema
    version, or where the folder cannot be written.
    """
    contents = read_run(run)

    def plots(folder: Path) -> None:
        from modnas_fast.report.run.plots import write_plots  # imports matplotlib

        write_plots(contents, folder)

    return write_page(Path(run) / "report.html", lambda: page_html(contents), plots if with_plots else None)


def page_html(contents: RunContents) -> str:
    """The whole page: markup, style, scripts and data in one text."""
    figures = all_figures(contents.narrowed())
    return render("run.html", figures, ("figures.js", "devices.js"), **prepare(contents))
