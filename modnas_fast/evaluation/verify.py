"""Verification: chosen networks trained from scratch, so that their test error is their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from modnas_fast.config import VerifyConfig
from modnas_fast.datasets import BatchStream, ImageTask, Split
from modnas_fast.evaluation.fronts import Point, front


def choose_spread(fronts: Sequence[Sequence[Point]], count: int) -> list[str]:
    """Up to `count` architectures spread evenly by their first cost over the fronts of all devices, ends included.

    Costs on different devices are compared by the rank that a network has on its device's front.

    Args:
        fronts: one front per device, by rising cost.
        count: how many architectures.
    """
    ranks: dict[str, list[float]] = {}
    for points in fronts:
        for rank, point in enumerate(points):
            ranks.setdefault(point.architecture, []).append(rank / max(1, len(points) - 1))
    quality = {point.architecture: point.values[0] for points in fronts for point in points}
    candidates = front([Point(text, (quality[text], sum(r) / len(r))) for text, r in ranks.items()])
    if len(candidates) <= count:
        return [point.architecture for point in candidates]
    places = [round(i * (len(candidates) - 1) / max(1, count - 1)) for i in range(count)]
    return [candidates[place].architecture for place in places]


def train_network(
    network: nn.Module,
    task: ImageTask,
    config: VerifyConfig,
    *,
    augment: bool,
    seed: int,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int], None] = lambda done: None,
) -> float:
    """Test error in percent of `network` trained on `device`, in place, on training and validation images together.

    SGD with Nesterov momentum and a cosine schedule, `config.epochs` passes; nothing is chosen by the test part.
    """
    network, task = network.to(device), task.to(device)
    split = Split(
        torch.cat([task.train.images, task.validation.images]), torch.cat([task.train.labels, task.validation.labels])
    )
    batch_size = min(config.batch_size, len(split))
    stream = BatchStream(task, split, batch_size, seed, augment)
    steps = max(1, len(split) // batch_size)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=config.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * steps)
    network.train()
    for epoch in range(config.epochs):
        for _ in range(steps):
            x, y = next(stream)
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
            schedule.step()
        on_epoch(epoch + 1)
    return error_percent(network, task, task.test)


@torch.no_grad()
def error_percent(network: nn.Module, task: ImageTask, split: Split, batch_size: int = 512) -> float:
    """Wrongly classified images of `split`, in percent."""
    network.eval()
    wrong = sum(int((network(x).argmax(-1) != y).sum()) for x, y in task.batches(split, batch_size))
    return 100 * wrong / len(split)
