"""The drawings of a finished run, for its report."""

from __future__ import annotations

from pathlib import Path

from modnas_fast.report.drawings import DRAWINGS_FILE, Drawings, write_drawings


def keep_drawings(run: Path) -> None:
    """Leaves `drawings.json` in the folder, with the networks of all fronts and those verified, unless it stands there.

    There is none where the space draws nothing. Raises InputError where the run cannot be read or its space is missing.
    """
    if (run / DRAWINGS_FILE).exists():
        return
    from modnas_fast.result import Result  # takes seconds to load

    result = Result.load(run)
    space, content = result.space, result.content
    texts = [point["architecture"] for device in content["devices"] for point in device.get("front", [])]
    texts += [entry["architecture"] for entry in content.get("verified", [])]
    drawn = {text: space.draw(space.parse(text)) for text in dict.fromkeys(texts)}
    found = {text: drawing for text, drawing in drawn.items() if drawing is not None}
    if found:
        write_drawings(run, Drawings(legend=space.legend, networks=found))
