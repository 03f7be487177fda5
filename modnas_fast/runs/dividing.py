"""How the ranks of a run divide the work with its supernet, and that all of them work on the same data."""

from __future__ import annotations

import json
import platform
from typing import Any

from modnas_fast.config import Config
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.mesh import Mesh, make_mesh, shape_of_mesh
from modnas_fast.runtime.progress import Reporter
from modnas_fast.runtime.ranks import Ranks
from modnas_fast.tasks.task_objective import SupernetObjective


def mesh_of_run(inputs: Inputs, ranks: Ranks, reporter: Reporter, continued: bool) -> Mesh:
    """The mesh that `search.mesh` asks for; all ranks call this together, and load the task for it.

    Args:
        inputs: of the run.
        ranks: of the run.
        reporter: told what `auto` chose.
        continued: whether the run was begun before, perhaps by another number of ranks: a mesh that does not fit these
            is chosen anew then.
    """
    batch = inputs.config.search.batch_size
    if inputs.trains:
        _check_same_task(inputs, ranks)
        batch = min(batch, inputs.task.size("train"), inputs.task.size("validation"))
    searched = list(inputs.source.splits.values()).count("search")
    searched = min(searched, inputs.config.search.devices_per_step or searched)
    wanted = inputs.config.search.mesh

    def chosen() -> list[int]:
        try:
            return list(shape_of_mesh(wanted, ranks.size, searched, batch))
        except InputError as error:
            if not continued:
                raise
            reporter.say(f"  note: {error}; this run goes on with auto")
            return list(shape_of_mesh("auto", ranks.size, searched, batch))

    devices, data = ranks.from_first(chosen)
    if ranks.joined:
        reporter.say(f"Ranks: {ranks.size}; {devices} divide the devices, {data} the minibatches")
    return make_mesh((devices, data), ranks, inputs.device.type if inputs.trains else "cpu")


def _check_same_task(inputs: Inputs, ranks: Ranks) -> None:
    """Raises InputError where a rank's data is not that of rank 0."""
    here: dict[str, Any] = ranks.together(lambda: json.loads(json.dumps(inputs.task.description())))
    first = ranks.from_first(lambda: here)

    def compare() -> None:
        if here != first:
            raise InputError(
                f"task.data: on {platform.node()} it is not what rank 0 has, with {here['sizes']} samples in place of "
                f"{first['sizes']}; give all hosts the same files"
            )

    ranks.together(compare)


def make_objective(inputs: Inputs, mesh: Mesh, reporter: Reporter) -> SupernetObjective:
    """The task objective of a run that trains w; notes what of it depends on the number of ranks."""
    config: Config = inputs.config
    objective = SupernetObjective(config, inputs.space, inputs.task, mesh=mesh)
    supernet = objective.supernet
    for note in supernet.notes:
        reporter.say(f"  note: {note}")
    own = mesh.data > 1 and config.search.batch_norm == "whole" and not supernet.shares_statistics
    if own and any(name.endswith("running_mean") for name, _ in supernet.named_buffers()):
        reporter.say(
            f"  note: {type(supernet).__name__} takes batch statistics of each rank's part of a minibatch, whatever "
            "search.batch_norm says; with ranks for the devices alone (search.mesh) they would be those of the whole"
        )
    return objective
