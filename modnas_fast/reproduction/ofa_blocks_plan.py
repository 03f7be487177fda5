"""Which searches a reproduction on tables of blocks is made of: two devices whose latencies are exact."""

from __future__ import annotations

from collections.abc import Sequence

from modnas_fast.reproduction.ofa_blocks import CORE_I7, NOTE10, REFERENCE_EVALUATIONS, BlocksGroup
from modnas_fast.reproduction.ofa_plan import (
    BASELINES,
    PAPER_OVERRIDES,
    PRESET,
    QUICK_BASELINES,
    QUICK_PAPER_OVERRIDES,
)
from modnas_fast.reproduction.plan import DEFAULT, About, Plan
from modnas_fast.spaces.mobilenetv3.published import IMAGENET

#: those of which both tables have all blocks
RESOLUTIONS = tuple(range(160, 225, 4))
#: the predictor's steps are the preset's: 400 do not order the fastest networks, though sums are exact
QUICK_OVERRIDES = ("search.steps=30", "search.refine_steps=100", "search.refine_networks=8000")
#: how results are called where the tables stand for a name
TABLE = "blocks"
ABOUT = About(
    "Once-for-All's MobileNetV3s with exact latencies",
    (
        "Latencies are sums over published tables of blocks of a Samsung Note10 and an Intel i7-8700K, exact for every "
        "network of width 1.2 with a resolution of 160, 164, … 224, and searched as two devices at once. Top-1 error "
        "is what Once-for-All's network of accuracies tells, interpolated in the resolution and mapped to the accuracy "
        "of published networks: the one thing here that nobody measured.",
        f"The reference of a device is the front of what an evolution found with {REFERENCE_EVALUATIONS:,} judged "
        "networks on each of the two, all of them together. Error and latency are min-max normalised over these "
        "networks, latency for each device alone; the hypervolume has the reference point (1, 1). Its ratio may exceed "
        "1.",
        "MODNAS answers 24 preferences with the most probable network of each. Black-box searches ask the judge and "
        "the tables for any network.",
        "Published networks are Once-for-All's 34. Compared are the 6 of width 1.2 up to 224 pixels and, on the "
        "i7-8700K, of which a table has that width, too, the 24 of width 1.0 with the accuracy that the judge tells of "
        "theirs; no search here could find those. One is covered where a network of the front is as good in both, or "
        "better.",
    ),
    {"search": 0.95, "lowest": 0.95, "networks": 10},
    "reference search's front",
)


def make_blocks_plan(reference: str, seeds: int, quick: bool) -> Plan:
    """The plan of a full or a quick reproduction.

    Args:
        reference: file of the reference networks.
        seeds: how many; a quick reproduction takes the first alone.
        quick: fewer steps and baselines.
    """
    chosen = (0,) if quick else tuple(range(seeds))
    paper = (*PAPER_OVERRIDES, *(QUICK_PAPER_OVERRIDES if quick else ()))
    sides = f"space.resolutions=[{','.join(map(str, RESOLUTIONS))}]"

    def group(name: str, seed: int, overrides: Sequence[str]) -> BlocksGroup:
        return BlocksGroup(
            f"{name}-{seed}",
            seed,
            (DEFAULT,),
            PRESET,
            (sides, *overrides),
            IMAGENET,
            TABLE,
            (NOTE10, CORE_I7),
            (),
            quality="error",
            reference=reference,
        )

    return Plan(
        chosen,
        quick,
        tuple(group("main", seed, QUICK_OVERRIDES if quick else ()) for seed in chosen),
        tuple(group("paper", seed, paper) for seed in chosen),
        {},
        (),
        (),
        {},
        QUICK_BASELINES if quick else BASELINES,
        _notes(quick),
        ABOUT,
    )


def _notes(quick: bool) -> tuple[str, ...]:
    notes = [
        "A search knows the latencies of 900 networks on each device, and 300 errors for both together, of any "
        "networks. A baseline knows error and latency of 300 networks on each device anew: 600 of each.",
    ]
    if quick:
        left = ", ".join(name for name in BASELINES if name not in QUICK_BASELINES)
        notes.append(f"Quick: one seed and few steps; left out of the baselines: {left}.")
    return tuple(notes)
