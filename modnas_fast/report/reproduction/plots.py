"""The plots of a reproduction as PNG files: the figures of the page, side by side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

from matplotlib.figure import Figure as Canvas
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator

from modnas_fast.report.canvas import (
    dress,
    legend_below,
    new_figure,
    one_row,
    panel_title,
    save_figures,
    small_multiples,
)
from modnas_fast.report.drawing import draw
from modnas_fast.report.marks import mean, number, plain
from modnas_fast.report.reproduction.contents import Reproduction
from modnas_fast.report.reproduction.figures import reproduction_figures
from modnas_fast.report.reproduction.numbers import SPLIT_NAMES, curves, device_values, radar_floor
from modnas_fast.report.traces import Figure

Figures = dict[str, Figure]


def write_reproduction_plots(report: Reproduction, folder: Path) -> list[Path]:
    """The PNG files written to `folder`, each by rename; one that the file has nothing for is removed."""
    figures = reproduction_figures(report)
    plots = {
        "radar.png": radar_plot(figures, report),
        "dots.png": dots_plot(figures, report),
        "curves.png": curves_plot(figures, report),
        "fronts.png": fronts_plot(figures, report),
        "ablations.png": ablations_plot(figures),
        "three_objectives.png": space_plot(figures, report),
        "supernet.png": supernet_plot(figures, report),
    }
    return save_figures(plots, folder)


def radar_plot(figures: Figures, report: Reproduction) -> Canvas | None:
    """Mean ratio of every method on every device, around a circle."""
    if (figure := figures.get("radar")) is None:
        return None
    canvas = new_figure(9.6, 7.2)
    axes = cast(PolarAxes, canvas.subplots(subplot_kw={"projection": "polar"}))
    axes.set_theta_direction(-1)
    axes.set_theta_zero_location("N")
    draw(axes, figure)
    angles = [2 * math.pi * place / len(report.devices) for place in range(len(report.devices))]
    axes.set_xticks(
        angles, [plain(d.name, 24) + " (unseen)" * (d.split == "unseen") for d in report.devices], fontsize=8
    )
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        sideways = math.sin(angle)  # names stand beside the circle, not across it
        label.set_horizontalalignment("center" if abs(sideways) < 0.1 else "left" if sideways > 0 else "right")
    axes.set_ylim(radar_floor(report), 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_rlabel_position(180 / len(report.devices))
    axes.tick_params(axis="y", labelsize=7.5, colors="#566070")
    axes.grid(True, color="#dfe3e8", linewidth=0.7)
    axes.spines["polar"].set_color("#94a3b8")
    canvas.suptitle(f"Hypervolume, as a share of that of the {report.exact}", fontsize=12, x=0.01, ha="left")
    legend_below(canvas, [figure])
    return canvas


def dots_plot(figures: Figures, report: Reproduction) -> Canvas | None:
    """The same, a row per device."""
    if (figure := figures.get("dots")) is None:
        return None
    title = f"Hypervolume, as a share of that of the {report.exact}"
    canvas = one_row([figure], [title], (8.0, 0.26 * len(report.devices) + 2.0))
    legend_below(canvas, [figure])
    return canvas


def curves_plot(figures: Figures, report: Reproduction) -> Canvas | None:
    """Mean ratio over search time and over true evaluations, search and unseen devices apart."""
    if not (shown := curves(report)):
        return None
    columns = [split for split in SPLIT_NAMES if any(split == each for _, each in shown)]
    rows = list(dict.fromkeys(axis for axis, _ in shown))
    canvas = new_figure(5.0 * len(columns) + 0.6, 3.3 * len(rows) + 0.9)
    grid = canvas.subplots(len(rows), len(columns), squeeze=False, sharey=True)
    for row, axis in enumerate(rows):
        for column, split in enumerate(columns):
            dress(grid[row, column], f"{split} devices")
            if (axis, split) in shown:
                draw(grid[row, column], figures[f"curve-{axis}-{split}"])
            if column:
                grid[row, column].set_ylabel("")
    legend_below(canvas, [figures[f"curve-{axis}-{split}"] for axis, split in shown])
    return canvas


def fronts_plot(figures: Figures, report: Reproduction) -> Canvas | None:
    """Per device: the fronts of every method's first run over the exact front."""
    if not report.devices:
        return None
    panels = []
    for index, device in enumerate(report.devices):
        second = report.exact
        if report.methods:
            ratio = mean(device_values(report.methods[0].runs, device.name, "ratio"))
            second = f"{plain(report.methods[0].label, 18)}: ratio {number(ratio)}"
        unseen = device.split == "unseen"
        panels.append((panel_title(device.name, unseen, second), unseen, figures[f"front-{index}"]))
    canvas = small_multiples(f"Fronts over the {report.exact}, first seed", panels)
    legend_below(canvas, [figure for *_, figure in panels])
    return canvas


def ablations_plot(figures: Figures) -> Canvas | None:
    """What each value of each factor misses, and how far the devices' gradients agree under it."""
    if "ablations" not in figures:
        return None
    titles = {"ablations": "Ablations (★ default)", "cosines": "Agreement of gradients"}
    shown = {name: figures[name] for name in titles if name in figures}
    size = 9.6 / len(shown) if len(shown) > 1 else 7.2, 0.42 * len(shown["ablations"]["data"][0]["y"]) + 1.7
    options: dict[str, Any] = {"sharey": True, "width_ratios": [2.4, 1][: len(shown)]}
    canvas = one_row(list(shown.values()), [titles[name] for name in shown], size, **options)
    legend_below(canvas, [shown["ablations"]])
    return canvas


def space_plot(figures: Figures, report: Reproduction) -> Canvas | None:
    """Per device: the first run's front over the exact one, projected from three dimensions."""
    three = report.three_objectives
    if three is None or not three.devices:
        return None
    shown = [figures[f"space-{index}"] for index in range(len(three.devices))]
    canvas = one_row(shown, [plain(name) for name in three.devices], (4.4, 4.4), subplot_kw={"projection": "3d"})
    for axes in cast(list[Any], canvas.axes):
        for key, objective in zip("xyz", three.objectives, strict=True):
            axes.set(**{f"{key}lim": (0, 1), f"{key}ticks": (0.2, 0.4, 0.6, 0.8)})
            getattr(axes, f"set_{key}label")(plain(objective, 20), fontsize=9, labelpad=-2)
        axes.tick_params(labelsize=7, pad=-1)
        axes.view_init(elev=24, azim=40)
        axes.set_box_aspect(None, zoom=0.95)
        axes.computed_zorder = False
    canvas.suptitle("Three objectives, normalised; first seed", fontsize=12, x=0.01, ha="left")
    legend_below(canvas, shown)
    return canvas


def supernet_plot(figures: Figures, report: Reproduction) -> Canvas | None:
    """Inherited over true errors."""
    if report.supernet is None or "supernet" not in figures:
        return None
    title = f"Errors inherited from the supernet, Spearman {number(report.supernet.spearman)}"
    return one_row([figures["supernet"]], [title], (6.4, 4.6))
