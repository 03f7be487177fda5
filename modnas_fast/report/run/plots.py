"""The report's plots as PNG files: the figures of the page, device beside device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure as Canvas

from modnas_fast.report.canvas import legend_below, legend_right, one_row, panel_title, save_figures, small_multiples
from modnas_fast.report.marks import PREFERENCE_COLOURS, SPLITS, number, plain
from modnas_fast.report.run.contents import CostPredictor, DeviceResult, Result, RunContents
from modnas_fast.report.run.figures import all_figures
from modnas_fast.report.run.fronts import TRIANGLE, front_name, pairs_of
from modnas_fast.report.run.network_plots import networks_figure
from modnas_fast.report.traces import Figure

Figures = dict[str, Figure]


def write_plots(contents: RunContents, folder: Path) -> list[Path]:
    """The PNG files written to `folder`, each by rename; one that the run has nothing for is removed."""
    contents = contents.narrowed()
    result, figures = contents.result, all_figures(contents)
    plots = {
        "hypervolume.png": hypervolume_plot(figures, result),
        "mgd_weights.png": weights_plot(figures),
        "parallel.png": device_plot(figures, result, "parallel", "Networks of all rays, least values at the bottom"),
        "triangle.png": device_plot(figures, result, "triangle", "Preferences of the rays"),
        "cells.png": networks_figure(result, contents.drawings),
    }
    for place in range(len(pairs_of(result))):
        plots[numbered("fronts", place)] = fronts_plot(figures, result, place)
    for place in range(len(result.costs)):
        plots[numbered("predictor", place)] = predictor_plot(figures, contents, place)
    return save_figures(plots, folder)


def numbered(name: str, place: int) -> str:
    """The file of the figure at a place.

    >>> numbered("fronts", 0), numbered("fronts", 1)
    ('fronts.png', 'fronts_2.png')
    """
    return f"{name}_{place + 1}.png" if place else f"{name}.png"


def fronts_plot(figures: Figures, result: Result, place: int) -> Canvas:
    """Per device: front, rays coloured by preference, random search and verified networks over a pair of objectives."""
    y, x = pairs_of(result)[place]
    shown = [figures[front_name(index, place)] for index in range(len(result.devices))]
    title = f"Fronts: {plain(y.name)} over {plain(x.name)}"
    canvas = _per_device(title, result, dict(enumerate(shown)), _hypervolumes)
    if len(result.objectives) != TRIANGLE:
        preference_bar(canvas, plain(result.quality.name, 20))
    legend_below(canvas, shown)
    return canvas


def device_plot(figures: Figures, result: Result, kind: str, title: str) -> Canvas | None:
    """Per device: the figure of that kind; None where there is none, as with two objectives."""
    shown = {i: figures[f"{kind}-{i}"] for i in range(len(result.devices)) if f"{kind}-{i}" in figures}
    canvas = _per_device(title, result, shown, _networks) if shown else None
    if canvas is not None and len(result.objectives) != TRIANGLE:
        preference_bar(canvas, plain(result.quality.name, 20))
    return canvas


def hypervolume_plot(figures: Figures, result: Result) -> Canvas | None:
    """Hypervolume over search steps, search and unseen devices apart; None where none was logged."""
    if (figure := figures.get("hypervolume")) is None:
        return None
    splits = [split for split in SPLITS if any(device.split == split for device in result.devices)]
    panels = [
        figure | {"data": [trace for trace in figure["data"] if result.devices[trace["meta"]].split == split]}
        for split in splits
    ]
    titles = [f"{split} devices (open diamonds: random search)" for split in splits]
    canvas = one_row(panels, titles, (4.6, 4.0), sharey=True)
    legend_right(canvas, panels)
    return canvas


def weights_plot(figures: Figures) -> Canvas | None:
    """The stacked weights of multiple gradient descent over search steps; None where none were logged."""
    if not (figure := figures.get("mgd-weights", {"data": []}))["data"]:
        return None
    canvas = one_row([figure], ["Weights of multiple gradient descent"], (5.6, 3.8))
    legend_right(canvas, [figure])
    return canvas


def predictor_plot(figures: Figures, contents: RunContents, place: int) -> Canvas | None:
    """Per device: predicted over measured costs; None without predictions of the cost at this place."""
    result, predictor, cost = contents.result, contents.predictor, contents.result.costs[place]
    names = {index: f"predictor-{index}-{place}" for index in range(len(result.devices))}
    shown = {index: figures[name] for index, name in names.items() if name in figures}
    if predictor is None or not shown:
        return None

    def second(device: DeviceResult) -> str:
        part = predictor.of(device, cost) or CostPredictor()
        return f"Spearman {number(part.spearman)}, {part.judged_networks} networks"

    return _per_device(f"Predictor of {plain(cost.name)} on {result.judged_on}", result, shown, second)


def _per_device(title: str, result: Result, shown: dict[int, Figure], second: Callable[[DeviceResult], str]) -> Canvas:
    if result.left_out:
        every = len(result.devices) + result.left_out
        title += f": of {every} devices the {len(result.devices)} with the least hypervolume"
    panels = []
    for index, figure in shown.items():
        device = result.devices[index]
        panels.append((panel_title(device.name, device.unseen, second(device)), device.unseen, figure))
    return small_multiples(title, panels)


def _hypervolumes(device: DeviceResult) -> str:
    return f"hypervolume {number(device.hypervolume)}, random {number(device.hypervolume_random)}"


def _networks(device: DeviceResult) -> str:
    return f"{len(device.rays)} rays, {len(device.front)} networks on the front"


def preference_bar(canvas: Canvas, quality: str) -> None:
    """What the rays' colours mean, to the right of all axes."""
    scale = ScalarMappable(Normalize(0, 1), LinearSegmentedColormap.from_list("preference", PREFERENCE_COLOURS))
    bar = canvas.colorbar(scale, ax=list(canvas.axes), location="right", aspect=30)
    bar.set_label(f"weight of {quality} in the preference", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
