"""What a configuration names: the source of the costs, and the truth that judges the answer where one is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from modnas_fast.config import Config
from modnas_fast.devices import MachineCosts, Profiler, machine_settings, plan_campaign
from modnas_fast.devices.analytic import has_formula
from modnas_fast.devices.cost_source import CostSource
from modnas_fast.devices.formula_costs import Anywhere, WithFormulas
from modnas_fast.devices.machine import native_formats
from modnas_fast.devices.machine_costs import LATENCY
from modnas_fast.devices.metric import ExactCosts, find_metric, is_metric
from modnas_fast.devices.part_costs import PartCosts
from modnas_fast.devices.row_costs import RowCosts
from modnas_fast.devices.table import check_devices, load_costs, usual_split
from modnas_fast.devices.table_costs import TableCosts
from modnas_fast.runtime.choices import METRICS
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.objective import Objective, costs_of
from modnas_fast.spaces import SearchSpace
from modnas_fast.spaces.published import CostTable, Truth
from modnas_fast.spaces.rows import RowTable

NO_BFLOAT16 = (
    "no setting in bfloat16: this machine's CPU has no instructions for it; devices.formats=[float32,bfloat16] "
    "measures it all the same"
)


def make_source(
    config: Config,
    space: SearchSpace,
    profiler: Callable[[str], Profiler],
    network: Callable[[], dict[str, Any]],
    timed: Sequence[str] = (LATENCY,),
) -> CostSource:
    """Where the costs among `config.objectives` come from: a table or this machine, and metrics for what is exact.

    Args:
        config: the run's configuration.
        space: the search space.
        profiler: makes what measures a cost on this machine; called when it does.
        network: gives what `space.build` and `space.analytic` are told of the networks; called when a metric is asked.
        timed: costs that this machine can measure of the task's networks.

    Raises InputError for a cost that nobody gives, for two of one name, and for devices that are not there.
    """
    exact = {name: find_metric(name).name for name in config.objectives[1:] if is_metric(name)}
    costs = [exact.get(name, name) for name in config.objectives[1:]]
    _check_distinct([config.objectives[0], *costs])
    of_devices = [name for name in config.objectives[1:] if name not in exact]
    if of_devices:
        source = _source_of_devices(config, space, profiler, of_devices, list(exact.values()), timed)
    else:
        learns = not all(has_formula(space, name) for name in costs)
        source = Anywhere(space, config.devices.networks if learns else 0, config.seed)
    if exact:
        source = WithFormulas(source, costs, ExactCosts(space, list(exact), network))
    _check_distinct([config.objectives[0], *(cost.key for cost in costs_of(source.metrics))])
    return source


def _check_distinct(names: Sequence[str]) -> None:
    """Refuses objectives that go by one name or key."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"objectives: two are called {name}; give one of them another name")


def _source_of_devices(
    config: Config,
    space: SearchSpace,
    profiler: Callable[[str], Profiler],
    costs: Sequence[str],
    exact: Sequence[str],
    timed: Sequence[str],
) -> CostSource:
    """The source of `costs`, beside those that are exact."""
    options = config.devices
    if options.table is not None and is_part_table(options.table):
        return _source_of_parts(config, space, options.table, costs)
    if options.table is not None:
        table = load_costs(options.table, space)
        _check(costs, table.metrics, f"the table {options.table}")
        _check_columns(exact, table, options.table)
        table = table.select(costs)
        unseen = None if options.unseen == "auto" else options.unseen
        search, unseen = usual_split(table, options.table, space, options.search, unseen)
        if isinstance(table, RowTable):
            name, seed = _short(options.table), config.seed + 2
            return RowCosts(space, table, name, search, unseen, networks=options.networks, seed=seed)
        table = _in_order(table, space, config.task.table)
        return TableCosts(
            space,
            table,
            _short(options.table),
            search,
            unseen,
            networks=options.networks,
            heldout=options.heldout,
            seed=config.seed + 2,
            published=is_published(options.table, space),
        )
    _check(costs, timed, "this machine")
    plan = partial(plan_campaign, networks=options.networks, heldout=options.heldout, seed=config.seed)
    formats = native_formats() if options.formats == "auto" else options.formats
    notes = [NO_BFLOAT16] if options.formats == "auto" and "bfloat16" not in formats else []
    return MachineCosts(plan(space, machine_settings(formats=formats), options.unseen), profiler, costs, notes)


def is_part_table(table: str) -> bool:
    """Whether a table is one of parts of networks: a YAML file, or a folder with some."""
    return Path(table).suffix in (".yaml", ".yml") or Path(table).is_dir()


def _source_of_parts(config: Config, space: SearchSpace, name: str, costs: Sequence[str]) -> CostSource:
    """The source of `costs` by a table of parts."""
    options = config.devices
    if not Path(name).exists():
        raise InputError(f"devices.table: there is no {name}")
    table = space.part_table(Path(name))
    if table is None:
        raise InputError(f"devices.table: space {space.name} reads no table of parts of its networks, got {name!r}")
    _check(costs, table.metrics, f"the table {name}")
    unseen = () if options.unseen == "auto" else options.unseen
    search = [device for device in table.devices if device not in unseen] if options.search is None else options.search
    check_devices(table.devices, search, unseen)
    return PartCosts(space, table, _short(name), costs, search, unseen, networks=options.networks, seed=config.seed + 2)


def is_published(table: str, space: SearchSpace) -> bool:
    """Whether a name is that of a published table of the space, which is counted."""
    return space.published is not None and table in space.published.tables


def _in_order(table: CostTable, space: SearchSpace, task: str | None) -> CostTable:
    """A table of all networks with its rows as the truth has them: the same numbers give the same search."""
    if task is None or space.published is None or task not in space.published.tasks:
        return table
    texts = space.published.truth(task).architectures
    return table.in_order(texts) if set(texts) == set(table.architectures) else table


def _short(table: str) -> str:
    """A table's name without the folders of a file."""
    return Path(table).name


def _check(costs: Sequence[str], given: Sequence[str] | dict[str, str], by: str) -> None:
    for name in costs:
        if name not in given:
            raise InputError(
                f"objectives: {by} gives no {name!r}; it gives {', '.join(given)}, and networks have "
                f"{', '.join(METRICS.names)}, or what a package.module:object of yours counts"
            )


def _check_columns(exact: Sequence[str], table: CostTable | RowTable, name: str) -> None:
    """Refuses a table whose numbers of an exact cost would be left out in silence."""
    for metric in exact:
        if metric in table.metrics:
            raise InputError(
                f"objectives: {metric} is counted from the networks, and the table {name} has a column of it; call the "
                f"column otherwise, such as device_{metric}"
            )


def find_truth(config: Config, space: SearchSpace) -> Truth | None:
    """The truth of `task.table`; None where none is asked for. Raises InputError where none is known."""
    name = config.task.table
    if name is None:
        return None
    known = space.published.tasks if space.published else ()
    if name not in known or space.published is None:
        names = f"wanted one of {', '.join(known)}" if known else f"nothing is published of space {space.name}"
        raise InputError(f"task.table: {names}, got {name!r}{'' if known else space.unpublished}")
    return space.published.truth(name)


def check_quality(config: Config, quality: Objective) -> None:
    """Raises InputError where the first objective is not the task's quality."""
    if config.objectives[0] != quality.name:
        raise InputError(
            f"objectives: the first is the task's quality, {quality.name!r}, then costs; got "
            f"{', '.join(config.objectives)}"
        )
