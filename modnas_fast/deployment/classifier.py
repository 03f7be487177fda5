"""A deployed network that tells the classes of photos."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.datasets.encoded import Encoded, Unreadable
from modnas_fast.datasets.header import read_header
from modnas_fast.datasets.images import pixels_of
from modnas_fast.datasets.pixels import Target
from modnas_fast.datasets.registry import sha256_of
from modnas_fast.deployment.formats import OnnxNetwork, load_program
from modnas_fast.deployment.manifest import read_manifest
from modnas_fast.runtime.errors import InputError

#: files that hold a whole network, in the order of preference
FILES = ("network.onnx", "network.pt2")


class Classifier:
    """A folder that `export` wrote, of a network for images: photos in, probabilities of classes out.

    Photos are made what the network was trained on: upright, without transparency, resized to its size, in colour or
    grey, normalised.

    Args:
        folder: of an export with `network.onnx` (taken where onnxruntime is installed) or `network.pt2`.

    Raises InputError where the folder holds none of them, a file that is not the manifest's, or another task's network.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"folder: {folder} does not exist; `modnas-fast export RUN {folder}` writes it")
        content = read_manifest(folder)
        told = content["preparation"]
        if not {"mean", "std", "classes"} <= told.keys():
            raise InputError(f"folder: the network in {folder} computes {content['computes']}, no classes of images")
        self.classes: tuple[str, ...] = tuple(told["classes"])
        #: channels, height, width
        self.image_shape: tuple[int, int, int] = tuple(content["data"]["image"])
        self._mean, self._std = (torch.tensor(told[name])[:, None, None] for name in ("mean", "std"))
        self._network = _network(folder, content)

    def predict(self, photo: str | Path | bytes) -> dict[str, float]:
        """Probabilities by class, the likeliest first, of a file or of its bytes.

        Raises InputError where the file cannot be read, or has 16 or 32 bits per pixel.
        """
        with torch.no_grad():
            outputs = self._network(self._prepared(photo)[None])
        probabilities = outputs[0].double().softmax(0)
        order = probabilities.argsort(descending=True).tolist()
        return {self.classes[place]: float(probabilities[place]) for place in order}

    def _prepared(self, photo: str | Path | bytes) -> Tensor:
        """What the network takes, [C, H, W]."""
        source = photo if isinstance(photo, bytes) else Path(photo)
        item = Encoded("photo" if isinstance(source, bytes) else str(source), source)
        header = read_header(item)
        if isinstance(header, Unreadable):
            raise InputError(f"photo: {header.name} cannot be read: {header.reason}")
        if header.deep:
            raise InputError(f"photo: {item.name} has 16 or 32 bits per pixel; save it with 8, scaled as for training")
        channels, height, width = self.image_shape
        pixels = pixels_of(item, Target((width, height), colour=channels == 3))
        return (torch.from_numpy(pixels) / 255 - self._mean) / self._std


def _network(folder: Path, content: dict[str, Any]) -> nn.Module:
    """The first of the files that can be run here."""
    for name in FILES:
        if name not in content["files"] or (name.endswith(".onnx") and find_spec("onnxruntime") is None):
            continue
        if not (folder / name).exists() or sha256_of(folder / name) != content["files"][name]["sha256"]:
            raise InputError(f"folder: {folder / name} is not the file that its manifest tells of; export again")
        return OnnxNetwork(folder / name) if name.endswith(".onnx") else load_program(folder / name)
    raise InputError(
        f"folder: {folder} holds no network that can be run here; export with --to onnx (pip install "
        "'modnas-fast[export]') or --to pt2"
    )
