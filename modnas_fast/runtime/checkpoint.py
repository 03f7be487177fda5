"""The state of a running search on disk: written by rename, read without unpickling code."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import replacing

SCHEMA = 3


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a tree of tensors, numbers, strings, lists and dicts, by rename."""
    with replacing(path) as temporary:
        torch.save({"schema": SCHEMA, "state": state}, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote. Raises InputError where the file is damaged or of another version."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # what the unpickler stumbles over in a damaged file has no common type
        reason = _first_line(error)
        raise InputError(f"checkpoint {path} is damaged ({reason}); delete it to restart the search") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or "state" not in content:
        raise InputError(f"checkpoint {path} is not of version {SCHEMA}; delete it to restart the search")
    state: dict[str, Any] = content["state"]
    return state


def packed(state: dict[str, Any]) -> bytes:
    """A tree of tensors, numbers, strings, lists and dicts as bytes, to be sent."""
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def unpacked(content: bytes) -> dict[str, Any]:
    """What `packed` was given, with tensors on the CPU; no code is unpickled."""
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def save_weights(path: Path, module: nn.Module | Mapping[str, Tensor]) -> None:
    """Writes a module's state, or tensors by name, as safetensors, by rename, wherever they lie."""
    state = module.state_dict() if isinstance(module, nn.Module) else module
    with replacing(path) as temporary:
        save_file(_distinct({name: value.cpu().contiguous() for name, value in state.items()}), temporary)


def load_weights(path: Path, module: nn.Module) -> None:
    """Loads what `save_weights` wrote into `module`. Raises InputError that names a missing or unfitting file."""
    try:
        given, own = load_file(path), module.state_dict()
        first = _first_names(own)
        module.load_state_dict({**given, **{name: given[first[name]] for name in own if first[name] in given}})
    except FileNotFoundError:
        raise InputError(f"{path} is missing: the run did not finish; continue it with --resume") from None
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{path} does not fit this run ({_first_line(error)})") from None


def _distinct(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor under the first of its names: tied weights have several."""
    first = _first_names(state)
    return {name: value for name, value in state.items() if first[name] == name}


def _first_names(state: dict[str, Tensor]) -> dict[str, str]:
    """Per name, the first name of the same tensor."""
    names: dict[tuple[int, torch.Size], str] = {}
    found = {}
    for name, value in state.items():
        alone = value.numel() == 0 or value.is_meta
        key = (id(value) if alone else value.data_ptr(), value.shape)
        found[name] = names.setdefault(key, name)
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
