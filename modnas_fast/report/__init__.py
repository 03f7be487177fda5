"""The reports of a run and of a reproduction: self-contained HTML pages and the plots as PNG files."""

from modnas_fast.report.reproduction.page import write_reproduction
from modnas_fast.report.run.page import write_report

__all__ = ["write_report", "write_reproduction"]
