"""Cross-entropies with the probabilities that another network tells (Hinton et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.supernets.linear_outputs import LinearOutputs
from modnas_fast.supernets.supernet import Outputs


def distilled(labelled: Tensor, outputs: Outputs, told: Outputs, share: float, known: Tensor | None = None) -> Tensor:
    """Losses [S]: `share` of them the mean cross-entropy with told probabilities, the rest those for labels.

    Args:
        labelled: losses [S] for the labels.
        outputs: logits [S, B, ..., V].
        told: logits [1, B, ..., V] of the other network.
        share: from 0 to 1.
        known: bool [B, ...], which places count; None: all.

    Raises InputError for the outputs of supernets over vocabularies, whose logits nobody has room for at once.

    >>> logits = torch.tensor([[[2.0, 0.0]]])
    >>> distilled(torch.zeros(1), logits, torch.zeros(1, 1, 2), 0.5)
    tensor([0.5635])
    """
    if isinstance(outputs, LinearOutputs) or isinstance(told, LinearOutputs):
        raise InputError("search.distillation: there is none for logits over a vocabulary; set it to 0")
    nats = -(told.softmax(-1) * outputs.log_softmax(-1)).sum(-1).flatten(1)  # [S, places]
    if known is not None:
        nats = nats[:, known.flatten()]
    return torch.lerp(labelled, nats.mean(-1), share)
