"""The benchmark of a whole search step: its contenders agree, and it tells what it measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small_searches
import torch
from stand_in_gpu import StandInGraphs

from modnas_fast.bench import search_step, step_agreement, step_contenders
from modnas_fast.bench.published_step import PublishedStep
from modnas_fast.bench.published_supernet import PublishedSupernet
from modnas_fast.bench.search_step import main, options
from modnas_fast.bench.step_contenders import MAKERS, OURS_BFLOAT16, admitted, foretold
from modnas_fast.bench.step_parts import functions_of_search, kind_of, peak_memory, seconds_by_part
from modnas_fast.bench.step_setting import SPACE, Setting, make_search
from modnas_fast.method.architect import Architect
from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.nb201.supernet import NB201Supernet
from modnas_fast.supernets.captured import CapturedPasses

TINY = ["--channels", "2", "--cells", "1", "--side", "8", "--batch", "4", "--rounds", "2", "--threads", "1"]
SMALL = Setting(devices=2, batch=4, channels=2, cells=1, side=8)
CONTENDERS = ["published loop", "plain batched", "ours"]


# ---- agreement ----


def test_contenders_agree_on_losses_and_gradients() -> None:
    gaps = step_agreement.supernet_gaps()
    assert len(gaps) == 10 and max(gaps.values()) < 1e-12
    assert step_agreement.hypernetwork_gap() < 1e-12
    assert step_agreement.reinmax_gap() < 1e-12


@pytest.fixture
def samples_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, which would be waited for: samples of which nothing is told are soft."""
    active = NB201Supernet._active
    monkeypatch.setattr(
        NB201Supernet, "_active", lambda self, onehot, hard, exact: active(self, onehot, bool(hard), exact)
    )


@pytest.mark.usefixtures("samples_not_looked_at")
@pytest.mark.parametrize("implementation", ["composed", "reference"])
def test_contenders_agree_where_samples_are_not_looked_at(implementation: str) -> None:
    with implementations.using(implementation):
        assert max(step_agreement.supernet_gaps().values()) < 1e-12


@pytest.mark.parametrize("kind", ["reinmax", "gdas", "leave_one_out"])
def test_a_step_tells_the_supernet_that_samples_are_hard(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    predict_from = NB201Supernet.predict_from

    def seen(supernet: NB201Supernet, *arguments: Any, hard: bool | None = None, **how: Any) -> torch.Tensor:
        told.append(hard)
        return predict_from(supernet, *arguments, hard=hard, **how)

    monkeypatch.setattr(NB201Supernet, "predict_from", seen)
    search = small_searches.make_search(small_searches.config(architect={"kind": kind}))
    while search.finished_steps < 5:
        search.step()
    assert told and all(told), "warm-up, calibration, Φ and w"


def test_nothing_is_measured_where_one_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right = step_agreement.as_ours
    monkeypatch.setattr(
        step_agreement, "as_ours", lambda weights: {name: 1.001 * value for name, value in right(weights).items()}
    )
    with pytest.raises(InputError, match="contenders do not agree: loss, ours by .*gradient by w, ours"):
        main([*TINY, "--devices", "2"])


def test_the_published_sample_gradient_is_one_number_for_all_options_not_chosen() -> None:
    torch.manual_seed(0)
    supernet = PublishedSupernet(10, 4, 1).double()
    sample = SPACE.onehot(torch.tensor([3, 2, 4, 1, 3, 2])).double().requires_grad_()
    loss = supernet(torch.randn(4, 3, 8, 8).double(), sample, torch.arange(4))
    (gradient,) = torch.autograd.grad(loss, sample)
    for edge, chosen in zip(gradient.view(6, 5), sample.view(6, 5).argmax(-1), strict=True):
        others = torch.cat([edge[:chosen], edge[chosen + 1 :]])
        torch.testing.assert_close(others, others[:1].expand(4))
        assert (edge[chosen] - others[0]).abs() > 1e-6


# ---- steps ----


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_step_moves_every_weight_of_the_hypernetwork_and_w(name: str) -> None:
    contender = MAKERS[name](SMALL).state
    supernet = contender.supernet if isinstance(contender, PublishedStep) else contender._objective.supernet
    before = [parameter.clone() for parameter in (*contender.hypernet.parameters(), *supernet.parameters())]
    for _ in range(3):
        contender.step()
    after = [*contender.hypernet.parameters(), *supernet.parameters()]
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    hyper = len(list(contender.hypernet.parameters()))
    assert all(moved[:hyper]), "weight decay alone moves all of Φ"
    assert sum(moved[hyper:]) > len(moved[hyper:]) / 2
    assert all(parameter.isfinite().all() for parameter in after)


def test_ours_is_configured_like_the_paper() -> None:
    config = make_search(Setting(devices=2, batch=4, side=8))._config
    assert (config.space.channels, config.space.cells, config.space.reduction) == (16, 5, "residual")
    assert (config.architect.kind, config.scalarization.kind, config.mgd.scheme) == ("reinmax", "linear", "mgd")
    assert (config.search.warmup_steps, config.search.spread_share, config.search.gradient_clip) == (0, 0, 5)
    assert not config.search.viability and not config.scalarization.normalize


# ---- where the time goes ----


def test_parts_of_a_step_are_told_apart_and_functions_put_back() -> None:
    search = make_search(SMALL)
    forward, sampling = search._objective.supernet.forward, Architect.__call__
    found = seconds_by_part(search, functions_of_search(search))
    assert list(found) == ["Φ step", "w step"]
    both = {"supernet forward", "backward", "hypernetwork", "sampling", "optimisers", "data", "other"}
    assert set(found["w step"]) == both and set(found["Φ step"]) == both | {"MGD", "predictor"}
    assert all(seconds > 0 for half in found.values() for seconds in half.values())
    assert search.finished_steps == 1
    assert search._objective.supernet.forward == forward and Architect.__call__ is sampling


def test_replays_of_graphs_are_the_supernet_s_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run no Python of the supernet's."""
    StandInGraphs.instead_of_cuda(monkeypatch)
    search = make_search(SMALL)
    passes = search._objective._passes = CapturedPasses(search._objective.supernet)
    search.step()

    def replay(x: torch.Tensor, onehot: torch.Tensor, y: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return onehot.sum(dim=1) + sum(weight.sum() for weight in weights)

    passes._graphs = dict.fromkeys(passes._graphs, replay)
    found = seconds_by_part(search, functions_of_search(search))
    for half in found.values():
        assert half["supernet forward"] > 0 and half["backward"] > 0
    assert "_replay" not in vars(passes), "put back"


@pytest.mark.parametrize(
    ("operation", "shapes", "kind"),
    [
        ("aten::convolution_backward", [[8, 16, 4, 4], [8, 16, 4, 4], [16, 16, 3, 3]], "convolution"),
        ("aten::convolution_backward", [[8, 16, 4, 4], [8, 16, 4, 4], [16, 1, 3, 3]], "pooling"),
        ("aten::avg_pool2d_backward", [], "pooling"),
        ("aten::threshold_backward", [], "relu"),
        ("aten::native_batch_norm_backward", [], "batch norm"),
        ("aten::bmm", [], "weights and sums"),
        ("aten::copy_", [], "copies"),
        ("aten::softmax", [], "other"),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>",
            [],
            "weights and sums",
        ),
        ("void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float, 512, true, 1, true>", [], "batch norm"),
        ("sm90_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc", [], "convolution"),
        ("void at::native::conv_depthwise2d_forward_kernel<3, float, int>", [], "pooling"),
        ("void at::native::launch_clamp_scalar", [], "relu"),
        ("triton_poi_fused__native_batch_norm_legit_relu_3", [], "compiled"),
        ("Memcpy HtoD (Pinned -> Device)", [], "copies"),
    ],
)
def test_kinds_of_operations(operation: str, shapes: list[list[int]], kind: str) -> None:
    assert kind_of(operation, shapes) == kind


def test_peak_memory_sees_what_is_gone_again_every_time() -> None:
    for _ in range(2):
        with peak_memory() as peak:
            for _ in range(5):
                # small pieces: the C library keeps those for later
                held = [torch.ones(10_000) for _ in range(2500)]
                del held
        assert 60e6 < peak[0] < 300e6


# ---- the command ----


def test_a_tiny_setting_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modnas_fast.bench.runner.COPIED", 1_000_000)
    file, picture = tmp_path / "step.json", tmp_path / "step.png"
    main([*TINY, "--devices", "1,2", "--parts", "--json", str(file), "--plot", str(picture)])
    out = capsys.readouterr().out
    assert all(name in out for name in CONTENDERS) and "T = 2, batch 4, C = 2, N = 1" in out
    assert "supernet forward" in out and "convolution" in out and "×" in out
    content = json.loads(file.read_text())
    assert content["op"] == "search_step" and content["threads"] == 1 and content["copy_bytes_per_second"] > 0
    assert {"commit", "cpu", "packages"} <= set(content)
    assert [row["T"] for row in content["results"]] == [1, 2]
    for row in content["results"]:
        assert [name for name in row["seconds"] if name != OURS_BFLOAT16] == CONTENDERS and min(
            row["seconds"].values()
        ) > 0
        assert row["ratio"]["published loop"] == row["seconds"]["published loop"] / row["seconds"]["ours"]
        assert row["seconds_per_device"]["ours"] == row["seconds"]["ours"] / row["T"]
        assert set(row["parts"]["ours"]) == {"by_part", "by_kind"}
        assert "estimated_paper_hours" not in row and row["skipped"] == {}
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step.json", "step.png"]


def test_large_steps_are_foretold_and_left_out_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    large = Setting(devices=8, batch=64, channels=2, cells=1, side=8)
    seconds, size = foretold(large, "ours")
    assert seconds > 0 and size >= 0
    assert foretold(SMALL, "ours") == (0, 0)
    monkeypatch.setattr(step_contenders, "foretold", lambda setting, name: (1.0, 10**10))
    monkeypatch.setattr(step_contenders, "free_memory", lambda where: 4 * 10**9)
    contenders, skipped = admitted(SMALL, CONTENDERS)
    assert contenders == {}
    assert skipped == dict.fromkeys(CONTENDERS, "would take about 10 GB of memory, 4 GB are free")


def test_what_is_left_out_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"ours": 10**12}
    monkeypatch.setattr(step_contenders, "foretold", lambda setting, name: (0.0, sizes.get(name, 0)))
    row = search_step.measured(SMALL, ["plain batched", "ours"], 1, False)
    assert list(row["seconds"]) == ["plain batched"] and row["ratio"] == {}
    assert "ours: left out, it would take about 1e+03 GB" in capsys.readouterr().out
    assert len(search_step.times_table(row).rows) == 1


def test_default_sizes() -> None:
    given = options([])
    assert (given.devices, given.batch, given.rounds, given.compile) == ([1, 13], [64], 3, False)
    given = options(["--quick"])
    assert (given.devices, given.batch, given.rounds) == ([13], [64], 3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--devices", "0"], "--devices: wanted a whole number of at least 1, got '0'"),
        (["--devices", "3,x"], "--devices: wanted a whole number of at least 1, got 'x'"),
        (["--batch", ""], "--batch: wanted a whole number of at least 1, got ''"),
        (["--side", "10"], "--side: wanted a multiple of 4, got 10"),
        (["--device", "tpu"], "--device: wanted cpu or cuda, got 'tpu'"),
        (["--quick", "--batch", "3"], "--quick has its own sizes"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_bad_options_are_one_line(arguments: list[str], text: str) -> None:
    with pytest.raises(InputError) as caught:
        options(arguments)
    assert text in str(caught.value) and str(caught.value).startswith("bench search_step: ")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(InputError, match="torch sees no CUDA GPU here"):
        options(["--device", "cuda"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_a_tiny_setting_on_cuda(tmp_path: Path) -> None:
    file = tmp_path / "step.json"
    main([*TINY, "--devices", "2", "--device", "cuda", "--parts", "--no-compile", "--json", str(file)])
    (row,) = json.loads(file.read_text())["results"]
    hours: dict[str, Any] = row["estimated_paper_hours"]
    assert hours["ours"] == pytest.approx(9800 * row["seconds"]["ours"] / 3600)
