"""The plots of a reproduction as PNG files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator

from modnas_fast.report.canvas import (
    Style,
    as_array,
    dress,
    new_figure,
    save_figures,
    set_scale,
    small_multiples,
)
from modnas_fast.report.marks import (
    MEASURED_COLOUR,
    SPLIT_COLOURS,
    mean,
    method_colour,
    method_symbol,
    number,
    plain,
)
from modnas_fast.report.reproduction.contents import (
    Ablation,
    Method,
    ReproducedDevice,
    Reproduction,
    Split,
    SupernetQuality,
    ThreeObjectives,
)
from modnas_fast.report.reproduction.numbers import (
    AXIS_TITLES,
    SPLIT_NAMES,
    Axis,
    Bar,
    ablation_bars,
    axis_titles,
    curves,
    device_values,
    first_front,
    in_units,
    mean_curve,
    radar_floor,
    radar_values,
)


def write_reproduction_plots(report: Reproduction, folder: Path) -> list[Path]:
    """The PNG files written to `folder`, each by rename; one that the file has nothing for is removed."""
    three, supernet = report.three_objectives, report.supernet
    figures = {
        "radar.png": radar_plot(report) if report.devices and report.methods else None,
        "curves.png": curves_plot(report),
        "fronts.png": fronts_plot(report) if report.devices else None,
        "ablations.png": ablations_plot(report.ablations),
        "three_objectives.png": space_plot(three) if three and three.devices else None,
        "supernet.png": supernet_plot(supernet) if supernet and supernet.points else None,
    }
    return save_figures(figures, folder)


def radar_plot(report: Reproduction) -> Figure:
    """Mean ratio of every method on every device, around a circle."""
    figure = new_figure(9.6, 7.2)
    axes = cast(PolarAxes, figure.subplots(subplot_kw={"projection": "polar"}))
    axes.set_theta_direction(-1)
    axes.set_theta_zero_location("N")
    angles = np.linspace(0, 2 * np.pi, len(report.devices), endpoint=False)
    for index, method in reversed(list(enumerate(report.methods))):
        values = as_array(radar_values(method, report.devices))
        axes.plot([*angles, angles[0]], [*values, values[0]], **_line(index))
    unseen = [" (unseen)" * (device.split == "unseen") for device in report.devices]
    names = [plain(device.name, 24) + text for device, text in zip(report.devices, unseen, strict=True)]
    axes.set_xticks(angles, names, fontsize=8)
    _turn_outwards(axes, angles)
    axes.set_ylim(radar_floor(report), 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_rlabel_position(180 / max(1, len(report.devices)))
    axes.tick_params(axis="y", labelsize=7.5, colors="#566070")
    axes.grid(True, color="#dfe3e8", linewidth=0.7)
    axes.spines["polar"].set_color("#94a3b8")
    figure.suptitle("Hypervolume, as a share of the exact front's", fontsize=12, x=0.01, ha="left")
    _legend_below(figure, report.methods)
    return figure


def curves_plot(report: Reproduction) -> Figure | None:
    """Mean ratio over search time and over true evaluations, search and unseen devices apart."""
    shown = curves(report)
    if not shown:
        return None
    columns = [split for split in SPLIT_NAMES if any(split == each for _, each in shown)]
    rows = list(dict.fromkeys(axis for axis, _ in shown))
    figure = new_figure(5.0 * len(columns) + 0.6, 3.3 * len(rows) + 0.9)
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharey=True)
    for line, axis in zip(grid, rows, strict=True):
        for axes, split in zip(line, columns, strict=True):
            dress(axes, AXIS_TITLES[axis], "hypervolume ratio" if axes is line[0] else "", f"{split} devices")
            _draw_curves(axes, report.methods, axis, split)
    _legend_below(figure, report.methods)
    return figure


def fronts_plot(report: Reproduction) -> Figure:
    """Per device: the fronts of every method's first run over the exact front."""

    def panel(axes: Axes, index: int) -> str:
        return _front_panel(axes, report.devices[index], report.methods)

    every = list(range(len(report.devices)))
    figure, _ = small_multiples(report.devices, every, "Fronts over the exact front, first seed", panel)
    exact = Line2D([], [], color=MEASURED_COLOUR, linewidth=1, label="exact front")
    _legend_below(figure, report.methods, [exact], line=False)
    return figure


def ablations_plot(ablations: Sequence[Ablation]) -> Figure | None:
    """What each value of each factor misses, and how far the devices' gradients agree under it."""
    bars = ablation_bars(ablations)
    if not bars:
        return None
    cosines = [bar.gradient_cosine for bar in bars]
    wanted = any(value is not None for value in cosines)
    figure = new_figure(9.6 if wanted else 7.2, 0.42 * len(bars) + 1.7)
    panels = figure.subplots(1, 1 + wanted, squeeze=False, sharey=True, width_ratios=[2.4, 1][: 1 + wanted])[0]
    handles = _draw_bars(panels[0], bars)
    if wanted:
        dress(panels[1], "mean cosine", "", "Agreement of gradients")
        panels[1].plot(as_array(cosines), range(len(bars)), "D", color=method_colour(1), markersize=5)
        panels[1].axvline(0, color="#94a3b8", linewidth=0.8)
        panels[1].tick_params(left=False, labelleft=False)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    return figure


def space_plot(three: ThreeObjectives) -> Figure:
    """Per device: the first run's front over the exact one, projected from three dimensions."""
    count = len(three.devices)
    figure = new_figure(4.3 * count + 0.4, 4.4)
    panels = figure.subplots(1, count, squeeze=False, subplot_kw={"projection": "3d"})[0]
    for axes, name in zip(panels, three.devices, strict=True):
        found = three.runs[0].devices.get(name) if three.runs else None
        _scatter(axes, three.exact_front.get(name, []), {"s": 7, "color": "#94a3b8"})
        style: Style = {
            "s": 30,
            "color": method_colour(0),
            "marker": "D",
            "edgecolors": "white",
            "linewidths": 0.5,
        }
        _scatter(axes, found.front if found else [], style)
        for key, objective in zip("xyz", three.objectives, strict=True):
            axes.set(**{f"{key}lim": (0, 1), f"{key}ticks": (0.2, 0.4, 0.6, 0.8)})
            getattr(axes, f"set_{key}label")(plain(objective, 20), fontsize=9, labelpad=-2)
        axes.tick_params(labelsize=7, pad=-1)
        axes.view_init(elev=24, azim=40)
        axes.set_box_aspect(None, zoom=0.95)
        axes.computed_zorder = False
        axes.set_title(plain(name), fontsize=10)
    figure.suptitle("Three objectives, normalised; first seed", fontsize=12, x=0.01, ha="left")
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=4, color="#94a3b8", label="exact front"),
        Line2D([], [], linestyle="", marker="D", markersize=6, color=method_colour(0), label="MODNAS"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def supernet_plot(supernet: SupernetQuality) -> Figure:
    """Inherited over true errors."""
    inherited, true = zip(*supernet.points, strict=True)
    figure = new_figure(6.4, 4.6)
    axes = figure.subplots()
    title = f"Errors inherited from the supernet, Spearman {number(supernet.spearman)}"
    dress(axes, "true error (%)", "inherited error (%)", title)
    axes.scatter(true, inherited, s=26, color=method_colour(0), edgecolors="white", linewidths=0.5, alpha=0.85)
    set_scale(axes, "x", true)
    set_scale(axes, "y", inherited)
    return figure


def _turn_outwards(axes: Axes, angles: np.ndarray) -> None:
    """Keeps the names of devices beside the circle, not across it."""
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        sideways = math.sin(angle)
        label.set_horizontalalignment("center" if abs(sideways) < 0.1 else "left" if sideways > 0 else "right")


def _draw_curves(axes: Axes, methods: Sequence[Method], axis: Axis, split: Split) -> None:
    places: list[float] = []
    for index, method in reversed(list(enumerate(methods))):
        if steps := mean_curve(method.runs, axis, split):
            x, middle, low, high = zip(*steps, strict=True)
            places += x
            axes.plot(x, middle, markevery=max(1, len(x) // 8), **_line(index))
            axes.fill_between(x, low, high, color=method_colour(index), alpha=0.12, linewidth=0)
    set_scale(axes, "x", places)


def _front_panel(axes: Axes, device: ReproducedDevice, methods: Sequence[Method]) -> str:
    exact = sorted(in_units(device, device.exact_front))
    axes.step(*_columns(exact), where="post", color=MEASURED_COLOUR, linewidth=1, zorder=2)
    shown = list(exact)
    for index, method in reversed(list(enumerate(methods))):
        found = first_front(method, device)
        shown += found
        style = _line(index) | {"linestyle": "", "markersize": 4.5 if index == 0 else 3.5}
        axes.plot(*_columns(found), **style, zorder=4 if index == 0 else 3, alpha=0.9)
    for key, title in zip("xy", axis_titles(device), strict=True):
        getattr(axes, f"set_{key}label")(title, fontsize=8, labelpad=1)
    set_scale(axes, "x", [x for x, _ in shown])
    set_scale(axes, "y", [y for _, y in shown])
    if not methods:
        return "exact front"
    ratio = mean(device_values(methods[0].runs, device.name, "ratio"))
    return f"{plain(methods[0].label, 18)}: ratio {number(ratio)}"


def _draw_bars(axes: Axes, bars: Sequence[Bar]) -> list[BarContainer]:
    dress(axes, "missing hypervolume (%)", "", "Ablations (★ default)")
    places = np.arange(len(bars))
    drawn = []
    for side, split in zip((-0.2, 0.2), SPLIT_NAMES, strict=True):
        means, spreads = zip(*(bar.missing[split] or (math.nan, 0.0) for bar in bars), strict=True)
        error: Style = {"ecolor": "#566070", "elinewidth": 0.9, "capsize": 2}
        style: Style = {
            "xerr": spreads,
            "color": SPLIT_COLOURS[split],
            "error_kw": error,
            "label": f"{split} devices",
        }
        drawn.append(axes.barh(places + side, means, 0.38, **style))
    names = [f"{plain(bar.factor, 24)}: {plain(bar.value, 24)}{' ★' * bar.default}" for bar in bars]
    axes.set_yticks(places, names, fontsize=8.5)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.grid(False, axis="y")
    for place in range(1, len(bars)):
        if bars[place].factor != bars[place - 1].factor:
            axes.axhline(place - 0.5, color="#94a3b8", linewidth=0.7)
    return drawn


def _scatter(axes: Axes, points: Sequence[Sequence[float]], style: Style) -> None:
    if points:
        axes.scatter(*zip(*points, strict=True), depthshade=False, **style)


def _line(index: int) -> Style:
    return {
        "color": method_colour(index), "marker": method_symbol(index)[1], "markersize": 4,
        "linewidth": 2.2 if index == 0 else 1.2, "markeredgecolor": "white", "markeredgewidth": 0.4,
    }  # fmt: skip


def _legend_below(figure: Figure, methods: Sequence[Method], first: Sequence[Line2D] = (), line: bool = True) -> None:
    style: Style = {} if line else {"linestyle": ""}
    handles = [
        Line2D([], [], label=plain(method.label), **_line(index) | {"markersize": 6} | style)
        for index, method in enumerate(methods)
    ]
    handles = [*first, *handles]
    if handles:
        columns = min(4, len(handles))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
