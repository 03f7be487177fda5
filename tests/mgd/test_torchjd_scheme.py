"""Tests of TorchJD's weightings as update schemes."""

from __future__ import annotations

import sys

import pytest
import torch
import torchjd.aggregation as theirs
from torch import Tensor

from modnas_fast.config import make_config
from modnas_fast.config.tree import find_choices
from modnas_fast.mgd.descent import combine_devices, device_groups
from modnas_fast.mgd.schemes import make_scheme
from modnas_fast.mgd.torchjd_scheme import WEIGHTINGS
from modnas_fast.runtime.errors import InputError

OPTIONS = {"FairGrad": {"alpha": 1.0}, "Krum": {"n_byzantine": 1}, "CAGrad": {"c": 0.5}}


@pytest.fixture
def gram() -> Tensor:
    """Of five gradients, two of which almost oppose each other."""
    rows = torch.randn(5, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows[1] = 0.1 * rows[2] - rows[0]
    return rows @ rows.T


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS if name != "CAGrad"])  # which wants cvxpy
def test_weights_are_torchjd_s_over_their_sum(gram: Tensor, name: str) -> None:
    options = OPTIONS.get(name, {})
    expected = getattr(theirs, f"{name}Weighting")(**options)(gram)
    scheme = make_scheme(f"torchjd:{name}", options)
    torch.testing.assert_close(scheme.weights(gram), expected / expected.sum())
    combined = combine_devices(gram, scheme, "none")
    assert combined.weights.dtype == torch.float64 and float(combined.weights.sum()) == pytest.approx(1)
    assert [group.tolist() for group in device_groups(scheme, 5, torch.Generator())] == [[0, 1, 2, 3, 4]]


def test_the_least_norm_is_that_of_our_solver_and_upgrad_hurts_no_device(gram: Tensor) -> None:
    ours, mgda, upgrad = (make_scheme(name).weights(gram) for name in ("mgd", "torchjd:MGDA", "torchjd:UPGrad"))
    norms = [float(weights @ gram @ weights) for weights in (ours, mgda, upgrad)]
    assert norms[0] <= norms[1] and norms[0] <= norms[2]
    assert float((gram @ upgrad).min()) > -1e-6


def test_where_weights_cancel_all_count_alike(gram: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = make_scheme("torchjd:IMTLG")
    monkeypatch.setattr(scheme, "_weighting", lambda gram: torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0]))
    assert scheme.weights(gram).tolist() == [0.2] * 5


@pytest.mark.parametrize(
    ("scheme", "options", "told"),
    [
        ("torchjd:UPGrd", {}, "wanted torchjd: and one of AlignedMTL, .*, got 'UPGrd'; did you mean UPGrad"),
        ("torchjd:PCGrad", {}, "have a state or draw at random"),
        ("torchjd:FairGrad", {}, "mgd.options: torchjd:FairGrad does not take {}, .*alpha"),
        ("torchjd:MGDA", {"epsilom": 1}, "mgd.options: torchjd:MGDA does not take .*epsilom"),
    ],
)
def test_what_cannot_be_used_is_told_before_a_run(scheme: str, options: dict[str, object], told: str) -> None:
    config = make_config(mgd={"scheme": scheme, "options": options})
    with pytest.raises(InputError, match=told) as error:
        find_choices(config)
    assert "\n" not in str(error.value)


def test_without_torchjd_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(InputError, match="torchjd:UPGrad lacks a package.*pip install"):
        make_scheme("torchjd:UPGrad")
