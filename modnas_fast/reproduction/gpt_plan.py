"""Which searches a reproduction of the experiments on HW-GPT-Bench is made of."""

from __future__ import annotations

from collections.abc import Sequence

from modnas_fast.reproduction.plan import DEFAULT, About, Plan
from modnas_fast.reproduction.trial import Group
from modnas_fast.spaces.gpt.published import HW_GPT_BENCH, OPENWEBTEXT, PAPER_SEARCH, PAPER_UNSEEN

PRESET = "hw-gpt-bench"
#: the paper's combination on GPTs; the perplexity is the surrogate's for all, and the learning rate is times devices
PAPER_OVERRIDES = (
    "predictor.kind=mlp",
    "predictor.hidden=256",
    "predictor.steps=6000",
    "predictor.learning_rate=1e-4",
    "hypernetwork.intervals=101",
    "hypernetwork.interpolate=false",
    "architect.kind=reinmax",
    "architect.samples=1",
    "architect.entropy_start=0",
    "scalarization.kind=linear",
    "scalarization.normalize=false",
    f"search.hyper_learning_rate={2e-5 * len(PAPER_SEARCH)}",
    "search.hyper_betas=[0.5,0.999]",
    "search.hyper_weight_decay=1e-3",
    "search.steps=25000",
    "search.refine_steps=0",
)
QUICK_OVERRIDES = ("predictor.steps=300", "search.steps=30", "search.refine_steps=60", "search.refine_networks=4000")
QUICK_PAPER_OVERRIDES = ("predictor.steps=300", "search.steps=300")
BASELINES = ("random", "nsga2", "evolution", "local-search")
QUICK_BASELINES = ("random", "evolution")
#: of all 13 devices, those that are held out with three objectives
THREE_UNSEEN = ("v100", "h100", "cpu_xeon_gold", "cpu_amd_7513")
THREE_SEARCH = (
    "P100",
    "a6000",
    "rtx2080",
    "rtx3080",
    "a100",
    "a40",
    "cpu_xeon_silver",
    "cpu_amd_7502",
    "cpu_amd_7452",
)
ABOUT = About(
    "HW-GPT-Bench",
    (
        "HW-GPT-Bench measured 10,000 networks per scale, of some 10¹⁴. Answers may be any network, so they are "
        "judged: perplexity by the network that was published with the table, latency and energy by ridge models "
        "fitted to all measured networks of the device. The search asks no judge.",
        "Perplexity and cost are min-max normalised over the measured table, cost for each device alone; the "
        "hypervolume has the reference point (1, 1). Its ratio is that to the front of the table's networks as the "
        "same models judge them, and may exceed 1. The front as it was measured is higher: energies are noisy, and a "
        "front of 10,000 networks takes the lucky ones.",
        "MODNAS answers 24 preferences (three objectives: 66) with the most probable network of each. Black-box "
        "searches ask for networks of the table: for one that is not in it stands the one that differs in the fewest "
        "choices and was not asked for. They see measurements; all that they asked for is judged and counts as their "
        "answer.",
        "IGD+ is the mean distance from the table's judged front to the one found, in normalised units; smaller is "
        "better. Networks are the distinct non-dominated ones. ± is the standard deviation over seeds.",
    ),
    {"search": 1.02, "unseen": 1.0, "lowest": 0.98, "networks": 10},
)
SCALES = ("s", "l")


def make_gpt_plan(scale: str, seeds: int, quick: bool) -> Plan:
    """The plan of a full or a quick reproduction.

    Args:
        scale: s or l.
        seeds: how many; a quick reproduction takes the first alone.
        quick: fewer steps and baselines, and no three objectives.
    """
    chosen = (0,) if quick else tuple(range(seeds))
    own = (f"space.scale={scale}",)
    shorter = (*own, *QUICK_OVERRIDES) if quick else own
    paper = (*own, *PAPER_OVERRIDES, *(QUICK_PAPER_OVERRIDES if quick else ()))
    return Plan(
        chosen,
        quick,
        tuple(_group(f"main-{seed}", seed, shorter) for seed in chosen),
        tuple(_group(f"paper-{seed}", seed, paper) for seed in chosen),
        {},
        (),
        () if quick else tuple(_group(f"three-{seed}", seed, own, three=True) for seed in chosen),
        {},
        QUICK_BASELINES if quick else BASELINES,
        _notes(quick),
        ABOUT,
    )


def _group(name: str, seed: int, overrides: Sequence[str], three: bool = False) -> Group:
    search, unseen = (THREE_SEARCH, THREE_UNSEEN) if three else (PAPER_SEARCH, PAPER_UNSEEN)
    return Group(
        name,
        seed,
        (DEFAULT,),
        PRESET,
        tuple(overrides),
        OPENWEBTEXT,
        HW_GPT_BENCH,
        search,
        unseen,
        ("latency", "energy") if three else ("energy",),
        "perplexity",
    )


def _notes(quick: bool) -> tuple[str, ...]:
    notes = [
        "Of a search device, a search knows the energies of 500 networks; of all devices together, 300 perplexities; "
        "of an unseen device, the ten reference networks. A baseline knows perplexity and energy of 300 networks on "
        "each device anew: 2,400 of each on the eight devices, against 300 perplexities and 2,040 energies.",
        "The paper's combination learns from the same surrogate of the perplexity instead of a pretrained supernet; "
        "its Φ steps, estimator, scalarization, hypernetwork and predictor are the paper's.",
    ]
    if quick:
        left = ", ".join(name for name in BASELINES if name not in QUICK_BASELINES)
        notes.append(f"Quick: one seed and few steps; left out: three objectives, and of the baselines {left}.")
    return tuple(notes)
