"""What the autograd graph of the losses tells before any backward pass: what allows none per loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.autograd.graph import Node


def check_graph(losses: Sequence[Tensor]) -> None:
    """Raises a ValueError where `torch.autograd.grad` cannot give what `backward` would.

    Reentrant checkpointing hides its parameters from it, and a static graph of DistributedDataParallel counts backward
    passes. Every node is looked at once, which costs some hundredths of a backward pass.
    """
    nodes = _nodes(losses)
    for kind in set(map(type, nodes)):
        if "CheckpointFunction" in kind.__name__:
            raise ValueError(
                "losses: their graph holds torch.utils.checkpoint with use_reentrant=True, which hides parameters from "
                "the backward pass of one loss; pass use_reentrant=False"
            )
        if kind.__name__ == "_DDPSinkBackward" and any(_is_static(n) for n in nodes if type(n) is kind):
            raise ValueError(
                "losses: DistributedDataParallel with static_graph=True allows one backward pass per step, and "
                "mgd_backward takes one per loss; pass static_graph=False"
            )


def _is_static(sink: Node) -> bool:
    """Whether the node of a DistributedDataParallel belongs to a static graph."""
    return bool(sink.ddp_weakref().static_graph)  # type: ignore[attr-defined]


def _nodes(losses: Sequence[Tensor]) -> list[Node]:
    nodes = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    seen = set(nodes)
    for node in nodes:  # grows meanwhile
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return nodes
