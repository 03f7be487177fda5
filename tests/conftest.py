"""Settings of all tests."""

import os
from typing import Any

import pytest
from hypothesis import settings

# A busy machine is no failure: what a property costs is not what its test is about.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


#: tests of many minutes altogether, left out unless MODNAS_FAST_LONG_TESTS=1; a * stands for anything
LONG = (
    "bench/test_conformal.py",
    "bench/test_converted.py::test_two_classes",
    "deployment/test_kit.py::test_a_killed_kit_continues",
    "deployment/test_formats.py::test_onnx_of_the_smallest_network[gpt]",
    "deployment/test_formats.py::test_onnx_of_the_smallest_network[hat]",
    "deployment/test_formats.py::test_onnx_of_the_smallest_network[mobilenetv3]",
    "deployment/test_formats.py::test_onnx_of_twenty_networks",
    "cli/test_reproduce.py::test_the_quick_reproduction_of_the_real_tables",
    "distributed/test_launches.py::test_four_ranks_then_two_then_one",
    "distributed/test_launches.py::test_killed_at_any_moment",
    "distributed/test_launches.py::test_ranks_stop_together",
    "distributed/test_launches.py::test_two_hosts",
    "docs/test_photos.py",
    "cli/test_search_tables.py::test_killed_stopped_and_resumed",
    "cli/test_function.py::test_an_object_beside_the_data",
    "cli/test_own_trained_model.py::test_a_killed_search",
    "cli/test_kinds_of_runs.py::test_killed_it_ends_as_if_unbroken[formulas alone]",
    "cli/test_kinds_of_runs.py::test_killed_it_ends_as_if_unbroken[language]",
    "cli/test_kinds_of_runs.py::test_killed_it_ends_as_if_unbroken[a table of some networks]",
    "cli/test_kinds_of_runs.py::test_killed_it_ends_as_if_unbroken[measured here",
    "cli/test_kinds_of_runs.py::test_killed_it_ends_as_if_unbroken[photos]",
    "reproduction/test_own_weights.py*[hat]",
    "report/test_accessibility.py::test_axe_finds_nothing_wrong[reproduction-light]",
    "report/test_accessibility.py::test_axe_finds_nothing_wrong[run-dark]",
    "report/test_linked.py::test_other_objectives_are_drawn_too[four]",
    "report/test_own_style.py::test_a_matplotlibrc_changes_nothing[broken-",
    "report/test_own_style.py::test_a_matplotlibrc_changes_nothing[dark-",
    "report/test_own_style.py::test_the_environment_changes_nothing[{'MPLBACKEND': 'TkAgg'}]",
    "report/test_own_style.py::test_the_environment_changes_nothing[{'MPLBACKEND': 'module",
    "runs/test_run_on_hat_table.py::test_a_run_that_goes_on",
    "test_other_package.py::test_killed",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What `--dist loadfile` is here."""
    from scheduling import ByFile

    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out the long tests unless they are asked for."""
    if os.environ.get("MODNAS_FAST_LONG_TESTS") != "1":
        for item in items:
            if any(all(piece in item.nodeid for piece in f"tests/{part}".split("*")) for part in LONG):
                item.add_marker(pytest.mark.skip(reason="takes long: set MODNAS_FAST_LONG_TESTS=1"))
