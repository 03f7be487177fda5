"""Outcomes of stages in a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modnas_fast.runs.kept import once, read_kept, undamaged
from modnas_fast.runtime.errors import InputError


def test_a_stage_is_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> dict[str, Any]:
        calls.append(1)
        return {"found": [1.5, len(calls)]}

    first, second = (once(tmp_path / "stage.json", compute) for _ in range(2))
    assert first == second == read_kept(tmp_path / "stage.json") and len(calls) == 1
    assert first["found"] == [1.5, 1] and first["seconds"] >= 0


def test_a_stage_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> dict[str, Any]:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        once(tmp_path / "stage.json", fail)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"found": 1}'])
def test_a_damaged_outcome_is_told_with_what_mends_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "stage.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"stage\.json is damaged; delete it to repeat its stage"):
        once(file, dict)


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("a"), ValueError("a"), AttributeError("a")])
def test_what_a_whole_file_cannot_hold_is_damage(error: Exception) -> None:
    with pytest.raises(InputError, match="stage is damaged"), undamaged(Path("stage")):
        raise error


def test_other_words_stay() -> None:
    with pytest.raises(InputError, match="^another machine$"), undamaged(Path("stage")):
        raise InputError("another machine")
    with pytest.raises(OSError, match="disk"), undamaged(Path("stage")):
        raise OSError("disk")
