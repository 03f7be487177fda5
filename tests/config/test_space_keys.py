"""The keys of `space`: each space declares its own, and the configuration treats them like all others."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from modnas_fast.config import Config, SpaceKeys, make_config, to_yaml, validate
from modnas_fast.config.faults import known_keys
from modnas_fast.config.space import keys_of
from modnas_fast.config.tree import SpaceConfig, with_keys_of
from modnas_fast.runtime import choices
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import NB201Space, SearchSpace

FOREIGN = """
from typing import Annotated, ClassVar
from pydantic import BaseModel, Field
from modnas_fast.config import SpaceKeys

class Keys(SpaceKeys):
    of_supernet: ClassVar = ("shared",)
    depth: Annotated[int, Field(ge=1, le=9)] = 3
    channels: int = 7
    widths: tuple[int, ...] = (8, 16)
    shared: bool = True

class Mlp:
    keys = Keys

class Plain:
    pass

class NoSpaceKeys:
    class keys(BaseModel):
        depth: int = 3

class Taken:
    class keys(SpaceKeys):
        options: int = 3
"""


@pytest.fixture(autouse=True)
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "foreign_space.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("foreign_space", None)


def refused(*overrides: str, space: str = "foreign_space:Mlp") -> str:
    with pytest.raises(InputError) as error:
        make_config(overrides=[f"space.name={space}", *overrides])
    return str(error.value)


def test_built_in_spaces_declare_the_same_keys_apart_and_in_their_class() -> None:
    assert list(choices.SPACE_KEYS) == list(choices.SPACES)
    for name in choices.SPACES:
        assert keys_of(name) is choices.SPACES.load(name).keys
    assert SearchSpace.keys is SpaceKeys and not SpaceKeys.model_fields


def test_what_build_and_supernet_take() -> None:
    space = make_config(overrides=["space.channels=5", "space.entangled=true"]).space
    assert space.network == {"channels": 5, "cells": 1, "reduction": "pool"}
    assert space.supernet.items() >= {"entangled": True}.items() and not set(space.supernet) & set(space.network)
    NB201Space().build(NB201Space().architecture([3] * 6), image_channels=1, classes=2, **space.network)
    NB201Space().supernet(image_channels=1, classes=2, **space.network, **space.supernet)


def test_keys_of_another_package_s_space() -> None:
    config = make_config(overrides=["space.name=foreign_space:Mlp", "space.depth=5", "space.widths=[2, 3]"])
    assert (config.space.depth, config.space.channels, config.space.widths) == (5, 7, (2, 3))
    assert config.space.network == {"depth": 5, "channels": 7, "widths": (2, 3)}
    assert config.space.supernet == {"shared": True}
    assert validate(config.model_dump(mode="json")) == config == make_config(config)
    assert pickle.loads(pickle.dumps(config)) == config


def test_kept_in_a_file(tmp_path: Path) -> None:
    config = make_config(preset="nb201", overrides=["space.name=foreign_space:Mlp", "space.depth=5"])
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    again = make_config(file=tmp_path / "c.yaml")
    assert again.space == config.space and "depth: 5" in to_yaml(config)


def test_a_preset_s_keys_hold_for_its_space() -> None:
    config = make_config(preset="nb201", overrides=["space.name=foreign_space:Plain"])
    assert not config.space.network and config.search == make_config(preset="nb201").search
    whole = make_config(overrides=["space.cells=4"])
    assert not make_config(whole, space={"name": "foreign_space:Plain"}).space.network
    assert make_config(whole, space={"channels": 3}).space.cells == 4
    foreign = make_config(overrides=["space.name=foreign_space:Mlp", "space.depth=5"])
    assert make_config(foreign, space={"channels": 3}).space.network == {"depth": 5, "channels": 3, "widths": (8, 16)}


def test_a_subclass_has_the_keys_that_it_inherits(tmp_path: Path) -> None:
    (tmp_path / "foreign_space.py").write_text("from modnas_fast.spaces import NB201Space as Mine")
    config = make_config(preset="nb201", overrides=["space.name=foreign_space:Mine", "space.cells=2"])
    assert config.space.network == {"channels": 16, "cells": 2, "reduction": "residual"}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("space.depht=3", "config: unknown key space.depht; did you mean space.depth?"),
        ("space.zzz=3", "known there: name, options, depth, channels, widths, shared"),
        ("depth=3", "config: unknown key depth; did you mean space.depth?"),
        ("space.cells=3", "config: unknown key space.cells"),
        ("space.depth=10", "config: space.depth: input should be less than or equal to 9, got 10"),
        ("space.widths=[1, x]", "config: space.widths.1: input should be a valid integer"),
        ("space.options=3", "config: space.options: "),
    ],
)
def test_faults_are_told_like_all_others(override: str, told: str) -> None:
    text = refused(override)
    assert told in text and len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("nowhere:Space", "space.name: 'nowhere:Space' cannot be imported: No module named 'nowhere'"),
        ("foreign_space:NoSpaceKeys", "has keys that are no subclass of modnas_fast.config.SpaceKeys"),
        ("foreign_space:Taken", "has a key called options, which every space has"),
    ],
)
def test_a_space_that_cannot_be_is_refused_in_one_line(space: str, told: str) -> None:
    text = refused(space=space)
    assert told in text and "space.name" in text and len(text.splitlines()) == 1
    with pytest.raises(InputError, match=r"space\.name"):
        validate({"space": {"name": space}})


@pytest.mark.parametrize("section", [3, None, [1], "words"])
def test_what_is_no_section_is_told(section: Any) -> None:
    with pytest.raises(InputError, match="config: space: "):
        make_config(space=section)


def test_the_tree_with_a_space_s_keys_is_the_one_that_is_validated() -> None:
    described = with_keys_of("nb201")
    section = described.model_fields["space"].annotation
    assert isinstance(section, type) and issubclass(section, BaseModel)
    assert list(section.model_fields) == list(Config().space.model_dump())
    assert [key for key in known_keys(described) if not key.startswith("space.")] == [
        key for key in known_keys(Config) if not key.startswith("space.")
    ]
    assert section.__doc__ == SpaceConfig.__doc__
