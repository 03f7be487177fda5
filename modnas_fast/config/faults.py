"""What is wrong with a configuration, in one line per key, with the keys and values that may have been meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeGuard

from pydantic import BaseModel, ValidationError

from modnas_fast.runtime.suggestions import closest, did_you_mean, question

#: keys of earlier versions, and what stands in their place
MOVED = {"devices.metrics": "name the costs in objectives, such as objectives=[error,latency]"}


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line for each key that pydantic refused in a tree of `model`."""
    found: dict[tuple[str, ...], list[Any]] = {}
    for detail in error.errors(include_url=False):
        found.setdefault(_field(detail["loc"], model), []).append(detail)
    return [f"config: {_fault(field, details, model)}" for field, details in found.items()]


def _fault(field: tuple[str, ...], details: Sequence[Any], model: type[BaseModel]) -> str:
    first = details[0]
    if first["type"] == "extra_forbidden":
        return _unknown(field, model)
    if first["type"] == "value_error":  # two fields that do not fit: the message names them
        return str(first["ctx"]["error"])
    below = first["loc"][len(field) :]
    if below and isinstance(below[0], int):  # one item of a list; the others are not told
        field, details = (*field, str(below[0])), [first]
    key = ".".join(field) or "configuration"
    wanted = "; or ".join(dict.fromkeys(f"{detail['msg'][0].lower()}{detail['msg'][1:]}" for detail in details))
    options = [
        text for detail in details for text in re.findall("'([^']*)'", detail.get("ctx", {}).get("expected", ""))
    ]
    value = first["input"]
    hint = did_you_mean(value, options).rstrip() if isinstance(value, str) else ""
    return f"{key}: {wanted}, got {value!r}" + (f"; {hint}" if hint else "")


def _unknown(field: tuple[str, ...], model: type[BaseModel]) -> str:
    *parents, name = field
    key = ".".join(field)
    if key in MOVED:
        return f"{key} is a key no longer: {MOVED[key]}"
    section: Any = model
    for part in parents:
        section = section.model_fields[part].annotation
    here = [".".join([*parents, near]) for near in closest(name, section.model_fields)]
    hint = question(here or _elsewhere(name, model))
    if hint:
        return f"unknown key {key}; {hint}(`modnas-fast search --show-config` prints all)"
    return f"unknown key {key}; known there: {', '.join(section.model_fields)}"


def _elsewhere(name: str, model: type[BaseModel]) -> list[str]:
    """Whole keys of the tree that end in this name, else in one that is alike."""
    keys: dict[str, list[str]] = {}
    for key in known_keys(model):
        keys.setdefault(key.rpartition(".")[2], []).append(key)
    return [key for near in ([name] if name in keys else closest(name, keys)) for key in keys[near]]


def known_keys(model: type[BaseModel]) -> list[str]:
    """The whole keys of a tree of models, without its sections."""
    keys = []
    for name, field in model.model_fields.items():
        inner = known_keys(field.annotation) if _is_section(field.annotation) else []
        keys += [f"{name}.{key}" for key in inner] or [name]
    return keys


def _field(location: Sequence[Any], model: type[BaseModel]) -> tuple[str, ...]:
    """The names of section and key, without a place in a list and what pydantic adds for the members of a union."""
    names: list[str] = []
    inner: Any = model
    for part in location:
        if not _is_section(inner):
            break
        field = inner.model_fields.get(part)
        inner = field.annotation if field else None
        names.append(str(part))
    return tuple(names)


def _is_section(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
