"""The parts of the page, each as HTML from the checked contents of a run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from html import escape

from modnas_fast.report.cells import draw_cell
from modnas_fast.report.elements import (
    SPLITS,
    code,
    device_buttons,
    device_name,
    duration,
    facts,
    machine_words,
    note,
    of_split,
    plot,
    row,
    software_words,
    span,
    table,
    tile,
)
from modnas_fast.report.marks import mean, number, percent, significant, smoothing_window
from modnas_fast.report.run.contents import (
    DeviceResult,
    History,
    LatencyPair,
    Predictor,
    Result,
    RunContents,
    VerifiedNetwork,
)


def header(result: Result) -> str:
    """Task, space, machine and seed."""
    task = result.task
    sizes = ", ".join(f"{size} {name}" for name, size in task.sizes.items())
    image = "×".join(map(str, task.image)) if task.image else ""
    classes = f"{task.classes} classes" if task.classes is not None else ""
    extra = getattr(result.space, "num_architectures", None)
    space = result.space.name + (f", {extra:,} architectures" if isinstance(extra, int) else "")
    pairs = [
        ("Task", ", ".join(text for text in (task.name, classes, image) if text)),
        ("Images", sizes),
        ("Space", space),
        ("Objectives", ", ".join(f"{o.name} ({o.unit})" if o.unit else o.name for o in result.objectives)),
        ("Seed", "" if result.seed is None else str(result.seed)),
        ("Machine", machine_words(result.machine)),
        ("Software", software_words(result.package, result.machine)),
    ]
    notes = "".join(f"<li>{escape(text)}</li>" for text in task.notes)
    return facts(pair for pair in pairs if pair[1]) + (f'<ul class="notes">{notes}</ul>' if notes else "")


def tiles(result: Result) -> str:
    """The key figures."""
    shown = [_hypervolume_tile(result, split) for split in SPLITS if of_split(result.devices, split)]
    rays = max(len(device.rays) for device in result.devices)
    distinct = mean(device.distinct_nondominated for device in result.devices)
    shown.append(tile("Networks per front", number(distinct, 1), f"distinct, of {rays} rays, mean over devices"))
    shown.append(_spearman_tile(result))
    errors = [abs(error) for error in _relative_errors(result.verified)]
    if errors:
        detail = f"latency error, median over {len(errors)} measurements of {len(result.verified)} networks"
        shown.append(tile("Verified", percent(statistics.median(errors)), detail))
    if result.seconds:
        shown.append(tile("Whole run", duration(sum(result.seconds.values())), "all stages, as measured"))
    return f'<div class="tiles">{"".join(shown)}</div>'


def summary(result: Result) -> str:
    """One row per device: quality of the predictor and of the front."""
    bodies = []
    for split, title in SPLITS.items():
        devices = of_split(result.devices, split)
        if not devices:
            continue
        rows = "".join(_summary_row(index, device, result) for index, device in devices)
        average = _summary_mean([device for _, device in devices], result) if len(devices) > 1 else ""
        columns = 9 if result.tabulated else 8
        head = f'<tr class="group"><th colspan="{columns}" scope="rowgroup">{title.capitalize()}</th></tr>'
        bodies.append(f'<tbody class="{split}">{head}{rows}{average}</tbody>')
    head = [
        "Device", "Noise", "Spearman", "Hypervolume MODNAS", "Hypervolume random", "Difference",
        *_exact_cell(result, "Of the exact front"), "Distinct networks", "Latency range (ms)",
    ]  # fmt: skip
    return table(
        head,
        "".join(bodies),
        "Every device: predictor quality and hypervolume against random search",
        kind="sticky",
    )


def history(result: Result, log: History | None, figures: set[str]) -> str:
    """What happened over the search's steps."""
    if log is None:
        return note("This run has no history.json, so there is nothing to show over the search's steps.")
    window = smoothing_window(len(log.step))
    smooth = f" Mean over the last {window} logged steps." if window > 1 else ""
    random = "Open diamonds behind the last step: random search. Dashed: unseen devices."
    weights = f"The weights sum to one.{smooth}"
    parts = [
        ("hypervolume", "Hypervolume over the search", random, True),
        ("mgd-weights", "Weights of multiple gradient descent", weights, True),
        ("task-loss", "Task loss", smooth.strip(), True),
        ("latency", "Predicted latency", smooth.strip(), True),
        ("gradient-cosine", "Agreement of the devices' gradients", f"Mean pairwise cosine.{smooth}", False),
    ]
    plots = "".join(plot(name, title, text, shared) for name, title, text, shared in parts if name in figures)
    if not plots:
        return note("history.json holds no logged steps.")
    return device_buttons(list(enumerate(result.devices))) + f'<div class="grid history">{plots}</div>'


def predictor(result: Result, quality: Predictor | None, figures: set[str]) -> str:
    """Predicted against measured latency on networks held out of the predictor's training, or on a whole table."""
    if quality is None:
        return note("This run has no predictor.json, so the predictor's quality is not shown.")
    known = [(i, device) for i, device in enumerate(result.devices) if device.name in quality.devices]
    if not known:
        return note("predictor.json holds none of this run's devices.")
    rows = "".join(_predictor_row(index, device, quality) for index, device in known)
    head = ("Device", "Networks", "Spearman", "Kendall", "Mean error")
    numbers = table(head, rows, f"On {result.judged_on}: rank correlations and mean relative error", kind="sticky")
    caption = "The dotted line is a perfect prediction. Open symbols: unseen devices."
    if result.tabulated:
        caption += " A random sample of the networks is shown."
    scatter = plot("predictor", "Predicted over measured latency", caption, True) if "predictor" in figures else ""
    return device_buttons(known) + f'<div class="grid">{scatter}<div>{numbers}</div></div>'


def verified(result: Result) -> str:
    """Networks trained from scratch, and their latencies as predicted and as measured."""
    if result.tabulated:
        return note("All errors and latencies of this run are true ones of the table: nothing is left to verify.")
    if not result.verified:
        return note("No network of this run was trained and measured; `--verify K` asks for it.")
    networks = list(enumerate(result.verified, 1))
    rows = "".join(_network_row(place, network, result) for place, network in networks)
    head = ("Network", "Cell", "Architecture", "Supernet error (%)", "Test error (%)")
    trained = table(head, rows, "Trained from scratch: error beside the supernet's estimate", text_columns=3)
    return trained + _latency_matrix(result)


def stages(result: Result) -> str:
    """Seconds per stage, as bars."""
    if not result.seconds:
        return note("result.json holds no times.")
    total, longest = sum(result.seconds.values()), max(result.seconds.values())
    rows = "".join(
        row(
            [
                escape(name),
                _bar(value, longest),
                f"{value:.1f}",
                percent(value / total if total else None, 0),
            ],
            2,
        )
        for name, value in result.seconds.items()
    )
    return table(("Stage", "", "Seconds", "Share"), rows, "Time per stage", text_columns=2, kind="narrow")


def details(result: Result) -> str:
    """The hypervolume's protocol and the whole configuration."""
    protocol = result.hypervolume_protocol
    point = ", ".join(f"{value:g}" for value in protocol.reference_point)
    reference = f"Reference point ({point}). " if point else ""
    text = json.dumps(result.configuration, indent=2, ensure_ascii=False)
    return (
        f"<p>{escape(reference + protocol.normalisation)}</p>"
        "<details><summary>Configuration of this run</summary>"
        f"<pre>{escape(_printable(text))}</pre></details>"
    )


def document_title(contents: RunContents) -> str:
    """The title of the page, as plain text."""
    return f"MODNAS search: {contents.result.task.name} on {contents.result.space.name}"


def _hypervolume_tile(result: Result, split: str) -> str:
    group = [device for _, device in of_split(result.devices, split)]
    ours, random = mean(d.hypervolume for d in group), mean(d.hypervolume_random for d in group)
    versus = f"random search {number(random)}"
    if ours is not None and random:
        versus += f" ({percent(ours / random - 1, signed=True)})"
    ratio = mean(d.hypervolume_ratio for d in group)
    if ratio is not None:
        versus += f"; {percent(ratio)} of the exact front"
    return tile(f"Hypervolume, {split}", number(ours), f"mean of {len(group)}; {versus}", split)


def _spearman_tile(result: Result) -> str:
    values = {split: mean(d.spearman for _, d in of_split(result.devices, split)) for split in SPLITS}
    networks = max((d.spearman_networks or 0 for d in result.devices), default=0)
    held_out = f"on {result.judged_on}"
    if networks and not result.tabulated:
        held_out = f"on {networks} held-out networks"
    unseen = f"; unseen {number(values['unseen'])}" if values["unseen"] is not None else ""
    return tile("Predictor, Spearman", number(values["search"]), f"search devices, {held_out}{unseen}")


def _difference(ours: float | None, other: float | None) -> str:
    if ours is None or other is None:
        return "–"
    gap = ours - other
    kind = "good" if gap > 0 else "bad" if gap < 0 else ""
    return f'<span class="{kind}">{f"{gap:+.3f}".replace("-", "−")}</span>'


def _exact_cell(result: Result, text: str) -> list[str]:
    """The cell of a column that results on tables alone have."""
    return [text] if result.tabulated else []


def _summary_row(index: int, device: DeviceResult, result: Result) -> str:
    count = device.distinct_nondominated
    return row(
        [
            device_name(index, device, link=True),
            percent(device.noise),
            number(device.spearman),
            number(device.hypervolume),
            number(device.hypervolume_random),
            _difference(device.hypervolume, device.hypervolume_random),
            *_exact_cell(result, percent(device.hypervolume_ratio)),
            "–" if count is None else str(count),
            span(device.latency_range_ms),
        ]
    )


def _summary_mean(group: Sequence[DeviceResult], result: Result) -> str:
    ours, random = mean(d.hypervolume for d in group), mean(d.hypervolume_random for d in group)
    cells = [
        "mean",
        percent(mean(d.noise for d in group)),
        number(mean(d.spearman for d in group)),
        number(ours),
        number(random),
        _difference(ours, random),
        *_exact_cell(result, percent(mean(d.hypervolume_ratio for d in group))),
        number(mean(d.distinct_nondominated for d in group), 1),
        "",
    ]
    return row(cells, kind="mean")


def _predictor_row(index: int, device: DeviceResult, quality: Predictor) -> str:
    part = quality.devices[device.name]
    cells = [
        device_name(index, device),
        str(part.judged),
        number(part.spearman),
        number(part.kendall),
        percent(part.mape),
    ]
    return row(cells)


def _network_row(place: int, network: VerifiedNetwork, result: Result) -> str:
    cells = [
        f"N{place}",
        draw_cell(result.space.name, network.architecture),
        code(network.architecture),
        number(network.supernet_error, 2),
        number(network.test_error, 2),
    ]
    return row(cells, text_columns=3)


def _latency_matrix(result: Result) -> str:
    networks = result.verified
    measured = [
        (index, device)
        for index, device in enumerate(result.devices)
        if any(device.name in network.latency_ms for network in networks)
    ]
    if not measured:
        return note("No latency of these networks was measured.")
    rows = "".join(_latency_row(index, device, networks) for index, device in measured)
    head = ("Device", *(f"N{place}" for place in range(1, len(networks) + 1)), "Median |error|")
    caption = "Latency in ms, predicted → measured, and the relative error (predicted − measured) / measured"
    return table(head, rows, caption, kind="matrix sticky")


def _latency_row(index: int, device: DeviceResult, networks: Sequence[VerifiedNetwork]) -> str:
    pairs = [network.latency_ms.get(device.name) for network in networks]
    errors = [abs(pair.relative_error) for pair in pairs if pair and pair.relative_error is not None]
    middle = percent(statistics.median(errors)) if errors else "–"
    return row([device_name(index, device), *map(_pair_cell, pairs), f"<b>{middle}</b>"])


def _pair_cell(pair: LatencyPair | None) -> str:
    if pair is None:
        return "–"
    error = pair.relative_error
    level = "" if error is None else f' class="level{min(3, int(abs(error) / 0.1))}"'
    text = percent(error, 0, signed=True)
    return f"{significant(pair.predicted)} → {significant(pair.measured)}<br><span{level}>{text}</span>"


def _relative_errors(networks: Sequence[VerifiedNetwork]) -> list[float]:
    pairs = [pair for network in networks for pair in network.latency_ms.values()]
    return [pair.relative_error for pair in pairs if pair.relative_error is not None]


def _bar(value: float, longest: float) -> str:
    width = 100 * value / longest if longest > 0 else 0
    return f'<span class="bar"><span style="width:{width:.1f}%"></span></span>'


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
