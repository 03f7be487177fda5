"""What is minimised, with its unit and its number format: figures and pages name metrics through it alone."""

from __future__ import annotations

from modnas_fast.report.checked import Part
from modnas_fast.report.marks import number, significant


class Quantity(Part):
    """An objective: its name, its unit, and the key under which files have its values.

    >>> latency = Quantity(name="latency", unit="ms", key="latency_ms")
    >>> latency.titled(), latency.titled("Measured"), latency.titled(after="range")
    ('latency (ms)', 'Measured latency (ms)', 'latency range (ms)')
    """

    name: str
    unit: str = ""
    key: str

    def titled(self, before: str = "", after: str = "") -> str:
        """The title of an axis or a column."""
        return " ".join(text for text in (before, self.name, after, self.unit and f"({self.unit})") if text)

    def text(self, value: float | None) -> str:
        """A value as text without its unit: percentages to two decimals, others to three significant digits.

        >>> Quantity(name="error", unit="%", key="error").text(5.634), Quantity(name="flops", key="flops").text(0.42371)
        ('5.63', '0.424')
        """
        return number(value, 2) if self.unit == "%" else significant(value)

    def measured(self, text: str) -> str:
        """A value's text with its unit.

        >>> Quantity(name="latency", unit="ms", key="latency_ms").measured("12.0")
        '12.0 ms'
        """
        return f"{text} {self.unit}".rstrip()
