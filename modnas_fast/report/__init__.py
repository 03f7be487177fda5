"""The reports of a run and of a reproduction: self-contained HTML pages, the plots as PNG files, figures for papers."""

from modnas_fast.report.paper.files import write_figures
from modnas_fast.report.reproduction.page import write_reproduction
from modnas_fast.report.run.page import write_report

__all__ = ["write_figures", "write_report", "write_reproduction"]
