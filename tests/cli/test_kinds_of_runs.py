"""One pipeline for every source of costs, every task objective, with a truth and without: whole, killed, and asked."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from agreement import assert_agrees
from pictures import fill
from report.browser import drawn, needs_browser, watch

from modnas_fast import Result
from modnas_fast.datasets import load_vocabulary
from modnas_fast.result.content import answers_of
from modnas_fast.spaces import NB201Space

SPACE = NB201Space()
DEVICES = {"phone": "search", "board": "search", "hub": "unseen"}
THREE = "objectives=[error,latency,energy]"
#: of this machine's settings half, which is enough wherever both number formats are not the point
FEW = ("--set", "devices.formats=[float32]", "--set", "devices.unseen=[cpu_t1_b32_fp32]")
#: per kind, what makes it; `energy` and `latency` come from a table of 40 networks
KINDS: dict[str, tuple[str, ...]] = {
    "measured here, parameters by a formula": (
        "--set", "objectives=[error,latency,parameters]", "--set", "report.plots=true",
    ),
    "a table of some networks": ("--set", "devices.table=own.csv", "--set", "devices.unseen=[hub]", "--set", THREE),
    "formulas alone": ("--set", "objectives=[error,parameters,flops]"),
    "language": (
        "--preset", "gpt-small", "--set", "space.widths=[8,16]", "--set", "space.depths=[1,2]", "--set",
        "space.heads=[1,2]", "--set", "task.test_limit=40", "--set", "search.refine_networks=16",
        "--set", "task.vocabulary=300", "--set", "objectives=[perplexity,token_latency,cache_memory]",
        "--set", "evaluation.baselines=true", *FEW,
    ),
    "translation": (
        "--preset", "hat-small", "--data", "pairs.tsv", "--set", "space.encoder_widths=[8,16]", "--set",
        "space.decoder_widths=[8,16]", "--set", "space.encoder_ffns=[8,16]", "--set", "space.decoder_ffns=[8,16]",
        "--set", "space.inner=16", "--set", "space.encoder_depths=[2]", "--set", "space.decoder_depths=[1,2]",
        "--set", "space.encoder_heads=[2]", "--set", "space.cross_heads=[2]", "--set", "space.reaches=[1,2]",
        "--set", "task.vocabulary=bytes", "--set", "search.refine_networks=16", "--set", "devices.repeats=1",
        "--set", "objectives=[loss,latency,parameters]", *FEW,
    ),
    "photos": (
        "--preset", "mobilenet-small", "--data", "own-pets", "--set", "space.width=0.1", "--set",
        "space.resolutions=[32,40]", "--set", "space.kernels=[3,5]", "--set", "space.expansions=[1,2]", "--set",
        "space.depths=[1]", "--set", "search.refine_networks=16", "--set", "search.batch_size=8",
        "--set", "search.steps=20", *FEW,
    ),
    "measured here, judged by a truth": (
        "--preset", "nb201", "--set", "devices.table=null", "--set", "task.queries=20", "--set", "space.cells=1",
        "--set", "search.warmup_steps=0", *FEW,
    ),
}  # fmt: skip


def write_own_table(file: Path) -> set[str]:
    """Two costs of 40 networks on three devices; the networks."""
    drawn_networks = SPACE.decode(SPACE.sample(60, torch.Generator().manual_seed(0)))
    texts = list(dict.fromkeys([*SPACE.references, *(a.text for a in drawn_networks)]))[:40]
    lines = ["architecture,device,latency_ms,energy_mj"]
    for number, device in enumerate(DEVICES, 1):
        for text in texts:
            large, small = text.count("3x3~") - text.count("pool"), text.count("1x1")
            lines.append(f"{text},{device},{1 + (2 + number) * large + small + 0.1 * len(text)},{2 + number * large}")
    file.write_text("\n".join(lines), encoding="utf-8")
    return set(texts)


def write_pairs(file: Path) -> None:
    """Numbers, and what they are called the other way round."""
    lines = [f"{number} of {number % 7}\t{number % 7} von {number}" for number in range(60)]
    file.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module", params=KINDS)
def kind(cli: Any, request: pytest.FixtureRequest) -> tuple[Any, str, Path]:
    """A finished run of each kind: the command line, its options, its folder."""
    if "nb201" in KINDS[request.param] and "MODNAS_DATA" not in os.environ:
        pytest.skip("MODNAS_DATA does not name the benchmark's tables")
    write_own_table(cli.folder / "own.csv")
    write_pairs(cli.folder / "pairs.tsv")
    for seed, name in enumerate(("cat", "dog")):
        fill(cli.folder / "own-pets" / name, 24, size=(48, 40), seed=100 * seed)
    options = [*cli.settings(), *KINDS[request.param]]
    if {"gpt-small", "hat-small", "mobilenet-small"} & set(options):
        options.remove("space.channels=2")
        options.remove("--set")
    folder = cli.folder / "kinds" / request.param.replace(" ", "-").replace(",", "")
    ended = cli.here("search", "--out", folder, *options)
    assert ended.code == 0, ended.err
    return cli, options, folder


def test_killed_it_ends_as_if_unbroken(kind: tuple[Any, list[str], Path]) -> None:
    cli, options, whole = kind
    broken = whole.with_name(f"{whole.name}-broken")
    ended = cli.interrupt(signal.SIGKILL, broken, 4, "--out", broken, *options)
    assert ended.code == -signal.SIGKILL and not (broken / "result.json").exists()
    ended = cli.here("search", "--resume", broken)
    assert ended.code == 0, ended.err
    assert "Continuing at step" in ended.err and "Training the metapredictor" not in ended.err
    assert cli.result(broken) == cli.result(whole)
    for file in ("history.json", "predictor.json", "hypernetwork.safetensors"):
        assert (broken / file).read_bytes() == (whole / file).read_bytes(), file


def test_answers_agree_with_the_reference(kind: tuple[Any, list[str], Path]) -> None:
    assert_agrees(Result.load(kind[2]))


def test_every_number_says_where_it_comes_from(kind: tuple[Any, list[str], Path]) -> None:
    result = Result.load(kind[2])
    kinds = result.content["cost_sources"]
    assert len(result.objectives) == len(result.content["hypervolume_protocol"]["reference_point"]) == 1 + len(kinds)
    for entry in result.content["devices"]:
        assert set(entry["hypervolume_bounds"]) == {objective.key for objective in result.objectives}
        for point in (*entry["rays"], *entry["random"]):
            for key, source in point["sources"].items():
                assert source in ((kinds[key], "predicted") if kinds[key] == "tabulated" else
                                  ("exact",) if kinds[key] == "exact" else ("predicted",))  # fmt: skip
        assert set(entry["predictor"]) == {key for key, source in kinds.items() if source != "exact"}


def test_baselines_on_the_same_weights_had_as_many_networks(kind: tuple[Any, list[str], Path]) -> None:
    result = Result.load(kind[2])
    if not result.content["configuration"]["evaluation"]["baselines"]:
        assert "baselines" not in result.content and not (kind[2] / "baselines.json").exists()
        pytest.skip("no baselines asked for")
    assert result.content["baselines"]["networks"] >= 16
    for entry in result.content["devices"]:
        for found in entry["baselines"].values():
            assert 0 <= found["hypervolume"] <= 1.0001 and found["front"]
            assert len({point["architecture"] for point in found["front"]}) == len(found["front"])


def test_exact_costs_are_those_of_the_built_network(kind: tuple[Any, list[str], Path]) -> None:
    result = Result.load(kind[2])
    if "parameters" not in result.content["cost_sources"]:
        pytest.skip("no exact cost among the objectives")
    for entry in result.content["devices"]:
        for point in entry["rays"]:
            network = result.build(point["architecture"])
            assert point["parameters"] == sum(parameter.numel() for parameter in network.parameters())


def test_it_is_asked_by_preference_by_budget_and_for_a_new_device(command: Any, kind: tuple[Any, Any, Path]) -> None:
    run = kind[2]
    result = Result.load(run)
    entry, keys = result.content["devices"][0], [cost.key for cost in result.costs]
    weights = ",".join("1" for _ in result.objectives)
    asked = json.loads(command("pick", run, "--device", entry["name"], "--preference", weights, "--json").out)
    assert {*keys, result.quality.key} <= set(asked)
    budgets = [f"{key}={sorted(point[key] for point in entry['random'])[-2]}" for key in keys]
    options = [part for budget in budgets for part in ("--max", budget)]
    within = json.loads(command("pick", run, "--device", entry["name"], *options, "--json").out)
    assert all(within[key] <= float(budget.partition("=")[2]) for key, budget in zip(keys, budgets))
    measured = [cost.key for cost in result.asked_of_devices]
    if measured:
        values = {key: [1.0 + row for row in range(10)] for key in measured}
        Path("new.json").write_text(json.dumps(values if len(measured) > 1 else values[measured[0]]))
        new = command("pick", run, "--embedding", "new.json", "--preference", weights)
        assert new.code == 0 and new.out.splitlines()[1].split() == ["device", "new"], new.err
    else:
        Path("new.json").write_text("[]")
        new = command("pick", run, "--embedding", "new.json", "--preference", weights)
        told = "parameters, flops are the same on every device; use --device anywhere"
        assert new.code == 2 and told in new.err and new.err.count("\n") == 1


def test_its_networks_are_drawn_and_those_of_texts_write(kind: tuple[Any, Any, Path]) -> None:
    run = kind[2]
    content, page = json.loads((run / "result.json").read_text()), (run / "report.html").read_text()
    drawn_networks = json.loads((run / "drawings.json").read_text())["networks"]
    fronts = {point["architecture"] for device in content["devices"] for point in device["front"]}
    assert set(drawn_networks) == fronts | {entry["architecture"] for entry in content["verified"]}
    assert page.count('<svg class="cell"') >= len(content["devices"]) and 'class="cell-text"' not in page
    samples = [entry["sample"] for entry in content["verified"] if "sample" in entry]
    if run.name == "translation":
        assert [sample["prompt"].count(" of ") for sample in samples] == [1] and page.count("<blockquote") == 1
        assert [list(entry["measures"]) for entry in content["verified"]] == [["100 - BLEU"]]
        assert ">100 - BLEU<" in page and "100 - BLEU, inherited" in page
        check_measures(run, content)
        return
    if run.name != "language":
        assert samples == [] and "<blockquote" not in page
        return
    words = load_vocabulary(run)
    assert words.size == 300 and len(samples) == page.count("<blockquote") == 1
    assert 0 < len(words.encode(samples[0]["prompt"])) <= 40 and samples[0]["continuation"]
    assert {"token_latency_ms", "cache_memory_mb"} <= set(content["cost_sources"])


def check_measures(run: Path, content: dict[str, Any]) -> None:
    """Every answer's network has its BLEU, and questions tell it, from answers.npz as from result.json."""
    told, result = content["measures"], Result.load(run)
    assert told["names"] == ["100 - BLEU"] and told["weights"] == "inherited" and told["part"] == "test"
    answers = [point["architecture"] for entry in content["devices"] for point in answers_of(entry)]
    assert set(told["networks"]) == set(answers)
    (run / "answers.npz").rename(run / "aside.npz")
    reference = Result.load(run)
    for name, entry in zip(result.devices, content["devices"], strict=True):
        assert entry["least"] == {"100 - BLEU": min(point["measures"]["100 - BLEU"] for point in entry["front"])}
        picks = [of.pick(name, preference=[1] * len(of.objectives)) for of in (result, reference)]
        assert picks[0].measures == picks[1].measures == picks[0].to_dict().get("measures", {})
        for point, other in zip(result.front(name), reference.front(name), strict=True):
            assert point.measures == other.measures == told["networks"][point.architecture]
            assert 0 <= point.to_record(name, result.quality, "inherited")["100 - BLEU"] <= 100
    (run / "aside.npz").rename(run / "answers.npz")


@needs_browser
def test_its_page_in_a_browser(kind: tuple[Any, Any, Path], tmp_path: Path) -> None:
    document, troubles, _ = watch(kind[2] / "report.html", tmp_path)
    assert troubles == [] and drawn(document) >= 4
