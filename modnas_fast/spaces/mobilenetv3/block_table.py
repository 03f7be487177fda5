"""Tables of the latency of single blocks, whose sums are the latencies of networks, exactly and of all of them.

One YAML file has the blocks of all resolutions, or a folder has a file per resolution, `160_lookup_table.yaml`; each
key has a `mean` in ms. A folder of several such files or folders has a device in each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_text
from modnas_fast.spaces.mobilenetv3.block_names import NSGANETV2, TUTORIAL, Names, blocks, fixed_parts, stem_of
from modnas_fast.spaces.mobilenetv3.scales import Scale

if TYPE_CHECKING:
    from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

YAML = (".yaml", ".yml")
_OF_RESOLUTION = re.compile(r"(\d+)_lookup_table")
#: means by key
Means = dict[str, float]


class BlockTable:
    """Latencies of all networks of a space on devices: a `PartTable`.

    Args:
        space: the search space.
        tables: by device and resolution, means in ms by key; see `load_block_table`.

    Raises InputError that names a block that networks of the space have and a table has not.
    """

    metrics = {"latency": "ms"}

    def __init__(self, space: MobileNetV3Space, tables: Mapping[str, Mapping[int, Means]]) -> None:
        self._space = space
        self.devices = tuple(tables)
        self._sums = {device: _sums(space.scale, device, table) for device, table in tables.items()}

    def costs(self, device: str, onehot: Tensor) -> Tensor:
        """Latency in ms, float64 [n, 1]; linear in every choice, so that relaxed samples have sums, too."""
        parts = self._space.split(onehot.double())
        of_blocks, fixed = self._sums[device]
        present = self._space.present(parts.depths)
        each = torch.einsum("njlk,njle,nr,jlker->njl", parts.kernels, parts.expansions, parts.resolution, of_blocks)
        return ((present * each).sum((-2, -1)) + parts.resolution @ fixed)[:, None]


def load_block_table(path: Path, space: MobileNetV3Space) -> BlockTable:
    """The table in a file or folder, see above. Raises InputError where it is none, or lacks blocks of the space."""
    if path.is_dir():
        found = {child: _OF_RESOLUTION.fullmatch(child.stem) for child in sorted(path.iterdir())}
        if any(found.values()):
            return BlockTable(space, {_name(path): _of_folder({c: m for c, m in found.items() if m}, space.scale)})
        children = [child for child in found if child.suffix in YAML or child.is_dir()]
        if not children:
            raise InputError(f"devices.table: {path} has no YAML file with latencies of blocks")
        return join_block_tables(children, space)
    means = _read(path)
    names = _names(means, path)
    resolutions = [side for side in space.scale.resolutions if stem_of(names, space.scale, side) in means]
    return BlockTable(space, {_name(path): dict.fromkeys(resolutions, means)})


def join_block_tables(paths: Sequence[Path], space: MobileNetV3Space) -> BlockTable:
    """The devices of several tables in one, see `load_block_table`."""
    joined = BlockTable(space, {})
    for path in paths:
        table = load_block_table(path, space)
        joined.devices += table.devices
        joined._sums.update(table._sums)
    return joined


def _of_folder(files: Mapping[Path, re.Match[str]], scale: Scale) -> dict[int, Means]:
    wanted = {int(match[1]): file for file, match in files.items() if int(match[1]) in scale.resolutions}
    return {side: _read(file) for side, file in wanted.items()}


def _name(path: Path) -> str:
    """A device's name: what stands behind @, else the file's name without endings of its kind.

    >>> _name(Path("latency_table@note10")), _name(Path("i7-8700K_lut.yaml"))
    ('note10', 'i7-8700K')
    """
    stem = path.stem if path.suffix in YAML else path.name
    return stem.rpartition("@")[2].removesuffix("_lut").removesuffix("_blocks")


def _read(file: Path) -> Means:
    try:
        content = yaml.load(read_text(file), yaml.CSafeLoader)
    except OSError as error:
        raise InputError(f"devices.table: cannot read {file}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise InputError(f"devices.table: {file} is no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not content:
        raise InputError(f"devices.table: {file} has no latencies of blocks")
    return {str(key): _mean(entry, key, file) for key, entry in content.items()}


def _mean(entry: Any, key: Any, file: Path) -> float:
    value = entry.get("mean") if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InputError(f"devices.table: {file}: wanted a mean in ms of {key}, got {value!r}")
    return float(value)


def _names(means: Means, file: object) -> Names:
    for names in (TUTORIAL, NSGANETV2):
        if any(key.startswith(names.block.partition("-")[0] + "-") for key in means):
            return names
    kinds = " or ".join(names.block.partition("-")[0] for names in (TUTORIAL, NSGANETV2))
    raise InputError(f"devices.table: {file} names no block: wanted keys that begin with {kinds}")


def _sums(scale: Scale, device: str, table: Mapping[int, Means]) -> tuple[Tensor, Tensor]:
    """Latencies of blocks [J, L, kernels, expansions, R], and of all else [R]."""
    lacking = [side for side in scale.resolutions if side not in table]
    if lacking:
        has = f"it has {_listed(list(table))}" if table else "it has none of the space's, at this width"
        raise InputError(
            f"devices.table: {device} has no networks of resolution {lacking[0]}; {has}: set space.resolutions to those"
        )
    sizes = (len(scale.stages), scale.layers, len(scale.kernels), len(scale.expansions), len(scale.resolutions))
    of_blocks, fixed = torch.zeros(sizes, dtype=torch.float64), torch.zeros(sizes[-1], dtype=torch.float64)
    for place, side in enumerate(scale.resolutions):
        means = table[side]
        names = _names(means, device)
        *whole, classifier = fixed_parts(names, scale, side)
        heads = [key for key in means if key.startswith(classifier)]
        fixed[place] = sum(_look_up(means, key, device) for key in (*whole, *(heads[:1] or [classifier])))
        for block in blocks(names, scale, side):
            layers = slice(0, 1) if block.first else slice(1, None)
            value = _look_up(means, block.key, device)
            of_blocks[block.stage, layers, block.kernel, block.expansion, place] = value
    return of_blocks, fixed


def _look_up(means: Means, key: str, device: str) -> float:
    if key not in means:
        raise InputError(f"devices.table: {device} lacks the block {key}, which networks of the space have")
    return means[key]


def _listed(sides: Sequence[int]) -> str:
    """Resolutions in words."""
    return ", ".join(map(str, sides))
