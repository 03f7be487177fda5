"""The reports of a run and of a reproduction: self-contained HTML pages and the plots as PNG files."""

from modnas_fast.report.page import write_report
from modnas_fast.report.reproduction import write_reproduction

__all__ = ["write_report", "write_reproduction"]
