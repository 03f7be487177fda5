"""Statistics of batch normalisations of a standalone network, computed anew, as Once-for-All does (Cai et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def compute_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets the statistics of all batch normalisations to means over batches of training samples.

    In each batch the layers before are normalised by the batch itself. The network is left in evaluation mode; one
    without batch normalisations is not run. Raises ValueError where there is none of the batches.
    """
    norms = [
        module for module in network.modules() if isinstance(module, nn.BatchNorm2d) and module.track_running_stats
    ]
    if not norms:
        network.eval()
        return
    sums = [torch.zeros(2, norm.num_features).to(norm.weight) for norm in norms]

    def note(norm: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        sums[norms.index(norm)] += torch.stack([mean, variance])  # type: ignore[arg-type]

    hooks = [norm.register_forward_hook(note) for norm in norms]
    network.train()
    count = 0
    for batch in batches:
        network(batch)
        count += 1
    for hook in hooks:
        hook.remove()
    if not count:
        raise ValueError("batches: wanted at least one batch of samples, got none")
    for norm, total in zip(norms, sums):
        mean, variance = (total / count).unbind()
        norm.running_mean, norm.running_var = mean, variance
    network.eval()
