"""Which searches a reproduction is made of: all valid, all with files of their own, quick ones a part of them."""

from __future__ import annotations

import re

import pytest

from modnas_fast.baselines import BASELINES
from modnas_fast.config import make_config
from modnas_fast.reproduction.compose import LABELS
from modnas_fast.reproduction.plan import DEFAULT, FACTORS, FAST_BASELINES, Plan, make_plan
from modnas_fast.spaces.nb201.published import PAPER_SEARCH, PAPER_UNSEEN

SETTINGS = [*PAPER_SEARCH, *PAPER_UNSEEN, *(f"other_{k}" for k in range(8))]
FULL = make_plan(SETTINGS, list(BASELINES), 3, quick=False)
QUICK = make_plan(SETTINGS, list(BASELINES), 3, quick=True)


@pytest.mark.parametrize("plan", [FULL, QUICK], ids=["full", "quick"])
def test_every_search_has_a_valid_configuration_and_a_file_of_its_own(plan: Plan) -> None:
    files = [group.file(variant) for group in plan.groups for variant in group.variants]
    assert len(files) == len({file.lower() for file in files})
    assert all(re.fullmatch(r"[\w+-]+\.json", file, re.ASCII) for file in files), files
    for group in plan.groups:
        assert group.variants[0] == DEFAULT, "the group's predictor is told in the entry of the first variant"
        for variant in group.variants:
            config = group.config(variant)
            assert (config.seed, config.task.table, config.task.source) == (group.seed, group.task, "surrogate")


def test_the_default_is_the_preset_and_other_values_differ_from_it() -> None:
    group = FULL.main[1]
    assert group.config(DEFAULT) == make_config(preset="nb201", seed=1)
    configs = [group.config(variant) for variant in group.variants]
    assert len({config.model_dump_json() for config in configs}) == len(configs)
    planned = {variant for values in FULL.factors.values() for variant in values.values()}
    assert planned | {DEFAULT} == set(group.variants)
    assert list(FULL.factors) == list(FACTORS) and all(len(values) > 1 for values in FULL.factors.values())


def test_a_full_plan_has_every_seed_task_and_baseline() -> None:
    assert FULL.seeds == (0, 1, 2) and [group.seed for group in FULL.main] == [0, 1, 2]
    assert [group.seed for group in FULL.paper] == [0, 1, 2]
    assert {group.preset for group in FULL.paper} == {"nb201-paper"}
    assert {task: [g.task for g in groups] for task, groups in FULL.transfer.items()} == {
        "cifar100": ["cifar100"] * 3, "imagenet16-120": ["imagenet16-120"] * 3,
    }  # fmt: skip
    assert FULL.baselines == tuple(BASELINES) and set(BASELINES) <= set(LABELS)
    assert {group.metrics for group in FULL.three} == {("latency", "energy")}


def test_splits_part_all_settings_anew() -> None:
    assert len(FULL.splits) == 5 and len({group.search for group in FULL.splits}) == 5
    for group in FULL.splits:
        assert len(group.search) == 13 and len(group.unseen) == 14
        assert sorted(group.search + group.unseen) == sorted(SETTINGS)
    assert make_plan(SETTINGS, [], 1, quick=False).splits == FULL.splits


def test_a_quick_plan_is_smaller_in_every_way_and_says_so() -> None:
    assert QUICK.quick and QUICK.seeds == (0,) and QUICK.baselines == FAST_BASELINES
    assert list(QUICK.factors) == ["scalarization", "gradients of Φ"] and list(QUICK.transfer) == ["cifar100"]
    assert len(QUICK.splits) == len(QUICK.three) == len(QUICK.paper) == 1
    for quick, full in ((QUICK.main[0], FULL.main[0]), (QUICK.paper[0], FULL.paper[0])):
        short, long = quick.config(DEFAULT), full.config(DEFAULT)
        assert short.predictor.steps < long.predictor.steps and short.search.steps < long.search.steps
        assert set(quick.variants) <= set(full.variants)
    left_out = set(BASELINES) - set(FAST_BASELINES)
    assert all(name in QUICK.notes[-1] for name in left_out) and len(QUICK.notes) == len(FULL.notes) + 1
