"""The reproduction on Once-for-All's MobileNetV3s: the plan's searches, and what they leave beside the others'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modnas_fast.reproduction.constraints import PER_BUDGET, PER_FRONT, summary
from modnas_fast.reproduction.ofa_blocks import CORE_I7, REFERENCE_EVALUATIONS, find_reference, table_of_core_i7
from modnas_fast.reproduction.ofa_blocks_plan import make_blocks_plan
from modnas_fast.reproduction.ofa_plan import make_ofa_plan
from modnas_fast.reproduction.ofa_published import OTHER_WIDTH, published_entry, space_of_width
from modnas_fast.reproduction.plan import DEFAULT, Plan
from modnas_fast.reproduction.reference import REFERENCE_FILE
from modnas_fast.reproduction.run import REPRODUCTION_FILE, reproduce_plan
from modnas_fast.reproduction.trial import entries
from modnas_fast.runtime.files import write_json
from modnas_fast.runtime.progress import Reporter
from modnas_fast.runtime.terminal_table import Column, FittedTable


def reproduce_ofa(
    folder: Path, *, seeds: int, quick: bool, jobs: int, command: str, reporter: Reporter
) -> dict[str, Any]:
    """Runs what is missing in `folder` and writes reproduction.json; see `run.reproduce_with_surrogate`.

    Its content has more: `beside`, per device how the answers do beside an evolution of the front and Once-for-All's
    search for each budget, see `constraints`; and its `published` networks, see `ofa_published`.
    """
    plan = make_ofa_plan(seeds, quick)
    benchmark = plan.main[0].benchmark()
    content = reproduce_plan(
        folder, plan, benchmark, {"benchmark": "ofa"}, jobs=jobs, command=command, reporter=reporter
    )
    return _completed(folder, plan, content, published_entry(benchmark, content["methods"]))


def reproduce_blocks(
    folder: Path, *, seeds: int, quick: bool, jobs: int, command: str, reporter: Reporter
) -> dict[str, Any]:
    """The same on two devices with tables of blocks, whose latencies are exact: see `reproduce_ofa`."""
    reference = folder.absolute() / REFERENCE_FILE
    plan = make_blocks_plan(str(reference), seeds, quick)
    find_reference(reference, plan.main[0].config(DEFAULT), REFERENCE_EVALUATIONS, reporter)
    benchmark = plan.main[0].benchmark()
    content = reproduce_plan(
        folder, plan, benchmark, {"benchmark": "ofa-blocks"}, jobs=jobs, command=command, reporter=reporter
    )
    others = {CORE_I7: table_of_core_i7(space_of_width(OTHER_WIDTH))}
    return _completed(folder, plan, content, published_entry(benchmark, content["methods"], others))


def _completed(folder: Path, plan: Plan, content: dict[str, Any], published: dict[str, Any]) -> dict[str, Any]:
    """The content with what stands beside, written."""
    found = [entries(group, folder / "trials")[DEFAULT.name]["beside"] for group in plan.main]
    content = {**content, "beside": {**summary(found), "devices": found}, "published": published}
    write_json(folder / REPRODUCTION_FILE, content)
    return content


def budgets_table(beside: dict[str, Any]) -> FittedTable:
    """Devices × share of the evolved front, and by how much a search per budget is more accurate, at most and mean.

    Args:
        beside: of reproduction.json.
    """
    columns = [Column("device"), Column("share"), Column("worst", right=True), Column("mean", right=True)]
    rows = []
    for name in beside["devices"][0]:
        own = [{name: seed[name]} for seed in beside["devices"]]
        found = summary(own)
        ratio = next(value for value in found["ratio"].values() if value is not None)
        rows.append([name, f"{ratio:.4f}", f"{found['worst']:+.2f}", f"{found['mean']:+.2f}"])
    title = (
        f"Share of the hypervolume that an evolution of {PER_FRONT:,} judged networks finds on each device, and by how "
        f"many points Once-for-All's search of {PER_BUDGET:,} for each of ten budgets is more accurate"
    )
    return FittedTable(columns, rows, title)
