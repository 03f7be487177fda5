"""Data sets from their addresses into the data folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from modnas_fast.datasets.download import download
from modnas_fast.datasets.registry import DataSet
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Advance, Reporter, Silent


def fetch(
    wanted: Sequence[DataSet], folder: Path, *, mirror: str | None = None, reporter: Reporter | None = None
) -> None:
    """Brings every file of the data sets that is missing or wrong below `folder`; what is right stays untouched.

    Of raw material nothing is fetched where its product is there; else the product is made of the files, which stay.
    `mirror` is a URL or a folder that holds the same relative paths. Raises InputError as `download` does, and where
    the disk has not room for all.
    """
    reporter = reporter or Silent()
    missing = {data: data.lacking(folder) for data in wanted}
    _check_room(folder, sum(file.size for files in missing.values() for file in files))
    for data, files in missing.items():
        if not data.faults(folder):
            reporter.say(f"{data.name}: all there and verified")
            continue
        reporter.say(f"{data.name}: from {mirror or data.source}")
        total, before = sum(file.size for file in files), 0
        with reporter.stage(f"Fetching {data.name}, kB", max(1, total // 1000)) as advance:
            for file in files:
                download(
                    file,
                    folder,
                    mirror=mirror,
                    advance=_kilobytes(advance, before),
                    say=reporter.say,
                )
                before += file.size
        if data.product:
            with reporter.stage(f"Making {data.product.path}, files", len(data.parts)) as advance:
                data.make(folder, advance)


def _kilobytes(advance: Advance, before: int) -> Advance:
    """An `advance` for the bytes of one file, of which `before` went ahead."""
    return lambda done: advance((before + done) // 1000)


def _check_room(folder: Path, needed: int) -> None:
    """Raises InputError where the disk of the folder, which need not exist, has not as many bytes free."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InputError(
            f"{folder}: {needed:,} bytes are needed, {free:,} are free; make room or choose another folder with --to"
        )
