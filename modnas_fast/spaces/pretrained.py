"""Pretrained supernets: files with the official keys, as they were published or as a run of one's own left them."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError

#: what trainers put before the official keys
PREFIXES = ("_forward_module.", "model.")
#: what they put the weights under
SECTIONS = ("state_dict", "model")


def load_pretrained(
    supernet: nn.Module,
    path: Path | str,
    tied: tuple[str, str] | None = None,
    left_out: Collection[str] = (),
    *,
    official: Callable[[str], str] = str,
    by_outputs: Collection[str] = (),
    hint: str = "space.scale",
) -> list[str]:
    """Gives a supernet the weights of a file, `.safetensors` or what `torch.save` writes, in float32.

    Nothing in the file is run.

    Args:
        supernet: whose keys are the official ones.
        path: of the file.
        tied: keys of the embedding [V, E] and of what is the same tensor, which the file may lack; None: there is none.
        left_out: keys that are no weights, by their last parts.
        official: gives the official key of a key in whichever spelling.
        by_outputs: keys of what makes the outputs; where the file has another number of them, these keep their values.
        hint: the setting to look at where the file does not fit.

    Returns the keys that kept their values.

    Raises InputError for a file that is not there or holds something else, and, with the key, for weights that are
    missing, unknown, of another shape or not finite.
    """
    path = Path(path)
    found, wanted = _official(_read(path), path), supernet.state_dict()
    found = {official(name): tensor for name, tensor in found.items() if not name.endswith(tuple(left_out))}
    if tied is not None:
        found.setdefault(tied[1], found.get(tied[0], torch.empty(0)))
    _check_keys(found, wanted, path, hint)
    kept = [name for name in by_outputs if found[name].shape[:1] != wanted[name].shape[:1]]
    for name, tensor in wanted.items():
        if name in kept and found[name].shape[1:] == tensor.shape[1:]:
            found[name] = tensor
        _check_tensor(name, found[name], tensor, path, tied[0] if tied else "", hint)
    if tied is not None and not torch.equal(found[tied[0]], found[tied[1]]):
        raise _fault(path, f"{tied[1]} is not {tied[0]}, and they are one in this space")
    supernet.load_state_dict({name: tensor.float() for name, tensor in found.items()})
    return kept


def _read(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"space.checkpoint: {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # fairseq keeps its options so: plain values
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, ValueError, RuntimeError, KeyError, pickle.UnpicklingError, SafetensorError):
        raise _fault(path, "holds no plain weights; wanted .safetensors, or a state dict by torch.save") from None


def _official(content: Any, path: Path) -> dict[str, Tensor]:
    """The weights by official key."""
    for section in SECTIONS:
        if isinstance(content, Mapping) and isinstance(content.get(section), Mapping):
            content = content[section]
    if not isinstance(content, Mapping) or not content:
        raise _fault(path, f"holds a {type(content).__name__}, wanted weights by their keys")
    return {_stripped(str(key)): tensor for key, tensor in content.items() if isinstance(tensor, Tensor)}


def _stripped(key: str) -> str:
    """
    >>> _stripped("model._forward_module.lm_head.weight")
    'lm_head.weight'
    """
    while prefix := next((prefix for prefix in PREFIXES if key.startswith(prefix)), ""):
        key = key.removeprefix(prefix)
    return key


def _check_keys(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, hint: str) -> None:
    for name in wanted:
        if name not in found:
            raise _fault(path, f"lacks {name}; is it of this {hint}?")
    for name in found:
        if name not in wanted:
            raise _fault(path, f"has {name}, which this space has not; is it of this {hint}?")


def _check_tensor(name: str, tensor: Tensor, wanted: Tensor, path: Path, embedding: str, hint: str) -> None:
    if name == embedding and tensor.shape[1:] == wanted.shape[1:] and len(tensor) != len(wanted):
        raise _fault(
            path,
            f"{name} has a vocabulary of {len(tensor)} tokens, the texts have {len(wanted)}; give the texts in its "
            "tokens, see task.vocabulary",
        )
    if tensor.shape != wanted.shape:
        raise _fault(path, f"{name} is {list(tensor.shape)}, this space wants {list(wanted.shape)}; see {hint}")
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise _fault(path, f"{name} has values that are no finite numbers")


def _fault(path: Path, what: str) -> InputError:
    return InputError(f"space.checkpoint: {path}: {what}")
