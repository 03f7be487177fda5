"""Pairs of sentences in two languages: two files of lines, a tab-separated file, or parquet with two columns."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modnas_fast.runtime.errors import InputError

#: a sentence of the source, and of the target
Pair = tuple[str, str]
#: what a file of a part is called: its name begins so
PARTS = {"train": ("train",), "validation": ("valid", "val", "dev"), "test": ("test",)}
#: shares of lines that may be alike on both sides, such as names, before they are taken for one language
ALIKE = 0.5
#: pairs at least: some for each part
LEAST = 30


@dataclass(frozen=True)
class Pairs:
    """Pairs by part; `train` always, the others where the source divides its pairs itself."""

    name: str
    #: of source and target
    languages: tuple[str, str]
    parts: dict[str, tuple[Pair, ...]]
    notes: tuple[str, ...] = ()


@dataclass
class _Found:
    """What is read of one part."""

    pairs: list[Pair] = field(default_factory=list)
    empty: int = 0


def read_pairs(source: Path | str, languages: tuple[str, str] | None = None) -> Pairs:
    """The pairs at a place.

    - a folder with two files of lines per part, which differ in their ending alone, such as `train.en` and `train.de`,
      `val.en` and `val.de`, `test.en` and `test.de`; they may be compressed (`train.en.gz`);
    - a file with a pair in each line, separated by a tab (`*.tsv`, `*.txt`); what is behind a further tab is left out;
      it may be the one such file in an archive (`*.zip`), beside others without a tab in their first line;
    - a parquet file with two columns of text, or one column of such with the languages as fields.

    Args:
        source: folder or file.
        languages: of source and target: endings of files, or names of columns. None: of files those found, in the order
            of the alphabet; of a tab-separated file or parquet the first two columns.

    A pair with an empty side is left out and counted. Raises InputError for what is none of these, for two files of
    different lengths, for text that is not UTF-8, for the same language twice, and for fewer than 30 pairs.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"data: {path} does not exist")
    if path.is_dir():
        found, languages, notes = _of_folder(path, languages)
    elif path.suffix.lower() == ".parquet":
        found, languages = _of_parquet(path, languages)
        notes = []
    else:
        languages = languages or ("source", "target")
        found, notes = {"train": _of_lines(path)}, []
    for part, those in found.items():
        if those.empty:
            total = len(those.pairs) + those.empty
            notes.append(f"{those.empty} of {total} pairs of the {part} part have an empty side and were left out")
    if len(found["train"].pairs) < LEAST:
        raise InputError(f"data: {path} has {len(found['train'].pairs)} pairs of sentences, wanted at least {LEAST}")
    _check_differ(path, found["train"].pairs)
    return Pairs(path.stem, languages, {part: tuple(those.pairs) for part, those in found.items()}, tuple(notes))


def _check_differ(path: Path, pairs: Sequence[Pair]) -> None:
    alike = sum(source == target for source, target in pairs)
    if alike > ALIKE * len(pairs):
        raise InputError(
            f"data: {path} has one language twice: {alike} of {len(pairs)} pairs are the same on both sides; name two "
            "with task.languages"
        )


# ---- a folder ----


def _of_folder(folder: Path, languages: tuple[str, str] | None) -> tuple[dict[str, _Found], tuple[str, str], list[str]]:
    by_stem: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        match = re.fullmatch(r"(.+)\.([A-Za-z_]{2,8})", file.name.removesuffix(".gz"))
        if file.is_file() and match:
            by_stem.setdefault(match[1], {})[match[2]] = file
    endings = sorted({ending for files in by_stem.values() if len(files) > 1 for ending in files})
    if languages is None:
        if len(endings) != 2:
            raise InputError(
                f"data: {folder} has files that end in {', '.join(endings) or 'nothing that pairs'}; wanted pairs such "
                "as train.en and train.de, or name two endings with task.languages"
            )
        languages = (endings[0], endings[1])
    notes, found = [], {}
    for part, names in PARTS.items():
        stems = [
            stem for stem, files in by_stem.items() if stem.lower().startswith(names) and set(languages) <= set(files)
        ]
        if stems:
            found[part] = _of_two_files(*(by_stem[stems[0]][language] for language in languages))
        if len(stems) > 1:
            notes.append(f"the {part} part is {stems[0]}; {', '.join(stems[1:])} were left out")
    if "train" not in found:
        raise InputError(f"data: {folder} has no train.{languages[0]} and train.{languages[1]}")
    return found, languages, notes


def _of_two_files(source: Path, target: Path) -> _Found:
    left, right = _lines(source), _lines(target)
    if len(left) != len(right):
        raise InputError(
            f"data: {source} has {len(left)} lines, {target.name} has {len(right)}; each line must be the translation "
            "of the other's"
        )
    return _kept(list(zip(left, right)))


def _kept(pairs: Sequence[Pair]) -> _Found:
    found = _Found()
    for source, target in pairs:
        if source.strip() and target.strip():
            found.pairs.append((source.strip(), target.strip()))
        else:
            found.empty += 1
    return found


def _lines(file: Path) -> list[str]:
    """The lines of a file, compressed or not; without those that follow the last text."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (gzip.BadGzipFile, EOFError):
        raise InputError(f"data: {file} is no whole gzip file") from None
    return _decoded(data, file)


def _decoded(data: bytes, file: Path) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"data: {file} is no UTF-8 text; convert it") from None
    return text.replace("\r\n", "\n").rstrip("\n").split("\n")


# ---- a file ----


def _of_lines(file: Path) -> _Found:
    pairs = []
    for number, line in enumerate(_of_archive(file) if file.suffix.lower() == ".zip" else _lines(file), 1):
        columns = line.split("\t")
        if len(columns) < 2:
            raise InputError(f"data: {file}, line {number}: wanted two sentences with a tab between them")
        pairs.append((columns[0], columns[1]))
    return _kept(pairs)


def _of_archive(file: Path) -> list[str]:
    """The lines of the one file in an archive that has pairs; nothing is unpacked to disk."""
    try:
        with zipfile.ZipFile(file) as archive:
            texts = [name for name in archive.namelist() if name.lower().endswith((".tsv", ".txt"))]
            found = [name for name in texts if b"\t" in archive.open(name).readline()]
            if len(found) != 1:
                raise InputError(
                    f"data: {file} has {len(found)} files of pairs ({', '.join(found) or 'no tab in a first line'}); "
                    "wanted one, *.tsv or *.txt"
                )
            data = archive.read(found[0])
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise InputError(f"data: {file} is no whole zip archive") from None
    return _decoded(data, file / found[0])


def _of_parquet(file: Path, languages: tuple[str, str] | None) -> tuple[dict[str, _Found], tuple[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"data: {file} is no readable parquet file: {first}") from None
    if table.num_columns == 1 and pa.types.is_struct(table.schema.types[0]):
        table = pa.Table.from_batches(table.flatten().to_batches())
        table = table.rename_columns([name.rpartition(".")[2] for name in table.column_names])
    texts = [name for name, kind in zip(table.column_names, table.schema.types) if pa.types.is_string(kind)
             or pa.types.is_large_string(kind)]  # fmt: skip
    languages = languages or ((texts[0], texts[1]) if len(texts) > 1 else None)
    if languages is None or not set(languages) <= set(texts):
        wanted = " and ".join(languages) if languages else "two columns of text"
        raise InputError(f"data: {file}: wanted {wanted}; it has {', '.join(table.column_names)}")
    columns = [table[language].to_pylist() for language in languages]
    return {"train": _kept([(left or "", right or "") for left, right in zip(*columns)])}, languages
