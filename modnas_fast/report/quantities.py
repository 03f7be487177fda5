"""What is minimised, with its unit and its number format: the one place where the pages name metrics."""

from __future__ import annotations

from dataclasses import dataclass

from modnas_fast.report.marks import number, significant


@dataclass(frozen=True)
class Quantity:
    """A metric: its name, its unit, and the decimals of its values; three significant digits where None."""

    name: str
    plural: str
    unit: str
    digits: int | None = None

    def titled(self, before: str = "", after: str = "") -> str:
        """The title of an axis or a column.

        >>> LATENCY.titled(), LATENCY.titled("Measured"), LATENCY.titled(after="range")
        ('latency (ms)', 'Measured latency (ms)', 'latency range (ms)')
        """
        return " ".join(text for text in (before, self.name, after, self.unit and f"({self.unit})") if text)

    def text(self, value: float | None) -> str:
        """A value as text, without its unit.

        >>> ERROR.text(5.634), LATENCY.text(0.42371), LATENCY.text(None)
        ('5.63', '0.424', '–')
        """
        return significant(value) if self.digits is None else number(value, self.digits)

    def measured(self, text: str) -> str:
        """A value's text with its unit.

        >>> LATENCY.measured(LATENCY.text(12.0)), ERROR.measured("5.6")
        ('12.0 ms', '5.6 %')
        """
        return f"{text} {self.unit}".rstrip()


ERROR = Quantity("error", "errors", "%", 2)
LATENCY = Quantity("latency", "latencies", "ms")
