"""Which searches a reproduction of the experiments on translation is made of."""

from __future__ import annotations

from collections.abc import Sequence

from modnas_fast.reproduction.hat_benchmark import REFERENCE_EVALUATIONS, TABLE, HATGroup
from modnas_fast.reproduction.plan import DEFAULT, About, Plan
from modnas_fast.reproduction.trial import Variant
from modnas_fast.spaces.hat.published import PAPER_SEARCH, PAPER_UNSEEN, WMT14_EN_DE

PRESET = "hat"
#: the published combination; the BLEU is the surrogate's, for there are no weights to train
PAPER_OVERRIDES = (
    "predictor.kind=mlp",
    "predictor.hidden=256",
    "predictor.steps=3000",
    "predictor.learning_rate=1e-4",
    "hypernetwork.intervals=101",
    "hypernetwork.interpolate=false",
    "architect.kind=reinmax",
    "architect.samples=1",
    "architect.entropy_start=0",
    "scalarization.kind=linear",
    "scalarization.normalize=false",
    "search.hyper_learning_rate=3e-4",
    "search.hyper_betas=[0.5,0.999]",
    "search.hyper_weight_decay=1e-3",
    "search.steps=10000",
    "search.refine_steps=0",
)
QUICK_OVERRIDES = ("predictor.steps=300", "search.steps=30", "search.refine_steps=60", "search.refine_networks=4000")
QUICK_PAPER_OVERRIDES = ("predictor.steps=300", "search.steps=300")
BASELINES = ("random", "evolution")
#: of a baseline on each device: as many on all three as MODNAS has
EVALUATIONS = 100
AS_PUBLISHED = Variant("task-alone", ("scalarization.kind=task_alone",))
MEAN = Variant("mean", ("mgd.scheme=mean",))
AS_THEY_ARE = Variant("as-they-are", ("mgd.normalize=none",))
FACTORS = {
    "loss of Φ": {"preference and costs": DEFAULT, "task alone, as published": AS_PUBLISHED},
    "Φ update": {
        "MGD over 2 devices, as published": DEFAULT,
        "mean": MEAN,
        "MGD, gradients as they are": AS_THEY_ARE,
    },
}
ABOUT = About(
    "HAT (WMT14 En-De)",
    (
        "Of a measured network nobody knows the layers: HAT's tables describe some 2,000 networks per device by ten "
        "averages, and devices share none. So answers are judged: latency by a ridge model of all rows of the "
        "device, BLEU by a ridge regression on the 47 En-De networks that were trained and told of (left out one by "
        "one: Spearman 0.973, off by 0.17 BLEU on average). Beyond those it is extrapolation, in which no network "
        "gains. The judge of BLEU is also what a search asks, and each network that it asks for is counted.",
        f"The reference of a device is the front of what regularised evolution found with {REFERENCE_EVALUATIONS:,} "
        "judged networks on each of the devices, all of them together. 100 − BLEU and latency are min-max normalised "
        "over these networks, latency for each device alone; the hypervolume has the reference point (1, 1). Its ratio "
        "may exceed 1.",
        "MODNAS answers 24 preferences with the most probable network of each. It knows rows of the two search devices "
        "and, of the unseen one, the ten next to the reference networks. Black-box searches ask the judges for both.",
        "Published networks are HAT's 17 for En-De, each found for one device; on a device all of them are judged as "
        "answers are. One is covered where a network of the front is as good in both, or better.",
        "IGD+ is the mean distance from the reference front to the one found, in normalised units; smaller is better. "
        "Networks are the distinct non-dominated ones. ± is the standard deviation over seeds.",
    ),
    {"search": 0.99, "unseen": 0.97, "covered": 12},
    "reference search's front",
)


def make_hat_plan(reference: str, seeds: int, quick: bool) -> Plan:
    """The plan of a full or a quick reproduction.

    Args:
        reference: file of the reference networks.
        seeds: how many; a quick reproduction takes the first alone.
        quick: fewer steps.
    """
    chosen = (0,) if quick else tuple(range(seeds))
    paper = (*PAPER_OVERRIDES, *(QUICK_PAPER_OVERRIDES if quick else ()))

    def group(name: str, seed: int, variants: tuple[Variant, ...], overrides: Sequence[str]) -> HATGroup:
        return HATGroup(
            f"{name}-{seed}",
            seed,
            variants,
            PRESET,
            tuple(overrides),
            WMT14_EN_DE,
            TABLE,
            PAPER_SEARCH,
            PAPER_UNSEEN,
            quality="bleu_loss",
            reference=reference,
        )

    shorter = QUICK_OVERRIDES if quick else ()
    return Plan(
        chosen,
        quick,
        tuple(group("main", seed, (DEFAULT, AS_PUBLISHED, MEAN, AS_THEY_ARE), shorter) for seed in chosen),
        tuple(group("paper", seed, (DEFAULT,), paper) for seed in chosen),
        {},
        (),
        (),
        FACTORS,
        BASELINES,
        _notes(quick),
        ABOUT,
        EVALUATIONS,
    )


def _notes(quick: bool) -> tuple[str, ...]:
    notes = [
        "Of a search device, a search knows the latencies of 500 rows; of all devices together, 300 values of BLEU; of "
        f"the unseen device, ten rows. A baseline knows BLEU and latency of {EVALUATIONS} networks on each device, 300 "
        "in all.",
        "Of two gradients divided by their norms, the point of least norm between them is the mean, whatever they are. "
        "So MGD over 2 devices, as published, is the mean of the two.",
        "The paper's combination learns from the same surrogate of BLEU instead of a supernet; its estimator, "
        "scalarization, hypernetwork and learning rates are the paper's, its 10,000 steps a quarter of the published "
        "ones. In the published code the loss has neither preference nor latency: that is an ablation of the default.",
        "Published networks carry the latencies that the judge tells, not those that were published with them.",
    ]
    if quick:
        notes.append("Quick: one seed and few steps.")
    return tuple(notes)
