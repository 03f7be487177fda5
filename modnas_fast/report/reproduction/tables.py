"""The tables of a reproduction: methods over devices, predictor, ablations, other tasks and splits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from modnas_fast.report.elements import SPLITS, foldable, of_split, row, table
from modnas_fast.report.marks import mean, mean_sd, number, percent
from modnas_fast.report.reproduction.contents import (
    Ablation,
    DeviceSplit,
    Method,
    PredictorQuality,
    Quality,
    ReproducedDevice,
    Reproduction,
    Run,
    SupernetQuality,
    ThreeObjectives,
)
from modnas_fast.report.reproduction.numbers import (
    SPLIT_NAMES,
    ablation_values,
    device_values,
    present,
    split_values,
    worst_device,
)


def method_table(report: Reproduction) -> str:
    """One row per method: means over devices, search and unseen ones apart."""
    best = {
        split: _best([mean(split_values(method.runs, report.names(split), "ratio")) for method in report.methods])
        for split in SPLIT_NAMES
    }
    rows = "".join(_method_row(place, method, report, best) for place, method in enumerate(report.methods))
    head = (
        "Method", "Ratio, search", "Ratio, unseen", "IGD+, search", "IGD+, unseen", "Networks, search",
        "Networks, unseen", "Seconds",
    )  # fmt: skip
    caption = "Every method and its true evaluations: mean over devices, ± over seeds; bold: best ratio"
    return table(head, rows, caption, kind="methods sticky")


def device_table(report: Reproduction) -> str:
    """Devices × methods: ratio and hypervolume, the best ratio of each device marked."""
    head = ("Device", "Exact hypervolume", *(method.label for method in report.methods))
    bodies = "".join(
        _body(title.capitalize(), len(head), (_device_row(device, report) for _, device in group), split)
        for split, title in SPLITS.items()
        if (group := of_split(report.devices, split))
    )
    caption = "Hypervolume ratio to the exact front, and hypervolume below it; bold: best ratio of the device"
    return table(head, bodies, caption, kind="matrix whole sticky")


def predictor_table(quality: PredictorQuality) -> str:
    """Per device: rank correlations and relative error, zero-shot and adapted apart."""
    head = (
        "Device", "Spearman", "Kendall", "Mean error", "Spearman, adapted", "Kendall, adapted",
        "Mean error, adapted",
    )  # fmt: skip
    bodies = []
    for split, title in SPLITS.items():
        group = {name: part for name, part in quality.devices.items() if part.split == split}
        rows = [
            row([foldable(name), *_quality_cells(part), *_quality_cells(part.adapted)]) for name, part in group.items()
        ]
        if group:
            average = _mean_quality(group.values())
            adapted = _mean_quality(part.adapted for part in group.values() if part.adapted is not None)
            rows.append(row(["mean", *_quality_cells(average), *_quality_cells(adapted)], kind="mean"))
            bodies.append(_body(title.capitalize(), len(head), rows, split))
    caption = "Predicted against measured latency: as trained, and adapted to ten latencies of the device"
    return table(head, "".join(bodies), caption, kind="whole sticky")


def ablation_table(ablations: Sequence[Ablation]) -> str:
    """Per factor: what each value reaches, and how far the devices' gradients agree under it."""
    head = (
        "Value", "Ratio, search", "Ratio, unseen", "Networks, search", "Networks, unseen", "Seconds",
        "Gradient cosine", "Spread of weights",
    )  # fmt: skip
    bodies = "".join(
        _body(factor, len(head), map(_ablation_row, group))
        for factor, group in groupby(ablations, key=lambda ablation: ablation.factor)
    )
    caption = "Each factor changed alone: mean ± standard deviation over seeds"
    return table(head, bodies, caption, kind="sticky")


def transfer_table(report: Reproduction) -> str:
    """One row per task, the one searched first at the top."""
    source = [(report.task or "this task", report.methods[0].runs)] if report.methods else []
    rows = "".join(
        row([escape(task), *_summary_cells(runs, report.names("search"), report.names("unseen"))])
        for task, runs in [*source, *((each.task, each.runs) for each in report.transfer)]
    )
    return table(("Task", *_SUMMARY), rows, "Every task: mean over devices, ± over seeds", kind="sticky")


def split_table(splits: Sequence[DeviceSplit]) -> str:
    """One row per split of the devices, with the device that came off worst."""
    rows = "".join(
        row([f"{place}: {len(each.search)}&nbsp;+&nbsp;{len(each.unseen)}", *summary])
        for place, each in enumerate(splits, 1)
        for summary in [_summary_cells(each.runs, each.search, each.unseen)]
    )
    head = ("Search + unseen devices", *_SUMMARY)
    return table(head, rows, "Every split: mean over devices, ± over seeds", kind="sticky")


def three_table(three: ThreeObjectives) -> str:
    """One row per device with three objectives."""
    rows = "".join(_three_row(name, three) for name in three.devices)
    head = ("Device", "Exact hypervolume", "Hypervolume", "Ratio", "IGD+", "Networks")
    return table(head, rows, "Three objectives: mean ± standard deviation over seeds", kind="sticky")


def supernet_facts(supernet: SupernetQuality) -> list[tuple[str, str]]:
    """Terms and values beside the supernet's scatter."""
    ratio = supernet.hypervolume_ratio
    return [
        ("Setting", supernet.setting),
        ("Networks", "" if supernet.networks is None else str(supernet.networks)),
        ("Spearman", number(supernet.spearman)),
        ("Ratio, search devices", number(ratio.get("search"), 4)),
        ("Ratio, unseen devices", number(ratio.get("unseen"), 4)),
    ]


_SUMMARY = ("Ratio, search", "Ratio, unseen", "Networks", "Seconds", "Lowest ratio", "Lowest on")


def _summary_cells(runs: Sequence[Run], search: Sequence[str], unseen: Sequence[str]) -> list[str]:
    worst = worst_device(runs, [*search, *unseen])
    name = foldable(worst[0]) + (" (unseen)" if worst[0] in unseen else "") if worst else "–"
    return [
        mean_sd(split_values(runs, search, "ratio"), 4),
        mean_sd(split_values(runs, unseen, "ratio"), 4),
        mean_sd(split_values(runs, [*search, *unseen], "networks"), 1),
        mean_sd(present(run.seconds for run in runs), 1),
        number(worst[1] if worst else None, 4),
        name,
    ]


def _method_row(place: int, method: Method, report: Reproduction, best: dict[str, int | None]) -> str:
    counted = method.evaluations_note or number(mean(run.evaluations for run in method.runs), 0)
    values = {
        field: [split_values(method.runs, report.names(split), field) for split in SPLIT_NAMES]
        for field in ("ratio", "igd_plus", "networks")
    }
    ratios = (mean_sd(each, 4) for each in values["ratio"])
    cells = [
        f'{escape(method.label)}<br><span class="under">{escape(counted)}</span>',
        *(_bold(text, best[split] == place) for text, split in zip(ratios, SPLIT_NAMES, strict=True)),
        *(mean_sd(each, 4) for each in values["igd_plus"]),
        *(mean_sd(each, 1) for each in values["networks"]),
        mean_sd(present(run.seconds for run in method.runs), 1),
    ]
    return row(cells)


def _device_row(device: ReproducedDevice, report: Reproduction) -> str:
    ratios = [device_values(method.runs, device.name, "ratio") for method in report.methods]
    best = _best([mean(values) for values in ratios])
    cells = [foldable(device.name), number(device.exact_hypervolume, 4)]
    for place, (method, values) in enumerate(zip(report.methods, ratios, strict=True)):
        under = mean_sd(device_values(method.runs, device.name, "hypervolume"), 4)
        cells.append(f'{_bold(mean_sd(values, 4), place == best)}<br><span class="under">{under}</span>')
    return row(cells)


def _ablation_row(ablation: Ablation) -> str:
    runs = ablation.runs
    mark = ' <span class="badge">default</span>' if ablation.default else ""
    cells = [escape(ablation.value) + mark]
    cells += [mean_sd(ablation_values(runs, split), 4) for split in SPLIT_NAMES]
    cells += [mean_sd(present(run.networks.get(split) for run in runs), 1) for split in SPLIT_NAMES]
    cells.append(mean_sd(present(run.seconds for run in runs), 1))
    cells.append(mean_sd(present(run.gradient_cosine for run in runs), 3))
    cells.append(mean_sd(present(run.weights_spread for run in runs), 3))
    return row(cells)


def _three_row(name: str, three: ThreeObjectives) -> str:
    fields = {"hypervolume": 4, "ratio": 4, "igd_plus": 4, "networks": 1}
    values = [mean_sd(device_values(three.runs, name, field), digits) for field, digits in fields.items()]
    return row([foldable(name), number(three.exact_hypervolume.get(name), 4), *values])


def _body(title: str, columns: int, rows: Iterable[str], kind: str = "") -> str:
    head = f'<tr class="group"><th colspan="{columns}" scope="rowgroup">{escape(title)}</th></tr>'
    return f'<tbody class="{kind}">{head}{"".join(rows)}</tbody>'


def _quality_cells(quality: Quality | None) -> list[str]:
    if quality is None:
        return ["–"] * 3
    return [number(quality.spearman), number(quality.kendall), percent(quality.relative_error)]


def _mean_quality(parts: Iterable[Quality]) -> Quality:
    parts = list(parts)
    return Quality(
        spearman=mean(part.spearman for part in parts),
        kendall=mean(part.kendall for part in parts),
        relative_error=mean(part.relative_error for part in parts),
    )


def _best(values: Sequence[float | None]) -> int | None:
    known = [(value, -place) for place, value in enumerate(values) if value is not None]
    return -max(known)[1] if len(known) > 1 else None


def _bold(text: str, best: bool) -> str:
    return f'<b class="best">{text}</b>' if best else text
