"""Which searches a reproduction of the NAS-Bench-201 experiments is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from modnas_fast.reproduction.trial import Group, Variant
from modnas_fast.spaces.nb201.published import HW_NAS_BENCH_360

DEFAULT = Variant("default")

#: per factor: what it is called, and its values with what they change; the default's own value changes nothing
FACTORS: dict[str, dict[str, tuple[str, ...]]] = {
    "Φ update": {
        "mgd": (),
        "mean": ("mgd.scheme=mean",),
        "sequential": ("mgd.scheme=sequential",),
        "sample": ("mgd.scheme=sample",),
    },
    "preferences": {"one per device": (), "one for all": ("preferences.shared=true",)},
    "scalarization": {
        "smooth Chebyshev": (),
        "linear": ("scalarization.kind=linear",),
        "cosine": ("scalarization.kind=cosine",),
    },
    "hypernetwork": {
        "bank": (),
        "MLP": ("hypernetwork.kind=mlp", "hypernetwork.logit_bound=8", "search.hyper_learning_rate=0.01"),
    },
    "β of the Dirichlet distribution": {"1": (), "0.3": ("preferences.beta=0.3",), "3": ("preferences.beta=3",)},
    "draws of preferences": {
        "Dirichlet": (),
        "Sobol": ("preferences.kind=sobol",),
        "adaptive": ("preferences.adaptive=true",),
    },
    "gradients of Φ": {"divided by their norm": (), "as they are": ("mgd.normalize=none",)},
    "estimator, without refinement": {
        "leave one out": ("search.steps=600", "search.refine_steps=0"),
        "ReinMax": ("search.steps=600", "search.refine_steps=0", "architect.kind=reinmax"),
        "GDAS": ("search.steps=600", "search.refine_steps=0", "architect.kind=gdas"),
    },
}
#: the factors that a quick reproduction keeps
QUICK_FACTORS = ("scalarization", "gradients of Φ")
#: the paper's combination under the surrogate, where it has no weights w to train
PAPER_OVERRIDES = ("task.source=surrogate",)
THREE_OVERRIDES = ("devices.table=hw-nas-bench-360",)
QUICK_OVERRIDES = ("predictor.steps=300", "search.steps=50", "search.refine_steps=200")
QUICK_PAPER_OVERRIDES = ("predictor.steps=300", "search.steps=300")
TRANSFER_TASKS = ("cifar100", "imagenet16-120")
#: other splits of HELP's 27 settings: 13 searched, 14 unseen
SPLITS, SPLIT_SEARCH = 5, 13
FAST_BASELINES = ("random", "random-hypernet", "local-search", "evolution")


@dataclass(frozen=True)
class About:
    """What a page tells of a plan's benchmark."""

    benchmark: str
    #: paragraphs: what is dropped, normalised and compared
    protocol: tuple[str, ...]
    #: what the default was to reach at least: mean ratios, the lowest of a device, networks per device, and how many of
    #: the published networks the front of the worst device dominates or equals
    targets: dict[str, float]
    #: what ratios are to, in words; empty: the exact front, or the table's as it is judged
    front: str = ""


NB201 = About(
    "NAS-Bench-201",
    (
        "341 of the 15,625 networks learned nothing (an error of 90 % on CIFAR-10) and are dropped. Over the "
        "remaining 15,284, error and latency are min-max normalised, latency for each device alone. The hypervolume "
        "has the reference point (1, 1); its ratio is that to the exact front, which is known because every network "
        "of the table is.",
        "MODNAS answers 24 preferences, spread evenly over the quarter circle, with the most probable network (MAP) "
        "of each; their true errors and latencies from the table make its front. On unseen devices it knows ten "
        "reference latencies and nothing else.",
        "IGD+ is the mean distance from the exact front to the one found, in normalised units; smaller is better. "
        "Networks are the distinct non-dominated ones. ± is the standard deviation over seeds.",
    ),
    {"search": 0.985, "unseen": 0.98, "lowest": 0.96, "networks": 10},
)


@dataclass(frozen=True)
class Plan:
    """The groups of searches by part, and the baselines."""

    seeds: tuple[int, ...]
    quick: bool
    main: tuple[Group, ...]
    paper: tuple[Group, ...]
    transfer: dict[str, tuple[Group, ...]]
    splits: tuple[Group, ...]
    three: tuple[Group, ...]
    factors: dict[str, dict[str, Variant]]
    baselines: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    about: About = field(default_factory=lambda: NB201)
    #: distinct networks that a baseline may ask for on each device; None: as many as MODNAS for all together
    evaluations: int | None = None

    @property
    def groups(self) -> list[Group]:
        """All groups, the longest first."""
        transfer = [group for groups in self.transfer.values() for group in groups]
        return [*self.main, *self.paper, *self.three, *transfer, *self.splits]


def make_plan(device_names: Sequence[str], baselines: Sequence[str], seeds: int, quick: bool) -> Plan:
    """The plan of a full or a quick reproduction.

    Args:
        device_names: all settings of HELP's table, from which other splits are drawn.
        baselines: names of all baselines.
        seeds: how many seeds; a quick reproduction takes the first alone.
        quick: fewer steps, seeds, factors, tasks and splits, for a look or for continuous integration.
    """
    chosen = (0,) if quick else tuple(range(seeds))
    factors = _factors(QUICK_FACTORS if quick else tuple(FACTORS))
    variants = (DEFAULT, *dict.fromkeys(v for values in factors.values() for v in values.values() if v != DEFAULT))
    shorter = QUICK_OVERRIDES if quick else ()
    paper = PAPER_OVERRIDES + (QUICK_PAPER_OVERRIDES if quick else ())
    tasks = TRANSFER_TASKS[:1] if quick else TRANSFER_TASKS
    return Plan(
        chosen,
        quick,
        tuple(Group(f"main-{seed}", seed, variants, overrides=shorter) for seed in chosen),
        tuple(Group(f"paper-{seed}", seed, (DEFAULT,), "nb201-paper", paper) for seed in chosen),
        {t: tuple(Group(f"{t}-{s}", s, (DEFAULT,), overrides=shorter, task=t) for s in chosen) for t in tasks},
        tuple(
            Group(f"split-{k}", 0, (DEFAULT,), overrides=shorter, search=search, unseen=unseen)
            for k, (search, unseen) in enumerate(_splits(device_names, 1 if quick else SPLITS))
        ),
        tuple(
            Group(
                f"three-{seed}",
                seed,
                (DEFAULT,),
                overrides=(*shorter, *THREE_OVERRIDES),
                task="cifar100",
                table=HW_NAS_BENCH_360,
                metrics=("latency", "energy"),
            )
            for seed in chosen
        ),
        factors,
        tuple(name for name in baselines if not quick or name in FAST_BASELINES),
        _notes(quick, baselines),
    )


def _factors(names: Sequence[str]) -> dict[str, dict[str, Variant]]:
    return {
        name: {value: _variant(name, value, overrides) for value, overrides in FACTORS[name].items()} for name in names
    }


def _variant(factor: str, value: str, overrides: tuple[str, ...]) -> Variant:
    if not overrides:
        return DEFAULT
    plain = "".join(c if c.isalnum() else "-" for c in f"{factor}={value}".replace("Φ", "phi").replace("β", "beta"))
    return Variant(plain, overrides)


def _splits(names: Sequence[str], count: int) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    generator = torch.Generator().manual_seed(0)
    splits = []
    for _ in range(count):
        order = [names[i] for i in torch.randperm(len(names), generator=generator).tolist()]
        splits.append((tuple(sorted(order[:SPLIT_SEARCH])), tuple(sorted(order[SPLIT_SEARCH:]))))
    return splits


def _notes(quick: bool, baselines: Sequence[str]) -> tuple[str, ...]:
    notes = [
        "Of a search device, a search knows the costs of 900 networks; of all devices together, 300 true errors; of an "
        "unseen device, the ten reference networks. A baseline knows true error and true costs of the networks that it "
        "evaluates, on each device anew.",
        "Under the surrogate the paper's combination has no supernet to train; its Φ steps, estimator, scalarization, "
        "hypernetwork and predictor are the paper's.",
    ]
    if quick:
        left = ", ".join(name for name in baselines if name not in FAST_BASELINES)
        notes.append(
            "Quick: one seed, less than half of the steps, two of the ablated factors, one further task and split; "
            f"these baselines were left out: {left}."
        )
    return tuple(notes)
