"""`modnas-fast pick --verify`: the answer after the best networks were measured, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modnas_fast.runtime.errors import InputError

if TYPE_CHECKING:
    from modnas_fast.deployment.verifying import Seen, Verified


def verified(
    run: Path, device: str | None, budget: dict[str, float] | None, count: int, results: Path | None, alone: bool
) -> Verified:
    """The answer. Raises InputError for options that do not go with it; `alone`: none was given that does not."""
    from modnas_fast.deployment.verifying import verified_pick
    from modnas_fast.runtime.progress import Terminal

    if budget is None or device is None or not alone:
        raise InputError("--verify: goes with --device and --max, without --top, --csv and --confidence")
    return verified_pick(run, device, budget, count, results=results, reporter=Terminal())


def in_words(found: Verified, budget: dict[str, float]) -> list[tuple[str, str]]:
    """Pairs of words and a value: what was measured, both picks, and the corrections."""
    lines = [("measured for it", f"{found.networks} networks; of {found.known} it was known")]
    same = found.before.architecture == found.after.architecture
    for name, seen in (("first pick", found.before), ("this pick", found.after)):
        if name == "first pick" and same:
            lines.append((name, "the same"))
            continue
        lines += [(name, _told(seen, key, budget.get(key))) for key in seen.predicted]
    for key, factor in found.corrections.items():
        times = f"times {factor:.3f} from now on" if factor != 1 else "as they are: measurements tell no better"
        lines.append(("predictions", f"of {key} {times}"))
    return lines + [("note", note) for note in found.notes]


def _told(seen: Seen, key: str, limit: float | None) -> str:
    if key not in seen.measured:
        return f"{key} predicted {seen.predicted[key]:.4g}, not measured"
    beyond = "" if limit is None or seen.measured[key] <= limit else f": beyond {limit:g}"
    return f"{key} predicted {seen.predicted[key]:.4g}, measured {seen.measured[key]:.4g}{beyond}"
