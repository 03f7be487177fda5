"""The self-contained page of a reproduction, and the call that writes page and plots."""

from __future__ import annotations

from pathlib import Path

from modnas_fast.report.rendering import render, write_page
from modnas_fast.report.reproduction.contents import Reproduction, read_reproduction
from modnas_fast.report.reproduction.figures import reproduction_figures
from modnas_fast.report.reproduction.prepared import prepare


def write_reproduction(folder: Path | str) -> Path:
    """The path of `reproduction.html`, written anew with the PNG files under `plots/`, each by rename.

    `folder` holds `reproduction.json`, described in `reproduction.contents`; a part that it lacks is named in
    its place. The page needs no network. Raises InputError, in one line with the remedy, where the file is
    absent, cut short or of another schema version, or where the folder cannot be written.
    """
    report = read_reproduction(folder)

    def plots(into: Path) -> None:
        from modnas_fast.report.reproduction.plots import write_reproduction_plots  # imports matplotlib

        write_reproduction_plots(report, into)

    return write_page(Path(folder) / "reproduction.html", lambda: reproduction_html(report), plots)


def reproduction_html(report: Reproduction) -> str:
    """The whole page: markup, style, scripts and data in one text."""
    return render("reproduction.html", reproduction_figures(report), ("figures.js",), **prepare(report))
