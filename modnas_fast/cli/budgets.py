"""Budgets and intervals on the command line."""

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


def intervals_of(texts: Sequence[str] | None) -> dict[str, tuple[float | None, float | None]]:
    """From and to by objective, of options such as latency_ms=3:8 or latency_ms=:8; None for an open end.

    Raises InputError for others.
    """
    found: dict[str, tuple[float | None, float | None]] = {}
    for text in texts or ():
        key, _, ends = (part.strip() for part in text.partition("="))
        if key in found:
            raise InputError(f"--within: wanted one interval per objective, got two of {key}")
        low, separator, high = (part.strip() for part in ends.partition(":"))
        try:
            if not (separator and (low or high)):
                raise ValueError
            found[key] = (float(low) if low else None, float(high) if high else None)
        except ValueError:
            raise InputError(f"--within: wanted KEY=FROM:TO such as latency_ms=3:8, got {text!r}") from None
    return found
