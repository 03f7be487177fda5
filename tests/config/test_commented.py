"""The configuration with comments: it is read back to the same, and every key is explained."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from modnas_fast.config import PRESETS, SpaceKeys, commented_yaml, make_config, to_yaml
from modnas_fast.config.commented import meanings


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_the_configuration_with_a_comment_on_every_key(preset: str, tmp_path: Path) -> None:
    config = make_config(preset=preset)
    text = commented_yaml(config)
    lines = text.splitlines()
    bare = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert bare == to_yaml(config).splitlines()
    (tmp_path / "shown.yaml").write_text(text, encoding="utf-8")
    assert make_config(file=tmp_path / "shown.yaml") == config
    for before, line in pairwise(lines):
        if re.match(r"(  )?\w+:", line):
            assert before.lstrip().startswith("# "), line


def test_what_is_changed_stands_beside_its_default() -> None:
    text = commented_yaml(make_config(overrides=["search.steps=7", "objectives=[error,parameters]"]))
    assert "paper: 9,800.\n  # Default: 600\n  steps: 7\n" in text
    assert "# Default: [error, latency]\nobjectives:\n- error\n- parameters\n" in text
    assert "# Default: 0" not in text and max(map(len, text.splitlines())) <= 100


def test_keys_of_a_space_of_one_s_own_are_explained_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from modnas_fast.config import SpaceKeys\n"
        'class Keys(SpaceKeys):\n    rooms: int = 3\n    """How many."""\n    doors: int = 1\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    from mine import Keys  # type: ignore[import-not-found]

    assert meanings(Keys) == {"rooms": "How many."} and meanings(SpaceKeys) == {}
    assert yaml.safe_load(commented_yaml(make_config())) == make_config().model_dump(mode="json")
