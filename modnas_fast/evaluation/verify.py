"""Which networks of the fronts are verified: trained from scratch, so that their quality is their own."""

from __future__ import annotations

from collections.abc import Sequence

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
