"""The self-contained page of a reproduction, and the call that writes page and plots."""

from __future__ import annotations

from pathlib import Path

from modnas_fast.report.document import document_html, writing
from modnas_fast.report.elements import section
from modnas_fast.report.own_style import own_style
from modnas_fast.report.reproduction import sections
from modnas_fast.report.reproduction.contents import Reproduction, read_reproduction
from modnas_fast.report.reproduction.figures import reproduction_figures
from modnas_fast.runtime.files import write_text

LINKS = {
    "headline": "Summary", "methods": "Methods", "progress": "Search", "fronts": "Fronts",
    "predictor": "Predictor", "ablations": "Ablations", "transfer": "Tasks", "splits": "Splits",
    "three": "Three objectives", "supernet": "Supernet", "details": "Protocol",
}  # fmt: skip
"""The parts of the page that its bar leads to, by anchor."""


def write_reproduction(folder: Path | str) -> Path:
    """The path of `reproduction.html`, written anew with the PNG files under `plots/`, each by rename.

    `folder` holds `reproduction.json`, described in `reproduction.contents`; a part that it lacks is named in
    its place. The page needs no network. Raises InputError, in one line with the remedy, where the file is
    absent, cut short or of another schema version, or where the folder cannot be written.
    """
    folder = Path(folder)
    report = read_reproduction(folder)
    path = folder / "reproduction.html"
    with writing(folder):
        with own_style():
            from modnas_fast.report.reproduction.plots import write_reproduction_plots  # imports matplotlib

            write_reproduction_plots(report, folder / "plots")
        write_text(path, reproduction_html(report))
    return path


def reproduction_html(report: Reproduction) -> str:
    """The whole page: markup, style, scripts and data in one text."""
    figures = reproduction_figures(report)
    return document_html(
        brand="reproduction",
        title=sections.document_title(report),
        header=sections.header(report),
        links=LINKS,
        main="".join(_parts(report, set(figures))),
        figures=figures,
        scripts=("figures.js",),
    )


def _parts(report: Reproduction, figures: set[str]) -> list[str]:
    unseen = "Unseen devices took no part in MODNAS's search: ten reference latencies are all it knew of them."
    first = "The first seed of every method; the line is the exact front."
    adapted = "Zero-shot: the device was not in the training. Adapted: ten of its latencies were used to fit further."
    return [
        section("headline", "What MODNAS reaches", sections.headline(report)),
        section("methods", "Methods compared", sections.methods(report), unseen),
        section("progress", "While searching", sections.progress(report), "Mean ratio over devices and seeds."),
        section("fronts", "Fronts of every device", sections.fronts(report), first),
        section("predictor", "Predictor", sections.predictor(report), adapted),
        section("ablations", "Ablations", sections.ablations(report, figures)),
        section("transfer", "Other tasks", sections.transfer(report)),
        section("splits", "Other splits of the devices", sections.splits(report)),
        section("three", "Three objectives", sections.three_objectives(report)),
        section("supernet", "Supernet", sections.supernet(report, figures)),
        section("details", "How it was computed", sections.details(report)),
    ]
