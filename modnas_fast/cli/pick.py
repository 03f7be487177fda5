"""`modnas-fast pick`: the network for a device, from a finished run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modnas_fast.cli.budgets import budget_of
from modnas_fast.runtime.errors import InputError

if TYPE_CHECKING:
    from modnas_fast.devices import Device
    from modnas_fast.result import Pick, Result

#: words around the name of a cost, by its source
COST = {
    "measured": "measured {}",
    "tabulated": "{} (table)",
    "predicted": "predicted {}",
    "judged": "judged {}",
    "exact": "{}",
}
QUALITY = {"inherited": "supernet {}", "true": "true {}", "judged": "judged {}"}


def pick(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    device: Annotated[str | None, typer.Option(help="Name of a device of the run; see --devices.")] = None,
    preference: Annotated[
        str | None, typer.Option(metavar="W1,W2", help="Weights of the objectives in their order, such as 0.3,0.7.")
    ] = None,
    max_: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="METRIC=VALUE",
            help="Budget, such as latency_ms=5: least error within it. Repeatable, for several costs.",
        ),
    ] = None,
    known: Annotated[
        bool,
        typer.Option(
            "--known",
            help="With --preference: the best of the networks on the device's front, not the hypernetwork's answer; "
            "more weight on an objective then never makes it worse.",
        ),
    ] = False,
    embedding: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A device that the run never saw: a text or JSON file with its latencies in ms of the ten reference "
            "networks (--references lists them); with several costs, a JSON object of lists by cost.",
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="With --max: the K best within the budget, not one.")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="With --max, such as 0.9: predicted costs are bounded so that so many networks are within the budget.",
        ),
    ] = None,
    verify: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help="With --max: measure the K best on this machine first, correct predictions with them, and pick again.",
        ),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --verify: what measure.py of a kit wrote on the device.")
    ] = None,
    devices: Annotated[bool, typer.Option("--devices", help="List the run's devices and exit.")] = False,
    references: Annotated[
        bool, typer.Option("--references", help="List the reference networks to measure on a new device and exit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """Ask a finished run for the network of a device: by preference or within budgets.

    A cost is the measured one where the network was measured on the device, else that of the run's table, else
    predicted; the answer says which, whether a prediction is extrapolated, and where measurements are not trustworthy.

    Examples:

      modnas-fast pick runs/digits-001 --device cpu_t1_b1_fp32 --max latency_ms=0.8

      modnas-fast pick runs/digits-001 --device cpu_t1_b1_fp32 --max latency_ms=0.8 --top 10 --csv

      modnas-fast pick runs/digits-001 --device cpu_t1_b1_fp32 --max latency_ms=0.8 --confidence 0.9

      modnas-fast pick runs/digits-001 --device cpu_t1_b1_fp32 --max latency_ms=0.8 --verify 5

      modnas-fast pick runs/digits-001 --embedding phone.txt --preference 0.3,0.7 --json
    """
    from modnas_fast.cli.records import as_csv
    from modnas_fast.result import Result

    if csv and as_json:
        raise InputError("pick: give either --csv or --json")
    result = Result.load(run)
    if devices:
        return _list_devices(result, as_json)
    if references:
        texts = list(result.references)
        return print(json.dumps(texts) if as_json else "\n".join(texts))
    target = _target(result, device, embedding)
    weights, budget = weights_of(preference), budget_of(max_)
    if (weights is None) == (budget is None):
        raise InputError("pick: give either --preference W1,W2 or --max METRIC=VALUE")
    if known and weights is None:
        raise InputError("--known: goes with --preference")
    if top is not None and budget is None:
        raise InputError("--top: goes with --max; a preference has one network")
    if results is not None and verify is None:
        raise InputError("--results: goes with --verify K; devices add makes a device of a kit's values")
    if verify is not None:
        alone = top is None and confidence is None and not csv
        return _verified(run, device, budget, verify, results, alone, as_json)
    if confidence is not None:
        return _confident(result, device, budget, confidence, top is not None or csv, as_json)
    try:
        if budget is not None and top is not None:
            chosen = result.top(target, max=budget, count=top)
        else:
            chosen = [result.pick(target, preference=weights, max=budget, known=known)]
    except InputError as error:
        raise on_the_command_line(error) from None
    if csv:
        print(as_csv([pick.to_record() for pick in chosen]), end="")
    elif as_json:
        print(json.dumps([pick.to_dict() for pick in chosen] if top is not None else chosen[0].to_dict()))
    else:
        print("\n\n".join(_in_words(pick, result) for pick in chosen))


def _verified(
    run: Path,
    device: str | None,
    budget: dict[str, float] | None,
    count: int,
    results: Path | None,
    alone: bool,
    as_json: bool,
) -> None:
    """Prints the network that is within the budget when the best were measured."""
    from modnas_fast.cli.verified import in_words, verified
    from modnas_fast.result import Result

    try:
        found = verified(run, device, budget, count, results, alone)
    except InputError as error:
        raise on_the_command_line(error) from None
    if as_json:
        return print(json.dumps(found.to_dict()))
    print(_in_words(found.pick, Result.load(run)))
    print("\n".join(_line(*pair) for pair in in_words(found, budget or {})))


def _confident(
    result: Result, device: str | None, budget: dict[str, float] | None, confidence: float, more: bool, as_json: bool
) -> None:
    """Prints the network that is within the budget with a confidence."""
    from modnas_fast.result.confident import confident_pick

    if budget is None or device is None or more:
        raise InputError("--confidence: goes with --device and --max, without --top and --csv")
    try:
        found = confident_pick(result, device, budget, confidence)
    except InputError as error:
        raise on_the_command_line(error) from None
    if as_json:
        return print(json.dumps(found.to_dict()))
    print(_in_words(found.pick, result))
    for key, bound in found.bounds.items():
        count, factor = found.held_out.get(key, (0, 1.0))
        why = f"{confidence:g} of cases, {factor:.3f} of the prediction, by {count} networks" if count else "known"
        print(_line(f"{key} at most", f"{_number_of(bound)} ({why})"))


def _list_devices(result: Result, as_json: bool) -> None:
    if as_json:
        entries = [{"name": d.name, "split": d.split, "metrics": d.metrics} for d in result.devices.values()]
        return print(json.dumps(entries))
    print("\n".join(f"{name}  ({device.split})" for name, device in result.devices.items()))


def _target(result: Result, device: str | None, embedding: Path | None) -> Device:
    """The device asked about. Raises InputError where there is none, two, or one that the run does not know."""
    if (device is None) == (embedding is None):
        raise InputError("pick: give either --device NAME or --embedding FILE (--devices lists the run's devices)")
    if embedding is not None:
        return _unseen_device(embedding, result)
    try:
        return result.device(device or "")
    except InputError as error:
        raise on_the_command_line(error) from None


def on_the_command_line(error: InputError) -> InputError:
    """The same error with the argument of `Result.pick` that it names written as an option: they share names."""
    text = str(error)
    return InputError(f"--{text}" if text.startswith(("device:", "preference:", "max:", "confidence:")) else text)


def _in_words(chosen: Pick, result: Result) -> str:
    lines = [chosen.text, _line("device", chosen.device)]
    for objective in result.costs:
        cost = chosen.costs[objective.key]
        lines.append(_line(COST[cost.source].format(objective.name), f"{_number_of(cost.value)} {cost.unit}"))
        if cost.extrapolated:
            lines.append(_line("", "extrapolated: outside the range in which the predictor was judged"))
        if cost.doubt:
            lines.append(_line("", f"not trustworthy: {cost.doubt}"))
    unit = chosen.objective.unit
    quality = "not evaluated" if chosen.quality is None else f"{chosen.quality:.2f} {unit}"
    lines.append(_line(QUALITY[chosen.quality_kind].format(chosen.objective.name), quality))
    lines += [_line(f"inherited {name}", f"{value:.2f}") for name, value in chosen.measures.items()]
    return "\n".join(lines)


def _line(words: str, value: str) -> str:
    return f"{words:<21}{value}".rstrip()


def _number_of(value: float) -> str:
    """Four digits; whole numbers such as counts of parameters as they are.

    >>> _number_of(1.23456), _number_of(1073466.0)
    ('1.235', '1,073,466')
    """
    return f"{value:,.0f}" if value.is_integer() and value >= 1000 else f"{value:.4g}"


def weights_of(text: str | None) -> list[float] | None:
    """Numbers of an option such as 0.3,0.7; None for none. Raises InputError for others."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--preference: wanted numbers such as 0.3,0.7, got {text!r}") from None


def _unseen_device(file: Path, result: Result) -> Device:
    """The device described by a file: a list of costs of the reference networks, or a JSON object of such by cost."""
    from modnas_fast.runtime.files import read_text

    keys = [cost.key for cost in result.asked_of_devices]
    if not keys:
        raise InputError(
            f"--embedding: {', '.join(cost.key for cost in result.costs)} are the same on every device; use --device "
            f"{next(iter(result.devices))}"
        )
    count = len(result.references)
    shape = f"{count} costs each of {', '.join(keys)}" if len(keys) > 1 else f"{count} {_words(result)}"
    wanted = f"--embedding: {file} must hold {shape}"
    try:
        costs = _costs(read_text(file), keys)
    except FileNotFoundError:
        raise InputError(f"--embedding: {file} does not exist") from None
    except ValueError as error:
        form = "a JSON object of lists" if len(keys) > 1 else "a JSON list or plain numbers such as 4.1"
        raise InputError(f"{wanted}, as {form}; {error}") from None
    for key, values in costs.items():
        if len(values) != count:
            raise InputError(f"{wanted}, got {len(values)}" + (f" of {key}" if len(keys) > 1 else ""))
    return result.unseen_device(file.stem, costs)


def _words(result: Result) -> str:
    """What is asked of a device, in words: `latencies in ms`."""
    (cost,) = result.asked_of_devices
    plural = f"{cost.name[:-1]}ies" if cost.name.endswith("y") else f"values of {cost.name}"
    return f"{plural} in {cost.unit}" if cost.unit else plural


def _costs(text: str, keys: list[str]) -> dict[str, list[float]]:
    """Numbers by key. Raises ValueError that tells what stands there instead."""
    if len(keys) == 1 and not text.strip().startswith("{"):
        return {keys[0]: _numbers(text)}
    try:
        values = json.loads(text)
    except ValueError:
        raise ValueError("this is no valid JSON") from None
    if not isinstance(values, dict) or set(values) != set(keys):
        if len(keys) == 1:
            raise ValueError("this is a JSON object: write its list alone")
        found = ", ".join(values) if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"wanted the keys {', '.join(keys)}, got {found}")
    return {key: [_number(value) for value in row] for key, row in values.items()}


def _numbers(text: str) -> list[float]:
    """The numbers of an embedding's file. Raises ValueError that tells what stands there instead."""
    text = text.strip()
    if not text.startswith(("[", "{")):
        tokens = text.split()
        pairs = [token.split(",") for token in tokens]
        if len(tokens) > 1 and all(len(pair) == 2 and all(part.isdigit() for part in pair) for pair in pairs):
            raise ValueError(f"write decimals with a point, not as in {tokens[0]}")
        if ";" in text:
            raise ValueError("put blanks or lines between the numbers, not semicolons, and write decimals with a point")
        return [_number(token) for token in text.replace(",", " ").split()]
    try:
        values = json.loads(text)
    except ValueError:
        raise ValueError("this is no valid JSON") from None
    if not isinstance(values, list):
        raise ValueError("this is a JSON object: write its list alone")
    return [_number(value) for value in values]


def _number(value: object) -> float:
    try:
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return float(value)
    except ValueError:
        pass
    raise ValueError(f"{value!r} is no number: leave units and words out, write decimals with a point")
