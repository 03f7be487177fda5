"""The configuration as a text to read and to change: what every key means stands above it."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import yaml
from pydantic import BaseModel

from modnas_fast.config.section import Section
from modnas_fast.config.tree import Config, to_yaml, with_keys_of

WIDTH = 100


def commented_yaml(config: Config) -> str:
    """`to_yaml` with comments: what a section and a key are, and the default where another value stands.

    >>> from modnas_fast.config import make_config
    >>> print("\\n".join(commented_yaml(make_config(overrides=["seed=3"])).splitlines()[:3]))
    # Of everything random: the same seed on the same machine gives the same run.
    # Default: 0
    seed: 3
    """
    lines: list[str] = []
    whole = with_keys_of(config.space.name)
    section: Any = whole
    values: BaseModel = config
    for line in to_yaml(config).splitlines():
        if found := re.match(r"(  )?(\w+):", line):  # what is further in belongs to the value of a key
            indent, key = found[1] or "", found[2]
            value = getattr(values if indent else config, key)
            if isinstance(value, Section):
                values, section = value, whole.model_fields[key].annotation
                lines += ["", *_comment(inspect.getdoc(value) or "", "")]
            else:
                said = _said(section if indent else whole, key, value)
                lines += [comment for text in said for comment in _comment(text, indent)]
        lines.append(line)
    return "\n".join(lines) + "\n"


def _said(section: type[BaseModel], key: str, value: Any) -> Iterator[str]:
    """What a key means, and its default where it has another value."""
    yield meanings(section).get(key, "")
    default = section.model_fields[key].get_default(call_default_factory=True)
    if value != default:
        plain = list(default) if isinstance(default, tuple) else default
        yield f"Default: {yaml.safe_dump(plain, default_flow_style=True, width=float('inf')).splitlines()[0]}"


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=start, break_on_hyphens=False)


@cache
def meanings(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of a model, and of those that it inherits from; nothing where there are no sources."""
    found = {}
    for owner in reversed(model.__mro__):
        for field, text in pairwise(
            _classes(owner.__module__).get(owner.__name__, []) if issubclass(owner, Section) else ()
        ):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found[field.target.id] = inspect.cleandoc(ast.literal_eval(text.value))
    return found


@cache
def _classes(module: str) -> dict[str, list[ast.stmt]]:
    """What the classes of a module consist of, by name."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
