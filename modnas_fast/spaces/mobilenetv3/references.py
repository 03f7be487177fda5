"""The ten reference networks of a MobileNetV3 space: the published ones, or designed ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modnas_fast.spaces.mobilenetv3.scales import Scale

#: those of HELP, of the published scale
PUBLISHED_REFERENCES = (
    "r196_k7.7.5.5-7.7.3-7.7.5-3.5.3.3-3.5_e3.6.3.6-6.4.3-4.6.6-3.4.4.3-3.3",
    "r172_k7.3.3-5.3-5.7-3.7.5-3.5_e4.3.6-6.6-3.6-6.3.3-6.3",
    "r204_k7.5-3.3-7.7-5.5-7.7.7_e4.4-4.4-6.3-3.6-3.6.4",
    "r200_k3.7.5.7-3.3.5-3.3.5.3-7.5.3.7-7.5.5.3_e4.3.3.6-3.3.4-6.6.4.6-3.6.6.6-4.4.4.6",
    "r136_k5.7-7.7-7.3-7.7.7-7.7_e4.6-4.6-4.3-6.4.4-4.6",
    "r224_k7.7.5.7-3.7-3.7.7-3.3.7.7-3.5.7.7_e6.4.3.6-6.6-6.4.6-6.6.4.3-4.6.6.3",
    "r132_k5.5.7.3-3.3-7.3.3.5-7.3-3.3.3_e6.3.4.4-3.3-3.3.4.4-3.3-3.6.6",
    "r152_k7.3-3.7.5.7-7.3-3.3.3.7-7.7.3.7_e3.6-6.4.3.4-6.4-6.3.4.3-4.3.3.6",
    "r152_k7.3-3.7.3.5-5.5.5-5.5.3.5-5.5.3.7_e4.4-6.3.6.4-4.4.4-3.4.6.4-6.3.3.3",
    "r200_k3.3.7.7-7.7.7.7-5.7.3-3.5.5.3-3.7_e3.3.4.6-6.6.4.3-6.3.3-3.3.6.3-6.6",
)

#: places between the ends of a choice, 0 to 1, by stage as a share of all stages
Places = Callable[[float], float]


def designed_references(scale: Scale) -> list[list[int]]:
    """Option indices of ten networks.

    The two ends; resolution, depth, expansion and kernel at the other end, the last with the depth; two in the middle
    whose early or late stages are large; and two in between, one of whose blocks alternate.
    """

    def network(resolution: float, depth: Places, expansion: Places, kernel: Places, wave: float = 0) -> list[int]:
        stages, layers = len(scale.stages), scale.layers
        shares = [stage / (stages - 1) for stage in range(stages)]

        def blocks(options: Sequence[int], place: Places, present: Sequence[int]) -> list[int]:
            found = []
            for stage, share in enumerate(shares):
                for layer in range(layers):
                    there = layer < present[stage]
                    found.append(_at(options, place(share) - wave * (layer % 2)) if there else 0)
            return found

        depths = [_at(scale.depths, depth(share)) for share in shares]
        present = [scale.depths[index] for index in depths]
        return [
            *blocks(scale.kernels, kernel, present),
            *blocks(scale.expansions, expansion, present),
            _at(scale.resolutions, resolution),
            *depths,
        ]

    def all_at(place: float) -> Places:
        return lambda share: place

    none, half, full = all_at(0), all_at(0.5), all_at(1)
    return [
        network(0, none, none, none),
        network(1, full, full, full),
        network(1, none, none, none),
        network(0, full, none, none),
        network(0, none, full, none),
        network(0, full, none, full),
        network(0.5, lambda share: 1 - share, lambda share: 1 - share, half),
        network(0.5, lambda share: share, lambda share: share, half),
        network(0.5, half, half, half),
        network(0.8, half, full, full, wave=1),
    ]


def _at(options: Sequence[int], place: float) -> int:
    return round(min(max(place, 0), 1) * (len(options) - 1))
