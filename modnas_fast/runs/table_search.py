"""The search on a tabular benchmark: measure a part of the table, predict, query, search, score against the truth.

What the search may know is counted: the costs of `devices.networks` networks per search device, the errors of
`task.queries` networks for all devices together (surrogate source; the supernet source reads none), and of an unseen
device the ten reference networks. Whatever else the table knows serves the score alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from modnas_fast.config import Config
from modnas_fast.devices import Device, embeddings
from modnas_fast.evaluation.benchmark import Benchmark
from modnas_fast.evaluation.exact import Score
from modnas_fast.evaluation.fronts import front_membership
from modnas_fast.method.metahypernet import logits_on_host
from modnas_fast.method.preferences import rays
from modnas_fast.predictors.graph_predictor import train_graph_predictor
from modnas_fast.predictors.make import make_metapredictor
from modnas_fast.predictors.metapredictor import CostModel, MetaPredictor, train_metapredictor
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.progress import Reporter, Silent, behind
from modnas_fast.search.bilevel import Search
from modnas_fast.search.spread import CostSpread
from modnas_fast.spaces import SearchSpace
from modnas_fast.tasks.surrogate import CountedTruth, SurrogateObjective, make_fit, query
from modnas_fast.tasks.task_objective import TaskObjective

#: share of the networks measured first that are drawn uniformly as they are written; the others are spread over costs
UNIFORM_SHARE = 0.6
#: share of the networks measured that are kept for those on the predicted fronts
FRONT_SHARE = 1 / 9
#: rounds of measuring them: measurements move the fronts
FRONT_ROUNDS = 4
#: networks whose predicted costs decide which others to measure, and that queries are chosen from
CANDIDATES = 20_000


class Measured:
    """Costs of networks on the search devices, counted: each network is measured on all of them at once."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self.by_text: dict[str, Tensor] = {}
        """[T, C] in the devices' normalised ranges by architecture string."""
        self._rows: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, onehot: Tensor, most: int | None = None) -> None:
        """Measures those of the networks [n, N] that are new, up to `most` in all."""
        known = set(self._rows)
        rows = [row for row in dict.fromkeys(self._benchmark.rows(onehot)) if row not in known]
        rows = rows if most is None else rows[: max(most - len(self), 0)]
        if rows:
            self._rows += rows
            texts = [self._benchmark.table.architectures[row] for row in rows]
            self.by_text.update(zip(texts, self._benchmark.normalized_costs(rows)))

    def table(self) -> tuple[Tensor, Tensor]:
        """One-hots [n, N] and normalised costs [n, T, C] of all that was measured."""
        onehot = self._benchmark.space.encode(self._benchmark.architectures(self._rows))
        return onehot, torch.stack(list(self.by_text.values()))


class KnownCosts:
    """Costs [n, T, C] of candidates [n, N] on the search devices: measured where they were, else predicted."""

    def __init__(self, space: SearchSpace, candidates: Tensor, costs: CostModel, d: Tensor, measured: Measured) -> None:
        self._texts = [architecture.text for architecture in space.decode(candidates)]
        self._predicted = costs.on_devices(candidates, d)
        self._measured = measured

    def __call__(self) -> Tensor:
        known = self._measured.by_text
        rows = [row for row, text in enumerate(self._texts) if text in known]
        self._predicted[rows] = torch.stack([known[self._texts[row]] for row in rows])
        return self._predicted


@dataclass
class Prepared:
    """What a search starts from."""

    costs: CostModel
    objective: TaskObjective
    #: networks measured per search device
    measured: Measured
    #: true errors in percent that were queried, by architecture string
    queried: dict[str, float]
    #: per stage
    seconds: dict[str, float]


@dataclass
class Answer:
    """What one search found."""

    search: Search
    prepared: Prepared
    #: of the search alone
    seconds: float = 0.0
    #: scores on the way: seconds since the start of the preparation, evaluations, and the mean ratio per split
    curve: list[dict[str, Any]] = field(default_factory=list)

    @property
    def hypernet(self) -> nn.Module:
        """Φ."""
        return self.search.hypernet

    @property
    def total_seconds(self) -> float:
        """Of preparation and search."""
        return sum(self.prepared.seconds.values()) + self.seconds


class TableSearch:
    """One search on a benchmark.

    Args:
        config: `devices`, `predictor`, `task.queries`, `search` and the other sections of Φ count.
        benchmark: counted when asked.
        objective: the task objective; None: a surrogate of `task.queries` true errors.
        reporter: where progress is told.

    The same arguments on one machine with one thread give the same answer. `prepare` raises InputError where
    `devices.networks` is too few for what is measured in any case, or more than half of the table.
    """

    def __init__(
        self,
        config: Config,
        benchmark: Benchmark,
        objective: TaskObjective | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self._config = config
        self._benchmark = benchmark
        self._space = benchmark.space
        self._reporter: Reporter = reporter or Silent()
        self._d = embeddings(benchmark.search_devices)
        self._generator = torch.Generator().manual_seed(config.seed + 4)
        self._given = objective
        self._queries = config.task.queries if objective is None else 0
        self._seconds: dict[str, float] = {}

    def prepare(self) -> Prepared:
        """Measures, trains the predictor, and queries errors where no objective was given."""
        measured = self._measure_first()
        costs = self._train_predictor("predict", "Training the metapredictor", measured)
        queried: dict[str, float] = {}
        objective = self._given
        if objective is None:
            objective, queried = self._query(costs, measured)
            costs = self._train_predictor("predict again", "Training the metapredictor on all measured", measured)
        return Prepared(costs, objective, measured, queried, self._seconds)

    def start(self, prepared: Prepared) -> Answer:
        """A search that has not made a step yet."""
        devices, measured = self._benchmark.search_devices, prepared.measured.by_text
        search = Search(self._config, self._space, prepared.objective, devices, prepared.costs, measured)
        return Answer(search, prepared)

    def advance(self, answer: Answer, on_step: Callable[[Search], None] = lambda search: None) -> Answer:
        """Makes the steps that are left; `on_step` is called after each."""
        search, start = answer.search, time.monotonic() - answer.seconds
        with self._reporter.stage("Searching", search.total_steps, search.finished_steps) as advance:
            while not search.done:
                search.step()
                answer.seconds = time.monotonic() - start
                if search.evaluation_due:
                    answer.curve.append(self._score_on_the_way(answer))
                on_step(search)
                advance(search.finished_steps)
        return answer

    def search(self, prepared: Prepared) -> Answer:
        """A whole search."""
        return self.advance(self.start(prepared))

    def _timed(self, stage: str, since: float) -> None:
        self._seconds[stage] = time.monotonic() - since

    # ---- costs ----

    def _measure_first(self) -> Measured:
        """Networks drawn uniformly, then others spread evenly over the cost that those predict: cheap ones are rare."""
        start, measured, count = time.monotonic(), Measured(self._benchmark), self._first_networks()
        measured.add(self._space.encode([self._space.parse(text) for text in self._space.references]))
        uniform = max(len(measured), round(UNIFORM_SHARE * count))
        while len(measured) < uniform:
            measured.add(self._space.sample(uniform - len(measured), self._generator))
        spread = self._cost_spread(measured)
        while len(measured) < count:
            measured.add(spread.sample(count - len(measured), self._generator))
        self._timed("measure", start)
        return measured

    def _first_networks(self) -> int:
        """Networks measured before errors are queried: those queried and those on the fronts are measured, too."""
        total, references = self._config.devices.networks, len(self._space.references)
        later = 0 if self._given else self._queries + round(FRONT_SHARE * total)
        most = len(self._benchmark.table.architectures) // 2
        if not references + later <= total <= most:
            raise InputError(
                f"devices.networks: wanted at least {references + later}, for references, queries and fronts, and at "
                f"most {most}, half of the table; got {total}"
            )
        return total - later

    def _cost_spread(self, measured: Measured) -> CostSpread:
        onehot, target = measured.table()
        predictor = MetaPredictor(self._space, self._embedding_width, generator=self._generator)
        devices = len(self._d)
        d = self._d[:, : self._embedding_width].repeat(len(onehot), 1)
        train_metapredictor(
            predictor,
            onehot.repeat_interleave(devices, dim=0),
            d,
            target[..., 0].flatten(),
            steps=200,
            learning_rate=1e-2,
        )
        candidates = self._space.candidates(CANDIDATES, self._generator)
        with torch.no_grad():
            cost = predictor(candidates[:, None], self._d[:, : self._embedding_width]).mean(dim=1)
        return CostSpread(candidates, cost)

    @property
    def _embedding_width(self) -> int:
        """E of one metric."""
        return self._d.shape[1] // len(self._benchmark.table.metrics)

    def _train_predictor(self, stage: str, title: str, measured: Measured) -> CostModel:
        start, options = time.monotonic(), self._config.predictor
        onehot, target = measured.table()
        predictors = []
        with self._reporter.stage(title, options.steps * target.shape[-1]) as advance:
            for metric, d in enumerate(self._d.split(self._embedding_width, dim=-1)):
                predictor = make_metapredictor(
                    options, self._space, self._embedding_width, self._generator, executes="written"
                )
                train_graph_predictor(
                    predictor,
                    onehot,
                    d,
                    target[..., metric],
                    steps=options.steps,
                    learning_rate=options.learning_rate,
                    generator=self._generator,
                    on_step=behind(advance, metric * options.steps),
                )
                predictors.append(predictor)
        self._timed(stage, start)
        return CostModel(predictors)

    # ---- errors ----

    def _query(self, costs: CostModel, measured: Measured) -> tuple[SurrogateObjective, dict[str, float]]:
        """A surrogate of true errors; a network whose error is queried is measured on the devices, too."""
        start, space = time.monotonic(), self._space
        truth = CountedTruth(space, self._benchmark.true_errors, self._queries)
        candidates = space.candidates(CANDIDATES, self._generator)
        known = KnownCosts(space, candidates, costs, self._d, measured)

        def costs_with_queried() -> Tensor:
            measured.add(space.encode([space.parse(text) for text in truth.known]))
            return known()

        with self._reporter.stage("Querying errors", truth.budget) as advance:
            fit = make_fit(*self._config.task.chosen[1:])
            surrogate = query(space, truth, candidates, costs_with_queried, self._config.seed, advance, fit)
        objective = SurrogateObjective(space, surrogate, truth.known, self._benchmark.chance_error)
        errors = objective.errors(candidates)
        costs_with_queried()
        for _ in range(FRONT_ROUNDS):
            best = front_membership(errors, known()).any(dim=1)
            measured.add(candidates[best], self._config.devices.networks)
        self._timed("query", start)
        return objective, truth.known

    def _score_on_the_way(self, answer: Answer) -> dict[str, Any]:
        ratios = mean_by_split(self._benchmark, scores(self._benchmark, answer.hypernet, self._config), "ratio")
        return {"seconds": answer.total_seconds, "evaluations": len(answer.prepared.queried), "ratio": ratios}


@torch.no_grad()
def map_rows(benchmark: Benchmark, hypernet: nn.Module, device: Device, config: Config) -> list[int]:
    """Table rows of the MAP networks of the evaluation's rays on a device."""
    count, objectives = config.evaluation.rays, 1 + len(benchmark.table.metrics)
    preferences = rays(count, objectives)
    logits = logits_on_host(hypernet, preferences, embeddings([device]).expand(len(preferences), -1))
    return benchmark.rows(benchmark.space.canonical(benchmark.space.viable_mode(logits)))


def scores(benchmark: Benchmark, hypernet: nn.Module, config: Config) -> dict[str, Score]:
    """The score of the hypernetwork's answers on every device, by the exact table."""
    return {
        device.name: benchmark.fronts[device.name].score(map_rows(benchmark, hypernet, device, config))
        for device in benchmark.devices
    }


def mean_by_split(benchmark: Benchmark, found: dict[str, Score], name: str) -> dict[str, float | None]:
    """Mean of one field of the scores over search devices and over unseen ones; None where there are none."""
    means: dict[str, float | None] = {}
    for split in ("search", "unseen"):
        values = [getattr(found[device.name], name) for device in benchmark.devices if device.split == split]
        means[split] = sum(values) / len(values) if values else None
    return means
