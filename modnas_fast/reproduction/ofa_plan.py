"""Which searches a reproduction of the experiments on Once-for-All's MobileNetV3s is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modnas_fast.reproduction.constraints import ConstrainedGroup
from modnas_fast.reproduction.plan import DEFAULT, About, Plan
from modnas_fast.spaces.mobilenetv3.published import IMAGENET, OFA_HELP, PAPER_SEARCH, PAPER_UNSEEN

PRESET = "ofa-help"
#: the paper's combination; its supernet is pretrained and stands still, here the surrogate does: Φ alone learns
PAPER_OVERRIDES = (
    "predictor.kind=mlp",
    "predictor.hidden=100",
    "predictor.steps=6000",
    "predictor.learning_rate=1e-4",
    "hypernetwork.intervals=101",
    "hypernetwork.interpolate=false",
    "architect.kind=reinmax",
    "architect.samples=1",
    "architect.entropy_start=0",
    "scalarization.kind=cosine",
    "scalarization.penalty=0.01",
    "scalarization.detach_penalty=true",
    "scalarization.normalize=false",
    f"search.hyper_learning_rate={1e-5 * 8}",
    "search.hyper_betas=[0.5,0.999]",
    "search.hyper_weight_decay=1e-3",
    "search.steps=27500",
    "search.refine_steps=0",
)
QUICK_OVERRIDES = ("predictor.steps=400", "search.steps=30", "search.refine_steps=100", "search.refine_networks=8000")
QUICK_PAPER_OVERRIDES = ("predictor.steps=300", "search.steps=300")
BASELINES = ("random", "nsga2", "evolution")
QUICK_BASELINES = ("random", "evolution")
#: the card whose settings a further split holds out, batch 1, 32 and 64
HELD_OUT_CARD = "titan_rtx"
ABOUT = About(
    "Once-for-All's MobileNetV3s",
    (
        "HELP measured the latency of 5,000 networks, of some 10¹⁹, on 12 device settings. Nobody trained them: top-1 "
        "error is what Once-for-All's network of accuracies tells, interpolated in the resolution and mapped to the "
        "accuracy of published networks; against 24 of those of width 1.0 its Spearman correlation is 0.99, against 6 "
        "of width 1.2 0.94. Latencies of answers are told by ridge models fitted to all measured networks of a device.",
        "Error and latency are min-max normalised over the measured table, latency for each device alone; the "
        "hypervolume has the reference point (1, 1). Its ratio is that to the front of the table's networks as the "
        "same models judge them, and exceeds 1: 5,000 random networks are far from the best.",
        "titan_rtx_64, the paper's unseen device, is nearly a copy of titan_rtx_32, which is searched. So a second "
        "split holds out every setting of that card, and a third, beside, all of batch 1, which no searched device is "
        "like.",
        "MODNAS answers 24 preferences with the most probable network of each. Black-box searches ask for networks of "
        "the table: for one that is not in it stands the one that differs in the fewest choices and was not asked for.",
        "Latencies of batch 1, and all of 2080ti_32, are noisy: what a model fitted to 4,000 networks misses of them "
        "is uncorrelated with what it misses on any other device, and it orders the other networks there with a "
        "Spearman correlation of 0.77 to 0.90.",
        "Published networks are Once-for-All's 34, each found for one device. Compared are the 6 of width 1.2 up to "
        "224 pixels, judged on every device as answers are: 4 look at more pixels, and of 24 of width 1.0 nobody knows "
        "the latency on these devices. One is covered where a network of the front is as good in both, or better.",
    ),
    {"search": 1.0, "unseen": 1.0, "lowest": 1.0, "networks": 10},
)


def make_ofa_plan(seeds: int, quick: bool) -> Plan:
    """The plan of a full or a quick reproduction.

    Args:
        seeds: how many; a quick reproduction takes the first alone.
        quick: fewer steps and baselines.
    """
    chosen = (0,) if quick else tuple(range(seeds))
    shorter = QUICK_OVERRIDES if quick else ()
    splits = {"card": split_by_card()} if quick else {"card": split_by_card(), "batch-1": split_by_batch()}
    paper = (*PAPER_OVERRIDES, *(QUICK_PAPER_OVERRIDES if quick else ()))
    return Plan(
        chosen,
        quick,
        tuple(_group(f"main-{seed}", seed, shorter) for seed in chosen),
        tuple(_group(f"paper-{seed}", seed, paper) for seed in chosen),
        {},
        tuple(_group(f"split-{name}", 0, shorter, *split) for name, split in splits.items()),
        (),
        {},
        QUICK_BASELINES if quick else BASELINES,
        _notes(quick),
        ABOUT,
    )


def split_by_card() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Devices searched, and all settings of a card, which are held out.

    >>> split_by_card()[1]
    ('titan_rtx_1', 'titan_rtx_32', 'titan_rtx_64')
    """
    return _without(lambda name: name.startswith(HELD_OUT_CARD))


def split_by_batch() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The same with batch 1 of all cards held out besides.

    >>> split_by_batch()[0]
    ('2080ti_32', '2080ti_64', 'titan_xp_32', 'titan_xp_64', 'v100_32', 'v100_64')
    """
    return _without(lambda name: name.startswith(HELD_OUT_CARD) or name.endswith("_1"))


def _without(held_out: Callable[[str], bool]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = (*PAPER_SEARCH, *PAPER_UNSEEN)
    return tuple(name for name in names if not held_out(name)), tuple(name for name in names if held_out(name))


def _group(
    name: str,
    seed: int,
    overrides: Sequence[str],
    search: tuple[str, ...] = PAPER_SEARCH,
    unseen: tuple[str, ...] = PAPER_UNSEEN,
) -> ConstrainedGroup:
    return ConstrainedGroup(
        name, seed, (DEFAULT,), PRESET, tuple(overrides), IMAGENET, OFA_HELP, search, unseen, ("latency",), "error"
    )


def _notes(quick: bool) -> tuple[str, ...]:
    notes = [
        "Of a search device, a search knows the latencies of 900 networks; of an unseen device, the ten reference "
        "networks; and 300 errors for all devices together, of any networks. A baseline knows error and latency of 300 "
        "networks of the table on each device anew: 3,600 of each on the twelve devices.",
        "The paper's combination learns from the same surrogate of the error instead of a pretrained supernet; its Φ "
        "steps, estimator, scalarization, hypernetwork and predictor are the paper's.",
    ]
    if quick:
        left = ", ".join(name for name in BASELINES if name not in QUICK_BASELINES)
        notes.append(f"Quick: one seed and few steps; left out: the third split, and of the baselines: {left}.")
    return tuple(notes)
