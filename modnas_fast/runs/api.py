"""`modnas_fast.search`: from a configuration to the result, in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

from modnas_fast.config import Config, find_choices, make_config, with_absolute_paths
from modnas_fast.result import Result
from modnas_fast.result.folder import (
    CONFIG_FILE,
    RESULT_FILE,
    create_numbered_run,
    create_run,
    discard_unstarted,
    open_run,
)
from modnas_fast.runs.own_images import preset_of_images, sized
from modnas_fast.runs.run import Run
from modnas_fast.runtime.agent_store import note_folder, noted_folder
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Reporter, Silent
from modnas_fast.runtime.ranks import Ranks, joined_ranks
from modnas_fast.runtime.stopping import Stopper

#: counts the searches of this process: ranks that torchrun starts anew make the same ones in the same order
_SEARCHES = count()
#: where runs are made whose folder nobody names
RUNS = Path("runs")


def search(
    config: Config | Mapping[str, Any] | Path | str | None = None,
    *,
    preset: str | None = None,
    out: Path | str | None = None,
    resume: Path | str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    remeasure: bool = False,
    budgets: Mapping[str, float] | None = None,
    reporter: Reporter | None = None,
    stopper: Stopper | None = None,
    started: Callable[[Run], None] | None = None,
    **sections: Mapping[str, Any],
) -> Result:
    """The result of a search, whose folder with report and all is `result.run`.

    Under torchrun, all ranks call this together and get the same result, where their hosts see the folder.

    Args:
        config: a whole `Config`; or what changes the preset: a mapping of sections, or a YAML file with one.
        preset: named starting point, see `modnas-fast search --help`.
        out: folder of the run, new or empty; None: runs/DATA-001, -002, …
        resume: folder of a run to continue where it stopped; nothing that changes its configuration goes with it.
        seed: of everything random.
        overrides: such as `"search.steps=200"`, the last to change the configuration.
        remeasure: forget this machine's cached latencies first.
        budgets: such as `{"latency_ms": 20}`, of one image on one thread: photos of one's own are searched with
            networks of the size whose latencies reach it.
        reporter: told of the progress; None: nobody.
        stopper: listens for SIGINT and SIGTERM while the stages run, so that a checkpoint is written first; None:
            signals are left to the caller, and Ctrl-C costs the steps since the last checkpoint.
        started: called with the run before its first stage. Its `report_fault` tells afterwards why there is no report;
            without `started`, that is a warning.
        sections: mappings of keys by section, such as `search={"steps": 200}`.

    Raises InputError with a line for each fault of the configuration and the data, mostly before anything is written.
    """
    result = search_together(
        config,
        preset=preset,
        out=out,
        resume=resume,
        seed=seed,
        overrides=overrides,
        remeasure=remeasure,
        reporter=reporter,
        stopper=stopper,
        started=started,
        budgets=budgets,
        **sections,
    )
    if isinstance(result, Path):
        if not (result / RESULT_FILE).exists():
            raise InputError(f"search: the run is done, but its folder {result} is seen by rank 0 alone; ask it there")
        return Result.load(result)
    return result


def search_together(
    config: Config | Mapping[str, Any] | Path | str | None = None,
    *,
    preset: str | None = None,
    out: Path | str | None = None,
    resume: Path | str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    remeasure: bool = False,
    reporter: Reporter | None = None,
    stopper: Stopper | None = None,
    started: Callable[[Run], None] | None = None,
    budgets: Mapping[str, float] | None = None,
    **sections: Mapping[str, Any],
) -> Result | Path:
    """As `search`; on a rank behind rank 0, whose host need not see it, the folder of the run."""
    number = next(_SEARCHES)

    def new_or_continued(ranks: Ranks) -> Run:
        """The run that this process, or the first of several, is asked for."""
        changes = {**sections, **({} if seed is None else {"seed": seed})}
        restarted = noted_folder(number)
        if restarted is not None and (Path(restarted) / CONFIG_FILE).exists():
            folder = Path(restarted)
            return Run(folder, open_run(folder), reporter, stopper, ranks=ranks)
        if resume is not None:
            if config is not None or preset is not None or out is not None or overrides or changes or budgets:
                raise InputError("resume: a run keeps its configuration; no other setting goes with --resume")
            configuration = open_run(Path(resume).expanduser())
        else:
            file = Path(config).expanduser() if isinstance(config, (str, Path)) else None
            tree = None if isinstance(config, (str, Path)) else config
            configuration = with_absolute_paths(
                make_config(
                    tree, preset=preset, file=file, overrides=overrides, preset_of_images=preset_of_images, **changes
                )
            )
            if budgets:
                configuration, line = sized(configuration, budgets)
                (reporter or Silent()).say(line)
        _refuse_needless(configuration, bool(sections.get("verify", {}).get("networks")), remeasure)
        find_choices(configuration)
        folder = Path(resume or out or RUNS).expanduser()
        run = Run(folder, configuration, reporter, stopper, remeasure, ranks)
        if resume is None:
            run.check()  # before there is a folder
            run.folder = create_run(folder, configuration) if out else _numbered(configuration)
        note_folder(number, str(run.folder.absolute()))
        return run

    with joined_ranks() as ranks:
        own: list[Run] = []

        def told() -> tuple[dict[str, Any], str]:
            own.append(new_or_continued(ranks))
            return own[0].config.model_dump(mode="json"), str(own[0].folder.absolute())

        tree, folder = ranks.from_first(told)
        if not ranks.first:
            configuration = make_config(tree)
            run = Run(Path(folder), configuration, None, stopper, ranks=ranks)
            with stopper.listening() if stopper else nullcontext():
                run.follow()
            return run.folder
        (run,) = own
        if started is not None:
            started(run)
        try:
            with stopper.listening() if stopper else nullcontext():
                result = run.execute()
        except InputError:
            if resume is None:
                discard_unstarted(run.folder)
            raise
    if run.report_fault and started is None:
        warnings.warn(f"no report: {run.report_fault}; modnas-fast report {run.folder} tries again", stacklevel=5)
    return result


def _refuse_needless(config: Config, verify: bool, remeasure: bool) -> None:
    """Options that mean nothing for what is searched."""
    if verify and config.task.table is not None:
        raise InputError(f"verify: the true errors of {config.task.table} are known (task.table); leave --verify out")
    if remeasure and config.devices.table is not None:
        raise InputError("remeasure: with devices.table, costs are the table's; leave --remeasure out")


def _numbered(config: Config) -> Path:
    """A new folder below `runs`, called after what is searched."""
    trained = config.task.kind.partition(":")[2] or Path(config.task.data or "").stem
    name = config.space.name if config.task.source == "surrogate" else trained
    return create_numbered_run(RUNS, name.replace(":", "-") or "run", config)
