"""SVG and PDF files of the figures: text stays text, and the same folder gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modnas_fast.report.marks import plain
from modnas_fast.report.own_style import own_style
from modnas_fast.report.paper.figures import paper_figures, preference_of
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import replacing

#: of a column in two, in inches
COLUMN = 3.4
#: text that a reader can select and an editor can change; identifiers that no clock or chance decides
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "modnas-fast", "pdf.fonttype": 42}
#: what would tell when a file was made
UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def write_figures(folder: Path | str, out: Path | str | None = None, width: float = COLUMN) -> list[Path]:
    """The SVG and PDF files of a finished search, reproduction or contest of baselines, each written by rename.

    Args:
        folder: of a finished run.
        out: folder of the files; None: `figures` in the run's.
        width: of a figure in inches, 2 to 12.

    Raises InputError for another width, where nothing finished is there, and where the files cannot be written.
    """
    if not 2 <= width <= 12:
        raise InputError(f"width: wanted 2 to 12 inches, got {width:g}")
    folder = Path(folder)
    figures, quality = paper_figures(folder), preference_of(folder)
    into = folder / "figures" if out is None else Path(out)
    written = []
    try:
        with own_style():
            import matplotlib

            from modnas_fast.report.paper.drawing import paper_canvas

            with matplotlib.rc_context(STYLE):
                for name, figure in figures.items():
                    preference = plain(quality.name, 20) if quality and name.startswith("front") else ""
                    canvas = paper_canvas(figure, width, preference)
                    for kind, metadata in UNDATED.items():
                        with replacing(into / f"{name}.{kind}") as temporary:
                            canvas.savefig(temporary, format=kind, metadata=metadata)
                        written.append(into / f"{name}.{kind}")
    except OSError as error:
        raise InputError(f"{into} cannot be written ({error.strerror}): make room or make it writable") from error
    return written
