"""What was published of Once-for-All's MobileNetV3s: HELP's latencies, and a network that tells accuracies."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch

from modnas_fast.datasets.home import locate
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective
from modnas_fast.spaces.mobilenetv3.judge import AccuracyNet
from modnas_fast.spaces.mobilenetv3.table import load_latencies, load_networks
from modnas_fast.spaces.published import CostTable, Published, Truth
from modnas_fast.spaces.ridge_costs import RidgeCosts

if TYPE_CHECKING:
    from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

OFA_HELP, IMAGENET = "ofa-help", "imagenet"
#: HELP's device settings, GPU and batch, as MODNAS splits them
PAPER_UNSEEN = ("titan_rtx_64",)
PAPER_SEARCH = (
    *(f"{gpu}_{batch}" for gpu in ("2080ti", "titan_xp", "v100") for batch in (1, 32, 64)),
    "titan_rtx_1",
    "titan_rtx_32",
)
CLASSES = 1000
#: how well the judge ranks published networks that it can judge, for words
JUDGED = "Spearman 0.99 with the 24 published networks of width 1.0, 0.94 with 6 of width 1.2"


def accuracy_net(space: MobileNetV3Space) -> AccuracyNet:
    """What judges the accuracy of a space's networks, see `judge.is_judged`.

    Raises InputError where its file is missing or damaged.
    """
    return AccuracyNet.load(locate("ofa/ofa-tutorial/acc_predictor.pth"), space)


class MobileNetV3Published(Published):
    """What is known of a space whose options are some of Once-for-All's.

    Latencies are of all of them alone.

    Args:
        space: see `judge.is_judged`.
    """

    tasks = (IMAGENET,)

    def __init__(self, space: MobileNetV3Space) -> None:
        self._space = space
        self.tables = (OFA_HELP,) if space.is_published else ()

    @cached_property
    def _networks(self) -> tuple[str, ...]:
        """HELP's 5,000 networks, those that the space has."""
        found = []
        for shape in load_networks(locate("ofa/ofa_archs.pt")):
            try:
                found.append(self._space.of_shape(shape).text)
            except InputError:
                continue
        return tuple(found)

    def costs(self, table: str) -> CostTable:
        """Latency in ms, of one forward pass of a batch of 1, 32 or 64; others are judged by ridge models."""
        folder = locate("ofa/help-latency/2080ti_1.pt").parent
        texts = self._networks
        values = load_latencies(folder, len(texts))
        onehot = self._space.encode([self._space.parse(text) for text in texts])
        return CostTable(texts, {"latency": "ms"}, values, RidgeCosts(self._space, onehot, values))

    def truth(self, task: str) -> Truth:
        """Top-1 error in percent on ImageNet as Once-for-All's network of accuracies tells it: nobody trained them."""
        judge = accuracy_net(self._space)
        texts = self._networks
        onehot = self._space.encode([self._space.parse(text) for text in texts])
        side = self._space.scale.resolutions[-1]
        return Truth(
            task,
            Objective("error", "%"),
            texts,
            judge(onehot),
            torch.ones(len(texts), dtype=torch.bool),
            100 * (1 - 1 / CLASSES),
            "told by Once-for-All's network of accuracies, interpolated in the resolution and mapped to published "
            f"top-1 ({JUDGED}): no network was trained or tested for it",
            {"image_channels": 3, "classes": CLASSES, "input_shape": (3, side, side)},
            {"classes": CLASSES, "image": [3, side, side], "sizes": {}},
            judge,
            asks_judge=True,
        )

    def split(self, table: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """MODNAS's eleven settings that are searched, and the unseen one, which nearly repeats titan_rtx_32."""
        return (PAPER_SEARCH, PAPER_UNSEEN) if table == OFA_HELP else (None, ())
