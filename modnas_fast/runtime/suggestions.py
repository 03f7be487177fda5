"""The names that somebody who wrote an unknown one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST = 3


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that begin like `name`, else hold it, else are spelt alike; case does not count.

    >>> closest("cpu", ["gpu_t1", "cpu_t1_fp32", "cpu_t1_bf16"])
    ['cpu_t1_fp32', 'cpu_t1_bf16']
    >>> closest("Pixel4", ["pixel3", "fpga"])
    ['pixel3']
    """
    names = {text.casefold(): text for text in reversed(list(known))}
    wanted = name.strip().casefold()
    if not wanted:
        return []
    texts = [*reversed(names)]
    found = [t for t in texts if t.startswith(wanted)] or [t for t in texts if wanted in t]
    return [names[text] for text in (found or difflib.get_close_matches(wanted, texts, MOST))[:MOST]]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean a, b or c? ` for a sentence on an unknown name; empty where nothing is close.

    >>> did_you_mean("pixel", ["pixel2", "pixel3"])
    'did you mean pixel2 or pixel3? '
    """
    found = closest(name, known)
    return f"did you mean {' or '.join([', '.join(found[:-1]), found[-1]] if found[:-1] else found)}? " if found else ""
