"""Budgets on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from modnas_fast.runtime.errors import InputError


def budget_of(texts: Sequence[str] | None) -> dict[str, float] | None:
    """Largest values by cost, of options such as latency_ms=5; None for none. Raises InputError for others."""
    if not texts:
        return None
    budget: dict[str, float] = {}
    for text in texts:
        metric, _, value = (part.strip() for part in text.partition("="))
        if metric in budget:
            raise InputError(f"--max: wanted one budget per metric, got two of {metric}")
        try:
            budget[metric] = float(value)
        except ValueError:
            raise InputError(f"--max: wanted METRIC=NUMBER such as latency_ms=5, got {text!r}") from None
    return budget
