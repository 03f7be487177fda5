"""The command line: search, pick, report, reproduce, baselines, bench, data, doctor."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modnas_fast.cli_baselines import baselines
from modnas_fast.cli_bench import add_to as add_bench_to
from modnas_fast.cli_data import data_app
from modnas_fast.cli_reproduce import reproduce
from modnas_fast.errors import InputError
from modnas_fast.terminal_table import show

if TYPE_CHECKING:
    from modnas_fast.config import Config
    from modnas_fast.progress import Reporter
    from modnas_fast.stages import StagedRun
    from modnas_fast.stopping import Stopper

app = typer.Typer(
    name="modnas-fast",
    help="One search, many devices: the Pareto set of networks for each (MODNAS).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data", help="Benchmark data: list, fetch, verify, convert.")


def main() -> None:
    """Runs the command line; bad input ends with a line for each fault and exit status 2."""
    from modnas_fast.stopping import Stopped

    try:
        app(prog_name="modnas-fast")
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'file system'}: {error.strerror or error}")
    except Stopped as stop:
        sys.exit(128 + stop.signal_number)


def _fail(message: str) -> None:
    for line in message.splitlines():
        print(f"modnas-fast: {line}", file=sys.stderr)
    sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        from modnas_fast import __version__

        print(f"modnas-fast {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def search(
    data: Annotated[
        str | None,
        typer.Option(
            help="Images: a folder with one sub-folder per class, or image parquet (file or folder). "
            "Default: scikit-learn's digits, embedded."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Named starting point: digits, images (the default with --data) and cifar10-small, both with --data; on "
            "NAS-Bench-201 and its tables of devices: nb201 (no images), nb201-supernet and nb201-paper (with --data "
            "cifar10/)."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with changes to the preset.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as search.steps=200. Repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. Default 0.")] = None,
    verify: Annotated[
        int | None, typer.Option(metavar="K", help="Networks to train from scratch and measure. 0: none.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/DATA-001, -002, …")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue the run in this folder where it stopped.")
    ] = None,
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="Measure this machine anew instead of using cached latencies.")
    ] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the resolved configuration as YAML and exit.")
    ] = False,
) -> None:
    """Measure this machine, search, and write the answer and its report to a run folder.

    Without arguments: the embedded digits, offline, in under five minutes on two cores.

    With devices.table, no machine is measured: costs come from a table, help (27 devices), hw-nas-bench-360 or a
    CSV or parquet file of yours with columns architecture, device, latency_ms, and the answer is judged by the true
    errors of NAS-Bench-201. `modnas-fast data fetch nb201` brings the tables; --preset nb201 takes about a minute.

    Examples:

      modnas-fast search

      modnas-fast search --data photos/ --seed 1 --verify 6

      modnas-fast search --preset cifar10-small --data cifar10/ --set search.steps=1000

      modnas-fast search --preset nb201

      modnas-fast search --preset nb201 --set devices.search=[pixel3,gold_6240] --set devices.unseen=[fpga]

      modnas-fast search --preset nb201 --set devices.table=my-devices.csv

      modnas-fast search --preset nb201-supernet --data cifar10/

      modnas-fast search --resume runs/digits-001
    """
    from modnas_fast.config import make_config, to_yaml, with_absolute_paths
    from modnas_fast.runfolder import create_numbered_run, create_run, discard_unstarted, open_run

    if resume is not None:
        if any(value is not None for value in (data, preset, config, set_, seed, verify, out)):
            raise InputError("--resume: a run keeps its configuration; no other setting goes with --resume")
        folder = resume.expanduser()
        configuration = open_run(folder)
    else:
        folder = out and out.expanduser()
        sections = _command_line_sections(data, seed, verify)
        configuration = with_absolute_paths(
            make_config(preset=preset, file=config and config.expanduser(), overrides=set_ or (), **sections)
        )
        if show_config:
            print(to_yaml(configuration), end="")
            return
    _refuse_on_tables(configuration, verify=bool(verify), remeasure=remeasure)
    from modnas_fast.progress import Terminal
    from modnas_fast.stopping import Stopped, Stopper

    terminal, stopper = Terminal(), Stopper()
    run = _make_run(folder or Path("runs"), configuration, terminal, stopper, remeasure)
    if resume is None:
        run.check()  # before there is a folder
        name = _run_name(configuration)
        folder = create_run(folder, configuration) if folder else create_numbered_run(run.folder, name, configuration)
        run.folder = folder
    try:
        with stopper.listening():
            result = run.execute()
    except Stopped:
        terminal.say(f"Stopped. Continue with: modnas-fast search --resume {shlex.quote(str(folder))}")
        raise
    except InputError:
        if resume is None:
            discard_unstarted(folder)
        raise
    from modnas_fast.tables import summary_tables

    show(*summary_tables(result))
    if run.report_fault:
        again = f"modnas-fast report {shlex.quote(str(folder))}"
        terminal.say(f"modnas-fast: no report: {run.report_fault}. The result stands; build the report with: {again}")
        raise typer.Exit(1)
    print(f"Report: {folder / 'report.html'}")


def _refuse_on_tables(configuration: Config, **given: bool) -> None:
    """Options that mean nothing where costs come from a table."""
    for option, value in given.items():
        if value and configuration.devices.table is not None:
            raise InputError(f"--{option}: with devices.table, errors and latencies are the table's; leave it out")


def _make_run(
    folder: Path, configuration: Config, terminal: Reporter, stopper: Stopper, remeasure: bool
) -> StagedRun:
    """The stages that the configuration asks for; loads torch."""
    if configuration.devices.table is None:
        from modnas_fast.run import Run

        return Run(folder, configuration, terminal, stopper, remeasure)
    from modnas_fast.table_run import TableRun

    return TableRun(folder, configuration, terminal, stopper)


def _run_name(configuration: Config) -> str:
    """What the folder of a run is called, less its number."""
    if configuration.task.source == "surrogate":
        return configuration.space.name
    return Path(configuration.task.data or "").stem or "run"


def _command_line_sections(data: str | None, seed: int | None, verify: int | None) -> dict[str, Any]:
    """Options that stand for configuration keys."""
    sections: dict[str, Any] = {}
    if data is not None:
        sections["task"] = {"data": data}
    if seed is not None:
        sections["seed"] = seed
    if verify is not None:
        sections["verify"] = {"networks": verify}
    return sections


@app.command()
def pick(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    device: Annotated[str | None, typer.Option(help="Name of a device of the run; see --devices.")] = None,
    preference: Annotated[
        str | None, typer.Option(metavar="W1,W2", help="Weights of error and latency, such as 0.3,0.7.")
    ] = None,
    max_: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="METRIC=VALUE", help="Budget, such as latency_ms=5: least error within it."),
    ] = None,
    embedding: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A device that the run never saw: a text or JSON file with its latencies in ms of the ten reference "
            "networks (--references lists them).",
        ),
    ] = None,
    devices: Annotated[bool, typer.Option("--devices", help="List the run's devices and exit.")] = False,
    references: Annotated[
        bool, typer.Option("--references", help="List the reference networks to measure on a new device and exit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Ask a finished run for the network of a device: by preference or within a budget.

    Examples:

      modnas-fast pick runs/digits-001 --device cpu_t1_b1_fp32 --max latency_ms=0.8

      modnas-fast pick runs/digits-001 --embedding phone.txt --preference 0.3,0.7 --json
    """
    from modnas_fast.result import Result

    result = Result.load(run)
    if devices:
        return print("\n".join(f"{name}  ({d.split})" for name, d in result.devices.items()))
    if references:
        return print("\n".join(result.space.references))
    if (device is None) == (embedding is None):
        raise InputError("pick: give either --device NAME or --embedding FILE (--devices lists the run's devices)")
    target = device if embedding is None else _unseen_device(embedding, len(result.space.references))
    chosen = result.pick(target, preference=_weights(preference), max=_budget(max_))
    if as_json:
        answer = {"device": chosen.device, "architecture": chosen.text, **chosen.predicted, "error": chosen.error}
        return print(json.dumps(answer))
    print(chosen.text)
    print(f"device               {chosen.device}")
    latency = "latency (table)" if chosen.tabulated else "predicted latency"
    print(f"{latency:<21}{chosen.predicted['latency_ms']:.4g} ms")
    error = "supernet error" if result.error_kind == "inherited" else "true error"
    print(f"{error:<21}" + ("not evaluated" if chosen.error is None else f"{chosen.error:.2f} %"))


def _weights(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--preference: wanted numbers such as 0.3,0.7, got {text!r}") from None


def _budget(texts: list[str] | None) -> dict[str, float] | None:
    if not texts:
        return None
    budget = {}
    for text in texts:
        metric, _, value = text.partition("=")
        try:
            budget[metric.strip()] = float(value)
        except ValueError:
            raise InputError(f"--max: wanted METRIC=NUMBER such as latency_ms=5, got {text!r}") from None
    return budget


def _unseen_device(file: Path, count: int) -> Any:
    """The device described by a file of `count` latencies in ms: a JSON list, or numbers between blanks or commas."""
    from modnas_fast.devices import Device

    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text) if text.lstrip().startswith("[") else text.replace(",", " ").split()
        latencies = [float(value) for value in values]
    except FileNotFoundError:
        raise InputError(f"--embedding: {file} does not exist") from None
    except (ValueError, TypeError):
        raise InputError(f"--embedding: {file} must hold {count} latencies in ms, as a JSON list or plain numbers") from None
    if len(latencies) != count:
        raise InputError(f"--embedding: {file} must hold {count} latencies in ms, got {len(latencies)}")
    return Device.from_reference_latencies(file.stem, latencies, split="unseen")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Rebuild report.html and the plots of a finished run."""
    from modnas_fast.report import write_report
    from modnas_fast.run_lock import holder
    from modnas_fast.runfolder import RESULT_FILE

    run = run.expanduser()
    process = holder(run)
    if process and not (run / RESULT_FILE).exists():
        raise InputError(f"report: {run} is not finished: {process} works on it")
    print(write_report(run))


app.command()(baselines)
app.command()(reproduce)
add_bench_to(app)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False) -> None:
    """Tell versions, which implementation serves each operation and why, and how to mend what is missing."""
    from modnas_fast.doctor import diagnose, render

    diagnosis = diagnose()
    if as_json:
        print(json.dumps(diagnosis.to_dict(), indent=1))
    else:
        show(render(diagnosis))
