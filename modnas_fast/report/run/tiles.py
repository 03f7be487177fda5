"""The key figures of a run, in boxes that stand out where a number asks for attention."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from modnas_fast.report.marks import SPLITS, duration, mean, number, percent
from modnas_fast.report.prepared import Tile, averages
from modnas_fast.report.quantities import Quantity
from modnas_fast.report.run.contents import DeviceResult, Pair, Result
from modnas_fast.report.run.limits import DEVIATION, DISTURBED, GAIN, NOISE, SPEARMAN, SPEARMAN_OF_TABLE, Limit


def tiles_of(result: Result) -> list[Tile]:
    """The key figures: those of all costs behind those of the search, and the time last."""
    splits = {split: [device for device in result.devices if device.split == split] for split in SPLITS}
    tiles = [_hypervolume_tile(group, split, result.exact_front) for split, group in splits.items() if group]
    rays = max(len(device.rays) for device in result.devices)
    on_rays = mean(device.distinct_nondominated for device in result.devices)
    networks = mean(len(device.front) for device in result.devices)
    by_rays = f"mean over devices; {number(on_rays, 1)} by {rays} rays alone"
    tiles.append(Tile("Networks per front", number(networks, 1), by_rays))
    if doubted := [device for device in result.devices if device.doubt]:
        tiles.append(_disturbed_tile(len(doubted), len(result.devices)))
    for cost in result.costs:
        if noise := {d.name: value for d in result.devices if (value := d.noise.get(cost.key)) is not None}:
            tiles.append(_noise_tile(cost, noise))
        if any(cost.key in device.predictor for device in result.devices):
            tiles.append(_spearman_tile(result, cost, splits["search"], splits["unseen"]))
        pairs = [network.pair(device, cost) for network in result.verified for device in result.devices]
        if errors := relative_errors(pairs):
            counts = f"{len(errors)} measurements of {len(result.verified)} networks"
            middle = statistics.median(errors)
            detail = f"deviation of {cost.name}, median over {counts}"
            tiles.append(_judged(Tile("Verified", percent(middle), detail), DEVIATION, middle))
    if result.seconds:
        tiles.append(Tile("Whole run", duration(sum(result.seconds.values())), "all stages, as measured"))
    return tiles


def relative_errors(pairs: Iterable[Pair | None]) -> list[float]:
    """How far predictions are from what was measured, relative, where both are known."""
    return [abs(pair.relative_error) for pair in pairs if pair is not None and pair.relative_error is not None]


def _judged(tile: Tile, limit: Limit, value: float | None, who: str = "") -> Tile:
    """The tile in the tone of a value, with the limit's advice, behind `who` is concerned, where it is not neutral."""
    tone = limit.tone(value)
    return tile._replace(tone=tone, advice=f"{who}{limit.advice}") if tone else tile


def _hypervolume_tile(group: Sequence[DeviceResult], split: str, exact_front: str) -> Tile:
    ours, random, ratio = averages(group, "hypervolume", "hypervolume_random", "hypervolume_ratio").values()
    gain = ours / random - 1 if ours is not None and random else None
    versus = f"random search {number(random)}"
    if gain is not None:
        versus += f" ({percent(gain, signed=True)})"
    if ratio is not None:
        versus += f"; {percent(ratio)} of the {exact_front}"
    tile = Tile(f"Hypervolume, {split}", number(ours), f"mean of {len(group)}; {versus}", split)
    return _judged(tile, GAIN, -1.0 if ours == 0 else gain)  # nothing is gained without anything found


def _disturbed_tile(doubted: int, devices: int) -> Tile:
    tile = Tile("Not trustworthy", f"{doubted} of {devices}", "devices were measured while disturbed, marked below")
    return _judged(tile, DISTURBED, doubted / devices)


def _noise_tile(cost: Quantity, noise: dict[str, float]) -> Tile:
    """That of the noisiest device beside the median over all of them."""
    most = max(noise, key=lambda name: noise[name])
    detail = f"{cost.name} on {most}, the noisiest; median {percent(statistics.median(noise.values()))}"
    return _judged(Tile("Noise", percent(noise[most]), detail), NOISE, noise[most])


def _spearman_tile(result: Result, cost: Quantity, *splits: Sequence[DeviceResult]) -> Tile:
    """The mean over search devices, in the tone of the device that is predicted worst."""
    merits = [[d.predictor[cost.key] for d in group if cost.key in d.predictor] for group in splits]
    search, unseen = (mean(merit.spearman for merit in group) for group in merits)
    networks = max((merit.networks or 0 for group in merits for merit in group), default=0)
    judged_on = f"{networks} held-out networks" if networks and not result.exhaustive else result.judged_on
    beside = f"; unseen {number(unseen)}" if unseen is not None else ""
    known = {d.name: d.predictor[cost.key].spearman for group in splits for d in group if cost.key in d.predictor}
    ranked = sorted((value, name) for name, value in known.items() if value is not None)
    tile = Tile("Predictor, Spearman", number(search), f"{cost.name}, search devices, on {judged_on}{beside}")
    limit = SPEARMAN_OF_TABLE if result.exhaustive else SPEARMAN
    return _judged(tile, limit, ranked[0][0], f"{ranked[0][1]} {number(ranked[0][0])}: ") if ranked else tile
