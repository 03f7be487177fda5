"""The report of a run: one self-contained HTML page and the plots as PNG files."""

from modnas_fast.report.page import write_report

__all__ = ["write_report"]
