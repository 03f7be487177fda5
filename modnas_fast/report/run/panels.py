"""One part of the page per device: its front as a figure, a table and drawn cells, behind a selector."""

from __future__ import annotations

from html import escape

from modnas_fast.report.cells import cell_legend, draw_cell
from modnas_fast.report.elements import (
    SPLITS,
    badge,
    code,
    device_name,
    facts,
    front_key,
    note,
    of_split,
    plot,
    row,
    span,
    table,
)
from modnas_fast.report.marks import number, percent, significant, spread
from modnas_fast.report.run.contents import DeviceResult, FrontPoint, Predictor, Result

CELLS_SHOWN = 6


def devices(result: Result, predictor: Predictor | None) -> str:
    """The selector and, per device, its front as a figure, a table and drawn cells."""
    groups = []
    for split, title in SPLITS.items():
        options = "".join(f'<option value="{i}">{escape(d.name)}</option>' for i, d in of_split(result.devices, split))
        groups.append(f'<optgroup label="{title.capitalize()}">{options}</optgroup>' if options else "")
    selector = (
        '<div class="selector"><button type="button" id="previous" aria-label="previous device">‹</button>'
        f'<label class="sr" for="device">Device</label><select id="device">{"".join(groups)}</select>'
        '<button type="button" id="next" aria-label="next device">›</button></div>'
    )
    panels = [_panel(result, predictor, index, device) for index, device in enumerate(result.devices)]
    return selector + "".join(panels)


def _panel(result: Result, quality: Predictor | None, index: int, device: DeviceResult) -> str:
    key = front_key(index, result.objectives[0].name, result.source)
    plots = plot(f"front-{index}", "Front: error over latency") + key
    if quality is not None and device.name in quality.devices and quality.devices[device.name].measured_ms:
        plots = f"<div>{plots}</div>" + plot(f"predictor-{index}", f"Predictor on {_shown_networks(result)}")
        plots = f'<div class="grid wide-first">{plots}</div>'
    title = f'<h3 class="panel-title">{device_name(index, device)} {badge(device.split)}</h3>'
    return (
        f'<article class="panel" id="device-{index}" aria-label="{escape(device.name)}">{title}'
        f"{_panel_facts(device)}{plots}{_front_table(device, result)}"
        f"{_chosen_cells(device, result.space.name)}</article>"
    )


def _shown_networks(result: Result) -> str:
    return "random networks" if result.tabulated else "held-out networks"


def _panel_facts(device: DeviceResult) -> str:
    bounds = "; ".join(_bounds_words(*item) for item in device.hypervolume_bounds.items())
    pairs = [
        ("Hypervolume", f"{number(device.hypervolume)} (random {number(device.hypervolume_random)})"),
        ("Of the exact front", "" if device.hypervolume_ratio is None else percent(device.hypervolume_ratio)),
        ("Spearman", number(device.spearman)),
        ("Measurement noise", percent(device.noise)),
        ("Latency range", f"{span(device.latency_range_ms)} ms" if device.latency_range_ms else ""),
        ("Hypervolume over", bounds),
    ]
    return facts(pair for pair in pairs if pair[1])


def _bounds_words(key: str, bounds: tuple[float, float]) -> str:
    name, unit = (key[:-3], "ms") if key.endswith("_ms") else (key, "%" if key == "error" else "")
    return f"{name} {bounds[0]:.3g} to {bounds[1]:.3g} {unit}".rstrip()


def _front_table(device: DeviceResult, result: Result) -> str:
    if not device.front:
        return note("No ray of this device gave a non-dominated network.")
    weights = " : ".join(objective.name for objective in result.objectives)
    rows = "".join(_front_row(point, result.tabulated) for point in device.front)
    caption = f"The front, fastest first: {len(device.front)} networks; error and latency "
    if result.tabulated:
        head = ("Architecture", f"Preference {weights}", "True error (%)", "Latency (ms)")
        return table(head, rows, caption + "of the table")
    head = (
        "Architecture", f"Preference {weights}", "Error (%)", "Test error (%)",
        "Latency (ms)", "Measured (ms)",
    )  # fmt: skip
    return table(head, rows, caption + "as the search predicts them")


def _front_row(point: FrontPoint, tabulated: bool) -> str:
    weights = " : ".join(number(weight, 2) for weight in point.preference)
    if tabulated:
        return row([code(point.architecture), weights, number(point.error, 2), significant(point.latency_ms)])
    cells = [
        code(point.architecture),
        weights,
        number(point.error, 2),
        number(point.test_error, 2),
        significant(point.latency_ms),
        significant(point.measured_latency_ms),
    ]
    return row(cells, kind="" if point.measured_latency_ms is None else "measured")


def _chosen_cells(device: DeviceResult, space: str) -> str:
    chosen = spread(device.front, CELLS_SHOWN)
    if not chosen:
        return ""
    cards = "".join(
        f'<figure class="card">{draw_cell(space, point.architecture)}<figcaption>'
        f"<b>{significant(point.latency_ms)} ms</b>, error {number(point.error, 1)} %</figcaption></figure>"
        for point in chosen
    )
    title = f"Cells along the front, fastest first ({len(chosen)} of {len(device.front)})"
    return f'<h3>{title}</h3><div class="cards">{cards}</div>{cell_legend(space)}'
