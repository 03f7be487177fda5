"""The untrained hypernetwork: what a MetaHypernetwork answers before it has learned anything (the paper's RHPN)."""

from __future__ import annotations

import torch

from modnas_fast.baselines.problem import Problem
from modnas_fast.method.metahypernet import make_metahypernet
from modnas_fast.method.preferences import rays

#: preferences per hypernetwork, the published evaluation's
RAYS = 24


def random_hypernetwork(problem: Problem, seed: int) -> None:
    """Evaluates the most probable networks of 24 preferences, one untrained hypernetwork after the other.

    The first 24 preferences are the paper's baseline; a larger budget takes hypernetworks of further weights. The
    scale of the weights has no influence, as a most probable option stays so under any scale.
    """
    generator = torch.Generator().manual_seed(seed)
    r = rays(RAYS, problem.num_objectives)
    d = problem.embedding.expand(RAYS, -1)
    while problem.left:
        hypernet = make_metahypernet(
            "bank" if problem.num_objectives == 2 else "mlp",
            problem.space.num_options,
            problem.num_objectives,
            d.shape[-1],
            generator=generator,
        )
        with torch.no_grad():
            networks = problem.space.indices(hypernet(r, d)).tolist()
        for network in networks:
            if problem.left or problem.knows(network):
                problem.evaluate(network)
