"""What a search knows beside its answers to preferences: on every device, the front of all that it evaluated.

A hypernetwork answers a preference with one network. The archive of the refinement holds more, and so do the networks
whose quality was queried. Which of them are on a device's front is decided by what the search believes, qualities of
its objective and predicted costs; what judges it is not asked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modnas_fast.devices import embeddings
from modnas_fast.evaluation.fronts import front_membership
from modnas_fast.runs.searching import Answer
from modnas_fast.spaces import SearchSpace


@torch.no_grad()
def known_fronts(answer: Answer, space: SearchSpace, most: int) -> list[Tensor]:
    """Per device, canonical one-hots [n, N] of the front of all evaluated networks, by rising first cost.

    Args:
        answer: of a search that is done.
        space: the search space.
        most: networks per device, at least 2; a longer front is thinned out evenly, its ends stay.
    """
    prepared, archive = answer.prepared, answer.search.archive
    onehot, qualities, searched = archive.onehot, archive.qualities, archive.costs
    if texts := list(prepared.queried):
        queried = space.canonical(space.encode([space.parse(text) for text in texts]))
        onehot = torch.cat([onehot, queried])
        qualities = torch.cat([qualities, prepared.objective.errors(queried)])
        searched = torch.cat([searched, archive.costs_of(queried, texts)])  # [n, T, C]
    column_of = {device.name: column for column, device in enumerate(prepared.search_devices)}
    fronts = []
    for device in prepared.devices:
        if device.name in column_of:
            costs = searched[:, column_of[device.name]]
        else:
            costs = prepared.costs.on_devices(onehot, embeddings([device]))[:, 0]
        fronts.append(onehot[_front_rows(qualities, costs, most)])
    return fronts


def _front_rows(qualities: Tensor, costs: Tensor, most: int) -> Tensor:
    """Rows of the front of networks with qualities [n] and costs [n, C], by rising first cost, `most` of them."""
    rows = front_membership(qualities, costs[:, None])[:, 0].nonzero().flatten()
    rows = rows[costs[rows, 0].argsort(stable=True)]
    if len(rows) > most:
        rows = rows[torch.linspace(0, len(rows) - 1, most).round().long()]
    return rows
