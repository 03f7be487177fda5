"""The names that somebody who wrote an unknown one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

#: names that are offered at most
MOST = 3
#: how alike two names are, from 0 to 1, of which one may be a slip for the other
ALIKE = 0.7


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that begin like `name`, else hold it, else are spelt alike.

    Case does not count, nor whether there is a hyphen or an underscore.

    >>> closest("cpu", ["gpu_t1", "cpu_t1_fp32", "cpu_t1_bf16"])
    ['cpu_t1_fp32', 'cpu_t1_bf16']
    >>> closest("Pixel4", ["pixel3", "fpga"])
    ['pixel3']
    """
    names = {_plain(text): text for text in reversed(list(known))}
    wanted = _plain(name.strip())
    if not wanted:
        return []
    texts = [*reversed(names)]
    found = [t for t in texts if t.startswith(wanted)] or [t for t in texts if wanted in t]
    return [names[text] for text in (found or difflib.get_close_matches(wanted, texts, MOST, ALIKE))[:MOST]]


def _plain(text: str) -> str:
    return text.casefold().replace("-", "_")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean a, b or c? ` for a sentence on an unknown name; empty where nothing is close.

    >>> did_you_mean("pixel", ["pixel2", "pixel3"])
    'did you mean pixel2 or pixel3? '
    """
    return question(closest(name, known))


def question(names: Sequence[str]) -> str:
    """`did you mean a, b or c? ` of names that are close; empty where there are none."""
    found = [*filter(None, [", ".join(names[:-1])]), *names[-1:]]
    return f"did you mean {' or '.join(found)}? " if found else ""
