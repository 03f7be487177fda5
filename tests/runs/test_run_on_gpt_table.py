"""A whole run on a made-up HW-GPT-Bench: what is measured, what is judged, and that each number says which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hw_gpt_bench import networks, write_table
from torch import Tensor

from modnas_fast import Result
from modnas_fast.cli.pick import _in_words
from modnas_fast.config import make_config
from modnas_fast.evaluation.benchmark import benchmark_of
from modnas_fast.result.folder import create_run
from modnas_fast.runs.run import Run
from modnas_fast.runtime.errors import InputError
from modnas_fast.search.scores import map_points
from modnas_fast.spaces.gpt.space import GPTSpace

TINY = (
    "devices.networks=80", "task.queries=20", "predictor.steps=30", "predictor.hidden=16", "search.steps=4",
    "search.refine_steps=8", "search.refine_preferences=3", "search.refine_networks=400", "search.evaluations=1",
    "evaluation.rays=6", "devices.search=[P100,rtx2080]", "devices.unseen=[a100]",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("data"))


@pytest.fixture
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODNAS_DATA", str(home))
    monkeypatch.setattr("modnas_fast.search.bilevel.CANDIDATES", 500)
    monkeypatch.setattr("modnas_fast.search.evaluator.BOUND_SAMPLE", 500)


def executed(folder: Path, *overrides: str) -> Result:
    config = make_config(preset="hw-gpt-bench", overrides=[*TINY, *overrides])
    return Run(create_run(folder, config), config).execute()


class Fixed(torch.nn.Module):
    """A hypernetwork that answers with given networks."""

    def __init__(self, onehot: Tensor) -> None:
        super().__init__()
        self.onehot = torch.nn.Parameter(onehot)

    def forward(self, r: Tensor, d: Tensor) -> Tensor:
        return self.onehot[: len(r)]


@pytest.mark.usefixtures("small")
def test_every_number_says_whether_it_was_measured_or_judged(tmp_path: Path) -> None:
    result = executed(tmp_path / "run", "objectives=[perplexity,energy,parameters]")
    content: dict[str, Any] = json.loads((tmp_path / "run" / "result.json").read_text())
    assert content["quality_kind"] == "judged"
    assert content["cost_sources"] == {"energy_mwh": "tabulated", "parameters": "exact"}
    space, texts = GPTSpace("s"), networks("s", 400)
    assert space.published is not None
    truth, table = space.published.truth("openwebtext"), space.published.costs("hw-gpt-bench")
    for entry in content["devices"]:
        points = [*entry["rays"], *entry["front"], *entry["random"]]
        onehot = space.encode([space.parse(point["architecture"]) for point in points])
        assert truth.judge is not None and table.judge is not None
        assert [p["perplexity"] for p in points] == pytest.approx(truth.judge(onehot).tolist(), rel=1e-5)
        assert [p["energy_mwh"] for p in points] == pytest.approx(table.judge(entry["name"], onehot)[:, 1].tolist())
        assert {str(p["sources"]) for p in points} == {"{'energy_mwh': 'judged', 'parameters': 'exact'}"}
        assert entry["predictor"]["energy_mwh"]["networks"] == 400, "predictions are judged by what was measured"
    notes = " ".join(content["task"]["notes"])
    for words in (
        "perplexity of an answer is judged",
        "energy: measurements of the table hw-gpt-bench for 400 networks",
        "knew energy of 80 networks",
        "knew 20 values of the perplexity",
    ):
        assert words in notes
    known = json.loads((tmp_path / "run" / "measurements.json").read_text())
    assert len(known["queried"]) == 20 and set(known["queried"]) <= set(texts)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Of the judged front of the table" in page and "Perplexity, judged" in page and ", judged" in page
    for device, words in (("a100", ("judged perplexity", "energy")), ("P100", ("judged perplexity", "energy"))):
        listed = [_in_words(each, result) for each in result.top(device, max={"energy_mwh": 1e9}, count=20)]
        assert all(word in text for text in listed for word in words)
        assert any("judged energy" in text for text in listed)
    pick = result.pick("a100", max={"energy_mwh": 1e9})
    assert pick.quality_kind == "judged" and pick.to_dict()["sources"]["energy_mwh"] in ("judged", "tabulated")


@pytest.mark.usefixtures("small")
def test_the_hypervolume_is_judged_on_both_sides(tmp_path: Path) -> None:
    executed(tmp_path / "run")
    content = json.loads((tmp_path / "run" / "result.json").read_text())
    space = GPTSpace("s")
    known = benchmark_of(space, "openwebtext", "hw-gpt-bench", ["P100", "rtx2080"], ["a100"], ["energy"])
    for entry in content["devices"]:
        judged, measured = known.fronts[entry["name"]], known.measured[entry["name"]]
        assert (judged.low == measured.low).all() and (judged.high == measured.high).all()
        assert entry["hypervolume_exact"] == pytest.approx(judged.hypervolume)
        assert entry["hypervolume_measured"] == pytest.approx(measured.hypervolume) != judged.hypervolume
        onehot = space.encode([space.parse(ray["architecture"]) for ray in entry["rays"]])
        score = judged.score_points(known.points(onehot, entry["name"]))
        assert entry["hypervolume"] == pytest.approx(score.hypervolume, rel=1e-4)
        assert entry["hypervolume_ratio"] == pytest.approx(score.ratio, rel=1e-4)
        assert entry["hypervolume_ratio_measured"] == pytest.approx(score.hypervolume / measured.hypervolume, rel=1e-4)
    assert "judge" in content["hypervolume_protocol"]["normalisation"]


@pytest.mark.usefixtures("small")
def test_networks_of_the_table_are_judged_too_when_they_are_scored(tmp_path: Path) -> None:
    space = GPTSpace("s")
    known = benchmark_of(space, "openwebtext", "hw-gpt-bench", ["P100"], [], ["energy"])
    front, rows = known.fronts["P100"], [3, 40, 7, 40]
    onehot = space.encode([space.parse(known.table.architectures[row]) for row in rows])
    points = known.points(onehot, "P100")
    assert len(points) == 3
    assert front.score_points(points).ratio == pytest.approx(front.score(rows).ratio)
    assert map_points(known, Fixed(onehot), known.devices[0], 4).tolist() == points.tolist()


@pytest.mark.usefixtures("small")
def test_more_than_half_of_the_table_is_not_to_be_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="devices.networks: wanted at least .* and at most 200, half of the table"):
        executed(tmp_path / "run", "devices.networks=201")
