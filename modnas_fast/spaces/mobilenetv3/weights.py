"""A standalone network's weights out of the shared ones, and the names that official checkpoints give them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from modnas_fast.spaces.mobilenetv3.scales import Scale, Shape, middle_channels, squeezed_channels
from modnas_fast.spaces.mobilenetv3.shared import SharedWeights, smaller_kernel
from modnas_fast.spaces.pretrained import load_pretrained

#: what older checkpoints call the inner part of a block
OLDER = ".mobile_inverted_conv."
_TWICE = re.compile(r"\b(conv|bn|linear)\.\1\b")


def plain_name(key: str) -> str:
    """The name of a weight in whichever spelling: elastic layers of the published code wrap what fixed ones are.

    >>> plain_name("blocks.1.mobile_inverted_conv.depth_conv.conv.conv.weight")
    'blocks.1.conv.depth_conv.conv.weight'
    >>> plain_name("classifier.linear.linear.bias"), plain_name("blocks.1.conv.depth_conv.bn.bn.running_var")
    ('classifier.linear.bias', 'blocks.1.conv.depth_conv.bn.running_var')
    """
    return _TWICE.sub(r"\1", key.replace(OLDER, ".conv."))


def load_checkpoint(supernet: SharedWeights, path: Path | str) -> None:
    """Gives a supernet the weights of a file, by the official keys; a classifier of other classes keeps its own.

    That is told in the supernet's `notes`. Raises InputError as `load_pretrained` does.
    """
    wanted = supernet.state_dict()
    official = {plain_name(key): key for key in wanted}
    kept = load_pretrained(
        supernet,
        path,
        left_out=("num_batches_tracked",),
        official=lambda key: official.get(plain_name(key), key),
        by_outputs=("classifier.linear.weight", "classifier.linear.bias"),
        hint="space.scale and space.width",
    )
    if kept:
        classes = len(wanted[kept[0]])
        supernet.notes = (
            *supernet.notes,
            f"{Path(path).name} tells other classes apart: the classifier of the {classes} here began at random",
        )


def inherited(shared: Mapping[str, Tensor], shape: Shape, scale: Scale) -> dict[str, Tensor]:
    """The weights of `MobileNetV3`: of every shared weight the part that the network uses.

    The statistics of batch normalisations are the largest network's, and no use before they are computed anew
    (`supernets.running_statistics`).

    Args:
        shared: in either spelling of the official names, as a supernet or a checkpoint has them.
        shape, scale: of the network.
    """
    plain = {plain_name(key): tensor for key, tensor in shared.items()}
    whole = ("first_conv.", "blocks.0.", "final_expand_layer.", "feature_mix_layer.", "classifier.")
    found = {key: tensor for key, tensor in plain.items() if key.startswith(whole)}
    number = 1
    for stage, (kernels, expansions) in enumerate(zip(shape.kernels, shape.expansions, strict=True)):
        for layer, (kernel, expansion) in enumerate(zip(kernels, expansions, strict=True)):
            there = f"blocks.{1 + stage * scale.layers + layer}.conv."
            block = {key.removeprefix(there): tensor for key, tensor in plain.items() if key.startswith(there)}
            middle = middle_channels(scale.channels_into(stage, layer), expansion)
            for key, tensor in _of_block(block, kernel, middle):
                found[f"blocks.{number}.conv.{key}"] = tensor
            number += 1
    for key in [key for key in found if key.endswith("running_var")]:
        found[key.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    return {key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in found.items()}


def _of_block(block: Mapping[str, Tensor], kernel: int, middle: int) -> Iterator[tuple[str, Tensor]]:
    inner = squeezed_channels(middle)
    for key, tensor in block.items():
        layer = key.split(".")[0]
        if key == "depth_conv.conv.weight":
            yield key, _kernel(block, kernel, middle)
        elif key.endswith("_matrix"):
            continue
        elif layer == "point_linear":
            yield key, tensor[:, :middle] if key.endswith("conv.weight") else tensor
        elif ".se." in key:
            reduces = ".reduce." in key
            part = tensor[: inner if reduces else middle]
            yield key, part[:, : middle if reduces else inner] if part.dim() > 1 else part
        else:
            yield key, tensor[:middle]


def _kernel(block: Mapping[str, Tensor], kernel: int, middle: int) -> Tensor:
    """[middle, 1, kernel, kernel], by the matrices on the way from the largest one."""
    weight = block["depth_conv.conv.weight"][:middle]
    matrices = {
        int(match[1]): (int(match[2]), tensor)
        for key, tensor in block.items()
        if (match := re.fullmatch(r"depth_conv\.conv\.(\d+)to(\d+)_matrix", key))
    }
    while weight.shape[-1] > kernel:
        _, matrix = matrices[weight.shape[-1]]
        weight = smaller_kernel(weight, matrix)
    return weight
