"""Standalone networks trained from scratch on a task, so that their test quality is their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from modnas_fast.config import VerifyConfig
from modnas_fast.runtime.optimizers import make_optimizer
from modnas_fast.tasks.task import Batch, Part, Task

#: of a backward pass, beside what is kept for it: a share of that
WORKING = 1.25


def train_network(
    network: nn.Module,
    task: Task,
    config: VerifyConfig,
    *,
    augment: bool | str,
    seed: int,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int], None] = lambda done: None,
) -> float:
    """Test quality of `network` trained on `device`, in place, on training and validation samples together.

    `config.optimizer` with a cosine schedule, `config.epochs` passes; nothing is chosen by the test part.
    """
    network, task = network.to(device), task.to(device)
    if takes_channels_last(network):  # a depth-wise convolution takes half the time so on a CPU
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    size = task.size("train+validation")
    batch_size = min(config.batch_size, size)
    stream = task.stream("train+validation", batch_size, seed, augment)
    steps = max(1, size // batch_size)
    optimizer = make_optimizer(
        config.optimizer, network.parameters(), config.learning_rate, config.weight_decay, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * steps)
    network.train()
    for epoch in range(config.epochs):
        for _ in range(steps):
            x, y = next(stream)
            optimizer.zero_grad(set_to_none=True)
            task.training_losses(network(x)[None], y)[0].backward()
            optimizer.step()
            schedule.step()
        on_epoch(epoch + 1)
    return network_quality(network, task, "test")


def takes_channels_last(network: nn.Module) -> bool:
    """Whether torch trains a network with its channels last in memory.

    On a CPU, the weights' gradient of a 1×1 convolution with a stride and fewer than eight channels reads beyond its
    memory there, and ends the process or never ends (torch 2.13, oneDNN for AVX2; 2 to 7 channels were seen to).
    """
    return not any(
        isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels < 8
        for layer in network.modules()
    )


@torch.no_grad()
def network_quality(network: nn.Module, task: Task, part: Part, batch_size: int = 512) -> float:
    """The quality of a network on a whole part."""
    network.eval()
    counts = [task.counts(network(x)[None], y) for x, y in task.batches(part, batch_size)]
    return float(task.quality_of(torch.stack(counts).sum(dim=0), part))


def training_bytes(network: nn.Module, task: Task, batch: Batch) -> int:
    """Bytes that a step of training takes, about: what autograd keeps and works with, weights, gradients, momentum.

    Args:
        network: on the meta device, where nothing is computed; of no use afterwards.
        task: whose loss is trained.
        batch: x and y; shapes and types matter alone.

    >>> from modnas_fast.datasets.task import Split, make_task
    >>> from modnas_fast.tasks.images import ImageClassification
    >>> split = Split(torch.zeros(8, 1, 2, 2, dtype=torch.uint8), torch.arange(8) % 2)
    >>> task = ImageClassification(make_task("dots", ("a", "b"), train=split, validation=split, test=split))
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 100), nn.ReLU(), nn.Linear(100, 2)).to("meta")
    >>> training_bytes(network, task, next(task.batches("train", 8)))  # keeps 3,460 bytes, has 702 parameters
    12749
    """
    kept: dict[StorageWeakRef, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[StorageWeakRef(tensor.untyped_storage())] = tensor
        return tensor

    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            own = (module.weight, module.running_mean, module.running_var)
            module.forward = partial(_KeptByNorm.apply, *own)  # type: ignore[method-assign]
    x, y = (tensor.to("meta") for tensor in batch)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        task.loss(network.train()(x), y)
    parameters = list(network.parameters())
    for parameter in parameters:
        kept.pop(StorageWeakRef(parameter.untyped_storage()), None)
    activations = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return int(WORKING * activations) + 3 * sum(p.numel() * p.element_size() for p in parameters)


class _KeptByNorm(torch.autograd.Function):
    """What batch normalisation keeps; torch's own takes milliseconds on the meta device."""

    @staticmethod
    def forward(ctx: Any, *tensors: Any) -> Tensor:
        *own, x = tensors
        ctx.save_for_backward(x, *own, *(x.new_empty(x.shape[1]) for _ in ("mean", "deviation")))
        return torch.empty_like(x)
