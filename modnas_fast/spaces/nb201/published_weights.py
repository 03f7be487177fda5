"""Weights of published supernets of NAS-Bench-201, with the keys of the official code (Dong & Yang, 2020).

    stem.0.weight                              convolution; stem.1.* its batch normalisation
    cells.I.edges.T<-S.K.op.1.weight           cell I, edge S → T, operation K: 2 the 1×1, 3 the 3×3 convolution
    cells.I.conv_a.op.1.weight, conv_b         residual reduction; conv_a.op.2.* the batch normalisation
    cells.I.downsample.1.weight                its 1×1 convolution
    lastact.0.*                                the last batch normalisation
    classifier.weight, classifier.bias

Running statistics and the parameters of the architecture are not read: the supernet here normalises with those of the
minibatch, and the architecture is Φ's. Names may begin with `module.`, as those of parallel training do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.nb201.network import CONV_1X1, CONV_3X3, EDGES
from modnas_fast.spaces.nb201.official import load
from modnas_fast.spaces.nb201.shared_layers import SharedCell, SharedResidual
from modnas_fast.spaces.nb201.supernet import NB201Supernet

#: where a file of the official code holds the weights, if not by themselves
WRAPPERS = ("search_model", "network", "model", "state_dict")
_NOT_READ = re.compile(r"(.*\.)?(running_mean|running_var|num_batches_tracked|_?arch_parameters)")
_NORMS = ("weight", "bias")


def load_published(supernet: NB201Supernet, source: Path | Mapping[str, Any]) -> None:
    """Copies the weights of a published supernet into one of the same size, with residual reductions.

    Args:
        supernet: changed in place; `affine` where the file has scales and shifts, `entangled` where it has no 1×1
            kernels.
        source: a torch file, which is read without running any of it, or what is in one.

    Raises InputError for a key that is missing, left over or of another shape; nothing is changed then.
    """
    label = str(source) if isinstance(source, Path) else "weights"
    given = _weights(label, load(source) if isinstance(source, Path) else source)
    own = supernet.state_dict()
    wanted = _names(supernet)
    if missing := [name for names in wanted.values() for name in names if name not in given]:
        raise InputError(f"{label}: no {missing[0]!r} in it ({len(missing)} missing); wanted a supernet of this size")
    if over := given.keys() - {name for names in wanted.values() for name in names}:
        raise InputError(f"{label}: {min(over)!r} has no place in this supernet; {_remedy(min(over))}")
    made = {}
    for name, names in wanted.items():
        parts = [given[part] for part in names]
        value = parts[0] if len(parts) == 1 else torch.stack(parts)
        value = value[..., 0, 0] if name.endswith("kernels_1x1") else value
        if value.shape != own[name].shape:
            raise InputError(f"{label}: {names[0]!r} makes {list(value.shape)}, wanted {list(own[name].shape)}")
        made[name] = value
    supernet.load_state_dict(made)


def _weights(label: str, content: Any) -> dict[str, Tensor]:
    """The tensors in a file that are read, by their key."""
    while isinstance(content, Mapping) and (wrapper := next((w for w in WRAPPERS if w in content), None)):
        content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{label}: wanted the weights of a supernet by their key, or one of {', '.join(WRAPPERS)}")
    plain = {str(key).removeprefix("module."): value for key, value in content.items()}
    return {key: value for key, value in plain.items() if not _NOT_READ.fullmatch(key)}


def _names(supernet: NB201Supernet) -> dict[str, list[str]]:
    """The official keys behind each of the supernet's own."""
    names = {"stem.weight": ["stem.0.weight"]}
    names |= {f"classifier.{part}": [f"classifier.{part}"] for part in _NORMS}
    norms = {"stem_norm": "stem.1", "final_norm": "lastact.0"}
    for place, layer in enumerate(supernet.layers):
        here, there = f"layers.{place}", f"cells.{place}"
        if isinstance(layer, SharedCell):
            for own, operation in (("kernels_1x1", CONV_1X1), ("kernels_3x3", CONV_3X3)):
                names[f"{here}.{own}"] = [f"{there}.edges.{t}<-{s}.{operation}.op.1.weight" for s, t in EDGES]
        elif isinstance(layer, SharedResidual):
            names[f"{here}.project.weight"] = [f"{there}.downsample.1.weight"]
            for own, official in (("reduce", "conv_a"), ("refine", "conv_b")):
                names[f"{here}.{own}.weight"] = [f"{there}.{official}.op.1.weight"]
                norms[f"{here}.{own}_norm"] = f"{there}.{official}.op.2"
        else:
            raise InputError("space.reduction: published supernets have residual reductions; set it to residual")
    names |= {f"{own}.{part}": [f"{official}.{part}"] for own, official in norms.items() for part in _NORMS}
    here_too = supernet.state_dict()  # without 1×1 kernels where entangled, and scales where not affine
    return {own: official for own, official in names.items() if own in here_too}


def _remedy(name: str) -> str:
    if re.fullmatch(r"(stem\.1|lastact\.0|cells\.\d+\.conv_[ab]\.op\.2)\.(weight|bias)", name):
        return "set space.affine=true"
    if re.fullmatch(rf"cells\.\d+\.edges\..*\.{CONV_1X1}\.op\.1\.weight", name):
        return "set space.entangled=false"
    return "set space.cells as there"
