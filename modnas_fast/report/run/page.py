"""The self-contained page of a run, and the call that writes page and plots."""

from __future__ import annotations

from pathlib import Path

from modnas_fast.report.document import document_html, writing
from modnas_fast.report.elements import section
from modnas_fast.report.own_style import own_style
from modnas_fast.report.run import panels, sections
from modnas_fast.report.run.contents import RunContents, read_run
from modnas_fast.report.run.figures import all_figures
from modnas_fast.runtime.files import write_text

LINKS = {
    "summary": "Summary", "devices": "Devices", "history": "Search", "predictor": "Predictor",
    "verified": "Verified", "time": "Time", "details": "Configuration",
}  # fmt: skip
"""The parts of the page that its bar leads to, by anchor."""


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
    result = contents.result
    figures = all_figures(result, contents.history, contents.predictor)
    return document_html(
        brand="search report",
        title=sections.document_title(contents),
        header=sections.header(result),
        links=LINKS,
        main=sections.tiles(result) + "".join(_parts(contents, set(figures))),
        figures=figures,
        scripts=("figures.js", "devices.js"),
    )


def _parts(contents: RunContents, figures: set[str]) -> list[str]:
    result, quality = contents.result, contents.predictor
    unseen = "Unseen devices took no part in the search: ten reference latencies are all it knew of them."
    return [
        section("summary", "Devices at a glance", sections.summary(result), unseen),
        section("devices", "Device by device", panels.devices(result, quality)),
        section("history", "Over the search", sections.history(result, contents.history, figures)),
        section("predictor", "Predictor", sections.predictor(result, quality, figures)),
        section("verified", "Verified networks", sections.verified(result)),
        section("time", "Time per stage", sections.stages(result)),
        section("details", "Protocol and configuration", sections.details(result)),
    ]
