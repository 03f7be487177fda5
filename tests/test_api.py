"""The public names, pinned, and what importing the package loads."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import modnas_fast

PUBLIC = {
    "modnas_fast": ["Device", "InputError", "MinNorm", "Pick", "Result", "__version__", "min_norm", "search"],
    "modnas_fast.baselines": ["BASELINES", "BudgetSpent", "Problem", "random_architectures"],
    "modnas_fast.datasets": [
        "BatchStream",
        "ImageTask",
        "Split",
        "Vocabulary",
        "data_home",
        "load_task",
        "load_vocabulary",
        "locate",
    ],
    "modnas_fast.devices": [
        "Campaign",
        "Device",
        "Fingerprint",
        "Latencies",
        "MachineCosts",
        "Measurement",
        "MeasurementCache",
        "Metric",
        "Profiler",
        "Setting",
        "embeddings",
        "fingerprint",
        "machine_settings",
        "plan_campaign",
        "threads_restored",
    ],
    "modnas_fast.elastic": [
        "BatchNorm1d",
        "BatchNorm2d",
        "Choice",
        "Conv2d",
        "Embedding",
        "LayerNorm",
        "Linear",
        "ModuleSpace",
        "MultiheadAttention",
        "RMSNorm",
        "Sequential",
        "TensorTask",
        "Width",
        "from_module",
        "width",
    ],
    "modnas_fast.mgd": [
        "Combination",
        "MGDWeights",
        "MinNorm",
        "Status",
        "combine",
        "combine_devices",
        "descend",
        "device_gradients",
        "device_groups",
        "gramian",
        "mgd_backward",
        "mgd_weights",
        "min_norm",
    ],
    "modnas_fast.report": ["write_figures", "write_report", "write_reproduction"],
    "modnas_fast.spaces": ["Architecture", "Choice", "Graph", "NB201Space", "SearchSpace", "make_space"],
    "modnas_fast.supernets": ["LinearOutputs", "Plan", "Supernet", "cross_entropies", "entangled_linear"],
    "modnas_fast.tasks": [
        "Batch",
        "ImageClassification",
        "LanguageModelling",
        "Part",
        "Stream",
        "Task",
        "network_quality",
        "train_network",
    ],
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_pinned_and_there(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(module.__all__) == PUBLIC[name]
    for public in module.__all__:
        assert getattr(module, public) is not None
    assert module.__doc__


def test_names_of_the_root_are_those_of_their_homes() -> None:
    from modnas_fast.devices import Device
    from modnas_fast.mgd import MinNorm, min_norm
    from modnas_fast.result import Pick, Result

    for home in (Device, MinNorm, Pick, Result, min_norm):
        assert getattr(modnas_fast, home.__name__) is home


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        modnas_fast.nothing  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert modnas_fast.__version__ == version("modnas-fast")


@pytest.mark.parametrize(
    "module",
    [
        "modnas_fast",
        "modnas_fast.cli.app",
        "modnas_fast.config",
        "modnas_fast.datasets.fetch",
        "modnas_fast.datasets.home",
        "modnas_fast.result.folder",
        "modnas_fast.result.result",
        "modnas_fast.result.queries",
    ],
)
def test_a_light_import_loads_nothing_heavy(module: str) -> None:
    heavy = ("torch", "scipy", "sklearn", "matplotlib", "plotly", "pyarrow", "triton", "optuna")
    code = f"import sys, {module}; print(*(name for name in {heavy} if name in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (ended.stdout.strip(), ended.stderr) == ("", "")
