"""The report's plots as PNG files, drawn on matplotlib's Agg canvas without global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from modnas_fast.report.canvas import (
    Style,
    as_array,
    dress,
    label_grid,
    legend_columns,
    legend_right,
    new_figure,
    panel_rows,
    save_figures,
    set_scale,
    small_multiples,
)
from modnas_fast.report.cell_plots import cells_figure
from modnas_fast.report.marks import (
    MEASURED_COLOUR,
    PREFERENCE_SCALE,
    RANDOM_COLOUR,
    device_colour,
    device_symbol,
    number,
    plain,
    running_mean,
    smoothing_window,
)
from modnas_fast.report.run.contents import (
    DevicePredictor,
    DeviceResult,
    History,
    Point,
    Predictor,
    Result,
    RunContents,
)


def write_plots(contents: RunContents, folder: Path) -> list[Path]:
    """The PNG files written to `folder`, each by rename; one that the run has nothing for is removed."""
    result, history = contents.result, contents.history
    figures = {
        "fronts.png": fronts_figure(result),
        "hypervolume.png": hypervolume_figure(history, result),
        "mgd_weights.png": weights_figure(history, result),
        "predictor.png": predictor_figure(contents.predictor, result),
        "cells.png": cells_figure(result),
    }
    return save_figures(figures, folder)


def fronts_figure(result: Result) -> Figure:
    """Per device: front, rays coloured by preference, random search and verified measurements."""

    def panel(axes: Axes, index: int) -> str:
        return _front_panel(axes, result.devices[index], index)

    title = "Fronts: error over predicted latency"
    if result.tabulated:
        title = "Fronts: true error over the table's latency"
    figure, axes = small_multiples(result.devices, list(range(len(result.devices))), title, panel)
    label_grid(axes, "latency (ms)", "error (%)")
    weight = f"weight of {plain(result.objectives[0].name, 20)} in the preference"
    colours = ScalarMappable(Normalize(0, 1), PREFERENCE_SCALE)
    bar = figure.colorbar(
        colours, ax=axes, location="right", aspect=30, shrink=min(1.0, 2 / panel_rows(len(axes)) + 0.2)
    )
    bar.set_label(weight, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    figure.legend(handles=_front_handles(result), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def hypervolume_figure(history: History | None, result: Result) -> Figure | None:
    """Hypervolume over search steps, search and unseen devices apart; None where none was logged."""
    if history is None or not history.hypervolume.step:
        return None
    splits = [split for split in ("search", "unseen") if any(d.split == split for d in result.devices)]
    figure = new_figure(4.6 * len(splits) + 2.9 * legend_columns(len(result.devices) + 1), 4.0)
    panels = figure.subplots(1, len(splits), squeeze=False, sharey=True)[0]
    for axes, split in zip(panels, splits, strict=True):
        _hypervolume_panel(axes, history, result, split)
        axes.set_title(f"{split} devices", fontsize=10, loc="left")
    panels[0].set_ylabel("hypervolume (of 1)", fontsize=9)
    handles = [_device_handle(d, i) for i, d in enumerate(result.devices)] + [_random_level_handle()]
    legend_right(figure, handles)
    return figure


def weights_figure(history: History | None, result: Result) -> Figure | None:
    """The stacked weights of multiple gradient descent over search steps; None where none were logged."""
    if history is None or not history.step or not history.mgd_weights:
        return None
    places = {device.name: index for index, device in enumerate(result.devices)}
    columns = [(column, places[name]) for column, name in enumerate(history.devices) if name in places]
    if not columns:
        return None
    window = smoothing_window(len(history.step))
    layers = [as_array(running_mean([row[c] for row in history.mgd_weights], window)) for c, _ in columns]
    figure = new_figure(5.6 + 2.9 * legend_columns(len(columns)), 3.8)
    axes = figure.subplots()
    colours = [device_colour(index) for _, index in columns]
    axes.stackplot(history.step, np.nan_to_num(layers), colors=colours, edgecolor="white", linewidth=0.5)
    axes.margins(x=0)
    axes.set_ylim(0, 1)
    smooth = f", mean over {window} logged steps" if window > 1 else ""
    dress(axes, "search step", "weight (share)", f"Weights of multiple gradient descent{smooth}")
    names = [Patch(color=device_colour(i), label=plain(result.devices[i].name)) for _, i in reversed(columns)]
    legend_right(figure, names)
    return figure


def predictor_figure(predictor: Predictor | None, result: Result) -> Figure | None:
    """Per device: predicted over measured latency of held-out networks; None without a predictor."""
    if predictor is None:
        return None
    parts = {name: part for name, part in predictor.devices.items() if part.measured_ms}
    known = [index for index, device in enumerate(result.devices) if device.name in parts]
    if not known:
        return None

    def panel(axes: Axes, index: int) -> str:
        return _predictor_panel(axes, parts[result.devices[index].name], index)

    figure, axes = small_multiples(result.devices, known, f"Predictor on {result.judged_on}", panel)
    label_grid(axes, "measured (ms)", "predicted (ms)")
    return figure


def _front_panel(axes: Axes, device: DeviceResult, index: int) -> str:
    axes.scatter(*_xy(device.random), marker="x", s=18, linewidths=1, color=RANDOM_COLOUR, zorder=2)
    axes.step(*_xy(device.front), where="post", color=device_colour(index), linewidth=1.6, zorder=3)
    colours = [ray.preference[0] for ray in device.rays]
    style: Style = {
        "c": colours,
        "cmap": PREFERENCE_SCALE,
        "vmin": 0,
        "vmax": 1,
        "edgecolors": "white",
        "linewidths": 0.5,
    }
    axes.scatter(*_xy(device.rays), s=30, zorder=4, **style)
    for point in device.measured:
        ends = [as_array([point.latency_ms, point.measured_latency_ms]), as_array([point.error, point.test_error])]
        axes.plot(*ends, color=MEASURED_COLOUR, linewidth=0.8, linestyle=":", zorder=5)
        marker: Style = {
            "marker": "D",
            "s": 28,
            "facecolors": "none",
            "edgecolors": MEASURED_COLOUR,
            "linewidths": 1.3,
        }
        axes.scatter(ends[0][1], ends[1][1], zorder=6, **marker)
    points = [*device.random, *device.rays, *device.front]
    set_scale(axes, "x", [p.latency_ms for p in points] + [p.measured_latency_ms for p in device.measured])
    set_scale(axes, "y", [p.error for p in points] + [p.test_error for p in device.measured])
    if not points:
        axes.text(0.5, 0.5, "no networks", transform=axes.transAxes, ha="center", color="#566070")
    ours, random = number(device.hypervolume), number(device.hypervolume_random)
    return f"hypervolume {ours}, random {random}"


def _predictor_panel(axes: Axes, part: DevicePredictor, index: int) -> str:
    every = [*part.measured_ms, *part.predicted_ms]
    ends = [min(every), max(every)]
    axes.plot(ends, ends, color="#94a3b8", linewidth=1, linestyle=":", zorder=2)
    face = "none" if part.split == "unseen" else device_colour(index)
    marker: Style = {"marker": device_symbol(index)[1], "facecolors": face, "edgecolors": device_colour(index)}
    axes.scatter(part.measured_ms, part.predicted_ms, s=22, linewidths=1, alpha=0.85, zorder=3, **marker)
    set_scale(axes, "x", every)
    set_scale(axes, "y", every)
    return f"Spearman {number(part.spearman)}, {part.judged} networks"


def _hypervolume_panel(axes: Axes, history: History, result: Result, split: str) -> None:
    log = history.hypervolume
    last = log.step[-1] + 0.03 * (log.step[-1] - log.step[0] or 1)
    for index, device in enumerate(result.devices):
        if device.split != split or device.name not in log.devices:
            continue
        column = log.devices.index(device.name)
        axes.plot(log.step, as_array([row[column] for row in log.values]), **_line_style(device, index))
        marker: Style = {"marker": "D", "s": 24, "facecolors": "none", "edgecolors": device_colour(index)}
        if device.hypervolume_random is not None:
            axes.scatter([last], [device.hypervolume_random], clip_on=False, **marker)
    dress(axes, "search step", "", "")


def _line_style(device: DeviceResult, index: int) -> Style:
    unseen = device.split == "unseen"
    return {
        "color": device_colour(index), "linewidth": 1.6, "linestyle": "--" if unseen else "-",
        "marker": device_symbol(index)[1], "markersize": 3.5, "markerfacecolor": "white" if unseen else None,
    }  # fmt: skip


def _device_handle(device: DeviceResult, index: int) -> Line2D:
    return Line2D([], [], label=plain(device.name), **_line_style(device, index))


def _random_level_handle() -> Line2D:
    marker: Style = {"marker": "D", "markersize": 5, "markerfacecolor": "none", "markeredgecolor": "#566070"}
    return Line2D([], [], linestyle="", label="random search", **marker)


def _front_handles(result: Result) -> list[Line2D]:
    dot: Style = {"marker": "o", "markersize": 6, "markeredgecolor": "white", "markerfacecolor": "#666970"}
    handles = [
        Line2D([], [], color=device_colour(0), linewidth=1.6, label=f"front ({result.source})"),
        Line2D([], [], linestyle="", label="rays", **dot),
        Line2D([], [], linestyle="", marker="x", color=RANDOM_COLOUR, markersize=5, label="random search"),
    ]
    if any(device.measured for device in result.devices):
        diamond: Style = {
            "marker": "D",
            "markersize": 5,
            "markerfacecolor": "none",
            "markeredgecolor": MEASURED_COLOUR,
        }
        dotted: Style = {"linestyle": ":", "color": MEASURED_COLOUR, "linewidth": 0.8}
        handles.append(Line2D([], [], label="trained and measured", **dotted, **diamond))
    return handles


def _xy(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [p.latency_ms for p in points], [p.error for p in points]
