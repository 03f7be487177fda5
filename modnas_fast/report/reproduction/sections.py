"""The parts of a reproduction's page, each as HTML from the checked contents of its file."""

from __future__ import annotations

import statistics
from html import escape

from modnas_fast.report.elements import (
    buttons,
    code,
    duration,
    facts,
    machine_words,
    method_name,
    note,
    plot,
    row,
    software_words,
    table,
    tile,
)
from modnas_fast.report.marks import mean, number
from modnas_fast.report.reproduction import tables
from modnas_fast.report.reproduction.contents import Method, Reproduction
from modnas_fast.report.reproduction.numbers import SPLIT_NAMES, Target, curves, present, split_values, targets

PROTOCOL = (
    "341 of the 15,625 networks learned nothing (an error of 90 % on CIFAR-10) and are dropped. Over the "
    "remaining 15,284, error and latency are min-max normalised, latency for each device alone. The hypervolume "
    "has the reference point (1, 1); its ratio is that to the exact front, which is known because every network "
    "of the table is.",
    "MODNAS answers 24 preferences, spread evenly over the quarter circle, with the most probable network (MAP) "
    "of each; their true errors and latencies from the table make its front. On unseen devices it knows ten "
    "reference latencies and nothing else.",
    "IGD+ is the mean distance from the exact front to the one found, in normalised units; smaller is better. "
    "Networks are the distinct non-dominated ones. ± is the standard deviation over seeds.",
)
SOURCES = {
    "surrogate": "the table's true errors, through a surrogate that is fitted to those looked up",
    "supernet": "a supernet with shared weights",
}


def header(report: Reproduction) -> str:
    """Task, seeds, machine and command."""
    pairs = [
        ("Task", report.task),
        ("Errors in the search from", SOURCES.get(report.source or "", "")),
        ("Seeds", ", ".join(map(str, report.seeds))),
        ("Machine", machine_words(report.machine)),
        ("Software", software_words(report.package, report.machine)),
        ("Everything took", "" if report.seconds is None else duration(report.seconds)),
    ]
    quick = note("A quick reproduction: parts were shortened or left out, as the notes say.") if report.quick else ""
    return facts(pair for pair in pairs if pair[1]) + quick


def headline(report: Reproduction) -> str:
    """The key figures of MODNAS, and whether they reach what was wanted."""
    if not report.methods:
        return note("The file holds no method, so there is nothing to say about MODNAS as a whole.")
    rows = "".join(map(_target_row, targets(report)))
    caption = f"{report.methods[0].label}: what was wanted and what was reached"
    head = ("", "Wanted, at least", "Reached", "")
    shown = "".join(_tiles(report, report.methods[0]))
    return f'<div class="tiles">{shown}</div>' + table(head, rows, caption, kind="targets")


def methods(report: Reproduction) -> str:
    """Every method: a table of means, the radar plot and the table of devices."""
    if not report.methods or not report.devices:
        return note("The file holds no methods or no devices, so there is nothing to compare.")
    caption = "Mean over seeds; the rim is the exact front. Clockwise from the top: search devices, then unseen ones."
    radar = plot("radar", "Hypervolume ratio on every device", caption, shared=True)
    figure = f'{_method_buttons(report)}<div class="radar">{radar}</div>'
    return tables.method_table(report) + figure + tables.device_table(report)


def progress(report: Reproduction) -> str:
    """Ratio over search time and over true evaluations."""
    shown = curves(report)
    if not shown:
        return note("No method logged its ratio while it searched.")
    words = {"seconds": "search time", "evaluations": "true evaluations"}
    plots = "".join(
        plot(f"curve-{axis}-{split}", f"{split.capitalize()} devices, over {words[axis]}", shared=True)
        for axis, split in shown
    )
    return _counted(report) + _method_buttons(report) + f'<div class="grid">{plots}</div>'


def fronts(report: Reproduction) -> str:
    """The fronts of every device over its exact front."""
    if not report.devices:
        return note("The file holds no devices, so there are no fronts.")
    panels = "".join(
        plot(f"front-{i}", f"{device.name}{', unseen' * (device.split == 'unseen')}", shared=True)
        for i, device in enumerate(report.devices)
    )
    return _method_buttons(report) + f'<div class="grid small">{panels}</div>'


def predictor(report: Reproduction) -> str:
    """The quality of the metapredictor on every device."""
    if report.predictor is None or not report.predictor.devices:
        return note("The predictor's quality was not computed.")
    seconds = report.predictor.seconds
    trained = "" if seconds is None else f'<p class="lead">Trained in {duration(seconds)}.</p>'
    return trained + tables.predictor_table(report.predictor)


def ablations(report: Reproduction, figures: set[str]) -> str:
    """Each factor changed alone."""
    if not report.ablations:
        return note("No ablations were run.")
    colours = "Shorter is better. Dark: search devices, light: unseen; ★ default; whiskers: deviation over seeds."
    parts = {
        "ablations": ("What each choice misses", colours),
        "cosines": ("Agreement of gradients", "Mean cosine between devices."),
    }
    plots = "".join(plot(name, *words) for name, words in parts.items() if name in figures)
    return f'<div class="grid wide-first bars">{plots}</div>' + tables.ablation_table(report.ablations)


def transfer(report: Reproduction) -> str:
    """Other tasks."""
    return tables.transfer_table(report) if report.transfer else note("No other task was searched.")


def splits(report: Reproduction) -> str:
    """Other splits of the devices."""
    if not report.splits:
        return note("No other split of the devices was searched.")
    names = "".join(
        f"<p><b>{place}.</b> Search: {escape(', '.join(each.search))}. Unseen: {escape(', '.join(each.unseen))}.</p>"
        for place, each in enumerate(report.splits, 1)
    )
    return tables.split_table(report.splits) + f"<details><summary>Devices of each split</summary>{names}</details>"


def three_objectives(report: Reproduction) -> str:
    """A third objective."""
    three = report.three_objectives
    if three is None or not three.devices:
        return note("No search with three objectives was run.")
    plots = "".join(plot(f"space-{i}", name) for i, name in enumerate(three.devices))
    words = ", ".join(three.objectives)
    caption = f"Objectives: {words}, each normalised. Grey: exact front; blue diamonds: MODNAS, first seed."
    grid = f'<p class="caption">{escape(caption)}</p><div class="grid space">{plots}</div>'
    return tables.three_table(three) + grid


def supernet(report: Reproduction, figures: set[str]) -> str:
    """The supernet's inherited errors."""
    if report.supernet is None:
        return note("No supernet was trained.")
    pairs = tables.supernet_facts(report.supernet)
    if report.supernet.seconds is not None:
        pairs.append(("Training", duration(report.supernet.seconds)))
    shown = facts(pair for pair in pairs if pair[1])
    if "supernet" not in figures:
        return shown + note("The single networks' errors were not kept.")
    return f'{shown}<div class="narrow">{plot("supernet", "Inherited over true errors")}</div>'


def details(report: Reproduction) -> str:
    """Protocol, notes, and the command that repeats everything."""
    protocol = "".join(f"<p>{escape(text)}</p>" for text in PROTOCOL)
    notes = "".join(f"<li>{escape(text)}</li>" for text in report.notes)
    listed = f'<h3>Notes</h3><ul class="notes">{notes}</ul>' if notes else ""
    command = f"<h3>Command</h3><p>{code(report.command)}</p>" if report.command else ""
    return protocol + listed + command


def document_title(report: Reproduction) -> str:
    """The title of the page, as plain text."""
    return f"MODNAS on NAS-Bench-201{f': {report.task}' if report.task else ''}"


def _tiles(report: Reproduction, method: Method) -> list[str]:
    shown = [
        tile(f"Hypervolume ratio, {split}", number(mean(values), 4), _sample(values, len(names)), split)
        for split in SPLIT_NAMES
        if (names := report.names(split))
        for values in [split_values(method.runs, names, "ratio")]
    ]
    every = [device.name for device in report.devices]
    networks = split_values(method.runs, every, "networks")
    shown.append(tile("Networks per device", number(mean(networks), 1), "distinct and non-dominated, of 24 rays"))
    seconds = present(run.seconds for run in method.runs)
    if seconds:
        shown.append(tile("One search", duration(mean(seconds)), "wall clock, mean over seeds"))
    if report.evaluations is not None:
        shown.append(tile("True evaluations", f"{report.evaluations:,.0f}", "per search, for all devices together"))
    return shown


def _sample(values: list[float], devices: int) -> str:
    if len(values) < 2:
        return f"mean of {devices} devices"
    return f"± {number(statistics.stdev(values), 4)} over {len(values)} seeds; mean of {devices} devices"


def _counted(report: Reproduction) -> str:
    labels: dict[str, list[str]] = {}
    for method in report.methods:
        labels.setdefault(method.evaluations_note, []).append(method.label)
    counts = "; ".join(f"{words} ({', '.join(each)})" for words, each in labels.items() if words)
    return f'<p class="lead">{escape(f"True evaluations: {counts}.")}</p>' if counts else ""


def _target_row(target: Target) -> str:
    if target.met is None:
        mark = "not measured"
    else:
        mark = '<b class="good">✓ met</b>' if target.met else '<b class="bad">✗ missed</b>'
    cells = [escape(target.name), f"{target.wanted:g}", number(target.reached, target.digits), mark]
    return row(cells)


def _method_buttons(report: Reproduction) -> str:
    entries = [(i, method.label, method_name(i, method.label)) for i, method in enumerate(report.methods)]
    return buttons(entries, "Methods shown in the figures")
