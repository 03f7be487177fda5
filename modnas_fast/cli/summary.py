"""The short summary of a run on the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from rich.console import RenderableType

from modnas_fast.result import Result
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.terminal_table import Column, FittedTable, WholeLine


def summary_tables(result: Result) -> list[RenderableType]:
    """A table of devices, and where there are any one of verified networks with a line for each behind it."""
    parts: list[RenderableType] = [_device_table(result)]
    if result.content["verified"]:
        parts.append(_verified_table(result))
        parts += [
            WholeLine(f"{_number(entry, number)}  {entry['architecture']}")
            for number, entry in enumerate(result.content["verified"], 1)
        ]
    return parts + _distrust(result)


def budget_tables(result: Result, budgets: Mapping[str, float]) -> list[RenderableType]:
    """The network of least quality within the budgets for every device, and how to ask for more of it."""
    asked = " ".join(f"--max {key}={value:g}" for key, value in budgets.items())
    columns = [
        Column("device"),
        Column(f"{result.quality_kind} {result.quality.name}", right=True),
        *(Column(cost.name, right=True) for cost in result.costs),
        Column("network", rank=1),
    ]
    rows = []
    for name in result.devices:
        try:
            pick = result.pick(name, max=budgets)
        except InputError:  # nothing of it is within
            rows.append([name, "none within", *("–" for _ in result.costs), ""])
            continue
        costs = [f"{cost.value:.4g} {cost.unit} ({cost.source})" for cost in pick.costs.values()]
        rows.append([name, f"{pick.quality:.4g} {result.quality.unit}".rstrip(), *costs, pick.text])
    title = f"Within {', '.join(f'{key} {value:g}' for key, value in budgets.items())}: the least {result.quality.name}"
    more = f"modnas-fast pick {shlex.quote(str(result.run))} --device NAME {asked} --verify 5"
    return [FittedTable(columns, rows, title), WholeLine(f"Measured before it is promised: {more}")]


def _distrust(result: Result) -> list[RenderableType]:
    """A line on the devices whose measurements are not trustworthy, where there are any."""
    found = [f"{entry['name']} ({why})" for entry in result.content["devices"] if (why := _why_not(entry))]
    remedy = "--remeasure measures again, best on a machine without other work"
    return [WholeLine(f"not trustworthy: {'; '.join(found)}. {remedy}")] if found else []


def _why_not(entry: dict[str, Any]) -> str:
    """Why measurements on a device are not trustworthy; empty where they are, or where nothing was measured."""
    return "; ".join(trust["why"] for trust in entry.get("trust", {}).values() if not trust["trustworthy"])


#: place in a device's entry: heading, format, rank
Styles = dict[tuple[str, ...], tuple[str, str, int]]


def _styles(result: Result) -> Styles:
    """The columns that may be shown; with several costs, those of each cost name it."""
    keys = [cost.key for cost in result.asked_of_devices]
    names = {cost.key: f" {cost.name}" if len(keys) > 1 else "" for cost in result.asked_of_devices}
    measures = result.content.get("measures", {}).get("names", [])
    asked = result.content.get("baselines", {}).get("networks")
    searches = result.content["devices"][0].get("baselines", {})
    return {
        **{("predictor", key, "spearman"): (f"Spearman{names[key]}", ".3f", 4) for key in keys},
        **{("noise", key): (f"noise{names[key]}", ".1%", 5) for key in keys},
        ("hypervolume",): ("MODNAS", ".4f", 0),
        ("hypervolume_random",): ("random", ".4f", 1),
        ("hypervolume_front",): ("MODNAS, all", ".4f", 2),
        **{("baselines", name, "hypervolume"): (f"{name}, {asked}", ".4f", 1) for name in searches},
        ("hypervolume_ratio",): ("of judged" if result.quality_kind == "judged" else "of exact", ".1%", 1),
        ("hypervolume_front_ratio",): ("all, of it", ".1%", 3),
        ("hypervolume_ratio_measured",): ("of measured", ".1%", 3),
        ("front_networks",): ("networks", "d", 3),
        ("region_networks",): ("in regions", "d", 2),
        **{("least", name): (f"least {name}", ".2f", 4) for name in measures},
    }


def _at(entry: dict[str, Any], place: tuple[str, ...]) -> Any:
    """What stands at a place of nested mappings, or None."""
    found: Any = entry
    for key in place:
        found = (found or {}).get(key)
    return found


def _marked(entry: dict[str, Any]) -> str:
    return f"{entry['name']} !" if _why_not(entry) else str(entry["name"])


def _device_table(result: Result) -> FittedTable:
    entries = result.content["devices"]
    styles = _styles(result)
    present = {place: style for place, style in styles.items() if any(_at(e, place) is not None for e in entries)}
    columns = [Column("device"), Column("split", rank=2)]
    columns += [Column(heading, rank, right=True) for heading, _, rank in present.values()]
    rows = [
        [_marked(entry), entry["split"], *(_cell(_at(entry, place), style) for place, (_, style, _) in present.items())]
        for entry in entries
    ]
    for split in ("search", "unseen"):
        of_split = [entry for entry in entries if entry["split"] == split]
        if of_split:
            means = [_mean(_at(entry, place) for entry in of_split) for place in present]
            cells = [_cell(mean, style.replace("d", ".1f")) for mean, (_, style, _) in zip(means, present.values())]
            rows.append([f"mean of {split}", split, *cells])
    return FittedTable(columns, rows, _title(result), range(len(entries), len(rows)))


def _title(result: Result) -> str:
    """What the hypervolumes are of."""
    costs = " and ".join(f"{_sources(result, cost.key)} {cost.name}" for cost in result.costs)
    kind = "" if result.quality_kind == "inherited" else f", by {result.quality_kind} {result.quality.name} and {costs}"
    return f"Hypervolume of the front per device{kind} (unseen: not part of the search)"


def _sources(result: Result, key: str) -> str:
    """Where the numbers of a cost come from; a table that has not all networks leaves some to be predicted."""
    rays = [ray for entry in result.content["devices"] for ray in entry["rays"]]
    return " or ".join(sorted({ray.get("sources", {}).get(key, "predicted") for ray in rays}, reverse=True))


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def _cell(value: float | None, style: str) -> str:
    return "–" if value is None else format(value, style)


def _verified_table(result: Result) -> FittedTable:
    quality, measured = result.quality, [cost for cost in result.costs if _ratios(result, cost.key)]
    measures = list(result.content["verified"][0].get("measures", {}))
    columns = [
        Column("network"),
        Column(f"supernet {quality.name}", rank=2, right=True),
        Column(f"test {quality.name}", right=True),
        *(Column(name, right=True) for name in measures),
        *(Column(f"{cost.name}: measured / predicted", rank=1, right=True) for cost in measured),
    ]
    rows = []
    for number, entry in enumerate(result.content["verified"], 1):
        qualities = [f"{entry[kind]:.2f} {quality.unit}".rstrip() for kind in ("inherited", "test")]
        ratios = [sorted(_ratios(result, cost.key, entry)) for cost in measured]
        qualities += [_cell(entry.get("measures", {}).get(name), ".2f") for name in measures]
        rows.append(
            [_number(entry, number), *qualities, *(f"{row[0]:.2f} to {row[-1]:.2f}" if row else "–" for row in ratios)]
        )
    start = "on from the model's weights" if result.content["space"].get("begins_trained") else "from scratch"
    title = f"Verified: trained {start} and measured" if measured else f"Verified: trained {start}"
    doubtful = sum(bool(_why_not(entry)) for entry in result.content["devices"])
    if measured and doubtful:
        title += f" (not trustworthy on {doubtful} of {len(result.content['devices'])} devices)"
    return FittedTable(columns, rows, title)


def _number(entry: dict[str, Any], number: int) -> str:
    """What a verified network is called; the one that was not searched but stands beside the answers says so."""
    return "known" if entry.get("familiar") else f"n{number}"


def _ratios(result: Result, key: str, entry: dict[str, Any] | None = None) -> list[float]:
    """Measured over predicted, of a cost of one or of all verified networks on all devices where it was measured."""
    if result.content["cost_sources"][key] == "exact":
        return []
    entries = result.content["verified"] if entry is None else [entry]
    costs = [costs[key] for network in entries for costs in network["costs"].values()]
    return [cost["measured"] / cost["predicted"] for cost in costs if cost["measured"] is not None]
